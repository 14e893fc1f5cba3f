"""Between tables, batches and arrays: small conversions that know nothing of Beam."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def as_batch(table: pa.Table) -> pa.RecordBatch:
    """One batch of a table's rows, whatever its chunks."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def as_table(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """One table of at least one batch; text that is a dictionary in some and plain in others becomes plain."""
    batches = list(batches)
    schema = batches[0].schema
    if any(batch.schema != schema for batch in batches):
        for n, field in enumerate(schema):
            if any(batch.schema.field(n).type != field.type for batch in batches):
                schema = schema.set(n, field.with_type(pa.string()))
        batches = [batch.cast(schema) for batch in batches]
    return pa.Table.from_batches(batches)


def plain(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """One array without dictionary encoding."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def plain_table(table: pa.Table) -> pa.Table:
    """The table without dictionary encoding."""
    if not any(pa.types.is_dictionary(f.type) for f in table.schema):
        return table
    return pa.table({name: plain(table[name]) for name in table.column_names})


def floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Numbers as floats, NaN where null. Arrow would make 0.7000000000000001 of a decimal's 0.7."""
    import polars as pl  # who moves tables and batches only need not wait for it

    return pl.Series(column).cast(pl.Float64).fill_null(float("nan")).to_numpy()


def in_shape(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The schema's columns of the rows, cast; null where the rows have none of that name."""
    there = {name: n for n, name in enumerate(rows.column_names)}
    columns = []
    for field in schema:
        at = there.get(field.name)
        column = pa.nulls(rows.num_rows, field.type) if at is None else rows.column(at)
        columns.append(column if column.type == field.type else column.cast(field.type))
    return pa.table(columns, schema=pa.schema([f.with_nullable(True) for f in schema]))


def split_by_instant(table: pa.Table, column: str) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each instant of a column of timestamps or their numbers, as slices of one batch sorted by it."""
    if not table.num_rows:
        return
    instants = table[column].cast(pa.int64()).to_numpy()
    order = np.argsort(instants, kind="stable")
    batch, instants = as_batch(table.take(pa.array(order))), instants[order]
    edges = [0, *(np.flatnonzero(instants[1:] != instants[:-1]) + 1).tolist(), len(instants)]
    for start, end in itertools.pairwise(edges):
        yield int(instants[start]), batch.slice(start, end - start)
