"""What a run must give, said as SQL over the raw lines (DESIGN section 3), and what a landing zone holds.

The oracle shares nothing with the product but the contract's words: DuckDB cuts the files into lines, judges them,
keeps one of each key and windows the rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from beam_grid.commit import FATES
from beam_grid.land import Landed, Options, land
from beam_grid.landing import Lake
from data_sources.contract import Contract
from data_sources.durations import micros
from data_sources.expressions import sandbox
from data_sources.splits import LateSplit, RejectedSplit
from transforms.tiles import tile_rows
from transforms.windows import windows_sql

Row = tuple[Any, ...]
NEVER = 4_102_444_800_000_000
"""2100-01-01, the clock of runs whose input knows no future."""


class RawLine(NamedTuple):
    """A line of a file, or a message of a topic."""

    rank: int
    """Of the file in the log; a message's partition."""
    n: int
    """Of the line, from 1; a message's offset."""
    line: str
    file: str
    """Its name; a message's topic."""
    arrived: int
    """Microseconds since the epoch: what the future is judged by."""


def oracle(files: Iterable[Path], feed: Contract, now: int = NEVER) -> dict[str, Any]:
    """`oracle_of` JSON files, given in the order of the log."""
    lines = [RawLine(rank, n, line, path.name, now) for rank, path in enumerate(files) for n, line in enumerate(path.read_text().split("\n"), 1) if line.strip()]  # fmt: skip
    if feed.file_order == "name":
        return oracle_of(lines, feed, log="1", is_followed=True)
    return oracle_of(lines, feed, log="rank", is_followed=False)


def oracle_of(raw: Iterable[RawLine], feed: Contract, *, log: str = "rank", is_followed: bool = True) -> dict[str, Any]:
    """Counts, rows and windows, for feeds with fields id, at, kwh, meter, version, rule `kwh >= 0` and windows of a
    quarter of an hour by meter.

    log: SQL of what tells logs apart; with `is_followed` a record may be late in its own, as a message in its partition.
    """
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    kinds = dict(zip(RawLine._fields, (pa.int64(), pa.int64(), pa.string(), pa.string(), pa.int64()), strict=True))
    rows = list(raw)
    raw_table = pa.table({name: pa.array([r[at] for r in rows], kind) for at, (name, kind) in enumerate(kinds.items())})
    connection.register("raw", raw_table)
    lateness, future = micros(feed.lateness), micros(feed.max_future) if feed.max_future is not None else 1 << 60
    payload = [f'{f.name} := "{f.name}"' for f in feed.fields if f.name not in feed.dedup.key]
    key = ", ".join(f'"{k}"' for k in feed.dedup.key)
    order = "rank, n"
    if feed.dedup.keep == "latest":
        total = [*feed.dedup.order_by, *(f.name for f in feed.fields if f.name not in feed.dedup.order_by)]
        order = ", ".join(f'"{name}" DESC NULLS LAST' for name in total) + ", rank, n"
    connection.execute(f"""
        CREATE TABLE judged AS
        WITH whole AS (SELECT *, CASE WHEN json_valid(line) THEN line END AS doc FROM raw),
        parsed AS (
            SELECT rank, n, file, line, arrived,
                CASE WHEN json_type(doc, '$.id') = 'VARCHAR' THEN doc ->> '$.id' END AS id,
                try_cast(doc ->> '$.at' AS TIMESTAMPTZ) AS "at",
                try_cast(doc ->> '$.kwh' AS DOUBLE) AS kwh,
                doc ->> '$.meter' AS meter,
                try_cast(doc ->> '$.version' AS BIGINT) AS version
            FROM whole),
        told AS (
            SELECT *, CASE WHEN id IS NULL OR "at" IS NULL THEN 'undecodable' WHEN kwh < 0 THEN 'rule_broken'
                WHEN epoch_us("at") > arrived + {future} THEN 'from_the_future' END AS cause
            FROM parsed),
        followed AS (
            SELECT *, max(CASE WHEN cause IS NULL THEN epoch_us("at") END) OVER (
                PARTITION BY {log} ORDER BY rank, n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS m
            FROM told)
        SELECT *, cause IS NULL AND {is_followed} AND coalesce(epoch_us("at") < m - {lateness}, false) AS late
        FROM followed""")
    connection.execute(f"""
        CREATE TABLE kept AS SELECT * EXCLUDE (place) FROM (
            SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY {order}) AS place
            FROM judged WHERE cause IS NULL AND NOT late) WHERE place = 1""")

    def one(sql: str) -> int:
        return int(connection.execute(sql).fetchall()[0][0])

    counts = {
        "read": one("SELECT count(*) FROM judged"),
        "rejected": one("SELECT count(*) FROM judged WHERE cause IS NOT NULL"),
        "late": one("SELECT count(*) FROM judged WHERE late"),
        "landed - superseded": one("SELECT count(*) FROM kept"),
        "conflicts": one(f"""SELECT count(*) FROM (SELECT {key} FROM judged WHERE cause IS NULL AND NOT late
            GROUP BY {key} HAVING count(DISTINCT to_json(struct_pack({", ".join(payload)}))) > 1)"""),
    }
    counts["duplicates + superseded"] = (
        counts["read"] - counts["rejected"] - counts["late"] - counts["landed - superseded"]
    )
    names = ", ".join(f'"{f.name}"' for f in feed.fields)
    windows = connection.execute("""
        SELECT meter, make_timestamptz(((epoch_us("at")::HUGEINT - ((epoch_us("at") % 900000000) + 900000000) % 900000000))::BIGINT),
            count(*), sum(kwh), max(kwh), avg(kwh), stddev_samp(kwh), arg_max(kwh, struct_pack(t := "at", i := id)) FILTER (WHERE kwh IS NOT NULL)
        FROM kept GROUP BY ALL""").fetchall()
    return {
        "counts": counts,
        "rows": as_sorted(connection.execute(f"SELECT {names} FROM kept").fetchall()),
        "late": as_sorted(connection.execute(f"SELECT {names} FROM judged WHERE late").fetchall()),
        "late_at": as_sorted(connection.execute("SELECT file, n, id FROM judged WHERE late").fetchall()),
        "rejected": as_sorted(
            connection.execute("SELECT file, n, cause, line FROM judged WHERE cause IS NOT NULL").fetchall()
        ),
        "windows": {tuple(w[:2]): tuple(w[2:]) for w in windows},
    }


def landed(lake: Lake, feed: Contract) -> dict[str, Any]:
    """The same, from a landing zone; checks on the way that each commit balances and its files hold what it says."""
    log = lake.feed(feed.name)
    names = [f.name for f in feed.fields]
    totals = dict.fromkeys(FATES, 0)
    rows: list[pa.Table] = []
    tiles: list[pa.Table] = []
    late: list[Row] = []
    gone: set[Row] = set()
    identity = ["_commit", "_source", "_partition", "_position"]
    for commit in log.commits():
        fates = commit.fates.by_name()
        assert fates["read"] == fates["landed"] + fates["duplicates"] + fates["late"] + fates["rejected"], commit
        assert commit.fates.balanced and commit.matches_files
        for fate in FATES:
            totals[fate] += fates[fate]
        held: dict[str, int] = dict.fromkeys(("rows", "late", "rejected", "superseded"), 0)
        of_commit: list[pa.Table] = []
        tiles_of_commit: list[pa.Table] = []
        for file in commit.files:
            table = pq.read_table(log.path / file.path)
            assert table.num_rows == file.rows
            held[file.kind] = held.get(file.kind, 0) + table.num_rows
            if file.kind == "rows":
                of_commit.append(table)
            elif file.kind == "tiles":
                tiles_of_commit.append(table)
            elif file.kind == "late":
                late += _tuples(table, names)
            elif file.kind == "superseded":
                gone |= set(_tuples(table, identity))
        held["late"] -= sum(split.rows for p in commit.plan for split in p.splits if isinstance(split, LateSplit))
        held["rejected"] -= sum(s.rows for p in commit.plan for s in p.splits if isinstance(s, RejectedSplit))
        assert (held["rows"], held["late"], held["rejected"], held["superseded"]) == tuple(
            fates[f] for f in ("landed", "late", "rejected", "superseded")
        )
        if feed.windows and of_commit:
            wanted = _windows(tile_rows(pa.concat_tables(of_commit), feed, feed.windows[0]), feed)
            assert_same_windows(_windows(pa.concat_tables(tiles_of_commit), feed), wanted)
        rows += of_commit
        tiles += tiles_of_commit
    everything = pa.concat_tables(rows) if rows else feed.landed_schema.empty_table()
    identities = _tuples(everything, identity)
    assert len(set(identities)) == len(identities), "a landed row is told by commit, source and position"
    assert gone <= set(identities)
    current = everything.filter(pa.array([i not in gone for i in identities], pa.bool_()))
    windows: dict[Row, Row] = {}
    if feed.windows:
        windows = _windows(tile_rows(current, feed, feed.windows[0]), feed)
        if not gone and tiles:
            assert_same_windows(_windows(pa.concat_tables(tiles), feed), windows)
    return {
        "counts": slice_independent(totals),
        "fates": totals,
        "rows": as_sorted(_tuples(current, names)),
        "late": as_sorted(late),
        "windows": windows,
    }


def slice_independent(fates: dict[str, int]) -> dict[str, int]:
    """The counts of DESIGN 3.2 that no slicing changes."""
    return {
        "read": fates["read"],
        "rejected": fates["rejected"],
        "late": fates["late"],
        "landed - superseded": fates["landed"] - fates["superseded"],
        "duplicates + superseded": fates["duplicates"] + fates["superseded"],
        "conflicts": fates["conflicts"],
    }


def assert_equal(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Equal tables as DESIGN 3.7 defines them, and equal counts."""
    assert found["counts"] == wanted["counts"]
    assert found["rows"] == wanted["rows"]
    assert found["late"] == wanted["late"]
    assert_same_windows(found["windows"], wanted["windows"])


def assert_same_windows(found: dict[Row, Row], wanted: dict[Row, Row]) -> None:
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        for seen, want in zip(found[key], values, strict=True):
            if isinstance(want, float) and isinstance(seen, float):
                assert math.isclose(seen, want, rel_tol=1e-9, abs_tol=1e-9), (key, found[key], values)
            else:
                assert seen == want, (key, found[key], values)


def run(lake: Path, feed: Contract, source: Path | str, at_commit: Callable[[], object] | None = None, **options: Any) -> Landed:  # fmt: skip
    """One `land` of all that is new, under the lock, as the command line does it."""
    opened = Lake.open(lake)
    with opened.lock("land"):
        options = {"now": NEVER, **options}
        return land(opened, feed, Options(str(source), **options), lambda done, plan: at_commit and at_commit())


def _windows(tiles: pa.Table, feed: Contract) -> dict[Row, Row]:
    """The product's windows of tiles: (by, start) to measures in the contract's order."""
    window = feed.windows[0]
    names = ", ".join(f'"{name}"' for name in [*window.by, "window_start", *window.measures])
    with sandbox().cursor() as cursor:
        cursor.register("landed_tiles", tiles)
        found = cursor.execute(f"SELECT {names} FROM ({windows_sql('landed_tiles', feed, window)})").fetchall()
    keys = len(window.by) + 1
    return {tuple(row[:keys]): tuple(row[keys:]) for row in found}


def _tuples(table: pa.Table, names: list[str]) -> list[Row]:
    return list(zip(*(table[n].to_pylist() for n in names), strict=True)) if table.num_rows else []


def as_sorted(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: [(v is not None, v.astimezone(UTC) if isinstance(v, datetime) else v) if v is not None else (False, 0) for v in row])  # fmt: skip


def as_lines(records: Iterable[dict[str, Any] | str]) -> str:
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records)
