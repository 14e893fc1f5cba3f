"""Tiles of windows that are still being filled, merged, kept from one publish of a process to the next.

    commits    1  2  3  4  5  6 │ 7     each publish of an hour's windows would read the tiles of every commit in the hour
    kept       [merged 1 – 4] 5  6 │ 7  reads those of the new one alone, and of what is kept the windows that it touches

Only saves time: what is kept stands for the tiles of all commits up to one, from `floor` on, and is used for the next
commit of the same table alone. Only for windows of one cell, of feeds in which no row was superseded: there a commit has
one tile per group and window, so commits are counted by counting tiles (`COMMITS`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from beam_grid.lakehouse.duck import batches, parquet
from beam_grid.lakehouse.parts import parts_of
from data_sources.durations import micros
from data_sources.identifiers import double_quoted
from transforms.cells import cells_of
from transforms.measures import aggregates, merged_sql
from transforms.tiles import tile_schema

if TYPE_CHECKING:
    import duckdb

    from beam_grid.lakehouse.tables import Batch
    from data_sources.contract import WindowSpec
    from transforms.manifest import LandedFile

COMMITS = "__commits"
"""Column of kept tiles: how many commits are in one."""

_ROW = "__row"

MANY_FILES = 8
"""So many files of tiles are worth keeping what they come to."""

_MOST_ROWS = 1_000_000

_FEW_ROWS = 10_000
"""So many tiles come before they are merged, with those of their windows alone: merging all of an hour of 100,000 sensors held
up publishing for seconds."""


class Open(NamedTuple):
    """Tiles (columns of `tile_schema` and COMMITS) of every commit up to `commit`, whose cell is `floor` or later: the first
    `merged` have one row a group and cell, the others are as they came."""

    application: str
    commit: int
    floor: int
    tiles: pa.Table
    merged: int


_OPEN: dict[Path, Open] = {}


def known(
    table: Path, application: str, batch: Batch, window: WindowSpec, is_had: Callable[[str], bool]
) -> Open | None:
    """What is kept for the batch, if its tiles touch no window before the floor, and no commit came in between. is_had:
    whether a contract has the very window: rows of one that has not are in no tiles of these."""
    found = _OPEN.get(table)
    if found is None or found.application != application or found.commit > batch.applied:
        return None
    between = batch.commits[found.commit : batch.applied]
    if any(commit.listed("rows") or commit.listed("tiles") for commit in between):
        return None
    if not all(is_had(held.contract) for held in batch.held("rows", "tiles")):
        return None
    if not found.tiles.schema.equals(_schema(batch, window)):  # of a field that became of another type
        return None
    cells = [file.min.get("_cell") for file in tiles_of(batch, window)]
    return found if all(isinstance(cell, int) and cell >= found.floor for cell in cells) else None


def _schema(batch: Batch, window: WindowSpec) -> pa.Schema:
    return pa.schema([*tile_schema(batch.contract, window), (COMMITS, pa.int64())])


def tiles_of(batch: Batch, window: WindowSpec, *, new_only: bool = True) -> list[LandedFile]:
    """The window's files of tiles."""
    return [file for file in batch.landed("tiles", new_only=new_only) if file.window == window.name]


def keep(table: Path, found: Open | None) -> None:
    """Keep this for the table's next publish; nothing, if there is nothing to keep."""
    if found is None:
        _OPEN.pop(table, None)
    else:
        _OPEN[table] = found


def with_new(files: list[str], window: WindowSpec, names: list[str], view: str | None) -> str:
    """SQL of tiles with COMMITS: those in the files, and those of a view of kept ones."""
    columns = ", ".join(map(double_quoted, names))
    parts = [f"SELECT {columns}, CAST(1 AS BIGINT) AS {COMMITS} FROM {parquet(files)}"] if files else []
    parts += [f"SELECT {columns}, {COMMITS} FROM {view}"] if view else []
    return " UNION ALL ".join(parts)


def touched(engine: duckdb.DuckDBPyConnection, before: Open, new: list[str], window: WindowSpec) -> None:
    """Make a view `touched_tiles` of the kept tiles in whose windows these files have tiles."""
    engine.register("touched_tiles", before.tiles.take(_of_windows_in(engine, before.tiles, parquet(new), window)))


def _of_windows_in(
    engine: duckdb.DuckDBPyConnection, tiles: pa.Table, others: str, window: WindowSpec
) -> pa.ChunkedArray:
    """Numbers of the rows in whose windows the other relation has tiles."""
    keys = [*window.by, "_cell"]
    engine.register("open_keys", tiles.select(keys).append_column(_ROW, pa.array(np.arange(tiles.num_rows))))
    same = " AND ".join(f"t.{double_quoted(key)} IS NOT DISTINCT FROM n.{double_quoted(key)}" for key in keys)
    named = ", ".join(map(double_quoted, keys))
    sql = f"SELECT {_ROW} FROM open_keys t SEMI JOIN (SELECT DISTINCT {named} FROM {others}) n ON {same}"
    return batches(engine, sql).read_all()[_ROW]


def opened(
    engine: duckdb.DuckDBPyConnection,
    batch: Batch,
    window: WindowSpec,
    application: str,
    before: Open | None,
    is_had: Callable[[str], bool],
) -> Open | None:
    """What to keep after the batch; before: what was kept before it; is_had: whether a contract has the very window.

    None where there are few files to be read, or too many windows.
    """
    contract, own = batch.contract, tiles_of(batch, window, new_only=False)
    newest = max((cell for f in own if isinstance(cell := f.max.get("_cell"), int)), default=None)
    if newest is None or not all(map(is_had, {held.contract for held in batch.index.held("rows", "tiles")})):
        return None
    cells = cells_of(contract, window)
    floor = newest - micros(contract.out_of_orderness) - micros(contract.allowed_lateness) - 2 * cells.longest
    names = tile_schema(contract, window).names
    schema = _schema(batch, window)
    tiles = schema.empty_table()
    if before is not None:
        paths = [batch.path(f) for f in tiles_of(batch, window)]
        came = before.tiles.slice(before.merged)
        if paths:
            new = batches(engine, with_new(paths, window, names, None)).read_all().cast(schema)
            came = pa.concat_tables([came, new])
        merged = before.tiles.slice(0, before.merged)
        if came.num_rows <= _FEW_ROWS:
            return before._replace(commit=batch.target, tiles=pa.concat_tables([merged, came]))
        floor = max(floor, before.floor)
        engine.register("came_tiles", came)
        again = _of_windows_in(engine, merged, "came_tiles", window)
        stays = np.ones(merged.num_rows, bool)
        stays[again.to_numpy()] = False
        stays &= merged["_cell"].cast(pa.int64()).to_numpy() >= floor
        tiles = merged.filter(pa.array(stays))
        engine.register("open_tiles", pa.concat_tables([merged.take(again), came]))
        source = with_new([], window, names, "open_tiles")
    else:
        files = [f for f in own if not isinstance(cell := f.max.get("_cell"), int) or cell >= floor]
        if len(files) < MANY_FILES:
            return None
        paths = [batch.path(f) for f in files]
        source = with_new(paths, window, names, None)
    beside = [
        *(f"{sql} AS {name}" for name, sql in cells.merge.items()),
        "max(_commit) AS _commit",
        "CAST(sum(_rows) AS BIGINT) AS _rows",
        f"CAST(sum({COMMITS}) AS BIGINT) AS {COMMITS}",
    ]
    keys = [*map(double_quoted, window.by), "_cell"]
    for part in parts_of(paths, cells, window.by):
        is_in = f"epoch_us(_cell) >= {floor} AND {part.cells(0, window.by)}"
        sql = merged_sql(f"(SELECT * FROM ({source}) WHERE {is_in})", keys, aggregates(contract, window), beside)
        tiles = pa.concat_tables([tiles, batches(engine, sql).read_all().select(schema.names).cast(schema)])
        if tiles.num_rows > _MOST_ROWS:
            return None
    return Open(application, batch.target, floor, tiles.combine_chunks(), tiles.num_rows)
