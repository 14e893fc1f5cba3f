"""`python -m benchmarks.commit`: one reading into a lake of all built-in feeds, and what refine then takes as a process.

The lake is generated, landed and refined once below bench-data. Each run lands one new reading in a copy of it and
refines that: silver, two window tables, anomaly scores and the expectations of what they hold.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmarks.measure import Run, median, run

_METERS = "smart_meter_kafka"


def main() -> None:
    """Measure and print."""
    folder = Path("bench-data")
    folder.mkdir(exist_ok=True)
    print(f"refine one reading into ten feeds: {commit(folder, 3).wall_s:.1f} s")


def commit(folder: Path, runs: int) -> Run:
    """The middle of the runs."""
    base = folder / "ten-feeds"
    lake, source, log = base / "lake", base / "source", folder / "rest.log"
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


if __name__ == "__main__":
    main()
