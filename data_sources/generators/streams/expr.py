"""Expressions of a spec: DuckDB over the row's other columns, in the sandbox of a contract's conditions.

Guarantees: an expression reads only the columns it may, cannot reach files, the clock or chance of its own. `rand()`
stands for a number in [0, 1) drawn for this place in the spec, so that a rerun gives the same.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import polars as pl
import pyarrow as pa

from data_sources.expressions import ExpressionError, check_condition, sandbox
from data_sources.generators.streams.draws import Floats

ROW_NUMBER = "value"
"""The column every expression may read beside the spec's own: the row's number, as Spark's rate source names it."""

_SQL = {"string": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE", "bool": "BOOLEAN", "timestamp": "TIMESTAMP"}
_TEXT_OR_RAND = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\brand\s*\(\s*\)", re.I)


def with_draws(purpose: str, text: str) -> tuple[str, list[str]]:
    """The expression with each `rand()` replaced by a column, and those columns' names."""
    names: list[str] = []

    def column(match: re.Match[str]) -> str:
        if match[0][0] in "'\"":
            return match[0]
        names.append(f"{purpose}#{len(names)}")
        return f'"{names[-1]}"'

    return _TEXT_OR_RAND.sub(column, text), names


@functools.lru_cache(maxsize=1024)
def used(text: str) -> frozenset[str]:
    """The columns an expression reads. Raises ExpressionError for one that cannot be parsed."""
    whole = f"SELECT {text}\n"
    tree = json.loads(sandbox().cursor().execute("SELECT json_serialize_sql(?)", [whole]).fetchall()[0][0])
    if tree.get("error"):
        raise ExpressionError(f"{text!r} is not an expression: {tree.get('error_message')}")
    node = tree["statements"][0]["node"]
    if len(tree["statements"]) != 1 or node.get("type") != "SELECT_NODE" or len(node["select_list"]) != 1:
        raise ExpressionError(f"{text!r} must be one expression")
    found: set[str] = set()
    _collect(node["select_list"], found)
    return frozenset(found)


def check(purpose: str, text: str, into: str, kinds: dict[str, pa.DataType]) -> None:
    """Raise ExpressionError unless `text` over columns of `kinds` is an expression that can become `into`."""
    plain, draws = with_draws(purpose, text)
    used(plain)
    wrapped = f"CAST(({plain}\n) AS {sql_type(into)}) IS NOT NULL"
    try:
        check_condition(wrapped, {**kinds, **dict.fromkeys(draws, pa.float64())})
    except ExpressionError as cause:
        raise ExpressionError(str(cause).replace(repr(wrapped), repr(text)).replace("field", "column")) from cause


def sql_type(kind: str) -> str:
    """A spec's type in SQL."""
    return _SQL.get(kind) or kind.upper()


@dataclass(frozen=True)
class Told:
    """A column to evaluate: its expression, type and the share of nulls."""

    text: str
    kind: str
    nulls: float = 0.0


def evaluate(
    levels: list[dict[str, Told]],
    columns: dict[str, pl.Series],
    draw: Callable[[str], Floats],
    keep: Callable[[str], bool] = lambda _: True,
) -> dict[str, pl.Series]:
    """The columns to `keep` of all `levels`, each of which may read `columns` and earlier levels.

    `draw` gives the numbers of a rand(). One query: a level is a SELECT over the one before. Raises ValueError that
    names the columns when a value cannot be had, as on overflow.
    """
    names = [n for level in levels for n in level]
    if not names:
        return {}
    sources: dict[str, pl.Series] = {}
    query = "batch"
    for level in levels:
        select = []
        for name, told in level.items():
            plain, draws = with_draws(name, told.text)
            sources |= {c: columns[c] for c in used(plain) if c in columns}
            text = f"CAST(({plain}\n) AS {sql_type(told.kind)})"
            if told.nulls:
                draws = [*draws, f"{name}#null"]
                text = f'CASE WHEN "{name}#null" >= {told.nulls!r} THEN {text} END'
            sources |= {d: pl.Series(d, draw(d)) for d in draws}
            select.append(f'{text} AS "{name}"')
        query = f"(SELECT *, {', '.join(select)} FROM {query})"
    sources = sources or {ROW_NUMBER: columns[ROW_NUMBER]}
    cursor = sandbox().cursor()
    cursor.register(
        "batch", pa.table({n: s.to_arrow(compat_level=pl.CompatLevel.oldest()) for n, s in sources.items()})
    )
    kept = [n for n in names if keep(n)]
    try:
        made = cursor.sql(f"SELECT {', '.join(f'{chr(34)}{n}{chr(34)}' for n in kept)} FROM {query}").to_arrow_table()
    except duckdb.Error as cause:
        raise ValueError(f"column{'s' * (len(names) > 1)} {', '.join(names)}: {str(cause).splitlines()[0]}") from cause
    finally:
        cursor.unregister("batch")
    frame = pl.DataFrame(pl.from_arrow(made))
    return {name: frame[name] for name in kept}


def _collect(node: object, found: set[str]) -> None:
    if isinstance(node, list):
        for part in node:
            _collect(part, found)
    elif isinstance(node, dict):
        if node.get("class") == "COLUMN_REF":
            found.add(node["column_names"][-1])
        for part in node.values():
            _collect(part, found)
