"""`refine`: bring every table up to the last commit, each in a Delta transaction or two, then publish the set of versions.

Guarantees: a commit counts exactly once in a table, wherever an earlier run was cut off; with nothing new, no Spark
starts; readers see all tables of a set or none of it; tables somebody deleted are made again from commit 0.
Not guaranteed: that feeds whose last run was cut off wait for their turn. Their shared tables may hold more than the
last set said, so they are brought up to date together with the feeds asked for.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_grid import openlineage
from beam_grid.crash import point
from beam_grid.errors import GridError, RunFailed
from beam_grid.lakehouse import guard
from beam_grid.lakehouse.versions import Content, content_of, newest, publish, stands
from beam_grid.landing import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from beam_grid.lakehouse.tables import Batch, State, Table
    from data_sources.contract import Contract, WindowSpec

BRONZE = ("bronze.rejected", "bronze.late", "bronze.conflicts")

Progress = Callable[[str], None]

_CHAINS_AT_ONCE = 3

_BRIEF_BYTES = 256 << 20
"""Below this much input, counted once a table, a run is over before a thorough JVM compiler would have paid."""


@dataclass(frozen=True)
class RefineResult:
    """What a run did. `feeds` counts the commits each feed brought, `analyses` names the derived tables made anew; both
    are empty when there was nothing new."""

    feeds: dict[str, int] = field(default_factory=dict)
    analyses: list[str] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    set: int | None = None
    optimized: list[Any] = field(default_factory=list)
    seconds: float = 0.0


def versions(lake: Lake) -> dict[str, Any] | None:
    """The newest set of table versions that belong together; None before the first refine."""
    return newest(lake)


def refine(
    lake: Lake,
    feeds: list[str] | None = None,
    *,
    spark_master: str | None = None,
    parameters: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> RefineResult:
    """Apply to every table the commits it has not had; `feeds` defaults to all that landed.

    parameters: values for the analyses, as {"active_agreements.as_of": "2021-01-01"}; a lake keeps those once given.
    Raises GridError for a feed that never landed, two feeds with one window table, an unknown parameter, another run
    at work, a machine that cannot run Spark, or a table that somebody else changed; RunFailed when a step fails or a
    table is not what its contract expects, with what was done before it intact.
    """
    from beam_grid.lakehouse import derived

    started = time.monotonic()
    say = progress or (lambda line: None)
    landed = lake.feeds
    chosen = parameters or {}
    derived.check_parameters(chosen)
    for name in feeds or []:
        if name not in landed:
            seen = ", ".join(landed) or "none yet"
            raise GridError(
                f"feed {name!r}: nothing of it has landed in {lake.path} (landed: {seen}); run `beam-grid land {name}` first"
            )
    with lake.lock("tables"):
        known = newest(lake)
        if (
            known is not None
            and stands(lake, known)
            and all(known["commits"].get(f) == lake.feed(f).last for f in feeds or landed)
            and not derived.is_due(content_of(known), {}, chosen)  # what contracts expect changes with a commit only
        ):
            return RefineResult(tables=_numbers(known), set=known["set"], seconds=time.monotonic() - started)
        if not landed:
            return RefineResult(seconds=time.monotonic() - started)
        return _refine(lake, feeds or landed, landed, known, spark_master, chosen, say, started)


@dataclass(frozen=True)
class _Step:
    """One table and one feed's batch for it."""

    table: Table
    state: State
    batch: Batch
    window: WindowSpec | None = None
    maker: Any = None
    """The module that makes the table from landed rows: prepare(spark, table, state, batch), apply(spark, table, batch)."""

    @property
    def is_due(self) -> bool:
        return self.batch.applied < self.batch.target


def _refine(
    lake: Lake,
    wanted: list[str],
    landed: list[str],
    known: dict[str, Any] | None,
    master: str | None,
    parameters: dict[str, str],
    say: Progress,
    started: float,
) -> RefineResult:
    from beam_grid.lakehouse.tables import Table

    contracts = _contracts(lake, landed)
    _check_owners(contracts)
    steps = [
        step
        for name in _with_unfinished(lake, wanted, landed, known, contracts)
        for step in _steps(lake, contracts[name], known)
    ]
    due = [step for step in steps if step.is_due or step.state.version is None]
    point("refine:start")
    written = {step.table.name: step for step in due}  # bronze tables are steps of many feeds
    with openlineage.run(lake, "refine", "pyspark") as told:
        if due:
            told.start(_sources(lake, due), [openlineage.table(step.table) for step in written.values()])
        work = _Work(lake, contracts, steps, due, known, master, parameters, say)
        content, made, optimized = _apply(work)
        point("refine:before-set")
        done = _publish(lake, content, known)
        point("refine:after-set")
        told.inputs = _sources(lake, due)
        told.outputs = [openlineage.table(step.table, step.state) for step in written.values()]
        told.outputs += [openlineage.table(Table(lake, name)) for name in made]
    brought: dict[str, int] = {}
    for step in due:
        brought[step.batch.contract.name] = max(
            brought.get(step.batch.contract.name, 0), step.batch.target - step.batch.applied
        )
    return RefineResult(brought, made, _numbers(done), done["set"], optimized, time.monotonic() - started)


def _sources(lake: Lake, due: list[_Step]) -> list[openlineage.Dataset]:
    """What the steps read, as lineage tells it: of each feed the rows of the commits that one of its tables had not had."""
    feeds: dict[str, int] = {}
    for step in due:
        rows = sum(commit.fates.landed for commit in step.batch.new)
        feeds[step.batch.contract.name] = max(feeds.get(step.batch.contract.name, 0), rows)
    return [openlineage.landing(lake, feed, "input", rows=rows) for feed, rows in feeds.items()]


@dataclass(frozen=True)
class _Work:
    """What a run has to do: all steps of its feeds, and those that are due."""

    lake: Lake
    contracts: dict[str, Contract]
    steps: list[_Step]
    due: list[_Step]
    known: dict[str, Any] | None
    master: str | None
    parameters: dict[str, str]
    say: Progress


def _apply(work: _Work) -> tuple[Content, list[str], list[Any]]:
    """Write what is due: the content of the next set, the derived tables made, the tables optimized."""
    from beam_grid.lakehouse import bronze, derived, maintain

    lake, due, say = work.lake, work.due, work.say
    scratch = lake.path.resolve() / "tables" / ".scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    made: list[str] = []
    optimized: list[Any] = []
    spark = None
    try:
        for table in {step.table.name: step.table for step in due if step.table.name in BRONZE}.values():
            bronze.prepare(table)
        if any(_needs_spark(step) for step in due):
            spark = _spark(work.master, sum(step.batch.bytes("rows", "tiles") for step in due), say)
            _run_all(spark, due, scratch, say)
            own = [step.table for step in due if step.table.name not in BRONZE]
            optimized = maintain.optimize(spark, own, say)
        content = _content(work.steps, work.known)
        derived.forget_lost(lake, content)
        if derived.is_due(content, work.contracts, work.parameters):
            spark = spark or _spark(work.master, 0, say)
            made = derived.make(spark, lake, content, work.contracts, work.parameters, say)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return content, made, optimized


def _run_all(spark: SparkSession, due: list[_Step], scratch: Path, say: Progress) -> None:
    """The steps in chains side by side: most of a small step is Spark's driver, not its cores.

    Each chain has a session of its own, because a transaction's id is a session's setting, and views have names.
    """
    chains: dict[tuple[str, ...], list[_Step]] = {}
    for step in due:
        chains.setdefault(_chain(step), []).append(step)

    def run(steps: list[_Step]) -> None:
        session = spark.newSession() if len(chains) > 1 else spark
        for step in steps:
            _run(session, step, scratch / step.batch.contract.name / step.table.name, say)

    with ThreadPoolExecutor(_CHAINS_AT_ONCE if len(chains) > 1 else 1) as pool:
        failed = [cause for cause in (f.exception() for f in [pool.submit(run, s) for s in chains.values()]) if cause]
    if failed:
        raise failed[0]


def _chain(step: _Step) -> tuple[str, ...]:
    """What the step must wait for shares its chain: of much data the whole feed, which fills the cores by itself; of
    little its silver tables in their order, each window, the bronze tables."""
    feed = step.batch.contract.name
    if step.batch.bytes("rows", "tiles") > _BRIEF_BYTES:
        return (feed,)
    if step.window is not None:
        return (feed, step.table.name)
    return (feed, "bronze" if step.table.name in BRONZE else "silver")


def _steps(lake: Lake, contract: Contract, known: dict[str, Any] | None) -> list[_Step]:
    """The feed's tables with what each has still to take in, in the order they are written."""
    from beam_grid.lakehouse import gold
    from beam_grid.lakehouse.tables import Batch, Table

    log = lake.feed(contract.name)
    commits = list(log.commits())
    steps = []
    windows = {f"gold.{window.name}": window for window in contract.windows}
    makers = silver_tables(contract)
    for name in [*makers, *windows, *BRONZE]:
        table = Table(lake, name)
        state, window = table.state(), windows.get(name)
        guard.check(table, state, (known or {"tables": {}})["tables"].get(name))
        marked = gold.application(table, contract, window) if window else table.application(contract.name)
        applied = max(state.applied(marked), _recorded(known, table, state, marked))
        batch = Batch(log, contract, commits, min(applied, len(commits)))
        steps.append(_Step(table, state, batch, window, makers.get(name)))
    return steps


def silver_tables(contract: Contract) -> dict[str, Any]:
    """The silver tables of a feed in the order they are written, each with the module that makes it."""
    from beam_grid.lakehouse import cdc_current, cdc_deleted, cdc_history, scd2, silver

    name = contract.name
    if contract.lake.load == "append":
        return {f"silver.{name}": silver}
    if contract.lake.load == "cdc":
        return {
            f"silver.{name}_deleted": cdc_deleted,
            f"silver.{name}": cdc_current,
            cdc_history.name_of(contract): cdc_history,
        }
    if contract.lake.load == "scd2":
        return {f"silver.{name}": scd2}
    return {}


def _recorded(known: dict[str, Any] | None, table: Table, state: State, application: str) -> int:
    """The last commit the newest set says the table looked at, written or not; 0 if that was another table."""
    said = (known or {"tables": {}})["tables"].get(table.name)
    if said is None or said["id"] != state.id or said["version"] > (state.version or 0):
        return 0
    return int(said["feeds"].get(application, 0))


def _with_unfinished(
    lake: Lake, wanted: list[str], landed: list[str], known: dict[str, Any] | None, contracts: dict[str, Contract]
) -> list[str]:
    """The feeds asked for and those whose last run ended between a shared table and the set, or lost such a table."""
    from beam_grid.lakehouse.tables import Table

    shared = []
    for name in BRONZE:
        table = Table(lake, name)
        shared.append((table, table.state()))
    chosen = list(wanted)
    for feed in landed:
        done = (known or {"commits": {}})["commits"].get(feed, 0)
        ahead = any(state.applied(table.application(feed)) > done for table, state in shared)
        lost = done and any(_recorded(known, table, state, table.application(feed)) < done for table, state in shared)
        if feed not in chosen and (ahead or lost):
            chosen.append(feed)
    return chosen


def _check_owners(contracts: dict[str, Contract]) -> None:
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
        for window in contract.windows:
            if window.name in owner:
                raise GridError(
                    f"window {window.name!r}: feeds {owner[window.name]} and {feed} both declare it, and gold.{window.name} "
                    "can be made by one only; rename one of them in its contract"
                )
            owner[window.name] = feed


def _needs_spark(step: _Step) -> bool:
    """Whether the step writes; a bronze table is made without Spark, and many batches have nothing for it."""
    from beam_grid.lakehouse.bronze import KINDS

    return (
        step.window is not None
        or step.table.name not in BRONZE
        or bool(step.batch.files(KINDS[step.table.name.removeprefix("bronze.")]))
    )


def _spark(master: str | None, input_bytes: int, say: Progress) -> SparkSession:
    from runners import delta

    say("starting Spark")
    try:
        return delta.session(master, brief=input_bytes < _BRIEF_BYTES)
    except delta.SparkUnavailable as cause:
        raise GridError(f"refine: {cause}; `beam-grid doctor` looks at this machine") from cause


def _run(spark: SparkSession, step: _Step, scratch: Any, say: Progress) -> None:
    from beam_grid.lakehouse import bronze, gold
    from runners import delta

    table, batch, name = step.table, step.batch, step.table.name
    contract = batch.contract
    delta.suit_to(spark, batch.bytes("rows", "tiles"))
    point(f"refine:before-{name}")
    began = time.monotonic()
    try:
        if step.window is not None:
            gold.prepare(spark, table, step.state, contract, step.window)
            point(f"refine:made-{name}")
            if gold.has_work(batch):
                guard.again_on_conflict(gold.apply, spark, table, batch, step.window, scratch)
        elif name in BRONZE:
            bronze.prepare(table)
            point(f"refine:made-{name}")
            guard.again_on_conflict(bronze.apply, spark, table, batch)
        else:
            step.maker.prepare(spark, table, step.state, batch)
            point(f"refine:made-{name}")
            guard.again_on_conflict(step.maker.apply, spark, table, batch)
    except GridError:
        raise
    except Exception as cause:
        raise RunFailed(
            f"refine: {name} could not take in commits {batch.applied + 1} to {batch.target} of {contract.name} "
            f"({type(cause).__name__}: {delta.reason(cause)}); what was done before stays, run it again"
        ) from cause
    point(f"refine:after-{name}")
    count = batch.target - batch.applied
    say(f"{name}: {count} commit{'s' if count != 1 else ''} in {time.monotonic() - began:.1f} s")


def _contracts(lake: Lake, landed: list[str]) -> dict[str, Contract]:
    return {name: lake.feed(name).contract() for name in landed}


def _content(steps: Iterable[_Step], known: dict[str, Any] | None) -> Content:
    """What the set will say after the steps: their tables as they are now, the others as they were."""
    from beam_grid.lakehouse import gold

    content = content_of(known)
    for step in steps:
        contract, name = step.batch.contract, step.table.name
        state = step.table.state()
        guard.check(step.table, state, (known or {"tables": {}})["tables"].get(name))
        marked = (
            gold.application(step.table, contract, step.window)
            if step.window
            else step.table.application(contract.name)
        )
        before = content.tables.get(name, {})
        looked_at = {**(before.get("feeds", {}) if before.get("id") == state.id else {}), marked: step.batch.target}
        content.tables[name] = {
            "path": step.table.relative, "version": state.version, "id": state.id, "feeds": looked_at,
        }  # fmt: skip
        content.commits[contract.name] = step.batch.target
    return content


def _publish(lake: Lake, content: Content, known: dict[str, Any] | None) -> dict[str, Any]:

    return known if known is not None and content == content_of(known) else publish(lake, content)


def _numbers(found: dict[str, Any]) -> dict[str, int]:
    return {name: table["version"] for name, table in found["tables"].items()}
