"""Tiles: partial aggregates of one cell and `by` group, mergeable in any order and grouping.

    window     |--------- 1 h ---------|         cell: greatest common divisor of size, step and offset
      every        |--------- 1 h ---------|
    cells      |-15m-|-15m-|-15m-|-15m-|-15m-|

Columns of a window's tiles: its `by` columns, `_cell` (start of the cell, UTC), `_commit`, `_rows` (int64), and per
measure m
    count, count_if   m: int64
    sum               m: float64; decimal(38,0) of whole numbers, decimal(38,s) of decimals; NULL of no values
    min, max          m: the field's type
    avg               m__n: int64, m__sum: as sum
    stddev            m__n: int64, m__mean, m__m2: float64 (Chan, Golub, LeVeque 1979: merges without cancellation)
    first, last       m: the field's type, m__time: event time, m__key: struct of the dedup key; of values not null
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa

from data_sources.contract import Contract, Measure, WindowSpec
from data_sources.durations import micros
from data_sources.expressions import sandbox
from transforms.arrow import as_batch, plain_table

TIME = pa.timestamp("us", "UTC")


def tile_schema(contract: Contract, window: WindowSpec) -> pa.Schema:
    """Arrow schema of a window's tiles."""
    fields = [pa.field(b, contract.field(b).arrow) for b in window.by]
    fields += [pa.field("_cell", TIME), pa.field("_commit", pa.int64()), pa.field("_rows", pa.int64())]
    for measure in window.parsed:
        fields += [pa.field(n, t) for n, t in _columns(contract, measure)]
    return pa.schema(fields)


def _columns(contract: Contract, measure: Measure) -> list[tuple[str, pa.DataType]]:
    name = measure.name
    if measure.function in ("count", "count_if"):
        return [(name, pa.int64())]
    kind = contract.field(measure.argument or "").arrow
    if measure.function == "sum":
        return [(name, _sum_type(kind))]
    if measure.function == "avg":
        return [(f"{name}__n", pa.int64()), (f"{name}__sum", _sum_type(kind))]
    if measure.function == "stddev":
        return [(f"{name}__n", pa.int64()), (f"{name}__mean", pa.float64()), (f"{name}__m2", pa.float64())]
    if measure.function in ("first", "last"):
        keys = pa.struct([(f"k{n}", contract.field(k).arrow) for n, k in enumerate(contract.dedup.key)])
        return [(name, kind), (f"{name}__time", TIME), (f"{name}__key", keys)]
    return [(name, kind)]


def _sum_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_integer(kind):
        return pa.decimal128(38, 0)
    return pa.decimal128(38, kind.scale) if pa.types.is_decimal(kind) else pa.float64()


def tile_rows(rows: pa.Table, contract: Contract, window: WindowSpec) -> pa.Table:
    """Tiles of rows (contract columns and `_commit`), one row per (`by`, cell, commit)."""
    cell, offset = micros(window.cell), micros(window.offset) % micros(window.cell)
    time = f"epoch_us(CAST({_name(contract.event_time)} AS TIMESTAMPTZ))"
    start = f"{time} - ((({time} - {offset}) % {cell}) + {cell}) % {cell}"
    groups = [*map(_name, window.by), f"make_timestamptz({start})", "_commit"]
    picked = [*groups[:-2], f"{groups[-2]} AS _cell", "_commit", "count(*) AS _rows"]
    for measure in window.parsed:
        picked += _tile_sql(contract, measure)
    return _query(
        rows,
        f"SELECT {', '.join(picked)} FROM t WHERE {_name(contract.event_time)} IS NOT NULL GROUP BY {', '.join(groups)}",
        tile_schema(contract, window),
    )


def _tile_sql(contract: Contract, measure: Measure) -> list[str]:
    name, function = measure.name, measure.function
    if function == "count_if":
        return [f"count(*) FILTER (WHERE {measure.argument}\n) AS {_name(name)}"]
    if measure.argument is None:
        return [f"count(*) AS {_name(name)}"]
    x = _name(measure.argument)
    if function == "count":
        return [f"count({x}) AS {_name(name)}"]
    if function == "sum":
        return [f"{_sum_sql(contract, measure.argument, x)} AS {_name(name)}"]
    if function == "avg":
        return [
            f"count({x}) AS {_name(name + '__n')}",
            f"{_sum_sql(contract, measure.argument, x)} AS {_name(name + '__sum')}",
        ]
    if function == "stddev":
        number = f"CAST({x} AS DOUBLE)"
        return [
            f"count({x}) AS {_name(name + '__n')}",
            f"avg({number}) AS {_name(name + '__mean')}",
            f"var_pop({number}) * count({x}) AS {_name(name + '__m2')}",
        ]
    if function in ("first", "last"):
        keys = ", ".join(f"k{n} := {_name(k)}" for n, k in enumerate(contract.dedup.key))
        event_time = f"CAST({_name(contract.event_time)} AS TIMESTAMPTZ)"
        return _first_last_sql(measure, x, event_time, f"struct_pack({keys})", f"{x} IS NOT NULL")
    return [f"{function}({x}) AS {_name(name)}"]


def _first_last_sql(measure: Measure, value: str, time: str, key: str, known: str) -> list[str]:
    pick = "arg_min" if measure.function == "first" else "arg_max"
    by = f"struct_pack(t := {time}, k := {key})"
    chosen = [(value, measure.name), (time, f"{measure.name}__time"), (key, f"{measure.name}__key")]
    return [f"{pick}({what}, {by}) FILTER (WHERE {known}) AS {_name(alias)}" for what, alias in chosen]


def _sum_sql(contract: Contract, field: str, x: str) -> str:
    kind = _sum_type(contract.field(field).arrow)
    if pa.types.is_floating(kind):
        return f"fsum({x})"
    return f"CAST(sum(CAST({x} AS DECIMAL(38,{kind.scale}))) AS DECIMAL(38,{kind.scale}))"


def merge_tiles(tiles: pa.Table, contract: Contract, window: WindowSpec) -> pa.Table:
    """Merge tiles of the same (`by`, cell, commit), sorted by cell; associative and commutative up to rounding."""
    keys = pl.from_arrow(plain_table(tiles.select([*window.by, "_cell", "_commit"])))
    assert isinstance(keys, pl.DataFrame)
    if not keys.hash_rows().is_duplicated().any():
        return tiles.take(pa.array(np.argsort(tiles["_cell"].cast(pa.int64()).to_numpy(), kind="stable")))
    groups = [*map(_name, window.by), "_cell", "_commit"]
    picked = [*groups, "CAST(sum(_rows) AS BIGINT) AS _rows"]
    for measure in window.parsed:
        picked += _merge_sql(contract, measure)
    listed = ", ".join(groups)
    sql = f"SELECT {', '.join(picked)} FROM t GROUP BY {listed} ORDER BY _cell"
    return _query(tiles, sql, tile_schema(contract, window))


def _merge_sql(contract: Contract, measure: Measure) -> list[str]:
    name, function = measure.name, measure.function
    column = _name(name)
    if function in ("count", "count_if"):
        return [f"CAST(sum({column}) AS BIGINT) AS {column}"]
    if function == "sum":
        return [f"{_merge_sum(contract, measure, column)} AS {column}"]
    n, total = _name(f"{name}__n"), _name(f"{name}__sum")
    if function == "avg":
        return [f"CAST(sum({n}) AS BIGINT) AS {n}", f"{_merge_sum(contract, measure, total)} AS {total}"]
    if function == "stddev":
        mean, m2 = _name(f"{name}__mean"), _name(f"{name}__m2")
        folded = (
            f"list_reduce(list(struct_pack(n := CAST({n} AS DOUBLE), mean := {mean}, m2 := {m2})) FILTER (WHERE {n} > 0), "
            "lambda a, b: struct_pack(n := a.n + b.n, mean := a.mean + (b.mean - a.mean) * b.n / (a.n + b.n), "
            "m2 := a.m2 + b.m2 + (b.mean - a.mean) * (b.mean - a.mean) * a.n * b.n / (a.n + b.n)))"
        )
        return [f"CAST(sum({n}) AS BIGINT) AS {n}", f"({folded}).mean AS {mean}", f"({folded}).m2 AS {m2}"]
    if function in ("first", "last"):
        time, key = _name(f"{name}__time"), _name(f"{name}__key")
        return _first_last_sql(measure, column, time, key, f"{time} IS NOT NULL")
    return [f"{function}({column}) AS {column}"]


def _merge_sum(contract: Contract, measure: Measure, column: str) -> str:
    kind = _sum_type(contract.field(measure.argument or "").arrow)
    return f"fsum({column})" if pa.types.is_floating(kind) else f"CAST(sum({column}) AS DECIMAL(38,{kind.scale}))"


def split_by_cell(tiles: pa.Table) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The tiles of each cell (start in microseconds since the epoch), as slices of one batch sorted by cell."""
    if not tiles.num_rows:
        return
    cells = tiles["_cell"].cast(pa.int64()).to_numpy()
    order = np.argsort(cells, kind="stable")
    batch, cells = as_batch(tiles.take(pa.array(order))), cells[order]
    edges = [0, *(np.flatnonzero(cells[1:] != cells[:-1]) + 1).tolist(), len(cells)]
    for start, end in itertools.pairwise(edges):
        yield int(cells[start]), batch.slice(start, end - start)


def _query(table: pa.Table, sql: str, schema: pa.Schema) -> pa.Table:
    cursor = sandbox().cursor()
    try:
        cursor.register("t", table)
        return cursor.sql(sql).to_arrow_table().select(schema.names).cast(schema)
    finally:
        cursor.close()


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
