"""Windows from tiles: the value of each measure in each window that a cell belongs to, as DuckDB SQL.

Which windows a cell belongs to is said in `transforms.cells`. Nothing is subtracted: tiles have sums, extremes, (n, mean, M2) and first or last with its time and key, all of which
merge in any order (`transforms.measures`). NULL is a group; a window without tiles is not there.
"""

from __future__ import annotations

import pyarrow as pa

from data_sources.contract import Contract, WindowSpec
from data_sources.identifiers import double_quoted
from transforms.cells import cells_of
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
    starts = cells_of(contract, window).starts_sql
    return values_sql(f"(SELECT *, {starts} AS __start FROM {tiles})", contract, window, commits=commits)


def values_sql(tiles: str, contract: Contract, window: WindowSpec, *, commits: str = MANY_TILES) -> str:
    """The same of tiles that say which window they are counted in: `__start`, microseconds since the epoch."""
    measures, cells = aggregates(contract, window), cells_of(contract, window)
    by = [double_quoted(name) for name in window.by]
    beside = [
        *(f"{sql} AS {name}" for name, sql in cells.ends.items()),
        "CAST(coalesce(sum(_rows), 0) AS BIGINT) AS __rows",
        "CAST(coalesce(max(_commit), 0) AS BIGINT) AS __newest",
        f"{commits} AS revision",
    ]
    merged = merged_sql(tiles, [*by, "__start"], measures, beside)
    values = [f"{m.end} AS {double_quoted(m.measure.name)}" for m in measures]
    bounds = [
        "make_timestamptz(__start) AS window_start",
        f"make_timestamptz({cells.end}) AS window_end",
    ]
    return f"SELECT {', '.join([*bounds, *by, *values, '__rows', '__newest', 'revision'])} FROM ({merged})"
