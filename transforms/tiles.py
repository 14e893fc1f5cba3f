"""Tiles: partial aggregates of one cell and `by` group, mergeable in any order and grouping.

    window     |--------- 1 h ---------|         cell: greatest common divisor of size, step and offset
      every        |--------- 1 h ---------|
    cells      |-15m-|-15m-|-15m-|-15m-|-15m-|

Columns of a window's tiles: its `by` columns, `_cell` (start of the cell, UTC), of a calendar's windows `_until` (the
end of the cell, which is one window), `_commit`, `_rows` (int64), and those of each measure, which `transforms.measures`
lists.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from data_sources.contract import Contract, WindowSpec
from data_sources.expressions import sandbox
from data_sources.identifiers import double_quoted
from transforms.arrow import plain_table, split_by_instant
from transforms.cells import cells_of
from transforms.measures import TIME, aggregates, merged_sql, numbered, prepare, started_from


def tile_schema(contract: Contract, window: WindowSpec) -> pa.Schema:
    """Arrow schema of a window's tiles."""
    fields = [pa.field(b, contract.field(b).arrow) for b in window.by]
    fields += [pa.field("_cell", TIME), *(pa.field(n, t) for n, t in cells_of(contract, window).columns.items())]
    fields += [pa.field("_commit", pa.int64()), pa.field("_rows", pa.int64())]
    for aggregate in aggregates(contract, window):
        fields += [pa.field(n, t) for n, t in aggregate.columns.items()]
    return pa.schema(fields)


def tile_rows(rows: pa.Table, contract: Contract, window: WindowSpec) -> pa.Table:
    """Tiles of rows (contract columns and `_commit`), one row per (`by`, cell, commit)."""
    cells = cells_of(contract, window)
    groups = [*map(double_quoted, window.by), cells.row_cell, "_commit"]
    picked = [*groups[:-2], f"{groups[-2]} AS _cell", "_commit", "count(*) AS _rows"]
    picked += [f"{sql} AS {name}" for name, sql in cells.row_columns.items()]
    measures = aggregates(contract, window)
    for aggregate in measures:
        picked += [f"{sql} AS {double_quoted(name)}" for name, sql in aggregate.start.items()]
    placed = numbered(cells.placed(rows), measures)
    source, when = started_from("t", contract, measures), double_quoted(contract.event_time)
    sql = f"SELECT {', '.join(picked)} FROM {source} WHERE {when} IS NOT NULL GROUP BY {', '.join(groups)}"
    found = _query(placed, sql, contract, window)
    schema = tile_schema(contract, window)
    columns = {name: found[name] for name in schema.names if name in found.column_names}
    for aggregate in measures:
        columns |= aggregate.started(found, placed)
    return pa.table({name: columns[name] for name in schema.names}).cast(schema)


def merge_tiles(tiles: pa.Table, contract: Contract, window: WindowSpec) -> pa.Table:
    """Merge tiles of the same (`by`, cell, commit), sorted by cell; associative and commutative up to rounding."""
    import polars as pl  # where tiles are written: who reads them need not wait for it

    keys = pl.from_arrow(plain_table(tiles.select([*window.by, "_cell", "_commit"])))
    assert isinstance(keys, pl.DataFrame)
    several = keys.hash_rows().is_duplicated()
    if not several.any():
        return _by_cell(tiles)
    alone = tiles.filter(pa.array(~several.to_numpy()))
    tiles = tiles.filter(pa.array(several.to_numpy()))
    groups = [*map(double_quoted, window.by), "_cell", "_commit"]
    beside = [f"{sql} AS {name}" for name, sql in cells_of(contract, window).merge.items()]
    beside += ["CAST(sum(_rows) AS BIGINT) AS _rows"]
    merged = merged_sql("t", groups, aggregates(contract, window), beside)
    schema = tile_schema(contract, window)
    merged_tiles = _query(tiles, merged, contract, window).select(schema.names).cast(schema)
    return _by_cell(pa.concat_tables([alone.select(schema.names).cast(schema), merged_tiles]))


def _by_cell(tiles: pa.Table) -> pa.Table:
    return tiles.take(pa.array(np.argsort(tiles["_cell"].cast(pa.int64()).to_numpy(), kind="stable")))


def split_by_cell(tiles: pa.Table, width: int = 1) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The tiles of each cell, or of each `width` of cells (microseconds), as slices of one batch sorted by it; its start
    in microseconds since the epoch stands before them."""
    if width == 1:
        yield from split_by_instant(tiles, "_cell")
        return
    cells = tiles["_cell"].cast(pa.int64()).to_numpy()
    starts = pa.array(cells - cells % width)
    for start, batch in split_by_instant(tiles.append_column("__start", starts), "__start"):
        yield start, batch.drop_columns(["__start"])


def _query(table: pa.Table, sql: str, contract: Contract, window: WindowSpec) -> pa.Table:
    cursor = sandbox().cursor()
    try:
        prepare(cursor, contract, window)
        cursor.register("t", table)
        return cursor.sql(sql).to_arrow_table()
    finally:
        cursor.close()
