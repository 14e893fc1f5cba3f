"""What answers a SELECT: its table, or the reflection that reads least. The seam that `query` and the server ask.

    plan = answer_plan(lake, sql, "datafusion")       plan.sql is what to run; plan.answered_by says what answers it

A DuckDB that runs a plan's SQL must know the sketches: `transforms.sketches.prepare(connection)`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from beam_grid.errors import GridError
from beam_grid.lakehouse.live import live
from beam_grid.lakehouse.versions import newest
from beam_grid.reflections import declared

if TYPE_CHECKING:
    from beam_grid.lakehouse.table_set import PublishedTable, TableSet
    from beam_grid.landing import Lake
    from beam_grid.reflections.asked import Dialect


@dataclass(frozen=True)
class Considered:
    """A reflection that was looked at for a statement."""

    name: str
    """As reflection.NAME."""
    outcome: Literal["chosen", "matched", "behind", "not"]
    why: str
    rows: int | None = None
    bytes: int | None = None
    """All that it holds."""
    is_sorted: bool = False
    """The statement asks for one value, or some, of the column that its rows are sorted by: few of them are read."""


@dataclass(frozen=True)
class AnswerPlan:
    """What to run for a statement."""

    sql: str
    """Over the reflection where one answers, else as it was given."""
    answered_by: str | None = None
    """The reflection, as reflection.NAME; None for the table itself."""
    table: str | None = None
    """The table that the statement is about, where that was understood."""
    rows: int | None = None
    bytes: int | None = None
    """All that the table holds."""
    considered: list[Considered] = field(default_factory=list)
    why: str = ""
    """Why none was considered."""

    @property
    def saved(self) -> tuple[int, int] | None:
        """Rows and bytes that need not be looked at."""
        chosen = next((one for one in self.considered if one.outcome == "chosen"), None)
        if chosen is None or None in (self.rows, self.bytes, chosen.rows, chosen.bytes):
            return None
        return int(self.rows or 0) - int(chosen.rows or 0), int(self.bytes or 0) - int(chosen.bytes or 0)


def answer_plan(lake: Lake, sql: str, dialect: Dialect = "datafusion", found: TableSet | None = None) -> AnswerPlan:
    """How to answer the statement at a version set, the newest unless given. Raises nothing for SQL it does not know."""
    found = newest(lake) if found is None else found
    held = (
        {} if found is None else {name: table for name, table in found.tables.items() if table.reflection is not None}
    )
    if found is None or not held:
        return AnswerPlan(sql, why="the lake has no reflections")
    from beam_grid.reflections.asked import Unanswered, asked  # sqlglot: for lakes with reflections only

    try:
        question = asked(sql, dialect)
    except Unanswered as cause:
        return AnswerPlan(sql, why=str(cause))
    known = {name.lower(): name for name in found.tables}
    table = known.get(question.table.lower(), question.table)
    if table not in found.tables:
        return AnswerPlan(sql, why=f"{question.table} is no table")
    rows, size = size_of(lake, found.tables[table])
    considered, texts = [], {}
    for name, one in held.items():
        verdict, text = _look_at(lake, question, name, one, table, found)
        if verdict is not None:
            considered.append(verdict)
        if text is not None:
            texts[name] = text
    matched = sorted(
        (one for one in considered if one.outcome == "matched"),
        key=lambda one: (not one.is_sorted, one.rows or 0, one.bytes or 0, one.name),
    )
    if not matched:
        return AnswerPlan(sql, None, table, rows, size, considered, "" if considered else f"none is of {table}")
    best = matched[0]
    if (
        not best.is_sorted and rows is not None and best.rows is not None and best.rows >= rows
    ):  # of its columns a query reads what it names
        told = [
            _told(one, "matched", f"{table} itself has no more rows") if one in matched else one for one in considered
        ]
        return AnswerPlan(sql, None, table, rows, size, told)
    told = [
        _told(one, "chosen", "it is sorted by what is asked for" if one.is_sorted else "it reads least") if one is best
        else _told(one, "matched", f"{best.name} reads less") if one in matched else one
        for one in considered
    ]  # fmt: skip
    return AnswerPlan(texts[best.name], best.name, table, rows, size, told)


def _look_at(
    lake: Lake, question: object, name: str, one: PublishedTable, table: str, found: TableSet
) -> tuple[Considered | None, str | None]:
    from beam_grid.reflections.asked import Asked, Unanswered
    from beam_grid.reflections.match import is_sorted_for, rewritten

    kept = one.reflection
    assert kept is not None and isinstance(question, Asked)
    if kept.declared.table != table:
        return None, None
    if one.read_at.get(table) != found.tables[table].at:
        return Considered(
            name, "behind", f"it was brought up at {kept.refreshed_at:%Y-%m-%d %H:%M:%S}; {table} has gone on"
        ), None
    try:
        text = rewritten(question, name.removeprefix(f"{declared.SCHEMA}."), kept)
    except Unanswered as cause:
        return Considered(name, "not", str(cause)), None
    except (ValueError, KeyError, AttributeError, RecursionError) as cause:  # a corner of SQL: the table answers
        return Considered(name, "not", f"the statement is not understood ({type(cause).__name__})"), None
    rows, size = size_of(lake, one)
    if rows is None:
        return Considered(name, "not", "its files are gone; `beam-grid refine` makes it again"), None
    return Considered(name, "matched", "", rows, size, is_sorted_for(question, kept)), text


def _told(one: Considered, outcome: Literal["chosen", "matched"], why: str) -> Considered:
    return Considered(one.name, outcome, why, one.rows, one.bytes, one.is_sorted)


def size_of(lake: Lake, table: PublishedTable) -> tuple[int | None, int | None]:
    """Rows and bytes of a table at its version; None where its files do not tell, or are gone."""
    try:
        return _size(lake.path / table.path, table.id, table.version)
    except (GridError, OSError, ValueError, KeyError):
        return None, None


@functools.lru_cache(256)
def _size(path: Path, table_id: str, version: int) -> tuple[int | None, int | None]:
    """Of a version, which never changes: a server asks for the same ones with each statement."""
    at = live(path, version)
    counted = [file.rows for file in at.files]
    rows = None if None in counted else sum(count or 0 for count in counted) - sum(file.deleted for file in at.files)
    return rows, at.bytes
