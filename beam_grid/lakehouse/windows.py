"""Windows from tiles, as Spark SQL: which windows a cell belongs to, and how tiles merge into measures.

    cells     |00 |15 |30 |45 |00 |        size 1h, every 30m: cell 30m
    windows   [00 ─────── 00)              a cell lies whole within each of size / step windows,
                      [30 ─────── 30)      the last of which starts at or before the cell

What each measure is there is said in `transforms.measures`; the same in DuckDB is `transforms.windows`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from beam_grid.lakehouse.tables import quoted
from data_sources.durations import micros
from transforms.measures import aggregates
from transforms.windows import window_schema

if TYPE_CHECKING:
    from data_sources.contract import Contract, WindowSpec


def definition(contract: Contract, window: WindowSpec) -> str:
    """Identifies what a window table holds; tiles made under another definition do not fit it."""
    said = [
        micros(window.size),
        micros(window.step),
        micros(window.offset),
        window.by,
        window.measures,
        contract.event_time,
        contract.dedup.key,
    ]
    said.append([str(kind) for kind in window_schema(contract, window).types])
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]


def starts_sql(window: WindowSpec, instant: str) -> str:
    """The starts of the windows an instant (SQL for microseconds) falls into, as an array of microseconds."""
    size, step, offset = micros(window.size), micros(window.step), micros(window.offset)
    last = f"({instant} - pmod({instant} - {offset}L, {step}L))"
    if size == step:
        return f"array({last})"
    every = f"transform(sequence(0, {-(-size // step) - 1}), k -> {last} - k * {step}L)"
    return f"filter({every}, w -> w + {size}L > {instant})"


def expanded_sql(tiles: str, window: WindowSpec) -> str:
    """Tiles with the start of each window they belong to, `__start`, in microseconds."""
    return f"SELECT *, explode({starts_sql(window, 'unix_micros(_cell)')}) AS __start FROM {tiles}"


def merged_sql(expanded: str, contract: Contract, window: WindowSpec, flips: str) -> str:
    """One row per group and window: measures, `__rows`, `__newest` commit, `__flips`, `revision` (no `_commit` adds none)."""
    keys = ", ".join([*map(quoted, window.by), "__start"])
    columns = [*map(quoted, window.by), "__start"]
    columns += [f"{a.spark} AS {quoted(a.measure.name)}" for a in aggregates(contract, window)]
    columns += [
        "coalesce(sum(_rows), 0L) AS __rows",
        "coalesce(max(_commit), 0L) AS __newest",
        f"{flips} AS __flips",
        "CAST(size(collect_set(_commit)) AS BIGINT) AS revision",
    ]
    return f"SELECT {', '.join(columns)} FROM {expanded} GROUP BY {keys}"


def final_sql(contract: Contract, watermark: int | None, end: str) -> str:
    """Whether nothing on time can still come into a window with this end (SQL for microseconds)."""
    return "true" if watermark is None else f"({end} + {micros(contract.allowed_lateness)}L <= {watermark}L)"
