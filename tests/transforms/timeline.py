"""A stream told as a timeline, through Beam's own bundle-based runner (the in-process one refuses TestStream).

    run(feed, [arrive(0, ("a", 1, 1.0)), watermark(12), arrive(0, ("a", 1, 1.0))])

Minutes count from noon. A feed's records are JSON, as from a Kafka topic; each `arrive` is one batch, and each
batch becomes a pane of its own unless the test says otherwise.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import TupleCoder, VarIntCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.trigger import AfterCount, Repeatedly
from apache_beam.utils.timestamp import Timestamp

from data_sources.contract import Contract
from tests.transforms.making import minute
from transforms.arrow import as_batch, as_table
from transforms.batches import RecordBatchCoder
from transforms.blocks import Slice
from transforms.drop_duplicates import DropDuplicates
from transforms.judge_stream import RECORDS, JudgeStream
from transforms.manifest import Manifest, merged, read_manifest
from transforms.windowed import WindowedTiles
from transforms.windows_stream import Windows

EACH_BATCH = Repeatedly(AfterCount(1))
TOPIC = "readings"


class Arrive(NamedTuple):
    partition: int
    lines: tuple[bytes, ...]
    arrival: float


class Watermark(NamedTuple):
    minutes: float | None


def arrive(partition: int, *readings: tuple[Any, ...] | bytes, at: float = 100_000) -> Arrive:
    """(id, minutes, kwh, meter, version), later ones left out; or a line as it is; `at` is when they arrive."""
    return Arrive(partition, tuple(r if isinstance(r, bytes) else line(*r) for r in readings), at)


def line(id: str, at: float, *rest: Any) -> bytes:
    record = {"id": id, "at": minute(at).isoformat(), **dict(zip(("kwh", "meter", "version"), rest, strict=False))}
    return json.dumps(record).encode()


def watermark(minutes: float) -> Watermark:
    """The stream is told that nothing older than this is to be expected (M - out_of_orderness)."""
    return Watermark(minutes)


THE_END = Watermark(None)


@dataclass
class Outcome:
    """What came out, pane by pane, in order."""

    panes: list[pa.Table] = field(default_factory=list)
    aside: dict[str, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))
    tiles: list[tuple[int, pa.Table]] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)
    windows: list[list[dict[str, Any]]] = field(default_factory=list)

    @property
    def rows(self) -> pa.Table:
        return as_table([as_batch(t) for t in self.panes])

    def of(self, kind: str) -> pa.Table:
        return as_table([as_batch(t) for t in self.aside[kind]])

    def counted(self, name: str) -> int:
        """A count of partitions (read, late, rejected) or of shards (landed, duplicates, superseded, conflicts)."""
        whole = merged(self.manifests)
        counts = whole.partitions if name in ("read", "late", "rejected") else whole.shards
        return sum(getattr(one, name) for one in counts)


_found: dict[str, Outcome] = {}


def run(feed: Contract, timeline: list[Any], trigger: Any = EACH_BATCH, tile_trigger: Any = None, shards: int = 2, windows: dict[str, Any] | None = None) -> Outcome:  # fmt: skip
    """Judge, drop duplicates and tile the timeline; a first window of the feed is tiled. windows: options of Windows,
    which then makes that window's rows."""
    stream = TestStream(coder=TupleCoder([VarIntCoder(), RecordBatchCoder()]))
    stream = stream.advance_watermark_to(minute(-10_000_000).timestamp())
    offset = 0
    for step in timeline:
        if isinstance(step, Arrive):
            arrival = minute(step.arrival)
            records = [{"raw": raw, "_position": offset + n, "_arrival": arrival} for n, raw in enumerate(step.lines)]
            offset += len(records)
            stream = stream.add_elements([(step.partition, pa.RecordBatch.from_pylist(records, schema=RECORDS))])
        elif step.minutes is None:
            stream = stream.advance_watermark_to_infinity()
        else:
            stream = stream.advance_watermark_to(Timestamp(minute(step.minutes).timestamp()))
    outcome = _found["now"] = Outcome()
    slice = Slice(feed, "", "", 1, 0, shards)
    extra = {} if tile_trigger is None else {"trigger": tile_trigger}
    with TestPipeline(runner=BundleBasedDirectRunner(), options=PipelineOptions(["--streaming"])) as p:
        judged = p | stream.with_output_types(tuple[int, pa.RecordBatch]) | "Judge" >> JudgeStream(slice, TOPIC)
        unique = judged.on_time | "Unique" >> DropDuplicates(feed, trigger=trigger)
        unique.rows | "KeepRows" >> beam.ParDo(_Keep("rows"))
        judged.aside | "KeepJudged" >> beam.ParDo(_Keep("aside"))
        unique.aside | "KeepAside" >> beam.ParDo(_Keep("aside"))
        [judged.manifests, unique.manifests] | beam.Flatten() | "KeepManifests" >> beam.ParDo(_Keep("manifests"))
        if feed.windows:
            tiles = unique.rows | "Tile" >> WindowedTiles(feed, feed.windows[0], **extra)
            tiles | "KeepTiles" >> beam.ParDo(_Keep("tiles"))
        if windows is not None:
            made = unique.rows | "Window" >> Windows(feed, feed.windows[0], **windows)
            made | "KeepWindows" >> beam.ParDo(_Keep("windows"))
    return outcome


class _Keep(beam.DoFn):
    """Hands what comes to the test: this runner's workers are threads of this process."""

    def __init__(self, what: str):
        self.what = what

    def process(self, element):
        outcome = _found["now"]
        if self.what == "manifests":
            outcome.manifests.append(read_manifest(element))
            return
        if self.what == "windows":
            outcome.windows.append(element.to_pylist())
            return
        key, batch = element
        table = pa.Table.from_batches([batch])
        if self.what == "rows":
            outcome.panes.append(table)
        elif self.what == "tiles":
            outcome.tiles.append((key, table))
        else:
            outcome.aside[key].append(table)
