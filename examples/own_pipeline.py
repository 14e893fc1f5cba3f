"""A Beam pipeline of one's own around Beam Grid's transforms: no lake, no commits, the sinks are yours.

    files ─► ReadAndJudge ─► DropDuplicates ─► OutOfService, your step ─► Windows ─► windows.jsonl
                  │ rejected, late                                               │
                  └──────────────────────────────────────────────────────────────┴─► rejected.jsonl

    python examples/own_pipeline.py --source FOLDER --out FOLDER [--service P-7,P-9]

It runs on Beam's in-process runner, as Beam Grid pins it. On another runner give `beam.Pipeline` that runner's options.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.transforms.window import GlobalWindows

from data_sources.contract import load_contract
from runners.direct import runner
from transforms import DropDuplicates, ReadAndJudge, Windows, partitions_of, slice_of

CONTRACT = load_contract(Path(__file__).with_name("heat_pumps.toml"))


class OutOfService(beam.DoFn):
    """Leaves out the rows of pumps that were in service. An element is an Arrow batch: whole columns, not rows."""

    def __init__(self, pumps: list[str]):
        self.pumps = pumps

    def process(self, element):
        shard, batch = element
        pump = batch.column("pump")
        names = pump.cast(pa.string()) if pa.types.is_dictionary(pump.type) else pump
        yield shard, batch.filter(pc.invert(pc.is_in(names, pa.array(self.pumps, pa.string()))))


def as_lines(batch: pa.RecordBatch) -> list[str]:
    """A line of JSON per row; times in ISO 8601."""
    return [json.dumps(row, default=lambda value: value.isoformat()) for row in batch.to_pylist()]


def rejected(element: tuple[str, pa.RecordBatch]) -> list[str]:
    """Why each record was rejected, and where it stands. What else is set aside is late rows."""
    kind, batch = element
    names = [name for name in ("cause", "rule", "reason", "_source", "_position") if name in batch.schema.names]
    return [json.dumps({"kind": kind, **row}) for row in batch.select(names).to_pylist()]


def run(source: str, out: Path, in_service: list[str]) -> int:
    """Read, judge, deduplicate, window and write; returns how many inputs were left out."""
    found = partitions_of(source, CONTRACT)
    for problem in found.problems:
        print(f"not read: {problem}", file=sys.stderr)
    with runner() as (engine, options), beam.Pipeline(runner=engine, options=options) as pipeline:
        read = pipeline | beam.Create(found.partitions, reshuffle=False) | "Read" >> ReadAndJudge(slice_of(CONTRACT))
        unique = read.on_time | "Unique" >> DropDuplicates(CONTRACT)
        rows = unique.rows | "OutOfService" >> beam.ParDo(OutOfService(in_service)).with_output_types(
            tuple[int, pa.RecordBatch]
        )
        windows = rows | "Hourly" >> Windows(CONTRACT, CONTRACT.windows[0])
        for name, lines in (
            ("windows", windows | "AsLines" >> beam.FlatMap(as_lines)),
            ("rejected", read.aside | "Rejected" >> beam.FlatMap(rejected)),
        ):
            in_one = lines | f"OneWindow_{name}" >> beam.WindowInto(GlobalWindows())
            in_one | f"Write_{name}" >> beam.io.WriteToText(str(out / name), ".jsonl", shard_name_template="")
    return len(found.problems)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="File, folder or glob of JSON lines.")
    parser.add_argument("--out", required=True, type=Path, help="Folder for windows.jsonl and rejected.jsonl.")
    parser.add_argument("--service", default="", help="Pumps to leave out, with commas between them.")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    sys.exit(1 if run(given.source, given.out, [pump for pump in given.service.split(",") if pump]) else 0)


if __name__ == "__main__":
    main()
