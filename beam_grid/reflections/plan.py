"""What answers a SELECT: its table, or the reflection that reads least. The seam that `query` and the server ask.

    plan = answer_plan(lake, sql, "datafusion")       plan.sql is what to run; plan.answered_by says what answers it

A DuckDB that runs a plan's SQL must know the sketches: `transforms.sketches.prepare(connection)`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from beam_grid.errors import GridError
from beam_grid.lakehouse.bounds import Parameter, moment
from beam_grid.lakehouse.live import live
from beam_grid.lakehouse.versions import newest
from beam_grid.reflections import declared

if TYPE_CHECKING:
    from beam_grid.lakehouse.table_set import KeptReflection, PublishedTable, TableSet
    from beam_grid.landing import Lake
    from beam_grid.reflections.asked import Asked, Dialect

_KEPT, _LONG = 256, 4_000
"""So many matches of a statement with a reflection are remembered, of statements of at most so many characters."""


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


def has_reflections(found: TableSet, table: str) -> bool:
    """Whether the set keeps a reflection of the table: where it does not, `answer_plan` has none to choose."""
    return any(one.reflection is not None and one.reflection.declared.table == table for one in found.tables.values())


def answer_plan(
    lake: Lake,
    sql: str,
    dialect: Dialect = "datafusion",
    found: TableSet | None = None,
    parameters: Sequence[Parameter] = (),
) -> AnswerPlan:
    """How to answer the statement at a version set, the newest unless given. Raises nothing for SQL it does not know.

    parameters: what its $1, $2 and so on are bound to; they stay in the statement that is run instead.
    """
    found = newest(lake) if found is None else found
    held = (
        {} if found is None else {name: table for name, table in found.tables.items() if table.reflection is not None}
    )
    if found is None or not held:
        return AnswerPlan(sql, why="the lake has no reflections")
    question = (_question if len(sql) <= _LONG else _question.__wrapped__)(sql, dialect)
    if isinstance(question, str):
        return AnswerPlan(sql, why=question)
    # all that a match looks at of them is what instant they name, so it is remembered for all others
    instants = tuple(p if isinstance(p, str) and moment(p) is not None else None for p in parameters)
    question = dataclasses.replace(question, parameters=instants)
    known = {question.compared(name): name for name in found.tables}
    table = known.get(question.compared(question.table), question.table)
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
    lake: Lake, question: Asked, name: str, one: PublishedTable, table: str, found: TableSet
) -> tuple[Considered | None, str | None]:
    kept = one.reflection
    assert kept is not None
    if kept.declared.table != table:
        return None, None
    if one.read_at.get(table) != found.tables[table].at:
        return Considered(
            name, "behind", f"it was brought up at {kept.refreshed_at:%Y-%m-%d %H:%M:%S}; {table} has gone on"
        ), None
    asked = (question.text, question.dialect, question.parameters)
    key = (*asked, name, kept.declared, tuple(kept.types.items()), kept.since)
    look = _Look(key, question, name, kept)
    match = _match(look) if len(question.text) <= _LONG else _match.__wrapped__(look)
    if match.text is None:
        return Considered(name, "not", match.why), None
    rows, size = size_of(lake, one)
    if rows is None:
        return Considered(name, "not", "its files are gone; `beam-grid refine` makes it again"), None
    return Considered(name, "matched", "", rows, size, match.is_sorted), match.text


@functools.lru_cache(_KEPT // 2)
def _question(sql: str, dialect: Dialect) -> Asked | str:
    """The statement's tree, or why there is none. It is kept for the next time: whoever makes another of it, copies."""
    from beam_grid.reflections.asked import Unanswered, asked  # sqlglot: for lakes with reflections only

    try:
        return asked(sql, dialect)
    except Unanswered as cause:
        return str(cause)


@dataclass(frozen=True)
class _Look:
    """A statement beside a reflection; the key is all that decides whether it answers."""

    key: tuple[object, ...]
    question: Asked = field(compare=False)
    name: str = field(compare=False)
    kept: KeptReflection = field(compare=False)


class _Match(NamedTuple):
    text: str | None
    """The SELECT over the reflection; None where it cannot answer."""
    why: str = ""
    is_sorted: bool = False


@functools.lru_cache(_KEPT)
def _match(look: _Look) -> _Match:
    """Whether the reflection answers, whatever version set it stands in."""
    from beam_grid.reflections.asked import Unanswered
    from beam_grid.reflections.match import is_sorted_for, rewritten

    try:
        text = rewritten(look.question, look.name.removeprefix(f"{declared.SCHEMA}."), look.kept)
        return _Match(text, is_sorted=is_sorted_for(look.question, look.kept))
    except Unanswered as cause:
        return _Match(None, str(cause))
    except (ValueError, KeyError, AttributeError, RecursionError) as cause:  # a corner of SQL: the table answers
        return _Match(None, f"the statement is not understood ({type(cause).__name__})")


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
