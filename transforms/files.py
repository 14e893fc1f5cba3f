"""Writing landing files: attempt-unique names, synced, never overwritten; each write returns its manifest entry."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.batches import plain

ROW_GROUP = 131_072
"""Rows a row group holds: what another engine prunes and reads at a time."""

LONGEST_BOUND = 64
"""Characters of text kept in a manifest's min and max; a cut maximum is rounded up."""

Entry = dict[str, Any]


def write_file(folder: Path, kind: str, rows: pa.Table, sort_by: list[str], bounds: list[str], **facts: Any) -> Entry:
    """Write rows as one Parquet file in `folder`, sorted; returns the manifest entry. Any OSError is fatal."""
    if sort_by and rows.num_rows > 1:
        keys = pl.DataFrame({name: pl.Series(plain(rows[name])) for name in sort_by})
        order = keys.select(pl.arg_sort_by(sort_by, nulls_last=False, maintain_order=True)).to_series()
        rows = rows.take(order.to_arrow())
    folder.mkdir(parents=True, exist_ok=True)
    label = "-".join(str(facts[f]) for f in ("window", "shard") if f in facts)
    path = folder / f"{kind}-{label + '-' if label else ''}{secrets.token_hex(6)}.parquet"
    with path.open("xb") as out:
        pq.write_table(
            rows,
            out,
            row_group_size=ROW_GROUP,
            compression="zstd",
            compression_level=1,
            use_dictionary=[f.name for f in rows.schema if _repeats(f.type)],
            column_encoding={f.name: "DELTA_BINARY_PACKED" for f in rows.schema if _counts_up(f.type)} or None,
            store_schema=False,
        )
        out.flush()
        os.fsync(out.fileno())
        size = out.tell()
    least, greatest = _bounds(rows, bounds)
    name = str(path.relative_to(folder.parent.parent))
    return {"kind": kind, "path": name, "rows": rows.num_rows, "bytes": size, **facts, "min": least, "max": greatest}


def _repeats(kind: pa.DataType) -> bool:
    return pa.types.is_dictionary(kind) or pa.types.is_floating(kind)


def _counts_up(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or kind == pa.int64()


def _bounds(rows: pa.Table, columns: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Min and max of columns as JSON values: times in microseconds or days since the epoch, decimals as text."""
    least: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    for name in columns:
        column = rows[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        found = pc.min_max(column)
        least[name], greatest[name] = bound(found["min"]), bound(found["max"], up=True)
    return least, greatest


def bound(value: pa.Scalar, up: bool = False) -> Any:
    """A scalar as a JSON value that sorts as the scalar does; text is cut, upwards if `up`."""
    if pa.types.is_timestamp(value.type):
        return value.cast(pa.int64()).as_py()
    if pa.types.is_date(value.type):
        return value.cast(pa.int32()).as_py()
    if pa.types.is_decimal(value.type):
        return None if value.as_py() is None else float(value.as_py())
    plainly = value.as_py()
    if isinstance(plainly, str) and len(plainly) > LONGEST_BOUND:
        return plainly[:LONGEST_BOUND] + ("\U0010ffff" if up else "")
    return plainly
