"""`beam-grid reflections check`: a sample of answers computed both ways, from the reflection and from its table.

For each reflection questions are made of its own dimensions and measures: all of it, by each dimension, by two, and of
some values of each; they go the way of every query. A statement that the reflection ought to answer and does not is
said too.
"""

from __future__ import annotations

import math
import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.table_set import KeptReflection
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from beam_grid.reflections import declared
from beam_grid.reflections.plan import answer_plan
from data_sources.identifiers import double_quoted

if TYPE_CHECKING:
    import pyarrow as pa


class Checked(NamedTuple):
    """A question that was answered both ways."""

    reflection: str
    sql: str
    outcome: str
    """equal, differs or not answered."""
    rows: int
    with_s: float
    without_s: float
    why: str = ""


def check(lake: Lake, questions: int = 12, seed: int = 0) -> list[Checked]:
    """Ask each current reflection so many questions; the same seed asks the same. Raises GridError as `query` does."""
    found = newest(lake)
    checked = []
    for name, table in sorted(found.tables.items()) if found is not None else []:
        if table.reflection is None or found is None:
            continue
        kept = table.reflection
        source = found.tables.get(kept.declared.table)
        if source is None or table.read_at.get(kept.declared.table) != source.at:
            checked.append(Checked(name, "", "not answered", 0, 0.0, 0.0, "it is behind its table"))
            continue
        chosen = random.Random(seed)
        asked = _of_rows(kept) if kept.declared.raw is not None else _of_groups(lake, name, kept, chosen)
        for sql in asked[:questions]:
            checked.append(_both_ways(lake, name, sql))
    return checked


def _both_ways(lake: Lake, name: str, sql: str) -> Checked:
    plan = answer_plan(lake, sql)
    own = next((one for one in plan.considered if one.name == name), None)
    if own is None or own.outcome in ("not", "behind"):
        return Checked(name, sql, "not answered", 0, 0.0, 0.0, own.why if own is not None else plan.why)
    began = time.monotonic()
    ours = query(lake, sql)
    between = time.monotonic()
    theirs = query(lake, sql, with_reflections=False)
    ended = time.monotonic()
    why = differs(ours, theirs)
    took = (round(between - began, 4), round(ended - between, 4))
    return Checked(name, sql, "differs" if why else "equal", ours.num_rows, *took, why)


def differs(ours: pa.Table, theirs: pa.Table) -> str:
    """How two answers differ, in any order of rows and floats within 1e-9; nothing where they do not."""
    if ours.schema != theirs.schema:
        return f"columns {ours.schema.to_string()!r} and {theirs.schema.to_string()!r}"
    if ours.num_rows != theirs.num_rows:
        return f"{ours.num_rows} rows and {theirs.num_rows}"
    for one, other in zip(_sorted(ours), _sorted(theirs), strict=True):
        for column, value in one.items():
            if not _same(value, other[column]):
                return f"{column}: {value} and {other[column]} in {other}"
    return ""


def _sorted(table: pa.Table) -> list[dict[str, Any]]:
    rows = table.to_pylist()
    return sorted(
        rows, key=lambda row: [(v is None, f"{v:.6e}" if isinstance(v, float) else str(v)) for v in row.values()]
    )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def _of_rows(kept: KeptReflection) -> list[str]:
    raw, since = kept.declared.raw, kept.since
    assert raw is not None and since is not None
    time_, table = double_quoted(raw.time), _table(kept)
    columns = ", ".join(double_quoted(name) for name, kind in kept.types.items() if kind != "nested")
    questions = []
    for later in (0, 3_600_000_000, 86_400_000_000):
        at = _iso(max(since, 0) + later)  # one of a table without times begins before all that there is
        questions.append(
            f"SELECT count(*) AS n, min({time_}) AS first_at, max({time_}) AS last_at FROM {table} WHERE {time_} >= '{at}'"
        )
        questions.append(f"SELECT {columns} FROM {table} WHERE {time_} >= '{at}' ORDER BY {columns} LIMIT 100")
    return questions


def _of_groups(lake: Lake, name: str, kept: KeptReflection, chosen: random.Random) -> list[str]:
    measures = [text for m in declared.measures(kept.declared) if (text := _exact(m, kept)) is not None]
    picked = ", ".join(["count(*) AS n", *(f"{text} AS m{n}" for n, text in enumerate(measures))])
    dimensions = declared.dimensions(kept.declared)
    terms = [_term(d) for d in dimensions]
    questions = [f"SELECT {picked} FROM {_table(kept)}"]
    for term in terms:
        questions.append(f"SELECT {term} AS g0, {picked} FROM {_table(kept)} GROUP BY {term}")
    if len(terms) > 1:
        one, other = chosen.sample(terms, 2)
        questions.append(f"SELECT {one} AS g0, {other} AS g1, {picked} FROM {_table(kept)} GROUP BY {one}, {other}")
    for dimension in dimensions:
        column = double_quoted(dimension.column)
        values = query(lake, f"SELECT DISTINCT {column} AS v FROM {declared.SCHEMA}.{double_quoted(kept.declared.name)} WHERE {column} IS NOT NULL ORDER BY v LIMIT 1000")["v"].to_pylist()  # fmt: skip
        if not values:
            continue
        value, field = chosen.choice(values), double_quoted(dimension.field)
        if dimension.unit is not None:
            questions.append(f"SELECT {picked} FROM {_table(kept)} WHERE {field} >= '{value.isoformat()}'")
        elif isinstance(value, str | int | bool):
            said = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value).lower()
            questions.append(f"SELECT {picked} FROM {_table(kept)} WHERE {field} = {said}")
    return questions


def _exact(measure: declared.Measured, kept: KeptReflection) -> str | None:
    """The measure as it is asked for; None of those this engine does not take from a reflection."""
    if measure.function in ("quantile", "distinct"):
        return None
    if measure.field is None:
        return "count(*)"
    if measure.function == "avg" and kept.types[measure.field].startswith("decimal"):
        return None
    return f"{measure.function}({double_quoted(measure.field)})"


def _term(dimension: declared.Dimension) -> str:
    column = double_quoted(dimension.field)
    return column if dimension.unit is None else f"date_trunc('{dimension.unit}', {column})"


def _table(kept: KeptReflection) -> str:
    schema, _, name = kept.declared.table.partition(".")
    return f"{schema}.{double_quoted(name)}"


def _iso(instant: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)).isoformat()
