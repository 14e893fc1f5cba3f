"""What is to be read and replaced of a derived table, and what its rows are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from beam_grid.analyses import Analysis
from beam_grid.lakehouse.bounds import Condition
from beam_grid.lakehouse.live import live
from beam_grid.lakehouse.table_set import TableVersion
from beam_grid.lakehouse.tables import Table
from beam_grid.landing import Lake

if TYPE_CHECKING:
    from beam_grid.analyses.detections import Batches
    from beam_grid.lakehouse.engines import Engine
    from beam_grid.lakehouse.live import LiveFile


@dataclass(frozen=True)
class Touched:
    """groups: a view of the groups; is_read, is_replaced: whether a row of the first table, and of the table itself, is to
    be read and replaced, in Spark's SQL."""

    groups: str
    is_read: str
    is_replaced: str
    function: Batches | None = None
    """What makes the rows of what is read, where not all of its series are to be made."""
    replaced_where: Condition | None = None
    """Rows that are replaced meet it."""
    narrowed: str | None = None
    """What stands in a FROM in place of the first table: few rows, with all that the new ones are made of."""


@dataclass(frozen=True)
class Below:
    """The first table that an analysis reads, as the set has it."""

    lake: Lake
    name: str
    at: TableVersion

    def rows(self, engine: Engine, where: Condition | None = None) -> str:
        return engine.rows(Table(self.lake, self.name), self.at.version, where)

    @property
    def files(self) -> list[LiveFile]:
        return list(live(Table(self.lake, self.name).path, self.at.version).files)


def candidate(analysis: Analysis) -> str:
    """The view of the rows before any are dropped."""
    return "candidate_" + analysis.name.removeprefix("gold.")
