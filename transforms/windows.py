"""Windows from tiles: which windows a cell belongs to, and the value of each measure there, as DuckDB SQL.

    cells     |00 |15 |30 |45 |00 |        size 1h, every 30m: cell 30m
    windows   [00 ─────── 00)              a cell lies whole within each of size / step windows,
                      [30 ─────── 30)      the last of which starts at or before the cell

Nothing is subtracted: tiles have sums, extremes, (n, mean, M2) and first or last with its time and key, all of which
merge in any order (`transforms.measures`). NULL is a group; a window without tiles is not there.
"""

from __future__ import annotations

import pyarrow as pa

from data_sources.contract import Contract, WindowSpec
from data_sources.durations import micros
from data_sources.identifiers import double_quoted
from transforms.measures import TIME, aggregates, merged_sql


def window_schema(contract: Contract, window: WindowSpec) -> pa.Schema:
    """A window table's columns: `window_start`, `window_end`, `by`, the measures' values, `final`, `revision`."""
    columns = [("window_start", TIME), ("window_end", TIME)]
    columns += [(name, contract.field(name).arrow) for name in window.by]
    columns += [(a.measure.name, a.type) for a in aggregates(contract, window)]
    return pa.schema([*columns, ("final", pa.bool_()), ("revision", pa.int64())])


MANY_TILES = "CAST(list_unique(list(_commit)) AS BIGINT)"
ONE_TILE = "count(_commit)"
"""How many commits are in a window: where a commit may have several tiles in it, and where it has one at most."""


def windows_sql(tiles: str, contract: Contract, window: WindowSpec, *, commits: str = MANY_TILES) -> str:
    """One row per (`by`, window) of `tiles`: a relation's name, or a subquery in brackets.

    The relation has the columns of `tile_schema`; `_commit` and `_rows` may be NULL, and tiles of one group, cell and
    commit may be many. Columns: `window_start`, `window_end` (TIMESTAMPTZ), `by`, the measures' values in the types
    of `window_schema`, `__rows` (BIGINT, 0 of NULLs), `__newest` (BIGINT, the greatest commit, 0 of none),
    `revision` (BIGINT, how many commits). commits: how they are counted; ONE_TILE, which halves the time of the whole,
    where each has one tile at most per (`by`, window).
    """
    return values_sql(f"(SELECT *, {_starts_sql(window)} AS __start FROM {tiles})", contract, window, commits=commits)


def values_sql(tiles: str, contract: Contract, window: WindowSpec, *, commits: str = MANY_TILES) -> str:
    """The same of tiles that say which window they are counted in: `__start`, microseconds since the epoch."""
    measures = aggregates(contract, window)
    by = [double_quoted(name) for name in window.by]
    beside = [
        "CAST(coalesce(sum(_rows), 0) AS BIGINT) AS __rows",
        "CAST(coalesce(max(_commit), 0) AS BIGINT) AS __newest",
        f"{commits} AS revision",
    ]
    merged = merged_sql(tiles, [*by, "__start"], measures, beside)
    values = [f"{m.end} AS {double_quoted(m.measure.name)}" for m in measures]
    bounds = [
        "make_timestamptz(__start) AS window_start",
        f"make_timestamptz(__start + {micros(window.size)}) AS window_end",
    ]
    return f"SELECT {', '.join([*bounds, *by, *values, '__rows', '__newest', 'revision'])} FROM ({merged})"


def starts(cell: int, window: WindowSpec) -> range:
    """The starts of the windows that a cell lies in, the last one first; all in microseconds since the epoch."""
    size, step, offset = micros(window.size), micros(window.step), micros(window.offset)
    return range(cell - (cell - offset) % step, cell - size, -step)


def _starts_sql(window: WindowSpec) -> str:
    """`starts` of a tile's cell, a row for each."""
    size, step, offset = micros(window.size), micros(window.step), micros(window.offset)
    cell = "epoch_us(_cell)"
    if size == step == micros(window.cell):
        return cell
    last = f"({cell} - ((({cell} - {offset}) % {step}) + {step}) % {step})"
    return last if size == step else f"unnest(range({last}, {cell} - {size}, -{step}))"
