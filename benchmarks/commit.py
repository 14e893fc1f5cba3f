"""`python -m benchmarks.commit`: from a commit to tables, cold and warm.

1. One reading into a lake of all built-in feeds, and what `refine` then takes as a process. The lake is generated,
   landed and refined once below bench-data; each run lands one new reading in a copy of it.
2. Commits of 50,000 rows one after the other in one process, published as a run that follows publishes them: from the
   commit standing to the set of versions that shows it. The first, which warms up, does not count.
"""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_grid.console import set_up_logs
from beam_grid.follow import Tables
from beam_grid.lakehouse.query import query
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from benchmarks import data
from benchmarks.measure import Run, median, run
from benchmarks.variants import FEED, write_contracts
from data_sources.contract import load_contract

_METERS = "smart_meter_kafka"
_ROWS = 50_000
_COMMITS = 8


def main() -> None:
    """Measure and print."""
    set_up_logs("text", debug=False)
    folder = Path("bench-data")
    folder.mkdir(exist_ok=True)
    measure(folder, 3)


def measure(folder: Path, runs: int) -> dict[str, dict[str, Any]]:
    """Both, printed."""
    cold = commit(folder, runs)
    print(f"refine one reading into ten feeds: {cold.wall_s:.1f} s, {cold.cpu_s:.1f} s CPU, {cold.peak_mib:.0f} MiB")
    publishes = warm(folder)
    middle, worst = statistics.median(p.wall_s for p in publishes), max(p.wall_s for p in publishes)
    cpu = statistics.median(p.cpu_s for p in publishes)
    print(f"warm publish of {_ROWS:,} rows: {middle:.2f} s, at most {worst:.2f} s, {cpu:.2f} s CPU", flush=True)
    return {
        "refine one reading into ten feeds": {"wall_s": cold.wall_s, "cpu_s": cold.cpu_s, "peak_mib": cold.peak_mib},
        f"warm publish of {_ROWS:,} rows": {"median_s": middle, "max_s": worst, "cpu_s": cpu},
    }


def commit(folder: Path, runs: int) -> Run:
    """The middle of the runs."""
    base = folder / "ten-feeds"
    lake, source, log = base / "lake", base / "source", folder / "commit.log"
    if not (lake / "versions").exists():
        shutil.rmtree(base, ignore_errors=True)
        run(["-m", "beam_grid", "generate", "--out", str(source), "--messy"], log)
        run(["-m", "beam_grid", "land", "--source", str(source), "--lake", str(lake)], log)
        run(["-m", "beam_grid", "refine", "--lake", str(lake)], log)
    one, copied, took = base / "one" / _METERS / "smart_meter_readings_new.json", base / "copy", []
    one.parent.mkdir(parents=True, exist_ok=True)
    last = sorted((source / _METERS).glob("smart_meter_readings_*.json"))[-1].read_text().splitlines()[-1]
    reading = json.loads(last)
    one.write_text(
        json.dumps({**reading, "event_id": "new", "timestamp": reading["timestamp"][:17] + "31.000Z"}) + "\n"
    )
    for _ in range(runs):
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(lake, copied)
        run(
            ["-m", "beam_grid", "land", "smart_meter_readings", "--source", str(base / "one"), "--lake", str(copied)],
            log,
        )
        took.append(run(["-m", "beam_grid", "refine", "--lake", str(copied)], log))
    return median(took)


@dataclass(frozen=True)
class Publish:
    """Seconds of one publish, waited and computed."""

    wall_s: float
    cpu_s: float


def warm(folder: Path) -> list[Publish]:
    """Each publish but the first; raises SystemExit where a set does not show what landed."""
    base = folder / "warm"
    data.make(base / "made", _ROWS * _COMMITS)
    contract = load_contract(write_contracts(base)[0])
    source, lake = base / "source", base / "lake"
    for stale in (source, lake):
        shutil.rmtree(stale, ignore_errors=True)
    source.mkdir()
    opened, landed = Lake.open(lake), 0
    publishes: list[Publish] = []
    tables = Tables(opened)
    lines = (line for path in sorted((base / "made" / "source").iterdir()) for line in path.open("rb"))
    for n in range(_COMMITS):
        (source / f"readings-{n:03d}.json").write_bytes(b"".join(itertools.islice(lines, _ROWS)))
        with opened.lock("land"):
            landed += land(opened, contract, Options(source=str(source.absolute()))).fates.landed
        started, computed = time.perf_counter(), time.process_time()
        tables.publish(FEED, contract)
        publishes.append(Publish(time.perf_counter() - started, time.process_time() - computed))
        seen = query(opened, f"SELECT count(*) AS n FROM silver.{FEED}")["n"][0].as_py()
        if seen != landed:
            raise SystemExit(f"warm publish: {landed:,} rows landed, {seen:,} are in the table")
    return publishes[1:]


if __name__ == "__main__":
    main()
