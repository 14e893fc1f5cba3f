"""`refine`: bring every table up to the last commit, then publish the set of versions that belong together.

    commits ─► publish, in process ─► set ─► Spark: changes, master data ─► analyses, expectations ─► set
               append feeds, windows, bronze     only where they are, or a master is named

Guarantees: a commit counts exactly once in a table, wherever an earlier run was cut off; with nothing new, no engine
starts; readers see all tables of a set or none of it; tables somebody deleted are made again from commit 0.
Not guaranteed: that feeds whose last run was cut off wait for their turn. Their shared tables may hold more than the
last set said, so they are brought up to date together with the feeds asked for.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from beam_grid import openlineage
from beam_grid.commits import Commits, Reader
from beam_grid.crash import point
from beam_grid.errors import GridError, RunFailed
from beam_grid.lakehouse import guard, publish, steps
from beam_grid.lakehouse.steps import BRONZE, Step
from beam_grid.lakehouse.tables import Table
from beam_grid.lakehouse.versions import Content, content_of, newest, stands
from beam_grid.lakehouse.versions import publish as publish_set
from beam_grid.landing import TABLES_WAIT_S, Lake
from beam_grid.reflections import keep as reflections
from beam_grid.reflections.declared import declared

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from beam_grid.lakehouse.table_set import TableSet
    from data_sources.contract import Contract

Progress = Callable[[str], None]

Engine = Literal["auto", "embedded", "spark"]
"""Where windows and analyses are computed: in process, on Spark, or (auto) in process unless a Spark master is named or
an analysis reads much. Silver of append feeds and bronze are always published in process, changes and master data always
on Spark."""

_CHAINS_AT_ONCE = 3

_BRIEF_BYTES = 256 << 20
"""Below this much input, counted once a table, a run is over before a thorough JVM compiler would have paid."""


@dataclass(frozen=True)
class RefineResult:
    """What a run did. `feeds` counts the commits each feed brought, `analyses` names the derived tables made anew; both
    are empty when there was nothing new. `left_out` says what could not be done here, and the remedy."""

    feeds: dict[str, int] = field(default_factory=dict)
    analyses: list[str] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    set: int | None = None
    optimized: list[Any] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    seconds: float = 0.0


def versions(lake: Lake) -> TableSet | None:
    """The newest set of table versions that belong together; None before the first refine."""
    return newest(lake)


def refine(
    lake: Lake,
    feeds: list[str] | None = None,
    *,
    engine: Engine = "auto",
    spark_master: str | None = None,
    parameters: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> RefineResult:
    """Apply to every table the commits it has not had; `feeds` defaults to all that landed.

    parameters: values for the analyses, as {"active_agreements.as_of": "2021-01-01"}; a lake keeps those once given.
    Raises GridError for a feed that never landed, two feeds with one window table, an unknown parameter, another run
    at work, a Spark that was asked for and cannot run, or a table that somebody else changed; RunFailed when a step
    fails or a table is not what its contract expects, with what was done before it intact.
    """
    from beam_grid.lakehouse import derived

    started = time.monotonic()
    landed, chosen = lake.feeds, parameters or {}
    derived.check_parameters(chosen)
    for name in feeds or []:
        if name not in landed:
            seen = ", ".join(landed) or "none yet"
            raise GridError(
                f"feed {name!r}: nothing of it has landed in {lake.path} (landed: {seen}); run `beam-grid land {name}` first"
            )
    with lake.lock("tables", wait_s=TABLES_WAIT_S):
        forget_scratch(lake)
        known = newest(lake)
        if (
            known is not None
            and stands(lake, known)
            and all(known.commits.get(f) == lake.feed(f).last for f in feeds or landed)
            and not derived.is_due(lake, content_of(known), contracts_of(lake, landed), chosen)
            and not reflections.is_due(lake, content_of(known), declared(lake))
        ):
            return RefineResult(tables=_numbers(known), set=known.number, seconds=time.monotonic() - started)
        if not landed:
            return RefineResult(seconds=time.monotonic() - started)
        contracts = contracts_of(lake, landed)
        run = Refinement(lake, contracts, engine, spark_master, chosen, progress or (lambda line: None))
        return run.all(steps.with_unfinished(lake, feeds or landed, landed, known), started)


def check_engine(engine: Engine, spark_master: str | None) -> None:
    """Raise GridError where Spark was asked for and cannot run here, or its master is none."""
    if engine == "spark" or spark_master is not None:
        from runners import delta

        try:
            delta.check_master(spark_master)
            if engine != "embedded":
                delta.check_java()
        except delta.SparkUnavailable as cause:
            raise GridError(f"{cause}; `beam-grid doctor` looks at this machine") from cause


def contracts_of(lake: Lake, landed: Iterable[str]) -> dict[str, Contract]:
    """The contract that each feed landed with last. Raises GridError where two would write one table."""
    contracts = {name: lake.feed(name).contract() for name in landed}
    steps.check_owners(contracts)
    return contracts


@dataclass
class Refinement:
    """One run over a lake: its parts, for `refine` one after the other, for a run that follows each at its own pace."""

    lake: Lake
    contracts: dict[str, Contract]
    engine: Engine = "auto"
    spark_master: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    say: Progress = lambda line: None
    _readers: dict[str, Reader] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reflections = declared(self.lake)

    def all(self, feeds: list[str], started: float) -> RefineResult:
        """Every part, for these feeds."""
        point("refine:start")
        check_engine(self.engine, self.spark_master)
        base = content_of(newest(self.lake))
        planned = self._steps(feeds, base)
        due = [step for step in planned if step.is_due]
        written = {step.table.name: step for step in due}  # bronze tables are steps of many feeds
        with openlineage.run(self.lake, "refine", "beam-grid") as told, self._scratch() as scratch:
            if due:
                told.start(_sources(self.lake, due), [openlineage.table(step.table) for step in written.values()])
            content = self._published(planned, base, scratch)
            if not self._is_held(due):
                self._reflected(content, scratch)
                _make_set(self.lake, content, base)
                base = _copy(content)
            left_out = self._merged(planned, content, scratch)
            optimized = self._tidied(feeds, content, scratch)
            made = self._derived(content)
            self._reflected(content, scratch)
            done = _make_set(self.lake, content, base)
            told.inputs = _sources(self.lake, due)
            told.outputs = [openlineage.table(s.table, s.state) for s in written.values() if not self._misses(s)]
            told.outputs += [openlineage.table(Table(self.lake, name)) for name in made]
        brought = steps.feeds_of(step for step in due if not self._misses(step))
        seconds = time.monotonic() - started
        return RefineResult(brought, made, _numbers(done), done.number, optimized, left_out, seconds)

    def publish(self, feeds: list[str], seconds: dict[str, float] | None = None) -> dict[str, int]:
        """The part in process, for these feeds, as soon as a commit stands; returns the commits each brought.

        seconds: what was done for them before, which the set tells too.
        """
        base = content_of(newest(self.lake))
        planned = self._steps(feeds, base)
        due = [step for step in planned if step.is_due and not self._waits(step)]
        if not due:
            return {}
        with self._scratch() as scratch:
            content = self._published(planned, base, scratch)
            content.seconds = {**(seconds or {}), **content.seconds}
            if self._is_held(due):
                self._derived(content)
            self._reflected(content, scratch)
            _make_set(self.lake, content, base)
        return steps.feeds_of(due)

    def derive(self) -> list[str]:
        """Of the derived tables those that are wanted after each publish (Analysis.at_commit); names of those made."""
        base = content_of(newest(self.lake))
        content = _copy(base)
        made = self._derived(content, at_commit_only=True)
        if made:
            with self._scratch() as scratch:
                self._reflected(content, scratch)
            _make_set(self.lake, content, base)
        return made

    def refine(self, feeds: list[str]) -> RefineResult:
        """What publish leaves: changes and master data, clustering where it pays, analyses and expectations."""
        started = time.monotonic()
        planned = self._steps(feeds, content_of(newest(self.lake)))
        base = content_of(newest(self.lake))  # after the steps: what was published meanwhile is in both
        content = _copy(base)
        due = [step for step in planned if step.is_due and self._waits(step)]
        with self._scratch() as scratch:
            left_out = self._merged([step for step in planned if self._waits(step)], content, scratch)
            optimized = self._tidied(feeds, content, scratch, cluster=True)
            self._by_group(planned, content, scratch)
            made = self._derived(content)
            self._reflected(content, scratch)
            done = _make_set(self.lake, content, base)
        brought = steps.feeds_of(step for step in due if not self._misses(step))
        seconds = time.monotonic() - started
        return RefineResult(brought, made, _numbers(done), done.number, optimized, left_out, seconds)

    def _steps(self, feeds: list[str], base: Content) -> list[Step]:
        return [
            step
            for name in feeds
            for step in steps.steps_of(self.lake, self.contracts[name], self._commits(name), base)
        ]

    def _commits(self, feed: str) -> Commits:
        """The commits of a feed; what was learnt of them before is kept."""
        log = self.lake.feed(feed)
        return self._readers.setdefault(feed, Reader(log)).all()

    def _waits(self, step: Step) -> bool:
        """Whether the step is Spark's."""
        return step.needs_spark or (step.window is not None and self._is_on_spark)

    @property
    def _is_on_spark(self) -> bool:
        return self.engine == "spark" or (self.engine == "auto" and self.spark_master is not None)

    def _misses(self, step: Step) -> bool:
        return step.needs_spark and self._no_spark is not None

    @cached_property
    def _no_spark(self) -> str | None:
        """Why Spark cannot run here; None where it can."""
        from runners import delta

        try:
            delta.check_java()
        except delta.SparkUnavailable as cause:
            return str(cause)
        return None

    def _published(self, planned: list[Step], base: Content, scratch: Path) -> Content:
        """Publish what is due in process; the content of the set with it."""
        ours = [step for step in planned if not self._waits(step)]
        content = _copy(base)
        content.seconds = publish.publish([step for step in ours if step.is_due], scratch, self.say)
        self._enter(ours, content)
        return content

    def _merged(self, planned: list[Step], content: Content, scratch: Path) -> list[str]:
        """Let Spark bring up what is due there and enter it; returns what was left out, and the remedy."""
        theirs = [step for step in planned if self._waits(step)]
        due = [step for step in theirs if step.is_due]
        if any(self._misses(step) for step in due):
            names = sorted({step.batch.contract.name for step in due})
            return [
                f"{', '.join(names)}: landed, their tables need Spark ({self._no_spark}); then run "
                f"`beam-grid refine --lake {self.lake.path}`"
            ]
        if due:
            began = time.monotonic()
            self._run_all(due, scratch)
            content.seconds["changes and master data"] = time.monotonic() - began
        self._enter(theirs, content)
        return []

    def _enter(self, done: list[Step], content: Content) -> None:
        """Say in the content what the steps' tables are now."""
        for step in done:
            name = step.table.name
            state, before = step.table.state(), content.tables.get(name)
            guard.check(step.table, state, before)
            content.tables[name] = steps.entry(step, before, state)
        for step in done:
            feed, target = step.batch.contract.name, step.batch.target
            if self._stands_at(step.batch.contract, target, content):
                content.commits[feed] = target

    def _stands_at(self, contract: Contract, target: int, content: Content) -> bool:
        """Whether every table of the feed has looked at its commits up to this one."""
        names = [*steps.silver_tables(contract), *(f"gold.{w.name}" for w in contract.windows), *BRONZE]
        return all(
            name in content.tables
            and any(n == target and f"/{contract.name}/" in f"{a}/" for a, n in content.tables[name].feeds.items())
            for name in names
        )

    def _is_held(self, due: list[Step]) -> bool:
        """Whether a feed's contract has an expectation that keeps a set from being published: it is asked first."""
        feeds = {step.batch.contract.name for step in due}
        return any(e.on_fail == "fail" for name in feeds for e in self.contracts[name].expectations)

    def _derived(self, content: Content, *, at_commit_only: bool = False) -> list[str]:
        """Bring analyses and expectations up to the content, or only the analyses that are wanted after each publish."""
        from beam_grid.lakehouse import derived
        from beam_grid.lakehouse.engines import engine_for

        derived.forget_lost(self.lake, content, self.contracts)
        if not derived.is_due(self.lake, content, self.contracts, self.parameters, at_commit_only):
            return []
        weight = derived.bytes_read(self.lake, content, self.contracts, self.parameters, at_commit_only)
        with (
            self._scratch() as scratch,
            engine_for(self.engine, self.spark_master, weight, scratch, lambda: self._started(weight)) as engine,
        ):
            return derived.make(
                engine, self.lake, content, self.contracts, self.parameters, self.say, at_commit_only=at_commit_only
            )

    def _reflected(self, content: Content, scratch: Path) -> None:
        """Bring reflections up to the content: they are in the same set as their tables."""
        if reflections.is_due(self.lake, content, self._reflections):
            reflections.keep(self.lake, content, self._reflections, scratch / "reflections", self.say)

    def _tidied(self, feeds: list[str], content: Content, scratch: Path, *, cluster: bool = False) -> list[Any]:
        """Put many small files together; cluster what pays, where Spark is up already or, with `cluster`, in any case.

        Returns what was clustered. The set goes on to the new version only where nothing but files changed since.
        """
        from beam_grid.lakehouse import maintain
        from beam_grid.lakehouse.live import live

        names: list[str] = []
        for feed in feeds:
            own = [name for name in steps.silver_tables(self.contracts[feed]) if name in content.tables]
            if self.contracts[feed].lake.load == "append":
                for name in own:
                    publish.compacted(Table(self.lake, name), scratch)
            names += own
        for name in (name for name in BRONZE if name in content.tables):
            publish.compacted(Table(self.lake, name), scratch)
        tables = [Table(self.lake, name) for name in names]
        optimized: list[Any] = []
        has_gathered = cluster and any(maintain.has_gathered(live(table.path)) for table in tables)
        if has_gathered and self._spark is None and self._no_spark is None:  # small files alone are `compact`'s
            self._started(0)
        if self._spark is not None:
            optimized = maintain.optimize(self._spark, tables, self.say, loose_too=cluster)
        for name in (*names, *BRONZE):
            if name in content.tables:
                self._go_on(content, name)
        return optimized

    def _by_group(self, planned: list[Step], content: Content, scratch: Path) -> None:
        """Put final windows in order of their groups, a run of files of each table: a run that follows comes by again."""
        for step in planned:
            if step.window is None or step.table.name not in content.tables or not step.batch.commits:
                continue
            if publish.by_group(step.table, step.batch.contract, step.window, step.batch.watermark, scratch):
                self._go_on(content, step.table.name)

    def _go_on(self, content: Content, name: str) -> None:
        """Let the content go on to the table's newest version where nothing but files changed since."""
        said, table = content.tables[name], Table(self.lake, name)
        now = table.state().version or 0
        if now > said.version and not guard.changed_since(table, said.version, now):
            content.tables[name] = replace(said, version=now)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder for what a run writes beside the tables; gone when it ends."""
        own = self.lake.scratch / secrets.token_hex(4)
        try:
            own.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise RunFailed(f"{own} cannot be made ({cause.strerror}); make room and run it again") from cause
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)

    _spark: SparkSession | None = None

    def _started(self, input_bytes: int) -> SparkSession:
        if self._spark is None:
            self.say("starting Spark")
            from runners import delta

            try:
                self._spark = delta.session(self.spark_master, brief=input_bytes < _BRIEF_BYTES)
            except delta.SparkUnavailable as cause:
                raise GridError(f"refine: {cause}; `beam-grid doctor` looks at this machine") from cause
        return self._spark

    def _run_all(self, due: list[Step], scratch: Path) -> None:
        """The steps in chains side by side: most of a small step is Spark's driver, not its cores.

        Each chain has a session of its own, because a transaction's id is a session's setting, and views have names.
        """
        spark = self._started(sum(step.batch.bytes("rows", "tiles") for step in due))
        chains: dict[tuple[str, ...], list[Step]] = {}
        for step in due:
            chains.setdefault(_chain(step), []).append(step)

        def run(chain: list[Step]) -> None:
            session = spark.newSession() if len(chains) > 1 else spark
            for step in chain:
                _run(session, step, scratch / step.batch.contract.name / step.table.name, self.say)

        with ThreadPoolExecutor(_CHAINS_AT_ONCE if len(chains) > 1 else 1) as pool:
            outcomes = [pool.submit(run, chain) for chain in chains.values()]
            failed = [cause for cause in (outcome.exception() for outcome in outcomes) if cause]
        if failed:
            raise failed[0]


def _chain(step: Step) -> tuple[str, ...]:
    """What the step must wait for shares its chain: of much data the whole feed, which fills the cores by itself; of
    little its silver tables in their order, and each window."""
    feed = step.batch.contract.name
    if step.batch.bytes("rows", "tiles") > _BRIEF_BYTES:
        return (feed,)
    return (feed, step.table.name) if step.window is not None else (feed, "silver")


def _run(spark: SparkSession, step: Step, scratch: Path, say: Progress) -> None:
    from beam_grid.lakehouse import gold, gold_spark, sequence
    from runners import delta

    table, batch, name = step.table, step.batch, step.table.name
    delta.suit_to(spark, batch.bytes("rows", "tiles"))
    point(f"refine:before-{name}")
    began = time.monotonic()
    try:
        if step.window is not None:
            gold.prepare(table, step.state, batch.contract, step.window)
            point(f"refine:made-{name}")
            if gold.has_work(batch):
                guard.again_on_conflict(gold_spark.apply, spark, table, batch, step.window, scratch)
        else:
            maker = steps.maker(step)
            maker.prepare(spark, table, step.state, batch)
            point(f"refine:made-{name}")
            guard.again_on_conflict(maker.apply, spark, table, batch)
            if step.is_of_changes:
                sequence.settle(spark, table, batch)
    except GridError:
        raise
    except Exception as cause:
        raise publish.failed(step, cause, delta.reason(cause)) from cause
    point(f"refine:after-{name}")
    publish.tell(step, began, say)


def _sources(lake: Lake, due: list[Step]) -> list[openlineage.Dataset]:
    """What the steps read, as lineage tells it: of each feed the rows of the commits that one of its tables had not had."""
    feeds: dict[str, int] = {}
    for step in due:
        rows = sum(commit.fates.landed for commit in step.batch.new)
        feeds[step.batch.contract.name] = max(feeds.get(step.batch.contract.name, 0), rows)
    return [openlineage.landing(lake, feed, "input", rows=rows) for feed, rows in feeds.items()]


def _make_set(lake: Lake, content: Content, base: Content) -> TableSet:
    point("refine:before-set")
    content.seconds = {name: round(took, 3) for name, took in content.seconds.items()}
    done = publish_set(lake, content, base)
    content.seconds = {}
    point("refine:after-set")
    return done


def forget_scratch(lake: Lake) -> None:
    """Remove what runs that were killed left beside the tables; the caller holds the tables' lock."""
    shutil.rmtree(lake.scratch, ignore_errors=True)


def _copy(content: Content) -> Content:
    return content.copy()


def _numbers(found: TableSet) -> dict[str, int]:
    return {name: table.version for name, table in found.tables.items()}
