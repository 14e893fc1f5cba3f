"""Many feeds in one loop: each lands, publishes, fails and waits on its own, and says how it is.

    round   [feed 1: land, publish][feed 2: waits until 10:31:07][feed 3: land, publish]  ...
                                     its broker is away

Guarantees: what one feed, its source or its tables fail with never stops another; a feed ends the run only for what
no waiting mends: a lake that cannot be written, a contract or an option that is wrong, and, before its source has been
read once, a source that refuses. One line is said per change of how a feed is, not per try.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beam_grid.about import about
from beam_grid.console import note
from beam_grid.errors import RunFailed
from beam_grid.interrupt import was_interrupted
from beam_grid.lakehouse.versions import newest
from beam_grid.service.breaker import LONGEST_S, Breaker
from beam_grid.service.causes import cause_of, is_no_room, one_line
from beam_grid.service.poison import Narrowing
from beam_grid.service.vitals import FeedVitals, Role, State, Vitals

if TYPE_CHECKING:
    from beam_grid.commit import Commit
    from beam_grid.follow import Tables
    from beam_grid.land import Lander
    from beam_grid.landing import Lake
    from beam_grid.visits import Lead

Say = Callable[[str], None]
Beat = Callable[[Vitals], None]

_TELL_EVERY_S = 10.0

MOST_LEFT_OUT = 20
"""So many problems of a feed's last look are told one by one."""

_PROBLEMS = 1_000
"""So many problems are remembered, in order not to say them again: a gap a day makes many in years."""


def vitals_of(lake: Lake, role: Role = "leader") -> Vitals:
    """Of this process, which starts now."""
    return Vitals(pid=os.getpid(), host=socket.gethostname(), lake=str(lake.path), started_at=now(), role=role)


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


@dataclass
class Followed:
    """One feed that is followed."""

    lander: Lander
    vitals: FeedVitals
    say: Say
    source: Breaker = field(default_factory=Breaker)
    tables: Breaker = field(default_factory=Breaker)
    is_read: bool = False
    """Whether its source has been read once."""
    land_s: float = 0.0
    """What the commits that are not published yet took to land."""
    told_at: float = -_TELL_EVERY_S
    said: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """Of the source, by the looks up to the last; why is said too."""

    def __post_init__(self) -> None:
        self.slices = self._slices()

    def _slices(self) -> Narrowing:
        return Narrowing(self.lander, lambda line: self.say(f"{self.name}: {line}"), waits=True)

    def forget_failures(self) -> None:
        """Somebody else landed: the next slice is another one."""
        aside, self.slices = self.slices.quarantined, self._slices()
        self.slices.quarantined = aside

    def looked(self, at_all: bool) -> None:
        """Tell what the look left out. at_all: whether it went through all that is there; else what was left out before
        still is."""
        before = [] if at_all else self.left_out
        self.left_out = list(dict.fromkeys([*before, *self.lander.plan.problems]))[-_PROBLEMS:]
        self.vitals.left_out, self.vitals.left_out_count = self.left_out[:MOST_LEFT_OUT], len(self.left_out)

    @property
    def name(self) -> str:
        return self.lander.contract.name

    def changed(self, what: str, line: str, why: str = "") -> None:
        """what: source, breaker or tables. Say the line unless it was said of this already, for the same reason."""
        if self.said.get(what) != why:
            self.said[what] = why
            self.say(f"{self.name}: {line}")

    def is_well(self, what: str, line: str) -> None:
        """Say the line if anything else was said before."""
        self.said.pop("breaker", None)
        if self.said.pop(what, None) is not None:
            self.say(f"{self.name}: {line}")


class Supervisor:
    """Goes round the feeds; the caller says when. beat: hears how they are once a round and after each event."""

    def __init__(self, lake: Lake, landers: list[Lander], tables: Tables | None, say: Say, beat: Beat) -> None:
        self._lake, self._tables, self._say, self._beat = lake, tables, say, beat
        self._vitals = vitals_of(lake)
        self._problems: set[str] = set()
        self._others = Breaker()
        self.has_failed = False
        """Whether anything was left out, put aside or not published since the start, mended or not."""
        self.feeds = []
        for lander in landers:
            vitals = FeedVitals(feed=lander.contract.name, source=lander.options.source, commit=lander.feed.last)
            vitals.is_refined = lander.contract.lake.load != "append"
            self._vitals.feeds[vitals.feed] = vitals
            self.feeds.append(Followed(lander, vitals, say))

    def beat(self, one: Followed | None = None, state: State | None = None) -> None:
        """Tell how all are, one of them in another state now."""
        if one is not None:
            worse, vitals = one.source if one.source.failures else one.tables, one.vitals
            vitals.breaker, vitals.failures, vitals.retry_at = worse.state, worse.failures, worse.retry_at
            vitals.state = state or vitals.state
        self._vitals.beat_at = now()
        if self._tables is not None:
            if self._tables.refined_at != self._vitals.refined_at:
                self._look_at_refined()
            self._vitals.refined_at, self._vitals.refine_error = self._tables.refined_at, self._tables.refine_error
            self._vitals.beside_s = self._tables.beside_s
        self._beat(self._vitals)

    def _look_at_refined(self) -> None:
        """Up to which commit the tables are that a refine brings."""
        held = known.commits if (known := newest(self._lake)) else {}
        for vitals in self._vitals.feeds.values():
            if vitals.is_refined:
                vitals.published, vitals.published_at = held.get(vitals.feed, 0), now()

    def catch_up(self, ending: threading.Event) -> None:
        """Publish what an earlier run landed and left, until the run is to end."""
        for one in self.feeds:
            if ending.is_set():
                return
            if self._tables is not None and one.lander.feed.last:
                with about(feed=one.name):
                    self._publish(one)
        self._publish_others(ending)

    def turn(self, one: Followed) -> bool:
        """One slice of one feed, published; whether there is more to do at once."""
        with about(feed=one.name):
            return self._turn(one)

    def _turn(self, one: Followed) -> bool:
        if one.source.wait_s > 0:
            self._publish_again(one)
            return False
        try:
            with about(commit=one.vitals.commit + 1), one.source.trying():
                self.beat(one, _at_work(one))
                began = time.monotonic()
                one.lander.go_on()
                commit = one.slices.step()
                took = _spent(one, "land", began)
        except Exception as cause:
            _raise_interrupt(cause)
            with about(commit=one.vitals.commit + 1):
                self._failed(one, cause)
            return False
        one.is_read = True
        one.is_well("source", "goes on")
        vitals = one.vitals
        self.has_failed |= one.slices.quarantined > 0
        is_behind = one.slices.is_at_work or (commit is not None and one.lander.is_behind)
        one.looked(at_all=not is_behind)
        vitals.lag, vitals.quarantined = dict(one.lander.plan.lag), one.slices.quarantined
        if commit is not None:
            one.land_s += took
            vitals.add(commit, now())
            self.beat(one)
        if commit is not None and self._tables is not None and one.tables.wait_s == 0:
            self._publish(one)
        else:
            self._publish_again(one)
        self.beat(one, "idle" if one.tables.failures == 0 else "backing off")
        with about(commit=vitals.commit):
            self._tell(one, commit)
        return is_behind

    def let_in(self, lead: Lead | None, ending: threading.Event) -> bool:
        """Where somebody waits to land, bring all to rest for that, and go on from what stands then. Whether that was so; the
        run may be to end afterwards, and then is at rest."""
        if lead is None or ending.is_set() or not lead.is_asked:
            return False
        states = [one.vitals.state for one in self.feeds]
        for one in self.feeds:
            one.lander.rest()
            one.vitals.state = "waiting"
            self.beat()
        if not lead.let_in(ending, self.beat):
            return True
        for one, state in zip(self.feeds, states, strict=True):
            has_moved = one.lander.resume()
            if has_moved:
                one.vitals.commit = one.lander.feed.last
                one.forget_failures()
                if self._tables is not None and one.tables.wait_s == 0:
                    with about(feed=one.name):
                        self._publish(one)
            if not has_moved or not one.tables.failures:
                one.vitals.state = state
        self._publish_others(ending)
        self.beat()
        return True

    def publish_others_again(self, ending: threading.Event) -> None:
        """Where what others landed could not be published, and it is time to try again."""
        if self._others.failures and self._others.wait_s == 0:
            self._publish_others(ending)

    def _publish_others(self, ending: threading.Event) -> None:
        """What landed of feeds that are not followed; where it cannot be published that is said, and tried again later."""
        if self._tables is None:
            return

        def goes_on() -> bool:
            self.beat()
            return not ending.is_set()

        try:
            with self._others.trying():
                self._tables.publish_others({one.name for one in self.feeds}, goes_on)
        except Exception as cause:
            _raise_interrupt(cause)
            if is_no_room(cause):
                raise RunFailed(
                    f"lake {self._lake.path}: its tables cannot be written ({one_line(cause)}); what landed stays: make room and run "
                    "again"
                ) from cause
            if self._others.failures == 1:
                self._say(f"what other commands landed is not published: {one_line(cause)}; it is tried again")
            self.has_failed = True

    @property
    def wait_s(self) -> float:
        """Seconds until a feed that failed is due again; much where none has."""
        tries = [self._others, *(b for one in self.feeds for b in (one.source, one.tables))]
        waits = [b.wait_s for b in tries if b.failures]
        return min(waits, default=3600.0)

    def end(self, error: BaseException | None = None) -> None:
        """Tell how it ended."""
        for one in self.feeds:
            one.vitals.state = "ended" if error is None else "failed"
            if isinstance(error, Exception) and one.vitals.last_error is None:
                one.vitals.last_error, one.vitals.last_error_at = one_line(error), now()
        self.beat()

    def _failed(self, one: Followed, cause: Exception) -> None:
        """Put the feed off; raises the cause where that mends nothing."""
        kind, why, vitals = cause_of(cause), one_line(cause), one.vitals
        vitals.last_error, vitals.last_error_at = why, now()
        is_refused_at_first = not one.is_read and (kind == "denied" or (kind == "source" and not vitals.commit))
        if kind in ("lake", "usage") or is_refused_at_first:
            self.beat(one, "failed")
            raise cause
        self.beat(one, "backing off" if kind == "away" else "failed")
        rest = "; the other feeds go on" if len(self.feeds) > 1 else ""
        one.changed("source", f"{why}; tried again, after longer and longer pauses{rest}", f"{kind} {_steady(why)}")
        if one.source.state == "open":
            one.changed(
                "breaker", f"failed {one.source.failures} times in a row; tried at least every {LONGEST_S:.0f} s"
            )

    def _publish_again(self, one: Followed) -> None:
        if self._tables is not None and one.tables.failures and one.tables.wait_s == 0:
            self._publish(one)

    def _publish(self, one: Followed) -> None:
        """Bring the feed's tables up; where they cannot be, say so and try again later."""
        assert self._tables is not None
        feed, began, vitals = one.lander.feed, time.monotonic(), one.vitals
        self.beat(one, "publishing")
        try:
            with about(commit=vitals.commit), one.tables.trying():
                self._tables.publish(one.name, one.lander.contract if vitals.commits else feed.contract(), one.land_s)
        except Exception as cause:
            _raise_interrupt(cause)
            why = one_line(cause)
            vitals.last_error, vitals.last_error_at = f"tables: {why}", now()
            if is_no_room(cause):
                self.beat(one, "failed")
                raise RunFailed(
                    f"lake {one.lander.lake.path}: the tables of {one.name} cannot be written ({why}); what landed stays: make "
                    "room and run again"
                ) from cause
            one.changed("tables", f"not published: {why}; landing goes on, and it is tried again", _steady(why))
            self.has_failed = True
            self.beat(one, "backing off")
            return
        one.land_s = 0.0
        note("published", commit=vitals.commit, seconds=round(_spent(one, "publish", began), 3))
        one.is_well("tables", "published again")
        if not vitals.is_refined:
            vitals.published, vitals.published_at = vitals.commit, now()
            if vitals.newest_arrival is not None:
                vitals.freshness_s = (vitals.published_at - vitals.newest_arrival) / 1e6
        self.beat(one)

    def _tell(self, one: Followed, commit: Commit | None) -> None:
        del one.lander.done.problems[:-_PROBLEMS]
        if len(self._problems) > _PROBLEMS * len(self.feeds):
            self._problems = {problem for each in self.feeds for problem in each.lander.done.problems}
        for problem in one.lander.done.problems:
            if problem not in self._problems:
                self._problems.add(problem)
                self.has_failed = True
                self._say(f"  {problem}")
        if commit is not None and time.monotonic() - one.told_at >= _TELL_EVERY_S:
            one.told_at = time.monotonic()
            self._say(_line(one.lander))


def _line(lander: Lander) -> str:
    fates = lander.done.fates
    return (
        f"{lander.contract.name}: {fates.read:,} read = landed {fates.landed:,} + duplicates {fates.duplicates:,} + late "
        f"{fates.late:,} + rejected {fates.rejected:,}, {lander.done.commits} commits"
    )


def _at_work(one: Followed) -> State:
    """What a feed is at, now that it takes its turn: one that failed is not well before it has done something."""
    if one.slices.is_at_work:
        return "quarantining"
    return one.vitals.state if one.source.failures else "landing"


def _spent(one: Followed, step: str, began: float) -> float:
    took = time.monotonic() - began
    one.vitals.seconds[step] = one.vitals.seconds.get(step, 0.0) + took
    return took


def _steady(why: str) -> str:
    """What an error says, without what differs from try to try."""
    return "".join(c for c in why if not c.isdigit())


def _raise_interrupt(cause: Exception) -> None:
    """A library may make another exception of Ctrl-C."""
    if was_interrupted():
        raise KeyboardInterrupt from cause
