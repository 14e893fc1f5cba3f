"""Writing landing files: attempt-unique names, synced, never overwritten; each write returns what the manifest says of it."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.manifest import Bound, Kind, LandedFile
from transforms.synced import synced_file

ROW_GROUP = 131_072
"""Rows a row group holds: what another engine prunes and reads at a time."""

LOOKED_UP_GROUP = 8_192
"""The same of a file of many slices, in which each later one looks up some rows: each look decodes a row group."""

LONGEST_BOUND = 64
"""Characters of text kept in a manifest's min and max; a cut maximum is rounded up."""


def write_file(
    folder: Path,
    kind: Kind,
    rows: pa.Table,
    sort_by: list[str],
    bounds: list[str],
    *,
    shard: int | None = None,
    window: str | None = None,
    row_group: int = ROW_GROUP,
) -> LandedFile:
    """Write rows as one Parquet file in `folder`, sorted; returns what the manifest says. Any OSError is fatal."""
    if sort_by and rows.num_rows > 1:
        rows = rows.take(pa.array(np.lexsort([_ranks(rows[name]) for name in reversed(sort_by)])))
    folder.mkdir(parents=True, exist_ok=True)
    label = window if shard is None else str(shard)
    path = folder / f"{kind}-{label + '-' if label else ''}{secrets.token_hex(6)}.parquet"
    with synced_file(path) as out:
        pq.write_table(
            rows,
            out,
            row_group_size=row_group,
            compression="zstd",
            compression_level=1,
            use_dictionary=[f.name for f in rows.schema if _repeats(f.type)],
            column_encoding={f.name: "DELTA_BINARY_PACKED" for f in rows.schema if _counts_up(f.type)} or None,
            store_schema=False,
        )
        size = out.tell()
    least, greatest = _bounds(rows, bounds)
    return LandedFile(
        kind=kind,
        path=str(path.relative_to(folder.parent.parent)),
        rows=rows.num_rows,
        bytes=size,
        shard=shard,
        window=window,
        min=least,
        max=greatest,
    )


def _ranks(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers that sort as the column's values do, null first: text is ranked once a distinct value."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_integer(kind):
        return pc.fill_null(pc.cast(column, pa.int64()), np.iinfo(np.int64).min).to_numpy()
    if pa.types.is_floating(kind):
        return pc.fill_null(column, -np.inf).to_numpy()
    codes = column if pa.types.is_dictionary(kind) else column.dictionary_encode()
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    codes = codes.chunk(0) if isinstance(codes, pa.ChunkedArray) else codes
    ranks = np.empty(len(codes.dictionary), np.int64)
    ranks[pc.array_sort_indices(codes.dictionary).to_numpy()] = np.arange(len(ranks))
    return np.append(ranks, -1)[pc.fill_null(codes.indices, len(ranks)).to_numpy()]


def _repeats(kind: pa.DataType) -> bool:
    return pa.types.is_dictionary(kind) or pa.types.is_floating(kind)


def _counts_up(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or kind == pa.int64()


def _bounds(rows: pa.Table, columns: list[str]) -> tuple[dict[str, Bound], dict[str, Bound]]:
    """Min and max of columns."""
    least: dict[str, Bound] = {}
    greatest: dict[str, Bound] = {}
    for name in columns:
        column = rows[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        found = pc.min_max(column)
        least[name], greatest[name] = bound(found["min"]), bound(found["max"], up=True)
    return least, greatest


def bound(value: pa.Scalar, up: bool = False) -> Bound:
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
