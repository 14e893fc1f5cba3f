"""Windows from tiles, as Spark SQL: which windows a cell belongs to, and how tiles merge into measures.

    cells     |00 |15 |30 |45 |00 |        size 1h, every 30m: cell 30m
    windows   [00 ─────── 00)              a cell lies whole within each of size / step windows,
                      [30 ─────── 30)      the last of which starts at or before the cell

Nothing is subtracted: tiles have sums, extremes, (n, mean, M2) and first or last with its time and key, all of which
merge in any order. Rules are SQL's: aggregates of no values are NULL, NULL is a group, stddev is the sample's.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid.lakehouse.tables import quoted, spark_type
from data_sources.durations import micros
from transforms.tiles import TIME, tile_schema

if TYPE_CHECKING:
    from data_sources.contract import Contract, Measure, WindowSpec


def gold_schema(contract: Contract, window: WindowSpec) -> pa.Schema:
    """A window table's columns."""
    columns = [("window_start", TIME), ("window_end", TIME)]
    columns += [(name, contract.field(name).arrow) for name in window.by]
    tiles = tile_schema(contract, window)
    columns += [
        (m.name, pa.float64() if m.function in ("avg", "stddev") else tiles.field(m.name).type) for m in window.parsed
    ]
    return pa.schema([*columns, ("final", pa.bool_()), ("revision", pa.int64())])


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
    said.append([str(kind) for kind in gold_schema(contract, window).types])
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
    types = gold_schema(contract, window)
    columns += [f"{_merge(m, spark_type(types.field(m.name).type))} AS {quoted(m.name)}" for m in window.parsed]
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


def _merge(measure: Measure, kind: str) -> str:
    name, part = measure.name, lambda suffix: quoted(f"{measure.name}__{suffix}")
    match measure.function:
        case "count" | "count_if":
            return f"coalesce(sum({quoted(name)}), 0L)"
        case "sum":
            return f"CAST(sum({quoted(name)}) AS {kind})"
        case "min" | "max":
            return f"{measure.function}({quoted(name)})"
        case "avg":
            n = f"sum({part('n')})"
            return f"CASE WHEN {n} > 0 THEN CAST(sum({part('sum')}) AS DOUBLE) / {n} END"
        case "stddev":
            return _stddev(part("n"), part("mean"), part("m2"))
        case _:
            which = "min_by" if measure.function == "first" else "max_by"
            order = f"struct({part('time')} AS t, {part('key')} AS k)"
            return f"{which}({quoted(name)}, {order}) FILTER (WHERE {part('time')} IS NOT NULL)"


def _stddev(n: str, mean: str, m2: str) -> str:
    """Chan, Golub and LeVeque (1979), means taken from one tile's: a register's variance lies far behind its mean's digits.

    M2 = sum(m2) + sum(n d^2) - sum(n d)^2 / sum(n), d = mean - pivot. A running mean was seven times less exact.
    """
    tiles = f"array_sort(collect_list(struct({n} AS n, {mean} AS mean, {m2} AS m2)) FILTER (WHERE {n} > 0))"
    none = f"named_struct('p', get({tiles}, 0).mean, 'n', 0L, 's', 0D, 'q', 0D)"
    step = "named_struct('p', a.p, 'n', a.n + t.n, 's', a.s + t.n * (t.mean - a.p), 'q', a.q + t.m2 + t.n * (t.mean - a.p) * (t.mean - a.p))"
    return f"aggregate({tiles}, {none}, (a, t) -> {step}, a -> CASE WHEN a.n > 1 THEN sqrt(greatest(a.q - a.s * a.s / a.n, 0D) / (a.n - 1)) END)"
