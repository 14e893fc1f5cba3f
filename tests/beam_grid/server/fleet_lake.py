"""A lake of a dozen meters over four weeks, one of them called <script>, one far off at the end, one silent; [now] declared.
Beside them a pump with a number that doubles do not have, a row each second."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

from beam_grid.landing import Lake
from tests.beam_grid.service.small import ran, run_folder

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
values = ["power", "volts"]
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

[[fields]]
name = "volts"
type = "float64"
unit = "V"

[[windows]]
name = "region_hourly"
size = "1h"
by = ["region"]
measures = { readings = "count()", power = "sum(power)", volts = "avg(volts)" }

[[windows]]
name = "meter_hourly"
size = "1h"
by = ["meter"]
measures = { readings = "count()", energy = "sum(power)" }
"""

PUMPS = """
name = "pumps"
format = "csv"
event_time = "at"
dedup = { key = ["pump", "at"] }
out_of_orderness = "1m"

[[fields]]
name = "pump"
type = "int64"

[[fields]]
name = "at"
type = "timestamp"

[[fields]]
name = "flow"
type = "float64"
nullable = false

[[windows]]
name = "pump_hourly"
size = "1h"
by = ["pump"]
measures = { n = "count()", flow = "avg(flow)" }
"""

PUMP, SECONDS = (1 << 53) + 1, 10_800

HOSTILE = '<script>window.hurt = 1</script><img src=x onerror="window.hurt = 1">\'); DROP'
FAR_OFF, SILENT = "M-03", "M-04"
ODD, HALF = "M-05", "M-06"
"""Of one the volts are always the same, but in the last hour; of the other there are none in the last hours."""
BLANK = " "
METERS = [HOSTILE, *(f"M-{n:02d}" for n in range(1, 12)), BLANK]
START, HOURS = datetime(2026, 3, 2, tzinfo=UTC), 4 * 7 * 24


def power(meter: int, hour: int) -> float:
    """A day's shape, a little different each week, ten times as much for one meter in the last hour."""
    usual = 3 + 2 * math.sin(hour % 24 / 24 * 2 * math.pi) + (hour * 7 + meter * 13) % 10 / 20
    return round(usual * (10 if METERS[meter] == FAR_OFF and hour == HOURS - 1 else 1), 3)


def volts(name: str, hour: int) -> str:
    if name == HALF and hour >= HOURS - 6:
        return ""
    return "231.0" if name == ODD and hour >= HOURS - 1 else "230.0"


def lines(first: int, last: int) -> list[str]:
    """Hourly readings, as CSV."""
    return [
        f"{quoted(name)},{(START + timedelta(hours=hour, minutes=n)).isoformat()},{'North' if n % 2 else 'South'},{power(n, hour)},{volts(name, hour)}"
        for hour in range(first, last)
        for n, name in enumerate(METERS)
        if not (name == SILENT and hour >= HOURS - 6)
    ]


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def write(source: Path, name: str, rows: list[str]) -> None:
    source.mkdir(exist_ok=True)
    (source / name).write_text("meter,at,region,power,volts\n" + "\n".join(rows) + "\n")


def run(folder: Path) -> None:
    """Land and publish what is new under folder/source."""
    run_folder(folder, "meters", CONTRACT)


def make(folder: Path) -> Lake:
    """One duplicate and two rejects beside them."""
    (folder / "pumps").mkdir()
    end = START + timedelta(hours=HOURS)
    seconds = (f"{PUMP},{(end - timedelta(seconds=n)).isoformat()},1.5" for n in range(SECONDS, 0, -1))
    (folder / "pumps" / "p.csv").write_text("pump,at,flow\n" + "\n".join(seconds) + "\n")
    (folder / "pumps.toml").write_text(PUMPS)
    to = ("--source", str(folder / "pumps"), "--lake", str(folder / "lake"))
    done = ran("land", "--contract", str(folder / "pumps.toml"), *to)
    assert done.returncode == 0, done.stderr
    rows = lines(0, HOURS)
    write(
        folder / "source", "a.csv", [rows[0], *rows, "M-01,2026-03-02T00:00:00Z,North,-1,230", "M-01,never,North,1,230"]
    )
    run(folder)
    return Lake.open(folder / "lake", create=False)
