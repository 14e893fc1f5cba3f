"""Windows from tiles, as Spark SQL: how tiles merge into measures.

What each measure is there is said in `transforms.measures`, which windows a cell belongs to in `transforms.cells`; the
same in DuckDB is `transforms.windows`.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import TYPE_CHECKING

from beam_grid.lakehouse.tables import quoted
from data_sources.durations import micros
from transforms.cells import cells_of
from transforms.measures import aggregates
from transforms.windows import window_schema

if TYPE_CHECKING:
    from beam_grid.landing import FeedLog
    from data_sources.contract import Contract, WindowSpec


@lru_cache(1024)
def had(log: FeedLog, digest: str, name: str, defined: str) -> bool:
    """Whether the feed's contract with this hash has a window of this name and `definition`; it is read once."""
    contract = log.contract(digest)
    return any(window.name == name and definition(contract, window) == defined for window in contract.windows)


def definition(contract: Contract, window: WindowSpec) -> str:
    """Identifies what a window table holds; tiles made under another definition do not fit it."""
    said = [
        *(
            (micros(window.length), micros(window.step), micros(window.offset))
            if window.calendar is None
            else (window.calendar, window.time_zone)
        ),
        window.by,
        window.measures,
        contract.event_time,
        contract.dedup.key,
    ]
    said.append([str(kind) for kind in window_schema(contract, window).types])
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]


def expanded_sql(tiles: str, contract: Contract, window: WindowSpec) -> str:
    """Tiles with the start of each window they belong to, `__start`, in microseconds."""
    return f"SELECT *, explode({cells_of(contract, window).spark_starts}) AS __start FROM {tiles}"


def merged_sql(expanded: str, contract: Contract, window: WindowSpec, flips: str) -> str:
    """One row per group and window: measures, what the end is told by, `__rows`, `__newest` commit, `__flips`, `revision`
    (no `_commit` adds none)."""
    keys = ", ".join([*map(quoted, window.by), "__start"])
    columns = [*map(quoted, window.by), "__start"]
    columns += [f"{a.spark} AS {quoted(a.measure.name)}" for a in aggregates(contract, window)]
    columns += [f"{sql} AS {name}" for name, sql in cells_of(contract, window).spark_ends.items()]
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
