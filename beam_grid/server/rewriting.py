"""Where a SELECT may be answered from other tables than those it names: the seam for reflections.

    SELECT, judged ─► each Rewriter in turn ─► the first Rewritten, judged again ─► DuckDB
                                           └─► none: as it was asked

A rewriter must keep the answer equal: names, types, rows. What the caller may see was decided by the tables the caller
named; tables that a rewriter puts in their place are not asked for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from beam_grid.reflections.plan import answer_plan, has_reflections

if TYPE_CHECKING:
    from beam_grid.lakehouse.bounds import Parameter
    from beam_grid.lakehouse.table_set import TableSet
    from beam_grid.landing import Lake


@dataclass(frozen=True)
class Rewritten:
    """The SQL to run instead, and what answers: goes into the answer's headers and the query log."""

    sql: str
    answered_by: str


class Rewriter(Protocol):
    """May answer a statement from other tables of the same set; None leaves it as it is. Must not raise for SQL it does
    not know."""

    def __call__(
        self, sql: str, tables: list[str], found: TableSet, parameters: Sequence[Parameter]
    ) -> Rewritten | None:
        """tables: those that it reads, as the set spells them; whoever has none of them need not look at the text.
        parameters: what its $1, $2 and so on are bound to, and are in the SQL to run instead."""


@dataclass(frozen=True)
class FromReflections:
    """A Rewriter: the lake's reflections (docs/reflections.md)."""

    lake: Lake

    def __call__(
        self, sql: str, tables: list[str], found: TableSet, parameters: Sequence[Parameter]
    ) -> Rewritten | None:
        if len(tables) != 1 or not has_reflections(found, tables[0]):
            return None
        plan = answer_plan(self.lake, sql, "duckdb", found, parameters)
        return None if plan.answered_by is None else Rewritten(plan.sql, plan.answered_by)
