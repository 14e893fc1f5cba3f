"""A lake with a feed of each kind of load, small, and with everything that refine has to mind: two drops of files.

readings             append   corrections (superseded rows), late ones, rejects, conflicts; windows that overlap
bills_transactions   cdc      updates before their inserts, a delete, a change older than the row
assets               scd2     a full snapshot, one that lacks a key, a change file, changes that come late
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.refine import versions
from data_sources.contract import Contract, parse_contract
from tests.properties.oracle import run

Row = dict[str, Any]
START = datetime(2026, 3, 1, tzinfo=UTC)

READINGS: Row = {
    "name": "readings", "format": "json", "event_time": "at", "file_order": "name",
    "out_of_orderness": "10m", "allowed_lateness": "2h",
    "dedup": {"key": ["id", "at"], "keep": "latest", "order_by": ["version"]},
    "lake": {"cluster_by": ["meter", "at"]},
    "windows": [
        {"name": "by_meter", "size": "30m", "every": "15m", "by": ["meter"],
         "measures": {"n": "count()", "kwh": "sum(kwh)", "top": "max(kwh)", "spread": "stddev(kwh)", "closed": "last(kwh)"}},
    ],
    "rules": [{"id": "R-1", "check": "kwh >= 0"}],
    "fields": [
        {"name": "id", "type": "string", "nullable": False}, {"name": "at", "type": "timestamp", "nullable": False},
        {"name": "version", "type": "int64"}, {"name": "meter", "type": "string"}, {"name": "kwh", "type": "float64"},
    ],
}  # fmt: skip
BILLS: Row = {
    "name": "bills_transactions", "format": "json", "event_time": "at",
    "lake": {"load": "cdc", "key": ["id"], "operation": "op", "sequence_by": ["lsn", "op"]},
    "fields": [
        {"name": "op", "type": "int64"}, {"name": "lsn", "type": "string"}, {"name": "id", "type": "string"},
        {"name": "amount", "type": "decimal(10,2)"}, {"name": "at", "type": "timestamp"},
    ],
}  # fmt: skip
ASSETS: Row = {
    "name": "assets", "format": "csv", "event_time": "day",
    "lake": {"load": "scd2", "key": ["id"], "effective_from": "day", "as_of": "column:day",
             "snapshot_files": ["full_*.csv"], "delta_files": ["delta_*.csv"]},
    "fields": [{"name": "id", "type": "string"}, {"name": "day", "type": "date"}, {"name": "status", "type": "string"},
               {"name": "level", "type": "float64"}],
}  # fmt: skip

FEEDS: dict[str, Contract] = {said["name"]: parse_contract(said, "tests") for said in (READINGS, BILLS, ASSETS)}
DROPS = 2


def land_drop(lake: Lake, source: Path, number: int) -> None:
    """Write the files of drop 0 or 1 below `source` and land them: one commit a feed."""
    for feed, name, text in _files(number):
        path = source / feed / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, contract in FEEDS.items():
        done = run(lake.path, contract, source / name)
        assert done.commits == 1 and not done.problems, (name, done)


def _files(number: int) -> list[tuple[str, str, str]]:
    changes, state = {
        0: ([(2, 1, "a", 1), (2, 2, "b", 2), (4, 5, "a", 5), (1, 6, "b", 2), (4, 8, "c", 8)],
            [("full_0.csv", "x,2026-01-01,new,1", "y,2026-01-01,new,2"), ("full_1.csv", "x,2026-02-10,worn,1.5"),
             ("delta_0.csv", "x,2026-02-01,worn,1.5")]),
        1: ([(4, 3, "a", 3), (2, 7, "c", 7), (2, 9, "b", 9), (4, 4, "b", 4)],
            [("delta_1.csv", "x,2026-01-15,checked,1", "y,2026-02-20,back,2")]),
    }[number]  # fmt: skip
    bills = [
        {"op": op, "lsn": f"0x{lsn:04X}", "id": id, "amount": f"{amount}.50", "at": (START + timedelta(hours=lsn)).isoformat()}
        for op, lsn, id, amount in changes
    ]  # fmt: skip
    assets = [("assets", name, "\n".join(["id,day,status,level", *lines, ""])) for name, *lines in state]
    return [
        ("readings", f"{number}.json", _lines(_readings(number))),
        ("bills_transactions", f"{number}.json", _lines(bills)),
        *assets,
    ]


def _readings(number: int) -> Iterable[Row]:
    """60 of each drop's own hour and a half; of the drop before, every fifth once more, corrected and moved."""
    for n in range(60):
        yield _reading(number, n, version=1)
    for n in range(0, 60, 5) if number else []:
        yield _reading(number - 1, n, version=2) | {"kwh": n / 7, "meter": "moved"}
    yield _reading(number, 3, version=0) | {"kwh": 99.0}  # a conflict that loses
    yield _reading(number, 4, version=1) | {"id": "broken", "kwh": -1}
    yield _reading(number, 5, version=1) | {"id": "late", "at": (START - timedelta(hours=20)).isoformat()}


def _reading(drop: int, n: int, version: int) -> Row:
    at = START + timedelta(minutes=30 * drop, seconds=90 * n)
    return {"id": f"r{drop}-{n}", "at": at.isoformat(), "version": version, "meter": [None, "m1", "m2"][n % 3], "kwh": n / 3}  # fmt: skip


def _lines(records: Iterable[Row]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def tables(lake: Lake) -> dict[str, list[Row]]:
    """Every table of the newest set, without lineage and `revision`, in an order of its own."""
    found = versions(lake)
    assert found is not None
    held = {}
    for name in found.tables:
        schema, _, plain = name.partition(".")
        rows = query(lake, f'SELECT * FROM {schema}."{plain}"')
        kept = [c for c in rows.column_names if not c.startswith("_") and c != "revision"]
        held[name] = sorted(rows.select(kept).to_pylist(), key=_rounded)
    return held


def _rounded(row: Row) -> str:
    """What rows are sorted by: floats that are equal tables' may differ in their last digits."""
    return str([float(f"{value:.6g}") if isinstance(value, float) else value for value in row.values()])


def assert_equal_tables(found: dict[str, list[Row]], wanted: dict[str, list[Row]]) -> None:
    """As DESIGN 3.7 has it: row by row, floats within 1e-9."""
    assert found.keys() == wanted.keys()
    for name, rows in wanted.items():
        assert len(found[name]) == len(rows), name
        for seen, want in zip(found[name], rows, strict=True):
            assert seen.keys() == want.keys(), name
            for column, value in want.items():
                if isinstance(value, float) and isinstance(seen[column], float):
                    assert math.isclose(seen[column], value, rel_tol=1e-9, abs_tol=1e-300), (name, column, seen, want)
                else:
                    assert seen[column] == value, (name, column, seen, want)
