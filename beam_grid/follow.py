"""`--follow`: go on until told to end; what lands is published at once, whatever the source does.

    landing    [a slice of feed 1]─publish─[a slice of feed 2]─publish─ ... every --every, at once where it is behind
    beside it    [detections]   [detections] ...                            after each publish, unless they take long
               [changes, master data, clustering, other analyses]  ...      every --refine-every

A round takes one slice of each feed in turn and never waits for a source to pause, so no feed or topic holds up
another; what becomes of a feed that fails, service/supervisor.py says. What needs long runs in a thread of its own and
publishes what it made when it is done; a failure there is said and tried again, and makes the exit code 1. SIGTERM ends
the run after the commit under way and its publish. An end of the run ends what the thread is at; the next run does it
again.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from beam_grid.console import note
from beam_grid.errors import GridError, LakeBusy
from beam_grid.interrupt import end_statements
from beam_grid.lakehouse import steps
from beam_grid.lakehouse.versions import newest
from beam_grid.land import Lander, Options
from beam_grid.landing import Lake
from beam_grid.refine import Engine, Refinement, contracts_of, forget_scratch
from beam_grid.service.memory import give_back
from beam_grid.service.supervisor import Supervisor, now
from beam_grid.service.vitals import Vitals
from beam_grid.visits import Lead
from data_sources.contract import Contract

log = logging.getLogger(__name__)

_WAIT_S = 10.0
"""How long publishing waits at a time for a `maintain` or `refine` of somebody else: landing waits with it."""

_ASK_FOR_S = 4.0
"""How long one feed waits for its broker's answer: it will ask again, and the others wait meanwhile."""

_RESTS = 3.0
"""After detections the thread beside landing rests so many times as long as they took: they get a quarter of its time."""

_LISTEN_S = 0.25
"""How often a run that sleeps looks whether somebody waits to land."""

_PATIENCE_S = 3.0
"""How long the end of a run waits for the thread that refines, which is told to stop: some libraries do not listen."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Pace:
    """How often, in seconds: look for new records; do what takes longer."""

    every: float = 10.0
    refine_every: float = 60.0
    is_steady: bool = False
    """Whether a run that is behind keeps to `every` too, because its slices have all that it may read in that time."""


@dataclass
class Tables:
    """The tables part of a run that follows: what is published with each commit, and what is done beside it."""

    lake: Lake
    engine: Engine = "auto"
    spark_master: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    say: Say = lambda line: None

    def __post_init__(self) -> None:
        self._lock, self._said = _Shared(self.lake), set[str]()
        self._first, self._beside = self._refinement(lambda line: None), self._refinement(self._tell)
        self.failed, self.ended, self.news = False, threading.Event(), threading.Event()
        """news: something was published that the thread beside landing has not looked at."""
        self.beside_s: dict[str, float] = {}
        """What the thread beside landing took, by part: derive, refine."""
        self.refined_at: int | None = None
        self.refine_error: str | None = None

    def check_owners(self, followed: Iterable[Contract]) -> None:
        """Raise GridError where two feeds, of those to be followed and those that landed, would write one table."""
        known = contracts_of(self.lake, self.lake.feeds)
        steps.check_owners({**known, **{contract.name: contract for contract in followed}})

    def publish(self, feed: str, contract: Contract, land_s: float = 0.0) -> None:
        """Bring the tables of an append feed, its windows and bronze up to its last commit, which took so long to land."""
        self._learn(self._first, feed, contract)
        with self._lock.held():
            self._first.publish([feed], {f"land {feed}": land_s} if land_s else None)
        self.news.set()

    def publish_others(self, followed: set[str], goes_on: Callable[[], bool]) -> None:
        """Publish what other commands landed of append feeds that this run does not follow, and know of their contracts.

        goes_on: asked before each. One that fails does not hold up the others; the last failure is raised.
        """
        failed: Exception | None = None
        feeds = self.lake.feeds
        known, contracts = newest(self.lake), contracts_of(self.lake, feeds)
        self._first.contracts = {
            **contracts, **{name: one for name, one in self._first.contracts.items() if name in followed}
        }  # fmt: skip
        held = known.commits if known else {}
        for feed in feeds:
            is_new = contracts[feed].lake.load == "append" and self.lake.feed(feed).last > held.get(feed, 0)
            if feed in followed or not is_new:
                continue
            if not goes_on():
                return
            try:
                self.publish(feed, self._first.contracts[feed])
            except Exception as cause:
                failed = cause
        if failed is not None:
            raise failed

    def derive(self) -> None:
        """What is wanted after each publish, as detections."""
        from beam_grid.lakehouse import derived

        self.news.clear()
        began, contracts = time.monotonic(), self._first.contracts
        if not derived.has_at_commit(contracts):
            return
        self._beside.contracts = contracts
        with self._lock.held():
            if self._beside.derive():
                self._spent("derive", time.monotonic() - began)

    def refine(self) -> None:
        """All that publishing leaves: changes and master data, small files, clustering, analyses, expectations."""
        self.news.clear()
        began, feeds = time.monotonic(), self.lake.feeds
        self._beside.contracts = contracts_of(self.lake, feeds)
        with self._lock.held():
            left_out = self._beside.refine(feeds).left_out
            for line in left_out:
                self.failed = True
                if line not in self._said:
                    self._said.add(line)
                    self._tell(f"  left out: {line}")
        self._spent("refine", time.monotonic() - began)
        self.refined_at, self.refine_error = now(), "; ".join(left_out) or None

    def _spent(self, part: str, took: float) -> None:
        self.beside_s = {**self.beside_s, part: self.beside_s.get(part, 0.0) + took}
        note("made beside", part=part, seconds=round(took, 3))

    def _tell(self, line: str) -> None:
        if not self.ended.is_set():
            self.say(line)

    def _learn(self, to: Refinement, feed: str, contract: Contract) -> None:
        if to.contracts.get(feed) is not contract:
            to.contracts = {**contracts_of(self.lake, self.lake.feeds), **to.contracts, feed: contract}

    def _refinement(self, say: Say) -> Refinement:
        return Refinement(self.lake, {}, self.engine, self.spark_master, self.parameters, say)


def follow(
    lake: Lake, feeds: list[tuple[Contract, Options]], pace: Pace, tables: Tables | None, say: Say,
    at: Callable[[Lander], None] = lambda lander: None, beat: Callable[[Vitals], None] = lambda vitals: None,
    ending: threading.Event | None = None, lead: Lead | None = None,
) -> int:  # fmt: skip
    """Follow the feeds until `ending` is set; the caller holds the landing lock, and lets others in where it gives its
    `lead`. `tables` is None for landing alone; `beat` (Told.beat) is told how it is.

    Returns the exit code: 0 where it was told to end; 1, where a test's `at` raises StopIteration, if anything was left
    out or failed. Raises GridError for what no waiting mends (see service/supervisor.py).
    """
    ending = ending or threading.Event()
    give_back()
    with ExitStack() as opened:
        hurried = [(contract, replace(options, patience_s=_ASK_FOR_S)) for contract, options in feeds]
        landers = [opened.enter_context(Lander(lake, contract, options)) for contract, options in hurried]
        if tables is not None:
            tables.check_owners(contract for contract, _ in feeds)
        beside = opened.enter_context(_beside(tables, pace, say)) if tables is not None else None
        service = Supervisor(lake, landers, tables, say, beat)
        try:
            service.catch_up(ending)
            while not ending.is_set():
                began, is_behind = time.monotonic(), False
                service.publish_others_again(ending)
                for one in service.feeds:
                    is_behind |= service.turn(one)
                    at(one.lander)
                    service.let_in(lead, ending)
                    if ending.is_set():
                        break
                if not is_behind or pace.is_steady:
                    _until_due(began + pace.every, service, pace, ending, lead)
        except StopIteration:
            pass
        except BaseException as error:
            service.end(error)
            raise
        service.end()
    failed = tables is not None and tables.failed
    return 1 if not ending.is_set() and (service.has_failed or failed or (beside and beside.failed)) else 0


def _until_due(
    due: float, service: Supervisor, pace: Pace, ending: threading.Event, lead: Lead | None
) -> None:  # fmt: skip
    """Wait for the next round; after a visit it begins at once, unless the pace is steady."""
    while not ending.is_set():
        _pause(min(due, time.monotonic() + max(service.wait_s, 0.05)), ending, lead)
        if not service.let_in(lead, ending) or not pace.is_steady:
            return


def _pause(until: float, ending: threading.Event, lead: Lead | None) -> None:
    """Or until the run is to end, or somebody waits to land."""
    while (left := until - time.monotonic()) > 0 and not (lead is not None and lead.is_asked):
        if ending.wait(left if lead is None else min(left, _LISTEN_S)):
            return


@dataclass
class _Beside:
    failed: bool = False


@contextmanager
def _beside(tables: Tables, pace: Pace, say: Say) -> Iterator[_Beside]:
    """The thread that refines; it ends with the run, what it is at cut off."""
    state = _Beside()
    tables.ended.clear()

    def work() -> None:
        refine_at, derive_at = time.monotonic() + pace.refine_every, 0.0
        while True:
            tables.news.wait(max(0.0, refine_at - time.monotonic()))  # or the end, which sets it too
            if tables.ended.wait(max(0.0, min(derive_at, refine_at) - time.monotonic())):
                return
            began = time.monotonic()
            try:
                if began >= refine_at:
                    tables.refine()
                else:
                    tables.derive()
            except LakeBusy as cause:  # somebody else's `maintain`: next time
                log.debug("refine waits: %s", cause)
            except Exception as cause:  # said, and tried again: it must not end the thread, nor the run
                if tables.ended.is_set():
                    return
                state.failed = True
                what = str(cause) if isinstance(cause, GridError) else f"{type(cause).__name__}: {cause}"
                log.debug("refine failed", exc_info=True)
                if tables.refine_error != what:
                    say(f"error: {what}; landing and publishing go on")
                tables.refine_error = what
            ended = time.monotonic()
            if began >= refine_at:
                refine_at = ended + pace.refine_every
            else:
                derive_at = ended + _RESTS * (ended - began)

    thread = threading.Thread(target=work, name="refine", daemon=True)
    thread.start()
    try:
        yield state
    finally:
        tables.ended.set()
        tables.news.set()
        _cut_off(thread)


def _cut_off(thread: threading.Thread) -> None:
    """Wait for the thread's end, each statement and Spark job it begins being ended; for a while, it may be deaf."""
    deadline = time.monotonic() + _PATIENCE_S
    while thread.is_alive() and time.monotonic() < deadline:
        end_statements(thread.ident)
        if (delta := sys.modules.get("runners.delta")) is not None:
            delta.cancel()
        thread.join(0.1)


class _Shared:
    """The lake's lock on tables, held while any thread of this process works on them, and free in between."""

    def __init__(self, lake: Lake) -> None:
        self._lake, self._count, self._guard, self._open = lake, 0, threading.Lock(), ExitStack()

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._guard:
            if not self._count:
                self._open.enter_context(self._lake.lock("tables", wait_s=_WAIT_S))
                forget_scratch(self._lake)
            self._count += 1
        try:
            yield
        finally:
            with self._guard:
                self._count -= 1
                if not self._count:
                    self._open.close()
