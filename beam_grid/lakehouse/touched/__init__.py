"""Which rows of a derived table are made anew: the groups of rows that changed below, and where it can be told only what
comes after.

changed rows ─► their groups ─► all rows of these are read, and replaced
                with `since`:   10:15    all of the group (its hours)     10:15 on
                of features and scores: by series and time (series.py)
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from beam_grid.analyses import Analysis
from beam_grid.analyses.detections import Detect
from beam_grid.analyses.features import Told
from beam_grid.analyses.sql import parts, put, tree
from beam_grid.lakehouse.bounds import Recurring, not_before
from beam_grid.lakehouse.engines import Engine
from beam_grid.lakehouse.spans import timestamp_sql
from beam_grid.lakehouse.table_set import Recipe, TableVersion
from beam_grid.lakehouse.tables import Table, literal
from beam_grid.lakehouse.touched import series
from beam_grid.lakehouse.touched.rows import Below, Touched, candidate
from beam_grid.lakehouse.versions import Content
from beam_grid.landing import Lake
from data_sources.identifiers import backticked, double_quoted

__all__ = ["Touched", "candidate", "find", "parameter", "read_at", "values"]

_RECURRING = re.compile(
    r"\(UNIX_MICROS\(`?(?P<column>\w+)`?\) \+ (?P<origin>\d+)\) DIV (?P<length>[1-9]\d*) % (?P<count>[1-9]\d*)"
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def find(engine: Engine, lake: Lake, content: Content, analysis: Analysis, recipe: Recipe) -> Touched | None:
    """What changed since the table was made; None where all of it has to be."""
    said = content.tables.get(analysis.name)
    source, *others = analysis.inputs
    if said is None or not analysis.touched or not said.is_by(recipe):
        return None
    seen, at = said.read_at, read_at(content, analysis)
    if source not in seen or any(seen.get(other) != at[other] for other in others):
        return None
    if seen[source].id != at[source].id or seen[source].version >= at[source].version:
        return None
    between = (Table(lake, source), seen[source].version, at[source].version)
    if analysis.settled:
        settled = put(tree(analysis.settled), engine.dialect, values=values(analysis, recipe.parameters))
        changed = engine.difference(*between, analysis.watched, settled)
    else:
        changed = engine.changes(*between)
    if changed is None:
        return None
    made = analysis.by_series
    if engine.goes_on and isinstance(made, Told):
        latest = content.tables.get(made.latest)
        is_newest = latest is not None and (latest.inputs or {}).get(analysis.name) == said.signature
        newest = engine.rows(Table(lake, made.latest), latest.version) if latest and is_newest else None
        return series.of_features(engine, Below(lake, source, at[source]), analysis, made, changed, newest)
    if engine.goes_on and isinstance(made, Detect) and analysis.since and (reach := made.reach) is not None:
        return series.of_scores(engine, Below(lake, source, at[source]), analysis, made, reach, changed)
    view = f"{candidate(analysis)}_touched"
    named = parts(analysis.touched)
    groups = ", ".join(f"{part} AS __g{n}" for n, part in enumerate(named))
    whole = " AND ".join(f"({part}) IS NOT NULL" for part in named)
    sql = put(tree(f"SELECT DISTINCT {groups} FROM silver.changed WHERE {whole}"), engine.dialect, lambda _: changed)
    engine.define(view, sql, once=True)
    narrowed = None
    if analysis.newest_by:
        own = engine.rows(Table(lake, analysis.name), said.version)
        narrowed = _narrowed(engine, analysis, engine.came(*between), own, view)
    is_touched = _is_in(named, view)
    if not analysis.since or not engine.goes_on:
        return Touched(view, is_touched, is_touched, narrowed=narrowed)
    (first,) = engine.ask(f"SELECT min({double_quoted(analysis.since)}) AS t FROM {changed}")["t"].to_pylist()
    if first is None:
        return Touched(view, is_touched, is_touched)
    recurring = next((found for part in named if (found := _recurring(engine, part, changed))), None)
    if recurring is not None:
        part, condition = recurring
        narrowed = engine.rows(Table(lake, source), at[source].version, condition)
        is_touched = f"({part} IN ({', '.join(map(str, sorted(condition.phases)))}) AND {is_touched})"
    moment = timestamp_sql((first - _EPOCH) // timedelta(microseconds=1))
    is_replaced = f"({backticked(analysis.since)} >= {moment} AND {is_touched})"
    return Touched(view, is_touched, is_replaced, replaced_where=not_before(analysis.since, first), narrowed=narrowed)


def _recurring(engine: Engine, part: str, changed: str) -> tuple[str, Recurring] | None:
    """Where the expression is one of a time that recurs, such as the hour of the week: itself, and those that changed. Rows
    of other times are in other groups, so files that have none of these need not be read."""
    said = _RECURRING.fullmatch(part)
    if said is None:
        return None
    sql = put(tree(f"SELECT DISTINCT {part} AS phase FROM silver.changed"), engine.dialect, lambda _: changed)
    phases = frozenset(engine.ask(sql)["phase"].to_pylist()) - {None}
    origin, length, count = (int(said[name]) for name in ("origin", "length", "count"))
    return f"({part})", Recurring(said["column"], origin, length, count, phases)


def _is_in(named: list[str], groups: str) -> str:
    """Whether a row's group is one of the view's. A row with a null there always counts as touched: that it is computed
    and replaced once too often changes nothing, and a join by plain equality is several times faster."""
    null = " OR ".join(f"({part}) IS NULL" for part in named)
    return f"(({', '.join(named)}) IN (SELECT * FROM {groups}) OR {null})"


def _narrowed(engine: Engine, analysis: Analysis, came: str | None, own: str, groups: str) -> str | None:
    """Rows that came, where each touched group's newest is among them: not older than the newest it had."""
    if came is None:
        return None
    group, time = (double_quoted(name) for name in (analysis.key[0], analysis.newest_by))
    asked = engine.ask(
        f"SELECT count(*) AS n FROM (FROM {groups}) g LEFT JOIN (SELECT {group} AS g, max({time}) AS t FROM {came} GROUP BY 1) c "
        f"ON g.__g0 = c.g LEFT JOIN {own} o ON g.__g0 = o.{group} WHERE c.t IS NULL OR c.t < o.{time}"
    )
    return None if asked["n"][0].as_py() else came


def read_at(content: Content, analysis: Analysis) -> dict[str, TableVersion]:
    """Tables as the analysis sees them now."""
    return {name: content.tables[name].at for name in analysis.inputs}


def values(analysis: Analysis, parameters: dict[str, str]) -> dict[str, str]:
    """The parameters in SQL."""
    chosen = {p.name: parameter(p.kind, parameters[p.name]) for p in analysis.parameters}
    if analysis.clock is not None:
        chosen["upto"] = timestamp_sql(
            (datetime.fromisoformat(parameters["upto"]) - _EPOCH) // timedelta(microseconds=1)
        )
    return chosen


def parameter(kind: str, text: str) -> str:
    """A parameter's value in SQL; raises ValueError where it is not of its kind."""
    if kind == "DATE":
        return f"DATE '{date.fromisoformat(text).isoformat()}'"
    return str(int(text)) if kind == "INT" else literal(text)
