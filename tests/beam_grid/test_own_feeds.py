"""Feeds nobody planned for, described only by a contract: what lands and what its windows say is what DuckDB says.

Each feed writes raw files and gives one SQL query over them for the rows that must land (`rows`, in words of DuckDB,
none of ours). Windows are then asked of those rows with the epoch's arithmetic written out, and beside them stand the
tiles that landed, merged here in plain Python.
"""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_grid.land import Landed, Options, land
from beam_grid.landing import Lake
from data_sources.contract import Contract, Measure, WindowSpec, load_contract
from data_sources.durations import micros

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


@dataclass
class Feed:
    """contract: TOML; write: makes the raw files of a folder; rows: SQL over {folder} for the rows that must be current;
    rejected, late: SQL for how many records end so; slice_rows: what cuts the input into several slices."""

    contract: str
    write: Callable[[Path], None]
    rows: str
    rejected: str = "SELECT 0"
    late: str = "SELECT 0"
    slice_rows: int = 60


LINES = """(SELECT row_number() OVER () AS seq, * FROM read_csv('{folder}/*.json', columns = {'line': 'VARCHAR'}, delim = '\x01',
    quote = '', escape = '', header = false, filename = true, auto_detect = false) ORDER BY filename)"""


# --- 1: CSV with an own time format, local time, decimals, latin-1, odd null words


def write_hydro(folder: Path) -> None:
    rng = random.Random(1)
    rows = []
    for n in range(160):
        local = datetime.fromisoformat("2025-10-25T20:00") + timedelta(minutes=7 * n)
        rows.append([f"Rhône {n % 3}", f"{local:%d.%m.%Y %H:%M}", f"{rng.uniform(-50, 99):.3f}", rng.choice(["-", "3", "17"]),
                     rng.choice(["gut; trocken", 'Stufe "2"', "k.A.", "zwei\nZeilen"])])  # fmt: skip
    rows += [[*row[:2], "1.000", "1", "copy"] for row in rng.sample(rows, 15)]
    rows += [["Rhône 1", "30.03.2025 02:30", "1.000", "1", "gibt es nicht"], ["Rhône 1", "1.2.2025", "1.000", "1", "no time"],
             ["Rhône 2", "01.07.2025 10:00", "1.0005", "1", "too fine"], ["Rhône 2", "01.07.2025 10:00", "1", "1.5", "no int"]]  # fmt: skip
    for number, part in enumerate((rows[:90], rows[90:])):
        with (folder / f"pegel {number}.csv").open("w", encoding="latin-1", newline="") as out:
            writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
            writer.writerows([["Station", "Zeit", "Pegel", "Turbinen", "Notiz"], *part])


HYDRO_RAW = """(SELECT *, row_number() OVER () AS seq,
        try_strptime(Zeit, '%d.%m.%Y %H:%M') AS local, TRY_CAST(nullif(Pegel, '-') AS DECIMAL(18,6)) AS level
    FROM read_csv('{folder}/*.csv', delim = ';', encoding = 'latin-1', all_varchar = true, nullstr = ['-', 'k.A.'], quote = '"', escape = '"')
    ORDER BY filename)"""
HYDRO_BAD = (
    "local IS NULL OR local = TIMESTAMP '2025-03-30 02:30' OR level <> round(level, 3) OR contains(Turbinen, '.')"
)

HYDRO = Feed(
    contract="""
name = "hydro_levels"
format = "csv"
event_time = "ts"
[csv]
delimiter = ";"
encoding = "latin-1"
null = ["-", "k.A."]
[dedup]
key = ["station", "ts"]
[[windows]]
name = "level_6h"
size = "6h"
every = "2h"
offset = "30m"
by = ["station"]
measures = { n = "count()", known = "count(turbines)", level = "sum(level)", mean = "avg(level)", spread = "stddev(level)", low = "min(level)", high = "max(level)", wet = "count_if(level > 20 AND turbines IS NOT NULL)" }
[[fields]]
name = "station"
source = "Station"
type = "string"
[[fields]]
name = "ts"
source = "Zeit"
type = "timestamp"
format = "%d.%m.%Y %H:%M"
time_zone = "Europe/Berlin"
on_dst = "later"
[[fields]]
name = "level"
source = "Pegel"
type = "decimal(12,3)"
[[fields]]
name = "turbines"
source = "Turbinen"
type = "int64"
[[fields]]
name = "note"
source = "Notiz"
type = "string"
""",
    write=write_hydro,
    # +02:00 until 26 October, 03:00 local; what is there twice is the later one, +01:00
    rows=f"""SELECT station, ts, level, turbines, note FROM (
        SELECT Station AS station, make_timestamptz(epoch_us(local)) -
            CASE WHEN local < TIMESTAMP '2025-10-26 02:00' THEN INTERVAL 2 HOUR ELSE INTERVAL 1 HOUR END AS ts,
            CAST(level AS DECIMAL(12,3)) AS level, CAST(Turbinen AS BIGINT) AS turbines, Notiz AS note, seq
        FROM {HYDRO_RAW} WHERE NOT ({HYDRO_BAD}) IS TRUE)
      QUALIFY row_number() OVER (PARTITION BY station, ts ORDER BY seq) = 1""",
    rejected=f"SELECT count(*) FROM {HYDRO_RAW} WHERE {HYDRO_BAD}",
)


# --- 2: CSV without a header, event time a date, keep the latest, a week that begins on Monday


def write_tariffs(folder: Path) -> None:
    rng = random.Random(2)
    for number in range(3):
        with (folder / f"{number}.txt").open("w", newline="") as out:
            for _ in range(50):
                day = date(2024, 12, 20) + timedelta(days=rng.randrange(40))
                row = [
                    f"C{rng.randrange(25)}",
                    f"{day:%Y%m%d}",
                    rng.choice(["", "1", "2", "3"]),
                    f"{rng.randrange(9999) / 100}",
                    rng.choice("ab"),
                ]
                out.write("|".join(row) + "\n")
            for n in range(20):  # never corrected
                out.write(f"D{number}{n}|202503{n + 1:02}|1|{n / 8}|c\n")
            out.write("C1|20241301|1|1|a\nC1|infinity|1|1|a\n|20250101|1|1|a\nC1|20250101|x|1|a\n")


TARIFF_RAW = """(SELECT * FROM read_csv('{folder}/*.txt', delim = '|', header = false, all_varchar = true, nullstr = '',
    names = ['contract', 'day', 'version', 'price', 'kind']))"""
TARIFF_BAD = "contract IS NULL OR TRY_CAST(substr(day,1,4) || '-' || substr(day,5,2) || '-' || substr(day,7) AS DATE) IS NULL OR version = 'x'"

TARIFFS = Feed(
    contract="""
name = "tariff_changes"
format = "csv"
event_time = "day"
[csv]
delimiter = "|"
header = false
[dedup]
key = ["contract"]
keep = "latest"
order_by = ["version", "day"]
[[windows]]
name = "tariff_week"
size = "7d"
offset = "4d"
measures = { n = "count()", dearest = "max(price)", newest = "last(kind)", oldest = "first(price)", versions = "sum(version)" }
[[fields]]
name = "contract"
type = "string"
[[fields]]
name = "day"
type = "date"
format = "%Y%m%d"
[[fields]]
name = "version"
type = "int64"
[[fields]]
name = "price"
type = "float64"
[[fields]]
name = "kind"
type = "string"
""",
    write=write_tariffs,
    rows=f"""SELECT contract, CAST(strptime(day, '%Y%m%d') AS DATE) AS day, CAST(version AS BIGINT) AS version, CAST(price AS DOUBLE) AS price, kind
      FROM {TARIFF_RAW} WHERE NOT ({TARIFF_BAD}) IS TRUE QUALIFY row_number() OVER (PARTITION BY contract ORDER BY
        CAST(version AS BIGINT) DESC NULLS LAST, day DESC, CAST(price AS DOUBLE) DESC NULLS LAST, kind DESC NULLS LAST) = 1""",
    rejected=f"SELECT count(*) FROM {TARIFF_RAW} WHERE {TARIFF_BAD}",
    slice_rows=40,
)


# --- 3: Parquet of a data frame: nanoseconds without a zone, whole numbers as doubles, odd window, every measure


def write_turbines(folder: Path) -> None:
    rng = random.Random(3)
    for number in range(2):
        rows = []
        for n in range(120):
            ts = 1_750_000_000_000_000_123 + (number * 120 + n) * 41_000_000_000 + rng.randrange(999)
            rows.append((f"T{n % 4}", ts, rng.choice([None, 0.0, 3.0, -2.0]), None if n % 9 == 0 else 1e7 + rng.random() / 100,
                         rng.choice([True, False, None]), Decimal(rng.randrange(-99999, 99999)) / 100, f"s{rng.randrange(5)}"))  # fmt: skip
        rows += rng.sample(rows, 20)
        rows += [("T9", 1_750_000_000_000_000_000, 1.5, 1.0, True, Decimal("1"), "s"), ("T9", None, 1.0, 1.0, True, Decimal("1"), "s"),
                 ("T9", 1_750_000_000_000_000_000, 1.0, float("nan"), True, Decimal("1"), "s")]  # fmt: skip
        kinds = [
            pa.string(),
            pa.timestamp("ns"),
            pa.float64(),
            pa.float64(),
            pa.bool_(),
            pa.decimal128(20, 4),
            pa.string(),
        ]
        columns = [pa.array(c, t) for c, t in zip(zip(*rows, strict=True), kinds, strict=True)]
        columns[6] = columns[6].dictionary_encode()
        names = ["Turbine Id", "when", "faults", "register", "on", "price", "site"]
        pq.write_table(pa.table(columns, names=names), folder / f"{number}.parquet", row_group_size=50)


TURBINE_RAW = "(SELECT *, epoch_ns(\"when\") // 1000 AS us, row_number() OVER () AS seq FROM read_parquet('{folder}/*.parquet') ORDER BY filename)"
TURBINE_BAD = "us IS NULL OR faults <> round(faults) OR isnan(register)"

TURBINES = Feed(
    contract="""
name = "turbine_log"
format = "parquet"
event_time = "when"
[dedup]
key = ["turbine", "when"]
[lake]
cluster_by = ["site", "when"]
[[windows]]
name = "turbine_7min"
size = "7m"
by = ["turbine", "running"]
measures = { n = "count()", c = "count(faults)", ci = "count_if(running OR faults > 0)", s = "sum(register)", si = "sum(faults)", sd = "sum(price)", lo = "min(register)", lot = "min(site)", hi = "max(price)", a = "avg(register)", ai = "avg(faults)", ad = "avg(price)", sdv = "stddev(register)", sdd = "stddev(price)", f = "first(faults)", fs = "first(site)", l = "last(register)", lw = "last(when)" }
[[windows]]
name = "turbine_all"
size = "1h"
every = "25m"
offset = "5m"
measures = { n = "count()", register = "stddev(register)", s = "sum(price)" }
[[fields]]
name = "turbine"
source = "Turbine Id"
type = "string"
[[fields]]
name = "when"
type = "timestamp"
[[fields]]
name = "faults"
type = "int64"
[[fields]]
name = "register"
type = "float64"
[[fields]]
name = "running"
source = "on"
type = "bool"
[[fields]]
name = "price"
type = "decimal(10,2)"
[[fields]]
name = "site"
type = "string"
""",
    write=write_turbines,
    rows=f"""SELECT "Turbine Id" AS turbine, make_timestamptz(us) AS "when", CAST(faults AS BIGINT) AS faults, register, "on" AS running,
        CAST(price AS DECIMAL(10,2)) AS price, CAST(site AS VARCHAR) AS site FROM {TURBINE_RAW} WHERE NOT ({TURBINE_BAD}) IS TRUE
      QUALIFY row_number() OVER (PARTITION BY turbine, us ORDER BY seq) = 1""",
    rejected=f"SELECT count(*) FROM {TURBINE_RAW} WHERE {TURBINE_BAD}",
    slice_rows=80,
)


# --- 4: JSON with odd names and a key without a time: copies are those within the horizon


def write_alarms(folder: Path) -> None:
    rng = random.Random(4)
    lines = []
    for burst in range(40):  # bursts stand an hour apart, and none is longer than the horizon
        at = datetime(2025, 6, 1, tzinfo=UTC) + timedelta(hours=burst)
        for _ in range(rng.randrange(1, 6)):
            seen = at + timedelta(seconds=rng.randrange(300))
            offset = rng.choice(["Z", "+00:00", ".000Z"])
            lines.append(json.dumps({"sensor no": f"ä{burst % 3}", "t": f"{seen:%Y-%m-%dT%H:%M:%S}{offset}", "select": rng.choice([1, 2, None]),
                                     "größe": rng.choice([1.5, -0.0, None]), "_id": burst, "drift": {"x": [burst]} if burst % 4 else None}))  # fmt: skip
    rng.shuffle(lines)
    lines += [
        '{"sensor no":"ä1","t":"2025-06-01T00:00:00Z","select":"1"}',
        '{"sensor no":"ä1","t":"2025-06-01',
        "",
        "{}",
        "null",
    ]
    for number in range(3):
        (folder / f"{number}.json").write_text("\n".join(lines[number::3]) + "\n", encoding="utf-8")


ALARM_RAW = f"""(SELECT *, line->>'sensor no' AS sensor, TRY_CAST(line->>'t' AS TIMESTAMPTZ) AS t, json_type(line, '$.select') AS kind FROM
    (SELECT seq, filename, CASE WHEN json_valid(line) THEN line END AS line FROM {LINES} WHERE trim(line) <> ''))"""
ALARM_BAD = "line IS NULL OR t IS NULL OR sensor IS NULL OR kind = 'VARCHAR'"

ALARMS = Feed(
    contract="""
name = "alarms"
format = "json"
event_time = "seen.at"
[dedup]
key = ["sensor"]
horizon = "5m"
[[windows]]
name = "alarms_day"
size = "1d"
every = "8h"
by = ["select"]
measures = { n = "count()", "größe.max" = "max(größe)", big = 'count_if("größe" > 1 AND "select" = 1)', latest = "last(sensor)" }
[[fields]]
name = "sensor"
source = "sensor no"
type = "string"
[[fields]]
name = "seen.at"
source = "t"
type = "timestamp"
[[fields]]
name = "select"
type = "int64"
[[fields]]
name = "größe"
type = "float64"
[[fields]]
name = "id"
source = "_id"
type = "int64"
""",
    write=write_alarms,
    rows=f"""WITH good AS (SELECT sensor, t AS "seen.at", CAST(line->>'select' AS BIGINT) AS "select", CAST(line->>'größe' AS DOUBLE) AS "größe",
          CAST(line->>'_id' AS BIGINT) AS id, filename, seq FROM {ALARM_RAW} WHERE NOT ({ALARM_BAD}) IS TRUE)
      SELECT * EXCLUDE (filename, seq) FROM good
      QUALIFY row_number() OVER (PARTITION BY sensor, date_trunc('hour', "seen.at") ORDER BY filename, seq) = 1""",
    rejected=f"SELECT count(*) FROM {ALARM_RAW} WHERE {ALARM_BAD}",
    slice_rows=30,
)


# --- 5: JSON files that are one log: late records, rules, the future, and the latest of each key


def write_charging(folder: Path) -> None:
    rng = random.Random(5)
    for number in range(4):
        lines = []
        for n in range(60):
            at = datetime(2025, 6, 1, tzinfo=UTC) + timedelta(
                minutes=(number * 60 + n) * 2 - rng.choice([0, 0, 0, 1, 5, 29, 31, 90])
            )
            session = 1000 * number + n if number % 2 and n > 25 else rng.randrange(90)  # some are never corrected
            lines.append(
                {
                    "session": session,
                    "at": at.isoformat(),
                    "kwh": rng.choice([None, 0.5, 7.25, 11, -1]),
                    "seq": rng.choice([None, 1, 2, 3]),
                }
            )
        lines += [
            {"session": 1, "at": "2031-01-01T00:00:00Z", "kwh": 1, "seq": 1},
            {"session": 2, "at": "2025-12-31T23:00:00Z", "kwh": -5, "seq": 1},
        ]
        (folder / f"log-{number}.json").write_text("".join(json.dumps(r) + "\n" for r in lines))


CHARGE_RAW = f"""(SELECT *, (line->>'session')::BIGINT AS session, (line->>'at')::TIMESTAMPTZ AS ts, (line->>'kwh')::DOUBLE AS kwh,
    (line->>'seq')::BIGINT AS n FROM {LINES})"""
CHARGE_BAD = "kwh < 0 OR ts > make_timestamptz(1767225600000000) + INTERVAL 1 DAY"
CHARGE_JUDGED = f"""(SELECT *, coalesce(ts < max(ts) OVER (ORDER BY filename, seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    - INTERVAL 30 MINUTE, false) AS late FROM {CHARGE_RAW} WHERE NOT ({CHARGE_BAD}) IS TRUE)"""

CHARGING = Feed(
    contract="""
name = "charging"
format = "json"
event_time = "at"
out_of_orderness = "10m"
allowed_lateness = "20m"
max_future = "1d"
file_order = "name"
[dedup]
key = ["session"]
keep = "latest"
order_by = ["seq"]
[[rules]]
id = "CH-1"
check = "kwh >= 0"
[[rules]]
id = "CH-2"
check = "kwh < 10"
on_fail = "warn"
[[windows]]
name = "charging_30min"
size = "30m"
every = "10m"
measures = { n = "count()", kwh = "sum(kwh)", mean = "avg(kwh)", spread = "stddev(kwh)", last = "last(kwh)" }
[[fields]]
name = "session"
type = "int64"
[[fields]]
name = "at"
type = "timestamp"
[[fields]]
name = "kwh"
type = "float64"
[[fields]]
name = "seq"
type = "int64"
""",
    write=write_charging,
    rows=f"""SELECT session, ts AS "at", kwh, n AS seq FROM {CHARGE_JUDGED} WHERE NOT late QUALIFY row_number() OVER (PARTITION BY session
        ORDER BY n DESC NULLS LAST, session DESC, ts DESC, kwh DESC NULLS LAST) = 1""",
    rejected=f"SELECT count(*) FROM {CHARGE_RAW} WHERE {CHARGE_BAD}",
    late=f"SELECT count(*) FROM {CHARGE_JUDGED} WHERE late",
    slice_rows=70,
)

FEEDS = {"hydro": HYDRO, "tariffs": TARIFFS, "turbines": TURBINES, "alarms": ALARMS, "charging": CHARGING}


# --- what landed


def landed_rows(lake: Lake, contract: Contract) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Current rows, and those that were superseded."""
    kinds: dict[str, list[dict[str, Any]]] = {"rows": [], "superseded": []}
    for kind, table in entries(lake, contract):
        if kind in kinds:
            kinds[kind] += table.to_pylist()
    gone = {identity(r) for r in kinds["superseded"]}
    assert len(gone) == len(kinds["superseded"]) and gone <= {identity(r) for r in kinds["rows"]}
    return [r for r in kinds["rows"] if identity(r) not in gone], kinds["superseded"]


def identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["_commit"], row["_source"], row["_position"]


def entries(lake: Lake, contract: Contract, window: str | None = None) -> Iterator[tuple[str, pa.Table]]:
    feed = lake.feed(contract.name)
    for commit in feed.commits():
        for entry in commit.files:
            if entry.kind != "tiles" or entry.window == window:
                yield entry.kind, pq.read_table(feed.path / entry.path)


Windows = dict[tuple[Any, ...], dict[str, Any]]


def starts(at: int, window: WindowSpec) -> list[int]:
    """Starts of the windows that hold a moment: microseconds since the epoch plus offset, half-open."""
    step, size, offset = micros(window.step), micros(window.size), micros(window.offset)
    first = (at - offset) // step * step + offset
    return [s for s in range(first, at - size, -step) if s <= at < s + size]


def merged_tiles(lake: Lake, contract: Contract, window: WindowSpec) -> Windows:
    """(by..., start) to measures, from the tiles of all commits."""
    held: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for kind, table in entries(lake, contract, window.name):
        for tile in table.to_pylist() if kind == "tiles" else []:
            for start in starts((tile["_cell"] - EPOCH) // timedelta(microseconds=1), window):
                held.setdefault((*(tile[b] for b in window.by), start), []).append(tile)
    return {key: {m.name: merged(tiles, m) for m in window.parsed} for key, tiles in held.items()}


def merged(tiles: list[dict[str, Any]], measure: Measure) -> Any:
    name, function = measure.name, measure.function
    if function in ("avg", "stddev"):
        parts = [t for t in tiles if t[f"{name}__n"]]
        n = sum(t[f"{name}__n"] for t in parts)
        if function == "avg":
            return float(sum(t[f"{name}__sum"] for t in parts)) / n if n else None
        if n < 2:
            return None
        mean = sum(t[f"{name}__n"] * t[f"{name}__mean"] for t in parts) / n
        m2 = sum(t[f"{name}__m2"] + t[f"{name}__n"] * (t[f"{name}__mean"] - mean) ** 2 for t in parts)
        return math.sqrt(m2 / (n - 1))
    if function in ("first", "last"):
        known = [t for t in tiles if t[f"{name}__time"] is not None]
        pick = min if function == "first" else max
        return pick(known, key=lambda t: (t[f"{name}__time"], *t[f"{name}__key"].values()))[name] if known else None
    values = [t[name] for t in tiles if t[name] is not None]
    if not values:
        return None
    return {"min": min, "max": max}.get(function, sum)(values)


# --- what DuckDB says


def oracle_windows(ask: duckdb.DuckDBPyConnection, contract: Contract, window: WindowSpec) -> Windows:
    by = [f'"{b}"' for b in window.by]
    time = f'epoch_us(CAST("{contract.event_time}" AS TIMESTAMPTZ))'
    step, size, offset = micros(window.step), micros(window.size), micros(window.offset)
    first = f"({time} - ((({time} - {offset}) % {step}) + {step}) % {step})"
    measures = ", ".join(f'{oracle_measure(contract, m)} AS "{m.name}"' for m in window.parsed)
    groups = ", ".join([*by, "_start"])
    found = ask.execute(
        f"SELECT {groups}, {measures} FROM (SELECT *, {first} - k * {step} AS _start FROM oracle, range({-(-size // step)}) AS t(k)) "
        f'WHERE epoch_us(CAST("{contract.event_time}" AS TIMESTAMPTZ)) < _start + {size} GROUP BY {groups}'
    ).fetchall()
    width = len(by) + 1
    return {r[:width]: dict(zip(window.measures, r[width:], strict=True)) for r in found}


def oracle_measure(contract: Contract, measure: Measure) -> str:
    if measure.argument is None:
        return "count(*)"
    if measure.function == "count_if":
        return f"count(*) FILTER (WHERE {measure.argument})"
    x = f'"{measure.argument}"'
    if measure.function in ("first", "last"):
        order = ", ".join([f'"{contract.event_time}"', *(f'"{k}"' for k in contract.dedup.key)])
        return (
            f"{'arg_min' if measure.function == 'first' else 'arg_max'}({x}, ({order})) FILTER (WHERE {x} IS NOT NULL)"
        )
    if measure.function in ("avg", "stddev"):
        return f"{'avg' if measure.function == 'avg' else 'stddev_samp'}(CAST({x} AS DOUBLE))"
    return f"{measure.function}({x})"


# --- and that both agree


def same(ours: Any, theirs: Any) -> bool:
    if ours is None or theirs is None or isinstance(ours, str | datetime):
        return ours is theirs or ours == theirs
    return math.isclose(float(ours), float(theirs), rel_tol=1e-9) if isinstance(ours, float) else ours == theirs


def spread_is_close(ours: Any, theirs: Any) -> bool:
    """A mean of 1e7 is a double and so known to 1e-9: no spread merged from means is known better, nor DuckDB's own."""
    return same(ours, theirs) or math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=5e-9)


def sorted_rows(rows: list[dict[str, Any]], names: list[str]) -> list[list[Any]]:
    return sorted(([r[n] for n in names] for r in rows), key=repr)


def touched(
    rows: list[dict[str, Any]], gone: list[dict[str, Any]], contract: Contract, window: WindowSpec
) -> set[tuple[Any, ...]]:
    """Windows a superseded row stood in or its successor stands in: refine makes those anew from the rows."""
    keys = {tuple(r[k] for k in contract.dedup.key) for r in gone}
    found = set()
    for row in [*gone, *(r for r in rows if tuple(r[k] for k in contract.dedup.key) in keys)]:
        at = row[contract.event_time]
        at = datetime(at.year, at.month, at.day, tzinfo=UTC) if not isinstance(at, datetime) else at
        found |= {(*(row[b] for b in window.by), s) for s in starts((at - EPOCH) // timedelta(microseconds=1), window)}
    return found


def landed_in(tmp_path: Path, feed: Feed, slice_rows: int) -> tuple[Lake, Contract, Landed, duckdb.DuckDBPyConnection]:
    (tmp_path / "in").mkdir()
    feed.write(tmp_path / "in")
    (tmp_path / "contract.toml").write_text(feed.contract, encoding="utf-8")
    contract, lake = load_contract(tmp_path / "contract.toml"), Lake.open(tmp_path / "lake")
    done = land(lake, contract, Options(source=str(tmp_path / "in"), slice_rows=slice_rows, now=NOW))
    ask = duckdb.connect(config={"threads": 1})
    ask.execute("SET TimeZone = 'UTC'")
    ask.execute(f"CREATE TABLE oracle AS {feed.rows.replace('{folder}', str(tmp_path / 'in'))}")
    return lake, contract, done, ask


@pytest.mark.parametrize("sliced", [False, True], ids=["whole", "sliced"])
@pytest.mark.parametrize("name", FEEDS)
def test_a_feed_of_ones_own(tmp_path: Path, name: str, sliced: bool) -> None:
    feed = FEEDS[name]
    lake, contract, done, ask = landed_in(tmp_path, feed, feed.slice_rows if sliced else 10**6)
    assert not done.problems and (done.commits > 2 if sliced else done.commits == 1)
    f, count = (
        done.fates.by_name(),
        lambda sql: ask.execute(sql.replace("{folder}", str(tmp_path / "in"))).fetchall()[0][0],
    )
    assert f["read"] == f["landed"] + f["duplicates"] + f["late"] + f["rejected"]
    assert f["rejected"] == count(feed.rejected) > 0 and f["late"] == count(feed.late)

    rows, gone = landed_rows(lake, contract)
    theirs = ask.sql("SELECT * FROM oracle").to_arrow_table().to_pylist()
    columns = [c.name for c in contract.fields]
    assert list(theirs[0]) == columns and len(rows) == f["landed"] - f["superseded"]
    assert sorted_rows(rows, columns) == sorted_rows(theirs, columns)
    assert len(gone) == f["superseded"] and (not gone or contract.dedup.keep == "latest")

    for window in contract.windows:
        ours, expected = merged_tiles(lake, contract, window), oracle_windows(ask, contract, window)
        excused = touched(rows, gone, contract, window)
        assert ours.keys() - excused == expected.keys() - excused and len(expected.keys() - excused) > 2
        for key in expected.keys() - excused:
            for measure in window.parsed:
                a, b = ours[key][measure.name], expected[key][measure.name]
                close = spread_is_close if measure.function == "stddev" else same
                assert close(a, b), (window.name, key, measure, a, b)


def test_these_feeds_meet_what_they_are_for(tmp_path: Path) -> None:
    """The inputs hold late records, copies, corrections across slices, drift and warnings: else the test above shows little."""
    for name in ("charging", "alarms"):
        (tmp_path / name).mkdir()
    lake, contract, done, _ = landed_in(tmp_path / "charging", CHARGING, 70)
    assert done.fates.late > 5 and done.fates.superseded > 5 and done.fates.duplicates > 5 and done.fates.conflicts > 5
    rows, _ = landed_rows(lake, contract)
    assert {r["_warnings"] for r in rows} == {None, "CH-2"}
    assert all((r["_warnings"] == "CH-2") == (r["kwh"] is not None and r["kwh"] >= 10) for r in rows)
    lake, contract, done, _ = landed_in(tmp_path / "alarms", ALARMS, 30)
    rows, _ = landed_rows(lake, contract)
    assert {r["_extra"] is None for r in rows} == {True, False} and done.fates.duplicates > 30
    assert all(r["_extra"] == (json.dumps({"drift": {"x": [r["id"]]}}) if r["id"] % 4 else None) for r in rows)
