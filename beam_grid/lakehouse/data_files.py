"""Data files of Delta tables that we write: Parquet, synced before a log names them, in the order they are given."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_grid import durable
from beam_grid.lakehouse import delta_log
from beam_grid.lakehouse.delta_log import Action, added
from beam_grid.lakehouse.statistics import statistics

ROW_GROUP = 131_072

SORTED_GROUP = 8_192
"""Of files in an order that questions ask by: a reader looks at whole groups, by their bounds."""


def write(
    table: Path, rows: Iterable[pa.RecordBatch], schema: pa.Schema, file_rows: int, measured: Sequence[str],
    *, changes_rows: bool = True, row_group: int = ROW_GROUP, tags: dict[str, str] | None = None,
    is_brief: bool = False,
) -> list[Action]:  # fmt: skip
    """Write the rows in files of at most `file_rows`; returns their add actions, with statistics of `measured`.

    is_brief: they are written again soon: quickly, in half as much CPU and half as much again of bytes.

    Rows are cast to the schema: timestamps are INT64 microseconds in every file.
    """
    actions: list[Action] = []
    for chunk in _chunks(rows, file_rows):
        path = table / f"part-{secrets.token_hex(12)}.parquet"
        table_rows = pa.Table.from_batches(chunk).cast(schema)
        try:
            unbounded = _with_nan(table_rows)
            size = _write_synced(path, table_rows, row_group, unbounded, is_brief)
        except BaseException:
            durable.remove(path)  # on a full disk the next run needs the room
            raise
        stats = statistics(path, measured, unbounded=unbounded)
        actions.append(added(path.name, size, stats, changes_rows=changes_rows, tags=tags))
    if actions:
        durable.sync_folder(table)
    return actions


def parted(
    rows: Iterable[pa.RecordBatch], part_of: Callable[[pa.RecordBatch], np.ndarray]
) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rows in parts: a new one begins where the number that `part_of` gives each row changes. Take each to its end
    before the next."""

    def pieces() -> Iterator[tuple[int, pa.RecordBatch]]:
        for batch in rows:
            parts = part_of(batch)
            edges = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(parts)]
            for first, end in itertools.pairwise(edges):
                if end > first:
                    yield int(parts[first]), batch.slice(first, end - first)

    for _, part in itertools.groupby(pieces(), key=lambda piece: piece[0]):
        yield (batch for _, batch in part)


def overwrite(table: Path, name: str, rows: pa.Table) -> None:
    """Put a few rows in place of all that a plain table held; it is made where it is missing."""
    delta_log.create(table, rows.schema, name=name)
    at = delta_log.read(table)
    assert at is not None
    written = write(table, rows.to_batches(), rows.schema, max(1, rows.num_rows), delta_log.statistics_columns(at))
    columns = delta_log.with_columns(at, rows.schema, name)
    actions = [*columns, *map(delta_log.removed, at.files), *written]
    delta_log.put(table, at, actions, "WRITE", rows=rows.num_rows)
    delta_log.checkpoint(table, at)


def read(table: Path, schema: pa.Schema) -> pa.Table:
    """The rows of such a table."""
    at = delta_log.read(table)
    files = [pq.read_table(table / file.path).select(schema.names).cast(schema) for file in (at.files if at else [])]
    return pa.concat_tables([schema.empty_table(), *files])


def _write_synced(path: Path, rows: pa.Table, row_group: int, unbounded: set[str], is_brief: bool) -> int:
    bounded = [name for name in rows.column_names if name not in unbounded] if unbounded else True
    few = [field.name for field in rows.schema if not pa.types.is_floating(field.type)]
    how = (
        {"compression": "snappy", "use_dictionary": few}
        if is_brief
        else {"compression": "zstd", "compression_level": 1}
    )
    with durable.synced_file(path) as out:
        pq.write_table(rows, out, row_group_size=row_group, store_schema=False, write_statistics=bounded, **how)
        return out.tell()


def _with_nan(rows: pa.Table) -> set[str]:
    """The columns with a NaN, which a Parquet footer's bounds pass over and every reader sorts behind all numbers."""
    doubles = [field.name for field in rows.schema if pa.types.is_floating(field.type)]
    return {name for name in doubles if pc.any(pc.is_nan(rows[name])).as_py()}


def _chunks(rows: Iterable[pa.RecordBatch], most: int) -> Iterable[list[pa.RecordBatch]]:
    chunk: list[pa.RecordBatch] = []
    count = 0
    for batch in rows:
        start = 0
        while start < batch.num_rows:
            taken = batch.slice(start, most - count)
            start += taken.num_rows
            count += taken.num_rows
            chunk.append(taken)
            if count == most:
                yield chunk
                chunk, count = [], 0
    if chunk:
        yield chunk
