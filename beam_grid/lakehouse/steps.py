"""What refine has to do, step by step: one table and one feed's batch of commits for it each.

feed (append)     silver.FEED    gold.WINDOW ...    bronze.rejected, late, conflicts     in process
feed (cdc)        _deleted, current, _history       gold.WINDOW ...   bronze. ...        the first three on Spark
feed (scd2)       silver.FEED                       gold.WINDOW ...   bronze. ...        the first on Spark
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beam_grid.errors import GridError
from beam_grid.lakehouse import gold, guard, sequence
from beam_grid.lakehouse.table_set import PublishedTable, TableSet
from beam_grid.lakehouse.tables import Batch, State, Table
from beam_grid.lakehouse.versions import Content, published
from beam_grid.landing import Lake
from data_sources.lake_tables import gold_names
from data_sources.lake_tables import silver_names as silver_tables

if TYPE_CHECKING:
    from beam_grid.commit import Commit
    from data_sources.contract import Contract, WindowSpec

BRONZE = ("bronze.rejected", "bronze.late", "bronze.conflicts")


@dataclass(frozen=True)
class Step:
    """One table and one feed's batch for it."""

    table: Table
    state: State
    batch: Batch
    window: WindowSpec | None = None

    @property
    def is_due(self) -> bool:
        return self.batch.applied < self.batch.target or self.state.version is None

    @property
    def needs_spark(self) -> bool:
        """Whether the table is one of changes or master data: merged, with history."""
        return self.table.name.startswith("silver.") and self.batch.contract.lake.load != "append"

    @property
    def is_of_changes(self) -> bool:
        """Whether the table is one of the three of a CDC feed."""
        return self.table.name.startswith("silver.") and self.batch.contract.lake.load == "cdc"

    @property
    def application(self) -> str:
        """Delta's transaction id of what the step writes."""
        if self.window is not None:
            return gold.application(self.table, self.batch.contract, self.window)
        return self.table.application(self.batch.contract.name)


def steps_of(lake: Lake, contract: Contract, commits: Sequence[Commit], known: Content) -> list[Step]:
    """The feed's tables with what each has still to take in of its commits, in the order they are written.

    Raises GridError for a table that somebody else changed.
    """
    log = lake.feed(contract.name)
    windows = {f"gold.{window.name}": window for window in contract.windows}
    steps = []
    for name in [*silver_tables(contract), *windows, *BRONZE]:
        table = Table(lake, name)
        state = table.state()
        guard.check(table, state, known.tables.get(name))
        blank = Step(table, state, Batch(log, contract, commits, 0), windows.get(name))
        applied = max(state.applied(blank.application), recorded(known.tables, table, state, blank.application))
        if blank.window is not None and gold.is_of_others(state.transactions, blank.application):
            applied = 0
        if blank.is_of_changes:
            applied = max(applied, state.applied(sequence.application_anew(blank.application, contract)))
            applied = 0 if sequence.is_outdated(state, contract) else applied
        steps.append(Step(table, state, Batch(log, contract, commits, min(applied, len(commits))), windows.get(name)))
    return steps


def maker(step: Step) -> Any:
    """The module that makes a silver table on Spark: prepare(spark, table, state, batch), apply(spark, table, batch)."""
    from beam_grid.lakehouse import cdc_current, cdc_deleted, cdc_history, scd2

    contract = step.batch.contract
    if contract.lake.load == "scd2":
        return scd2
    places = dict(zip(silver_tables(contract), (cdc_deleted, cdc_current, cdc_history), strict=True))
    return places[step.table.name]


def recorded(known: dict[str, PublishedTable], table: Table, state: State, application: str) -> int:
    """The last commit the newest set says the table looked at, written or not; 0 if that was another table, or if what this
    application brought was put out of the table since."""
    said = known.get(table.name)
    is_gone = state.transactions.get(application) == 0
    if said is None or said.id != state.id or said.version > (state.version or 0) or is_gone:
        return 0
    return said.feeds.get(application, 0)


def with_unfinished(lake: Lake, wanted: list[str], landed: list[str], known: TableSet | None) -> list[str]:
    """The feeds asked for and those whose last run ended between a shared table and the set, or lost such a table."""
    shared = [(table, table.state()) for table in (Table(lake, name) for name in BRONZE)]
    chosen, tables = list(wanted), known.tables if known else {}
    for feed in landed:
        done = known.commits.get(feed, 0) if known else 0
        ahead = any(state.applied(table.application(feed)) > done for table, state in shared)
        lost = done and any(recorded(tables, table, state, table.application(feed)) < done for table, state in shared)
        if feed not in chosen and (ahead or lost):
            chosen.append(feed)
    return chosen


def check_owners(contracts: dict[str, Contract]) -> None:
    """Raise GridError where two feeds, or a feed and an analysis, would write one table."""
    from beam_grid.analyses import analyses

    makers: dict[str, str] = {}
    for feed, contract in contracts.items():
        for name in silver_tables(contract):
            if (other := makers.setdefault(name, feed)) != feed:
                raise GridError(
                    f"table {name} belongs to feed {other}, and feed {feed} would write it too; rename one of them"
                )
    owner = {a.name.removeprefix("gold."): "(an analysis)" for a in analyses()} | {"quality": "(the expectations)"}
    for feed, contract in contracts.items():
        for name in gold_names(contract):
            if name in owner:
                raise GridError(
                    f"window {name!r}: feeds {owner[name]} and {feed} both declare it, and gold.{name} "
                    "can be made by one only; rename one of them in its contract"
                )
            owner[name] = feed


def entry(step: Step, before: PublishedTable | None, state: State) -> PublishedTable:
    """What a version set says of the step's table once the step is done; `before` is what it said."""
    is_shared = step.window is None  # a window table is of one definition at a time
    looked_at = before.feeds if is_shared and before is not None and before.id == state.id else {}
    return published(step.table, state, feeds={**looked_at, step.application: step.batch.target})


def feeds_of(steps: Iterable[Step]) -> dict[str, int]:
    """By feed how many commits its steps bring."""
    brought: dict[str, int] = {}
    for step in steps:
        name = step.batch.contract.name
        brought[name] = max(brought.get(name, 0), step.batch.target - step.batch.applied)
    return brought
