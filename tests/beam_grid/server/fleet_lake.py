"""A lake of a dozen meters over four weeks, one of them called <script>, one far off at the end, one silent; [now] declared."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

from beam_grid.landing import Lake
from tests.beam_grid.service.small import run_folder

CONTRACT = """
name = "meters"
format = "csv"
event_time = "at"
dedup = { key = ["meter", "at"] }
out_of_orderness = "1m"
file_order = "name"

[now]
name = "meters_now"
sensor = "meter"
values = ["power"]
beside = ["region"]
silent_after = "2h"

[[rules]]
id = "R-1"
check = "power >= 0"

[[expectations]]
id = "E-1"
expect = "not_null(region)"

[[fields]]
name = "meter"
type = "string"
nullable = false

[[fields]]
name = "at"
type = "timestamp"
nullable = false

[[fields]]
name = "region"
type = "string"

[[fields]]
name = "power"
type = "float64"
unit = "kW"

[[windows]]
name = "region_hourly"
size = "1h"
by = ["region"]
measures = { readings = "count()", power = "sum(power)" }

[[windows]]
name = "meter_hourly"
size = "1h"
by = ["meter"]
measures = { readings = "count()", energy = "sum(power)" }
"""

HOSTILE = '<script>window.hurt = 1</script><img src=x onerror="window.hurt = 1">\'); DROP'
FAR_OFF, SILENT = "M-03", "M-04"
METERS = [HOSTILE, *(f"M-{n:02d}" for n in range(1, 12))]
START, HOURS = datetime(2026, 3, 2, tzinfo=UTC), 4 * 7 * 24


def power(meter: int, hour: int) -> float:
    """A day's shape, a little different each week, ten times as much for one meter in the last hour."""
    usual = 3 + 2 * math.sin(hour % 24 / 24 * 2 * math.pi) + (hour * 7 + meter * 13) % 10 / 20
    return round(usual * (10 if METERS[meter] == FAR_OFF and hour == HOURS - 1 else 1), 3)


def lines(first: int, last: int) -> list[str]:
    """Hourly readings, as CSV."""
    return [
        f"{quoted(name)},{(START + timedelta(hours=hour, minutes=n)).isoformat()},{'North' if n % 2 else 'South'},{power(n, hour)}"
        for hour in range(first, last)
        for n, name in enumerate(METERS)
        if not (name == SILENT and hour >= HOURS - 6)
    ]


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def write(source: Path, name: str, rows: list[str]) -> None:
    source.mkdir(exist_ok=True)
    (source / name).write_text("meter,at,region,power\n" + "\n".join(rows) + "\n")


def run(folder: Path) -> None:
    """Land and publish what is new under folder/source."""
    run_folder(folder, "meters", CONTRACT)


def make(folder: Path) -> Lake:
    """One duplicate and two rejects beside them."""
    rows = lines(0, HOURS)
    write(folder / "source", "a.csv", [rows[0], *rows, "M-01,2026-03-02T00:00:00Z,North,-1", "M-01,never,North,1"])
    run(folder)
    return Lake.open(folder / "lake", create=False)
