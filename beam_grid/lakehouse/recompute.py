"""Tiles made from landed rows after the fact, with DuckDB, batch by batch, in bounded memory.

Three uses: the rows now current (landed, not superseded) of touched windows; a commit's rows, for a window its
contract did not have yet; the rows commits superseded, which mark the windows they were taken from. The tiles are the
ones the Beam stage makes (`transforms.tiles.tile_rows`): one meaning of a measure, conditions of `count_if` included.
They are written beside the lake's tables, where Spark reads them, and removed when the run ends.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from beam_grid.lakehouse.duck import FILE, connect, literal, parquet
from beam_grid.lakehouse.silver import IDENTITY
from beam_grid.lakehouse.spans import Span, may_meet
from beam_grid.lakehouse.tables import Batch
from data_sources.identifiers import double_quoted
from transforms.cells import cells_of
from transforms.tiles import tile_rows, tile_schema

if TYPE_CHECKING:
    from beam_grid.segments import Held
    from data_sources.contract import Contract, WindowSpec

BATCH_ROWS = 250_000


def landed(held: Held, batch: Batch, window: WindowSpec, scratch: Path, span: Span | None) -> list[str]:
    """Tiles of all rows of a landed file, those of each commit by themselves."""
    file = batch.path(held.file)
    if not may_meet(held.file, batch.contract, span):
        return []
    rows = _rows_sql([file], batch)
    if held.first == held.last:
        return _tiled(rows, batch, window, scratch, held.last)
    numbers = pq.read_table(file, columns=["_commit"], partitioning=None)["_commit"].unique().to_pylist()
    return [
        tiles
        for number in sorted(numbers)
        for tiles in _tiled(f"SELECT * FROM ({rows}) WHERE _commit = {int(number)}", batch, window, scratch, number)
    ]


def superseded(held: Iterable[Held], batch: Batch, window: WindowSpec, scratch: Path, span: Span | None) -> list[str]:
    """Tiles without values: the groups and cells of the rows that each of the commits superseded, under its number."""
    numbers = {batch.path(one.file): one.last for one in held if may_meet(one.file, batch.contract, span)}
    if not numbers:
        return []
    schema = tile_schema(batch.contract, window)
    names = {*window.by, batch.contract.event_time}
    shape = pa.schema([f for f in batch.contract.landed_schema if f.name in names])
    told = ", ".join(f"r.{double_quoted(name)}" for name in window.by)
    cell = f"make_timestamptz({_cell('r', batch, window)}) AS _cell"
    with connect(scratch) as engine:
        cells_of(batch.contract, window).prepare(engine)
        engine.register("shape", shape.empty_table())
        engine.register("numbers", pa.table({"file": list(numbers), "number": list(numbers.values())}))
        rows = (
            f"SELECT * FROM shape UNION ALL BY NAME SELECT * FROM {parquet(numbers, f', filename = {literal(FILE)}')}"
        )
        marks = engine.sql(
            f"SELECT DISTINCT {told + ', ' if told else ''}{cell}, n.number AS _commit FROM ({rows}) r "
            f"JOIN numbers n ON r.{FILE} = n.file WHERE r.{double_quoted(batch.contract.event_time)} IS NOT NULL"
        ).to_arrow_table()
    for name, values in cells_of(batch.contract, window).of_cells(marks["_cell"]).items():
        marks = marks.append_column(name, values)
    columns = [
        marks[f.name].cast(f.type) if f.name in marks.column_names else pa.nulls(marks.num_rows, f.type) for f in schema
    ]
    where = scratch / f"{secrets.token_hex(8)}.parquet"
    pq.write_table(pa.table(columns, schema.names), where, compression="zstd", compression_level=1)
    return [str(where)]


def current(batch: Batch, window: WindowSpec, scratch: Path, span: Span | None, touched: list[str]) -> list[str]:
    """Tiles, without a commit, of the rows now current in the groups and windows that the `touched` tiles name."""
    contract = batch.contract
    rows = [batch.path(f) for f in batch.landed("rows", new_only=False) if may_meet(f, contract, span)]
    gone = [batch.path(f) for f in batch.landed("superseded", new_only=False) if may_meet(f, contract, span)]
    if not rows:
        return []
    query = f"SELECT r.* FROM ({_rows_sql(rows, batch)}) r"
    if gone:
        same = " AND ".join(f"r.{name} IS NOT DISTINCT FROM g.{name}" for name in IDENTITY)
        query += f" ANTI JOIN (SELECT DISTINCT {', '.join(IDENTITY)} FROM {parquet(gone)}) g ON {same}"
    if batch.applied and touched:
        query = (
            f"SELECT q.* FROM ({query}) q SEMI JOIN ({touched_cells(touched, contract, window)}) t "
            f"ON t.__cell = {_cell('q', batch, window)}"
            + "".join(f" AND t.{double_quoted(by)} IS NOT DISTINCT FROM q.{double_quoted(by)}" for by in window.by)
        )
    return _tiled(query, batch, window, scratch, None)


def touched_cells(tiles: list[str], contract: Contract, window: WindowSpec) -> str:
    """Groups and all cells of every window that a tile is part of."""
    reach, cell = cells_of(contract, window).touching
    by = "".join(f"{double_quoted(name)}, " for name in window.by)
    return (
        f"SELECT DISTINCT {by}unnest(range(epoch_us(_cell) - {reach}, epoch_us(_cell) + {reach + 1}, {cell})) AS __cell "
        f"FROM (SELECT DISTINCT {by}_cell FROM {parquet(tiles)})"
    )


def _cell(row: str, batch: Batch, window: WindowSpec) -> str:
    name = batch.contract.event_time
    time = f"{row}.{double_quoted(name)}"
    if batch.contract.field(name).type == "date":
        time = f"CAST({time} AS TIMESTAMP)"
    return cells_of(batch.contract, window).cell_sql(f"epoch_us({time})")


def _rows_sql(files: list[str], batch: Batch) -> str:
    """The files' rows in the contract's columns; `landed_shape` supplies, as nulls, what older files lack."""
    names = ", ".join(double_quoted(name) for name in batch.contract.landed_schema.names)
    return f"SELECT {names} FROM (SELECT * FROM landed_shape UNION ALL BY NAME SELECT * FROM {parquet(files)})"


def _tiled(query: str, batch: Batch, window: WindowSpec, scratch: Path, commit: int | None) -> list[str]:
    landed_schema = batch.contract.landed_schema
    schema = tile_schema(batch.contract, window)
    where = scratch / f"{secrets.token_hex(8)}.parquet"
    with connect(scratch) as engine:
        engine.register("landed_shape", landed_schema.empty_table())
        cells_of(batch.contract, window).prepare(engine)
        reader = engine.sql(query).to_arrow_reader(BATCH_ROWS)
        with pq.ParquetWriter(where, schema, compression="zstd", compression_level=1) as out:
            for rows in reader:
                if not rows.num_rows:
                    continue
                tiles = tile_rows(pa.Table.from_batches([rows]).cast(_nullable(landed_schema)), batch.contract, window)
                number = pa.array([commit] * tiles.num_rows, pa.int64())
                columns = [number if name == "_commit" else tiles[name] for name in schema.names]
                out.write_table(pa.table(columns, schema.names).cast(schema))
    return [str(where)]


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([f.with_nullable(True) for f in schema])
