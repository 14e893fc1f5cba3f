"""`beam-grid land`: slice after slice of what is new, each through the Beam graph, each one commit.

    plan -> write plan.json -> run the graph -> manifest -> check that it balances -> commit (atomic) -> next

Killed anywhere, a rerun gives equal tables: what no commit lists is garbage, and the plan keeps the run's clock.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from beam_grid import crash, openlineage, segments
from beam_grid.about import about
from beam_grid.commit import FORMAT, Commit, Fates, PartitionStatistics
from beam_grid.console import note
from beam_grid.durable import remove, sync_folder
from beam_grid.errors import GridError, RunFailed
from beam_grid.graph import graph_runner
from beam_grid.lakehouse.spans import file_span
from beam_grid.landing import FeedLog, Lake, Sharding, utc_now, write_atomically, written_to
from beam_grid.look_ahead import LookAhead
from beam_grid.plan import Narrow, Plan, next_slice
from beam_grid.segments import LandedIndex
from beam_grid.state import FeedState
from beam_grid.upkeep import Upkeep, published
from data_sources.cdc import gains_fields
from data_sources.contract import Contract
from data_sources.durations import micros
from data_sources.sources import source_at
from data_sources.splits import FileEnd, KafkaSplit, PartitionPlan
from data_sources.typed_json import decoder, encode
from transforms.manifest import DELAY_BOUNDS_S, Committed, Kind, LandedFile, Manifest, PartitionCounts, PartitionRead

log = logging.getLogger(__name__)

K = TypeVar("K")

SLICE_ROWS = 500_000
"""Default rows of a slice: bounds memory whatever the backlog; one big slice would save 8 % of the CPU."""


_DAY = 86_400_000_000

_CLOCK_HOLDS_US = 60_000_000
"""Where a run that follows is behind all the time, its clock moves on after so long."""


@dataclass(frozen=True)
class Options:
    """What a user may say about a run. now: microseconds since the epoch; patience_s: how long a plan waits for a broker."""

    source: str
    runner: str = "direct"
    spark_master: str = "local[2]"
    slice_rows: int = SLICE_ROWS
    shards: int | None = None
    now: int | None = None
    kafka_config: str | None = None
    own_globs: bool = False
    command: str = ""
    patience_s: float | None = None


@dataclass
class Landed:
    """What a run did for one feed: commits made, the fates they sum up to, what was left out and why, bytes written
    and source files read from."""

    feed: str
    commits: int = 0
    fates: Fates = field(default_factory=Fates)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    rejected_by: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    files: set[str] = field(default_factory=set)


class _UnderWay(msgspec.Struct, frozen=True, kw_only=True):
    """plan.json: the slice under way, and the run's clock in microseconds since the epoch."""

    commit: int
    now: int
    partitions: tuple[PartitionPlan, ...]


_under_way = decoder(_UnderWay)

Progress = Callable[[Landed, Plan], None]


def land(lake: Lake, contract: Contract, options: Options, progress: Progress | None = None) -> Landed:
    """Land all that is new of one feed; the caller holds the landing lock.

    A record because of which slices fail over and over is put aside and named among the problems. Raises GridError
    (nothing ran: usage, environment) or RunFailed (a slice failed otherwise; earlier slices stay).
    """
    from beam_grid.service.poison import Narrowing

    with written_to(lake), Lander(lake, contract, options) as lander:
        slices = Narrowing(lander, lander.done.problems.append)
        while (commit := slices.step()) is not None or slices.is_at_work:
            if progress is not None and commit is not None:
                with about(commit=commit.number):
                    progress(lander.done, lander.plan)
            if commit is not None and _is_empty(commit) and not slices.is_at_work:
                break
        lander.done.problems += lander.plan.waiting  # nobody waits with them: this run ends
    return lander.done


class Lander:
    """Lands one feed, slice by slice, and keeps what its commits add up to in between; the caller holds the landing lock.

    with Lander(lake, contract, options) as lander:
        while (commit := lander.step()) is not None: ...
    """

    def __init__(self, lake: Lake, contract: Contract, options: Options) -> None:
        self.lake, self.contract, self.options = lake, contract, options
        self.feed = lake.feed(contract.name)
        self.done = Landed(contract.name)
        self.plan = Plan()
        self._source = source_at(
            options.source,
            own_globs=options.own_globs,
            kafka_config=options.kafka_config,
            patience_s=options.patience_s,
        )
        self._state = FeedState.of(self.feed)
        check_contract(self.feed, contract)
        self._shards = settle_shards(self.feed, options.shards)
        self._started = time.monotonic()
        self._now: int | None = None
        self._open, self._whole = ExitStack(), ExitStack()
        self._rests = False
        self._collect_at: float | None = None

    def __enter__(self) -> Lander:
        job = openlineage.run(self.lake, f"land.{self.contract.name}", "apache-beam")
        self._told = self._whole.enter_context(job)
        try:
            self._begin()
        except BaseException as cause:
            self._open.close()
            self._whole.__exit__(type(cause), cause, cause.__traceback__)
            raise
        return self

    def _begin(self) -> None:
        self._upkeep = self._open.enter_context(closing(Upkeep(self.feed, self._state, self._collect_at)))
        self._ahead = LookAhead(self._state, self._source, self.options.slice_rows)
        self._open.enter_context(closing(self._ahead))
        self._run = self._open.enter_context(graph_runner(self.options, self._ahead))

    def rest(self) -> None:
        """Bring to an end what is under way, so that somebody else may land."""
        self._landed_under, self._collect_at = landed_under(self.feed), self._upkeep.collect_at
        self._upkeep.stop()
        self._rests = True
        self._open.close()
        remove(self.feed.plan_file)

    def resume(self) -> bool:
        """Go on from what stands; whether somebody landed. Raises GridError where that was under another contract."""
        before, self._state = self._state.last, FeedState.of(self.feed)
        if has_moved := self._state.last > before:
            check_landed_under(self.feed, self.contract, self._landed_under, before)
            self._shards = settle_shards(self.feed, self.options.shards)
        self._now, self._open, self._rests = None, ExitStack(), False
        self._begin()
        return has_moved

    def __exit__(self, *error: Any) -> None:
        try:
            self._end(*error)
        finally:
            self._whole.__exit__(*error)

    def _end(self, *error: Any) -> None:
        if self._rests:
            return
        if error[0] is not None:
            self._upkeep.stop()
        self._open.__exit__(*error)  # waits for the segments that are being made
        if error[0] is None:
            remove(self.feed.plan_file)
            if self.done.commits:
                segments.collect(self.feed, published(self.lake, self.feed.name))
        self.done.seconds = time.monotonic() - self._started

    @property
    def is_behind(self) -> bool:
        """Whether the last slice was as large as a slice may be: there is likely to be more."""
        return self.plan.rows >= self.options.slice_rows

    def go_on(self) -> None:
        """Let the clock move on where no blocks were read ahead by it: a run that follows has one clock per round."""
        if not self.is_behind or abs(clock() - (self._now or 0)) > _CLOCK_HOLDS_US:  # back too, where it was set back
            self._now = None

    def step(self, narrow: Narrow | None = None) -> Commit | None:
        """Land the next slice; None where nothing is new. Raises GridError or RunFailed, as `land`."""
        with about(feed=self.contract.name, commit=self._state.last + 1), written_to(self.lake):
            return self._step(narrow)

    def _step(self, narrow: Narrow | None) -> Commit | None:
        options, state, self.plan = self.options, self._state, Plan()
        ahead, rows = self._ahead.listing(), narrow.rows if narrow else options.slice_rows
        plan = next_slice(self._source, self.contract, state, rows, None if narrow else ahead)
        self.plan = plan = narrow.of(plan) if narrow else plan
        self.done.problems += [p for p in plan.problems if p not in self.done.problems]
        if not plan.partitions:
            self._now = None
            return None
        if self._now is None or not self._source.plans_ahead:  # blocks that were read ahead are by this clock
            self._now = _clock(self.feed, plan, state, options)
        under_way = _UnderWay(commit=state.last + 1, now=self._now, partitions=tuple(plan.partitions))
        write_atomically(self.feed.plan_file, encode(under_way, indent=1))
        crash.point("land:planned")
        source, landing = (
            openlineage.source(options.source),
            openlineage.landing(self.lake, self.contract.name, "output"),
        )
        self._told.start([source], [landing])
        commit = land_slice(self.feed, self.contract, state, plan, options, self._shards, self._now, self._run)
        state.add(commit)
        self._upkeep.after(commit)
        count(self.done, commit)
        note("committed", **commit.fates.by_name())
        files = len(self.done.files) or None
        self._told.inputs = [openlineage.source(options.source, rows=self.done.fates.read, files=files)]
        self._told.outputs = [landed_dataset(self.lake, self.contract, self.done)]
        return commit


def _is_empty(commit: Commit) -> bool:
    """Whether a slice read nothing and came no further: the next one would be the same."""
    return not commit.fates.read and not any(partition.ends for partition in commit.partitions)


def land_slice(
    feed: FeedLog, contract: Contract, state: FeedState, plan: Plan, options: Options, shards: int, now: int, run: Any
) -> Commit:
    """The commit, made, of one slice whose graph `run` runs (graph_runner's); raises RunFailed, nothing committed."""
    attempt = feed.new_attempt()
    folder = feed.path / "data" / attempt
    try:
        folder.mkdir(parents=True)
        index = (
            feed.path.absolute() / "index.json"
        )  # of this slice; at one place, for a graph that serves many, on workers that are elsewhere
        index.write_bytes(encode(committed(state.landed, plan, contract)))
        manifest = run(plan, feed, contract, attempt, state.last + 1, now, shards, str(index))
        index.unlink()
        sync_folder(folder)
        sync_folder(folder.parent)
        crash.point("land:written")
        commit = _commit(feed, contract, state, plan, options, attempt, now, shards, manifest)
        feed.remember(contract)
        crash.point("land:before-commit")
        feed.append(commit)
        crash.point("land:committed")
    except Exception:
        _abandon(feed, state.last + 1, attempt)
        raise
    return commit


def committed(landed: LandedIndex, plan: Plan, contract: Contract) -> Committed:
    """What dedup must know of what has landed: all files that may hold a copy of a record that is not late."""
    floor = _earliest(plan, contract)
    in_key = contract.event_time in contract.dedup.key

    def reached(kind: Kind, least: int | None) -> tuple[LandedFile, ...]:
        if least is None:
            return tuple(landed.files(kind))
        spans = ((file, file_span(file, contract)) for file in landed.files(kind))
        return tuple(file for file, span in spans if span is None or span[1] >= least)

    least, horizon = floor, contract.dedup.horizon
    if least is not None and not in_key:
        least = None if horizon is None else least - micros(horizon)
    return Committed(rows=reached("rows", least), conflicts=reached("conflicts", floor if in_key else None))


def _earliest(plan: Plan, contract: Contract) -> int | None:
    """The least event time that a record of the slice can have without being late, microseconds; None: there is no such
    bound."""
    if contract.lake.load != "append":
        return None
    marks = []
    for partition in plan.partitions:
        is_log = contract.file_order == "name" or all(isinstance(split, KafkaSplit) for split in partition.splits)
        if not is_log or partition.max_event_time is None:
            return None
        marks.append(partition.max_event_time)
    reach = micros(contract.out_of_orderness) + micros(contract.allowed_lateness)
    least = min(marks, default=None)
    return (
        None if least is None else least - reach - (_DAY if contract.field(contract.event_time).type == "date" else 0)
    )


def _abandon(feed: FeedLog, number: int, attempt: str) -> None:
    """Remove what an attempt wrote, unless its commit stands: the link may be there and only its sync have failed."""
    try:
        if feed.last >= number and feed.read(number).attempt == attempt:
            return
    except (GridError, OSError):  # cannot be told: what is garbage goes when it is old
        return
    shutil.rmtree(feed.path / "data" / attempt, ignore_errors=True)


def _commit(
    feed: FeedLog,
    contract: Contract,
    state: FeedState,
    plan: Plan,
    options: Options,
    attempt: str,
    now: int,
    shards: int,
    manifest: Manifest,
) -> Commit:
    """The commit of a slice; raises RunFailed unless every record read has exactly one fate."""
    shards_of, read = manifest.shards, manifest.partitions
    partitions = _statistics(manifest, contract)
    commit = Commit(
        format=FORMAT,
        feed=contract.name,
        number=state.last + 1,
        attempt=attempt,
        created_at=utc_now(),
        now=now,
        contract=contract.hash,
        source=options.source,
        runner=options.runner,
        command=options.command,
        shards=shards,
        plan=tuple(plan.partitions),
        partitions=partitions,
        fates=Fates(
            read=sum(p.read for p in read),
            landed=sum(s.landed for s in shards_of),
            duplicates=sum(s.duplicates for s in shards_of),
            late=sum(p.late for p in read),
            rejected=sum(p.rejected for p in read),
            superseded=sum(s.superseded for s in shards_of),
            conflicts=sum(s.conflicts for s in shards_of),
        ),
        rejected_by=_sum(p.rejected_by for p in read),
        warned_by=_sum(p.warned_by for p in read),
        extra=sum(p.extra for p in read),
        delay_bounds_s=DELAY_BOUNDS_S,
        delays=tuple(map(sum, zip(*(p.delays for p in read), strict=True))),
        watermark=state.watermark_after(partitions, contract),
        files=manifest.files,
        problems=tuple(plan.problems),
    )
    if not (commit.fates.balanced and commit.matches_files and len(partitions) == len(plan.partitions)):
        raise RunFailed(
            f"feed {contract.name}: the slice does not balance ({commit.fates}, written {commit.filed}); nothing was "
            "committed"
        )
    return commit


def _statistics(manifest: Manifest, contract: Contract) -> tuple[PartitionStatistics, ...]:
    """What was read of each partition, with what dedup found of it."""
    duplicates_of = _sum(shard.duplicates_of for shard in manifest.shards)

    def with_fates(read: PartitionRead) -> PartitionStatistics:
        duplicates = sum(duplicates_of.get(split, 0) for split in read.on_time)
        landed = sum(read.on_time.values()) - duplicates
        counts = {name: getattr(read, name) for name in PartitionCounts.__struct_fields__}
        if contract.file_order == "none" and any(isinstance(end, FileEnd) for end in read.ends):
            counts["max_event_time"] = None
        return PartitionStatistics(**counts, landed=landed, duplicates=duplicates)

    return tuple(map(with_fates, manifest.partitions))


def _sum(counts: Iterable[dict[K, int]]) -> dict[K, int]:
    total: dict[K, int] = {}
    for one in counts:
        for key, n in one.items():
            total[key] = total.get(key, 0) + n
    return total


def landed_dataset(lake: Lake, contract: Contract, done: Landed) -> openlineage.Dataset:
    """What a run landed, as lineage tells it."""
    rows = done.fates.landed
    return openlineage.landing(lake, contract.name, "output", contract.landed_schema, rows=rows, size=done.bytes)


def count(done: Landed, commit: Commit) -> None:
    """Add a commit to what a run did."""
    done.commits += 1
    done.bytes += sum(file.bytes for file in commit.files)
    done.files |= {end.path for p in commit.partitions for end in p.ends if isinstance(end, FileEnd)}
    done.fates += commit.fates
    done.rejected_by = _sum([done.rejected_by, commit.rejected_by])


def _clock(feed: FeedLog, plan: Plan, state: FeedState, options: Options) -> int:
    """--now, else the clock of the run that was cut short in this very slice, else the clock.

    A slice with more in it has its own: what came since would be from the future by the old one.
    """
    if options.now is not None:
        return options.now
    if feed.plan_file.exists():
        try:
            found = _under_way(feed.plan_file.read_bytes())
            if (found.commit, found.partitions) == (state.last + 1, tuple(plan.partitions)):
                return found.now
        except ValueError:
            log.warning("feed %s: plan.json is damaged and is made anew", feed.name)
    return clock()


def clock() -> int:
    """Microseconds since the epoch."""
    return int((utc_now() - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def settle_shards(feed: FeedLog, wanted: int | None) -> int:
    """The shard count of the lake for this feed, fixed by its first commit; raises GridError for another."""
    from transforms.shard import DEFAULT_SHARDS, HASH

    known = feed.sharding
    if feed.last:
        if known is None:  # somebody removed it
            known = Sharding(feed.read(feed.last).shards, HASH)
            feed.settle(known)
        if known.hash != HASH:
            raise GridError(
                f"lake {feed.lake.path}: feed {feed.name} is sharded by {known.hash!r}, unknown here; update beam-grid"
            )
        if wanted not in (None, known.shards):
            raise GridError(
                f"--shards {wanted}: feed {feed.name} has {known.shards} shards since its first commit and a "
                "key's shard never changes; leave --shards out"
            )
        return known.shards
    count = wanted or DEFAULT_SHARDS
    feed.settle(Sharding(count, HASH))
    return count


def landed_under(feed: FeedLog) -> str | None:
    """The hash of the contract that the feed landed with last; None before its first commit."""
    return feed.contract().hash if feed.last else None


def check_landed_under(feed: FeedLog, contract: Contract, before: str | None, after: int) -> None:
    """Raise GridError where a commit after that number was made under another contract than this one and the one before."""
    for number in range(after + 1, feed.last + 1):
        if feed.read(number).contract not in (contract.hash, before):
            raise GridError(
                f"feed {contract.name}: another command landed it under another contract; start the run that follows again, with "
                "that one"
            )


def check_contract(feed: FeedLog, contract: Contract) -> None:
    """A contract may gain fields with `since`, warning rules, windows and fields that order changes; what identifies a row may not change."""
    if not feed.last:
        return
    before = feed.contract()
    if before.hash == contract.hash:
        return
    changes = []
    if before.event_time != contract.event_time:
        changes.append(f"event_time was {before.event_time!r}")
    if before.sqlite != contract.sqlite and before.sqlite is not None:
        changes.append(f"[sqlite] table was {before.sqlite.table!r}")
    if before.dedup != contract.dedup and "append" in (before.lake.load, contract.lake.load):
        changes.append(f"[dedup] was {before.dedup.model_dump(exclude_defaults=True)}")
    if before.lake.load != contract.lake.load:
        changes.append(f"lake.load was {before.lake.load!r}")
    for word in ("key", "operation", "sequence_by", "effective_from"):
        if word == "sequence_by" and gains_fields(before.lake.sequence_by, contract.lake.sequence_by):
            continue  # the tables are made anew by the new order
        if contract.lake.load != "append" and getattr(before.lake, word) != getattr(contract.lake, word):
            changes.append(f"lake.{word} was {getattr(before.lake, word)!r}")
    now = {f.name: f for f in contract.fields}
    then = {f.name: f for f in before.fields}
    changes += [f"field {name!r} is gone" for name in then if name not in now]
    changes += [f"field {n!r} was a {then[n].type}" for n in then if n in now and now[n].type != then[n].type]
    changes += [f"field {n!r} is new and has no `since`" for n in now if n not in then and now[n].since is None]
    windows = {w.name: w for w in before.windows}
    changes += [f"window {w.name!r} was declared otherwise" for w in contract.windows if windows.get(w.name, w) != w]
    if changes:
        raise GridError(
            f"feed {contract.name}: the contract differs from the one that landed here ({'; '.join(changes)}); "
            "undo that, or land it under a new feed name"
        )
