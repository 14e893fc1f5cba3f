"""What the tests of this folder are made of: a small feed, its rows, and times that read as minutes.

contract()                        keep = first, key (id, at)
rows(contract, ("a", 3, 1.5))     id, minutes after noon, kwh; the other fields null
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from data_sources.contract import Contract, parse_contract
from transforms.arrow import as_batch
from transforms.dedup import ORDER

NOON = datetime(2025, 6, 15, 12, tzinfo=UTC)


def minute(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def plain_contract(**changes: Any) -> dict[str, Any]:
    """The small feed as plain data, with `changes` of its top-level words."""
    return {
        "name": "readings",
        "format": "json",
        "event_time": "at",
        "out_of_orderness": "10m",
        "allowed_lateness": "20m",
        "max_future": "20m",
        "file_order": "name",
        "dedup": {"key": ["id", "at"]},
        "windows": [
            {
                "name": "quarters",
                "size": "15m",
                "by": ["meter"],
                "measures": {"n": "count()", "kwh": "sum(kwh)", "top": "max(kwh)", "mean": "avg(kwh)", "spread": "stddev(kwh)", "closed": "last(kwh)"},
            }
        ],
        "rules": [{"id": "R-1", "check": "kwh >= 0"}],
        "fields": [
            {"name": "id", "type": "string", "nullable": False},
            {"name": "at", "type": "timestamp", "nullable": False},
            {"name": "kwh", "type": "float64"},
            {"name": "meter", "type": "string"},
            {"name": "version", "type": "int64"},
        ],
        **changes,
    }  # fmt: skip


def contract(**changes: Any) -> Contract:
    return parse_contract(plain_contract(**changes), "tests")


LATEST = {"key": ["id", "at"], "keep": "latest", "order_by": ["version"]}
TIMELESS = {"key": ["id"]}


def rows(of: Contract, *values: tuple[Any, ...], first: int = 0, commit: int = 1) -> pa.Table:
    """Rows as `read` makes them, from (id, minutes after noon, kwh, meter, version), later ones left out;
    `_order` and `_position` count from `first`."""
    fields = [f.name for f in of.fields]
    made = []
    for value in values:
        given = dict(zip(fields, value, strict=False))
        given["at"] = minute(given["at"])
        made.append({name: given.get(name) for name in fields})
    n = len(made)
    lineage = {
        "_source": pa.array(["f.json"] * n, pa.string()).dictionary_encode(),
        "_partition": pa.nulls(n, pa.int32()),
        "_position": pa.array(range(first, first + n), pa.int64()),
        "_ingested_at": pa.array([NOON] * n, pa.timestamp("us", "UTC")),
        "_commit": pa.array([commit] * n, pa.int64()),
        "_extra": pa.nulls(n, pa.string()),
        "_warnings": pa.nulls(n, pa.string()),
    }
    schema = pa.schema([f.with_nullable(True) for f in of.schema])
    table = pa.Table.from_pylist(made, schema=schema)
    columns = {name: table[name] for name in table.column_names}
    return pa.table({**columns, **lineage, ORDER: pa.array(range(first, first + n), pa.int64())})


def batch(of: Contract, *values: tuple[Any, ...], first: int = 0) -> pa.RecordBatch:
    return as_batch(rows(of, *values, first=first))


def seen(table: pa.Table) -> pa.Table:
    """The same rows as they are read back: no `_order`, no dictionaries."""
    table = table.drop_columns([ORDER])
    return table.set_column(table.column_names.index("_source"), "_source", table["_source"].cast(pa.string()))


def brief(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    """Rows as tuples of the named columns, `at` as minutes after noon."""
    columns = [table[n].to_pylist() for n in names]
    out = []
    for row in zip(*columns, strict=True):
        out.append(tuple((v - NOON).total_seconds() / 60 if isinstance(v, datetime) else v for v in row))
    return out
