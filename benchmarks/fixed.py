"""What stays the same whatever is new: runs with nothing new, a query, fifty slices, other feeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import data, lake
from benchmarks.feeds import feeds
from benchmarks.measure import median, run
from benchmarks.slices import slices

_QUESTION = (
    "SELECT * FROM silver.smart_meter_readings WHERE meter_id = 'SM-N-00042' "
    "AND timestamp >= '2025-06-20T00:00:00Z' AND timestamp < '2025-06-21T00:00:00Z'"
)


def measure(folder: Path, readings: int) -> dict[str, dict[str, Any]]:
    """Seconds of whole processes beside a lake of 5 M rows, and ratios; printed one by one."""
    found: dict[str, Any] = {}

    def note(label: str, value: float, unit: str) -> None:
        print(f"{label:<58}{value:>8.2f} {unit}", flush=True)
        found[label] = value

    five, big = lake.readings_lake(folder)
    for label, arguments in {
        "land, nothing new": ["land", "smart_meter_readings", "--source", big, "--lake", five],
        "refine, nothing new": ["refine", "--lake", five],
        "query a meter's day of 5 M rows": ["query", _QUESTION, "--lake", five, "--format", "csv"],
    }.items():
        taken = [run(["-m", "beam_grid", *arguments], folder / "fixed.log") for _ in range(3)]
        note(label, median(taken).wall_s, "s")
    sized = folder / f"readings-{readings}"
    data.make(sized, readings)
    for order in ("time", "meter"):
        ratio = slices(sized, str((sized / "source").absolute()), order)
        note(f"50 slices, {order}-ordered: last ten / first ten", ratio, "x")
    for label, ratio in feeds(folder, 3, 1_000_000).items():
        note(label, ratio, "x")
    return {"fixed": found}
