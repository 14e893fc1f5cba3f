"""`beam-grid reflections suggest`: what would have paid, by the log of queries that the server answered.

    gold.query_log ─► statements that read a table ─► the dimensions and measures each would need ─► put together where
    alike ─► time they took, less what they would take ─► per MiB that the reflection would be

A suggestion is tried before it is made: the SELECTs it names would be answered by it. Estimates: a reflection's lines are
counted in the table as it is; time saved is in proportion to lines not read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlglot import exp

from beam_grid.errors import GridError
from beam_grid.lakehouse import query_log
from beam_grid.lakehouse.live import live
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.table_set import KeptReflection, Reflection, TableSet
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from beam_grid.reflections import declared
from beam_grid.reflections.asked import Asked, Unanswered, asked
from beam_grid.reflections.match import instant, is_whole, rewritten
from beam_grid.reflections.plan import size_of
from data_sources.identifiers import double_quoted

if TYPE_CHECKING:
    import pyarrow as pa


_NEWEST = 10_000
_MOST = 20
_FUNCTIONS = {
    "sum": "sum", "min": "min", "max": "max", "avg": "avg", "count": "count", "approxdistinct": "distinct",
    "approxquantile": "quantile",
}  # fmt: skip


@dataclass
class Wanted:
    """A reflection that the log asks for."""

    table: str
    dimensions: tuple[str, ...]
    measures: set[str] = field(default_factory=set)
    statements: int = 0
    milliseconds: float = 0.0


def suggested(lake: Lake) -> pa.Table:
    """A line for each, what pays most per MiB first: `table`, `queries`, `spent_ms`, `saved_ms`, `rows`, `bytes` (estimated),
    `ms_per_mib`, `toml`. Raises GridError before the first version set, and where no query was ever logged."""
    import pyarrow as pa

    found = newest(lake)
    if found is None:
        raise GridError(f"lake {lake.path}: has no tables yet; run `beam-grid refine --lake {lake.path}` first")
    lines = [line for one in _wanted(lake, found) if (line := _weighed(lake, found, one)) is not None]
    lines.sort(key=lambda line: -float(str(line["ms_per_mib"])))
    schema = pa.schema(
        [("table", pa.string()), ("queries", pa.int64()), ("spent_ms", pa.float64()), ("saved_ms", pa.float64()),
         ("rows", pa.int64()), ("bytes", pa.int64()), ("ms_per_mib", pa.float64()), ("toml", pa.string())]
    )  # fmt: skip
    return pa.Table.from_pylist(lines[:_MOST], schema=schema)


def _wanted(lake: Lake, found: TableSet) -> list[Wanted]:
    """Alike statements put together: of one table and with the same dimensions."""
    together: dict[tuple[str, tuple[str, ...]], Wanted] = {}
    for statement, milliseconds in _logged(lake):
        try:
            question = asked(statement, "duckdb")
            if question.table not in found.tables or found.tables[question.table].reflection is not None:
                continue
            types = types_of(lake, found, question.table)
            dimensions, measures = needs(question, types)
        except (Unanswered, ValueError, KeyError, AttributeError, RecursionError):
            continue
        one = together.setdefault((question.table, dimensions), Wanted(question.table, dimensions))
        one.measures |= measures
        one.statements += 1
        one.milliseconds += milliseconds
    return list(together.values())


def _logged(lake: Lake) -> Iterator[tuple[str, float]]:
    """Statements that went well and that no reflection answered, and the milliseconds each took, the newest first."""
    if not query_log.exists(lake):
        raise GridError(
            f"lake {lake.path}: no query was logged yet; `beam-grid serve` logs those it answers, and this reads its log"
        )
    from deltalake import DeltaTable

    names = ["started_at", "kind", "statement", "status", "answered_by", "execution_time_ms"]
    log = DeltaTable(str((lake.path / query_log.FOLDER).resolve())).to_pyarrow_table(columns=names)
    for row in log.sort_by([("started_at", "descending")]).slice(0, _NEWEST).to_pylist():
        if row["kind"] == "sql" and row["status"] == "ok" and row["answered_by"] is None:
            yield row["statement"], row["execution_time_ms"] or 0.0


def types_of(lake: Lake, found: TableSet, table: str) -> dict[str, str]:
    """By column of a table of the set: its type, as Delta calls it."""
    at = live(lake.path / found.tables[table].path, found.tables[table].version)
    return {f["name"]: f["type"] if isinstance(f["type"], str) else "nested" for f in json.loads(at.schema)["fields"]}


def needs(question: Asked, types: dict[str, str]) -> tuple[tuple[str, ...], set[str]]:
    """The dimensions and measures that would answer it. Raises Unanswered where none would."""
    dimensions: dict[str, set[str]] = defaultdict(set)
    measures = set()
    for node in question.select.find_all(exp.AggFunc):
        measures.add(_measure(question, node, types))
    aliases = {one.alias for one in question.select.expressions if isinstance(one, exp.Alias)}
    for column in question.select.find_all(exp.Column):
        is_alias = isinstance(column.parent, exp.Ordered) and not column.table and column.name in aliases
        if is_alias or column.find_ancestor(exp.AggFunc) is not None:
            continue
        try:
            name = question.field(column, types)
        except Unanswered:  # an alias; what it stands for is looked at where it stands
            continue
        if types[name] in ("double", "float", "nested"):
            raise Unanswered(f"{name} is {types[name]}, which tells no groups apart")
        dimensions[name].add(_unit(column) if types[name] == "timestamp" else "")
    listed = []
    for name, units in sorted(dimensions.items()):
        finest = "" if "" in units else next(unit for unit in declared.UNITS if unit in units)
        listed.append(f"{finest}({name})" if finest else name)
    one = Reflection(name="suggested", table=question.table, dimensions=tuple(listed), measures=tuple(sorted(measures)))
    kept = KeptReflection(declared=one, types=types, refreshed_at=datetime.now(UTC), seconds=0.0)
    rewritten(question, "suggested", kept)
    return tuple(listed), measures


def _measure(question: Asked, node: exp.AggFunc, types: dict[str, str]) -> str:
    function = _FUNCTIONS.get(type(node).__name__.lower())
    if function is None:
        raise Unanswered(f"{node.sql()[:60]} is not kept")
    if not isinstance(node.this, exp.Column):
        return "count()"  # of a star; whatever else it is, `rewritten` refuses
    name = question.field(node.this, types)
    return f"quantile({name}, {node.args['quantile'].this})" if function == "quantile" else f"{function}({name})"


def _unit(column: exp.Column) -> str:
    """By which unit a timestamp is asked for; nothing, where it is by the timestamp itself."""
    parent = column.parent
    if isinstance(parent, exp.TimestampTrunc | exp.DateTrunc):
        unit = str(parent.args["unit"].name).lower()
        coarse = {"week": "day", "quarter": "month", "year": "month"}
        return coarse.get(unit, unit if unit in declared.UNITS else "")
    other = parent.expression if isinstance(parent, exp.GTE | exp.LT) and parent.this is column else None
    moment = instant(other) if other is not None else None
    if moment is None:
        return ""
    return next((unit for unit in ("hour", "minute") if is_whole(moment, unit)), "")


def _weighed(lake: Lake, found: TableSet, one: Wanted) -> dict[str, object] | None:
    """Its line; None where the reflection would be as long as the table."""
    rows, _ = size_of(lake, found.tables[one.table])
    groups = _groups(lake, one)
    if not rows or groups * 2 > rows:
        return None
    measured = declared.measures(Reflection(name="x", table=one.table, measures=tuple(one.measures)))
    width = 8 * (1 + len(one.dimensions)) + sum(
        {"quantile": 600, "distinct": 400, "avg": 16}.get(m.function, 8) for m in measured
    )
    size = max(1024, groups * width)
    saved = one.milliseconds * (1 - groups / rows)
    return {
        "table": one.table, "queries": one.statements, "spent_ms": round(one.milliseconds, 1), "saved_ms": round(saved, 1),
        "rows": groups, "bytes": size, "ms_per_mib": round(saved / (size / (1 << 20)), 3), "toml": _toml(one),
    }  # fmt: skip


def _groups(lake: Lake, one: Wanted) -> int:
    terms = []
    for dimension in declared.dimensions(Reflection(name="x", table=one.table, dimensions=one.dimensions)):
        column = double_quoted(dimension.field)
        terms.append(column if dimension.unit is None else f"date_trunc('{dimension.unit}', {column})")
    if not terms:
        return 1
    schema, _, name = one.table.partition(".")
    listed = ", ".join(f"{term} AS g{n}" for n, term in enumerate(terms))
    inner = f"SELECT DISTINCT {listed} FROM {schema}.{double_quoted(name)}"
    return int(query(lake, f"SELECT count(*) AS n FROM ({inner}) AS g", with_reflections=False)["n"][0].as_py())


def _toml(one: Wanted) -> str:
    words = [part.lower().replace("(", "_").strip(")") for part in one.dimensions]
    name = "_".join(
        [one.table.partition(".")[2].lower(), "by", *words] if words else [one.table.partition(".")[2].lower(), "all"]
    )
    name = "".join(sign if sign.isascii() and (sign.isalnum() or sign == "_") else "_" for sign in name)[:100]
    return (
        f"[[reflections]]\nname = {json.dumps(name)}\ntable = {json.dumps(one.table)}\n"
        f"dimensions = {json.dumps(list(one.dimensions))}\nmeasures = {json.dumps(sorted(one.measures))}\n"
    )
