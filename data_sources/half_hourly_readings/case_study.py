"""The SQLite file beside the readings: meterpoints, products and the agreements that bring them together.

Times of agreements are London's, `2021-01-02 00:00:00`, the end excluded; `updated_at` is UTC. No table has
constraints: it is an extract, and with `messy` holds what an extract can hold.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from data_sources.half_hourly_readings.readings import LONDON

TABLES = {
    "meterpoints": {"meterpoint_id": "TEXT", "region": "TEXT", "updated_at": "TEXT"},
    "products": {"product_id": "TEXT", "display_name": "TEXT", "is_variable": "INTEGER", "updated_at": "TEXT"},
    "agreements": {
        "agreement_id": "TEXT",
        "account_id": "TEXT",
        "meterpoint_id": "TEXT",
        "product_id": "TEXT",
        "valid_from": "TEXT",
        "valid_to": "TEXT",
        "updated_at": "TEXT",
    },
}
"""Columns by table; the first one is its key."""

PRODUCTS = [
    ("VAR-18-01", "Standard Variable", 1),
    ("VAR-20-04", "Flexible Green", 1),
    ("FIX-12M-20-03", "Twelve Months Fixed", 0),
    ("FIX-24M-19-11", "Two Years Fixed", 0),
    ("TOU-20-02", "Half-Hourly Tracker", 1),
]
REGIONS = ["Eastern", "London", "Merseyside", "Northern", "Southern", "South Wales", "Yorkshire"]
_EXTRACTED = datetime(2021, 1, 4, tzinfo=UTC)


class Row(NamedTuple):
    """A row of a table and what must come of it: the cause of its reject, or None."""

    values: dict[str, Any]
    cause: str | None = None


def meterpoint_id(number: int) -> str:
    """13 digits; the same whatever the seed."""
    return f"12{10_000_000_000 + number * 7_919:011d}"


def tables(meterpoints: int, seed: int, messy: bool) -> dict[str, list[Row]]:
    """Rows by table. Of twenty meterpoints two change their product on 2021-01-02, one at midnight and one at half
    past one p.m., one's agreement has ended before, one's begins on 2021-01-03 and one has none; no two agreements of
    a meterpoint overlap (with messy, one does).
    """
    rng = np.random.default_rng([seed, 10])
    good: dict[str, list[dict[str, Any]]] = {
        "meterpoints": [
            {
                "meterpoint_id": meterpoint_id(i),
                "region": REGIONS[int(rng.integers(len(REGIONS)))],
                "updated_at": _utc(_EXTRACTED - timedelta(days=int(rng.integers(400, 900)))),
            }
            for i in range(meterpoints)
        ],
        "products": [
            {"product_id": code, "display_name": name, "is_variable": flag, "updated_at": "2020-10-01T09:00:00Z"}
            for code, name, flag in PRODUCTS
        ],
        "agreements": [row for i in range(meterpoints) for row in _agreements_of(i, rng)],
    }
    rows = {table: [Row(values) for values in found] for table, found in good.items()}
    return {table: _soiled(table, found, rng) for table, found in rows.items()} if messy else rows


def _agreements_of(number: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    began = datetime(2019, 1, 1, tzinfo=LONDON) + timedelta(days=int(rng.integers(0, 700)))
    first, second = rng.permutation(len(PRODUCTS))[:2].tolist()
    ends: dict[int, datetime] = {
        4: datetime(2021, 1, 2, tzinfo=LONDON),
        9: datetime(2021, 1, 2, 13, 30, tzinfo=LONDON),
        14: datetime(2020, 12, 1, tzinfo=LONDON),
    }
    kind = number % 20
    if kind == 19:
        return []
    if kind == 16:
        return [_agreement(number, 1, first, datetime(2021, 1, 3, tzinfo=LONDON), None)]
    if kind not in ends:
        return [_agreement(number, 1, first, began, None)]
    closed = _agreement(number, 1, first, began, ends[kind])
    return [closed] if kind == 14 else [closed, _agreement(number, 2, second, ends[kind], None)]


def _agreement(
    number: int, which: int, product: int, valid_from: datetime, valid_to: datetime | None
) -> dict[str, Any]:
    written = (valid_to or valid_from) - timedelta(days=9, hours=-10)
    return {
        "agreement_id": f"AGR-{number + 1:06d}-{which}",
        "account_id": f"ACC-{number * 389 % 1_000_000:06d}",
        "meterpoint_id": meterpoint_id(number),
        "product_id": PRODUCTS[product][0],
        "valid_from": f"{valid_from:%Y-%m-%d %H:%M:%S}",
        "valid_to": None if valid_to is None else f"{valid_to:%Y-%m-%d %H:%M:%S}",
        "updated_at": _utc(written.astimezone(UTC)),
    }


def _soiled(table: str, good: list[Row], rng: np.random.Generator) -> list[Row]:
    """The good rows with copies, older versions, orphans and broken rows among them, in random order; one of each."""

    def some() -> dict[str, Any]:
        return dict(good[int(rng.integers(len(good)))].values)

    def broken(changes: dict[str, Any], cause: str = "undecodable") -> Row:
        return Row(some() | changes, cause)

    key = next(iter(TABLES[table]))
    again = [Row(some()), Row(some())]
    older = Row(some() | {"updated_at": "2018-07-01T00:00:00Z"} | {list(TABLES[table])[1]: "as it was"})
    bad = [
        broken({key: None}),
        broken({key: b"\x00\x01"}),
        broken({"updated_at": None}),
        broken({"updated_at": "yesterday"}),
        broken({"updated_at": "2099-01-01T00:00:00Z"}, "from_the_future"),
    ]
    if table == "products":
        bad += [broken({"is_variable": wrong}) for wrong in (2, "maybe", float("inf"))]
        return _shuffled([*good, *again, older, *bad], rng)
    bad.append(broken({key: _Bytes(b"\xff\xfe broken")}))
    if table == "meterpoints":
        return _shuffled([*good, *again, older, *bad], rng)
    bad += [
        broken({"valid_from": "2021-03-28 01:30:00"}),
        broken({"valid_from": "soon"}),
        broken({"valid_from": "2021-02-01 00:00:00", "valid_to": "2021-01-01 00:00:00"}, "rule_broken"),
    ]
    orphans = [
        Row(some() | {"agreement_id": "AGR-999999-1", "meterpoint_id": meterpoint_id(999_999)}),
        Row(some() | {"agreement_id": "AGR-999998-1", "product_id": "GONE-17-01"}),
    ]
    overlap = Row(good[0].values | {"agreement_id": "AGR-000001-9", "product_id": PRODUCTS[0][0],
                                    "valid_from": "2021-01-02 06:00:00", "valid_to": None})  # fmt: skip
    return _shuffled([*good, *again, older, *bad, *orphans, overlap], rng)


def _shuffled(rows: list[Row], rng: np.random.Generator) -> list[Row]:
    return [rows[i] for i in rng.permutation(len(rows)).tolist()]


class _Bytes(bytes):
    """Bytes to be stored as TEXT although they are no UTF-8."""


def counts(table: str, rows: list[Row]) -> dict[str, Any]:
    """What a run over the table must count, as `truth.json` has it."""
    key = next(iter(TABLES[table]))
    causes = Counter(row.cause for row in rows if row.cause)
    payloads: dict[Any, set[Any]] = {}
    for row in rows:
        if row.cause is None:
            payloads.setdefault(row.values[key], set()).add(tuple(row.values.values()))
    rejected = causes.total()
    return {
        "read": len(rows),
        "rejected": rejected,
        "late": 0,
        "landed - superseded": len(payloads),
        "duplicates + superseded": len(rows) - rejected - len(payloads),
        "conflicts": sum(len(found) > 1 for found in payloads.values()),
        "rejected_by_cause": {c: causes[c] for c in ("undecodable", "rule_broken", "from_the_future")},
    }


def as_sqlite(rows_by_table: dict[str, list[Row]], remark: bool) -> bytes:
    """The database file; the same rows give the same bytes with the same version of SQLite.

    remark: with a column nobody declared.
    """
    database = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for table, rows in rows_by_table.items():
            columns = TABLES[table] | ({"remark": "TEXT"} if remark else {})
            database.execute(f"CREATE TABLE {table} ({', '.join(f'{n} {t}' for n, t in columns.items())})")
            for at, row in enumerate(rows):
                values = [*row.values.values(), *(["seen" if at % 9 == 0 else None] if remark else [])]
                marks = ", ".join("CAST(? AS TEXT)" if isinstance(v, _Bytes) else "?" for v in values)
                database.execute(f"INSERT INTO {table} VALUES ({marks})", values)
        return database.serialize()
    finally:
        database.close()


def _utc(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
