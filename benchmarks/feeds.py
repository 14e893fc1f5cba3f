"""`python -m benchmarks.feeds`: other feeds' landing beside DuckDB, and what a field nobody declared costs.

Telemetry and renewable production by their built-in contracts, against peers/duckdb_feed.py; the rows that land are
compared with DuckDB's. Then meter readings as they are and with one field more on every line, which `_extra` keeps.
Runs take turns, so that a machine that slows down slows both; ratios are of medians.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
from pathlib import Path

import duckdb

from beam_grid.feeds import BUILT_IN, built_in
from benchmarks import data
from benchmarks.measure import Run, median, run

FEEDS = {"substation_telemetry": 2_000, "renewable_production": 250}
"""Feed to the scale at which its generator writes some 600,000 records."""


def main() -> None:
    """Make data, run all in turns, print ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feeds", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--readings", type=int, default=1_000_000, help="meter readings, for the field nobody declared")
    given = parser.parse_args()
    for name, ratio in feeds(Path("bench-data"), given.runs, given.readings).items():
        print(f"{name:<58}{ratio:>8.2f} x")


def feeds(folder: Path, runs: int, readings: int) -> dict[str, float]:
    """Ratios of wall time; raises SystemExit where the rows differ."""
    found = {}
    for feed, scale in FEEDS.items():
        source = _made(folder / feed, feed, scale)
        mine, theirs = _turns(
            folder,
            runs,
            lambda out, feed=feed, source=source: ["-m", "beam_grid", "land", feed, "--source", source, "--lake", out],
            lambda out, feed=feed, source=source: ["-m", "benchmarks.peers.duckdb_feed", feed, source, out],
        )
        _compare(folder, feed)
        found[f"land {feed}, of DuckDB's wall time"] = mine.wall_s / theirs.wall_s
        found[f"land {feed}, of DuckDB's CPU time"] = mine.cpu_s / theirs.cpu_s
    plain = folder / "extra" / "plain"
    data.make(plain, readings)
    more = _with_a_field_more(plain / "source", folder / "extra" / "more")
    contract = str(BUILT_IN / "smart_meter_readings" / "contract.toml")

    def land(source: Path):
        return lambda out: ["-m", "beam_grid", "land", "--contract", contract, "--source", str(source), "--lake", out]

    with_field, without = _turns(folder, runs, land(more), land(plain / "source"))
    found["land with a field nobody declared, of land without"] = with_field.wall_s / without.wall_s
    return found


def _turns(folder: Path, runs: int, *commands) -> list[Run]:
    """The median of each command, which take turns; each leaves what it wrote in out-0, out-1."""
    done: list[list[Run]] = [[] for _ in commands]
    for _ in range(runs):
        for n, command in enumerate(commands):
            out = folder / f"out-{n}"
            shutil.rmtree(out, ignore_errors=True)
            done[n].append(run(command(str(out)), folder / "feeds.log"))
    return [median(each) for each in done]


def _made(folder: Path, feed: str, scale: int) -> str:
    """The generated files of a feed, as a glob."""
    if not (folder / "truth.json").exists():
        importlib.import_module(f"data_sources.{feed}.generate").generate(folder, scale=scale)
    return str(folder.absolute() / built_in()[feed].files[0].rstrip("*"))


def _compare(folder: Path, feed: str) -> None:
    contract = built_in()[feed]
    names = ", ".join(contract.schema.names)
    mine = f"'{folder}/out-0/landing/{feed}/data/*/rows-*.parquet'"
    differing = duckdb.execute(
        f"SELECT count(*) FROM (SELECT {names} FROM {mine} EXCEPT ALL SELECT {names} FROM '{folder}/out-1/rows.parquet')"
    ).fetchall()[0][0]
    counts = [duckdb.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0] for rows in (mine, f"'{folder}/out-1/rows.parquet'")]  # fmt: skip
    if differing or counts[0] != counts[1]:
        raise SystemExit(f"land {feed}: {differing} rows differ from DuckDB's, {counts[0]} of {counts[1]}")
    print(f"{feed}: {counts[0]:,} rows equal")


def _with_a_field_more(source: Path, folder: Path) -> Path:
    if not folder.exists():
        draft = folder.with_name("draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for path in sorted(source.iterdir()):
            text = path.read_text().replace("}\n", ', "firmware": "fw-2.14.7"}\n')
            (draft / path.name).write_text(text)
        draft.rename(folder)
    return folder


if __name__ == "__main__":
    main()
