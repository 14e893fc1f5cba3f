"""Look at each version set as it is published, and send what follows, until told to end.

    LAKE/versions ─► the next number? ─► look ─► alerts.db ◄─► couriers, a thread each

It knows of landing only what it publishes, and lives in a process of its own (beside.py), so nothing here can slow or
break it. It may be killed at any time. Memory and time of a rule are bounded; the process ends where a look does not.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import psutil

from beam_grid import durable
from beam_grid.alerts.couriers import Courier
from beam_grid.alerts.declared import FILE, AnySink, Declared, declared, parsed
from beam_grid.alerts.evaluate import Evaluation, now_us
from beam_grid.alerts.matching import SetGone
from beam_grid.alerts.store import FOLDER, Store, opened
from beam_grid.console import say
from beam_grid.errors import GridError, LakeBusy
from beam_grid.landing import Lake
from data_sources.durations import parse_duration

LOCK = "alerts"

_LOOKS_EVERY_S = 0.2
_PAUSE_S = 2.0
"""After a look that failed."""
_HUNG_AFTER_S = 300.0
_SETTLES_S = 1.0
"""A file that was changed is read when it has been as it is for so long: some editors empty it first."""
_MEASURES_EVERY_S = 60.0
MOST_RESIDENT = 768 << 20
_LAST_SENDING_S = 2.0
"""At the end couriers have so long for what was raised last; the rest is sent by the next run."""


def watch(lake: Lake, ending: threading.Event) -> bool:
    """Until the event is set; whether it is to begin anew, because its memory has grown. Raises GridError for a file that is
    wrong or missing at the start, LakeBusy where another watches."""
    with ExitStack() as held:
        _lead(lake, ending, held)
        watching = _Watching(lake, held.enter_context(opened(lake)), held)
        watching.learn(is_first=True)
        while not ending.is_set():
            watching.turn()
            if watching.has_grown():
                return True
            ending.wait(_LOOKS_EVERY_S)
        watching.turn()
        watching.end()
        return False


def _lead(lake: Lake, ending: threading.Event, held: ExitStack) -> None:
    """One process watches a lake; one that was killed may take a moment to go."""
    deadline = time.monotonic() + 10.0
    while True:
        try:
            held.enter_context(lake.lock(LOCK, wait_s=0.5))
            return
        except LakeBusy:
            if ending.is_set() or time.monotonic() > deadline:
                raise LakeBusy(f"lake {lake.path}: another process watches its alerts; wait for it to end") from None


@contextmanager
def scratch(lake: Lake) -> Iterator[Path]:
    """A folder for what an engine spills; for who holds the lock, so what others left there is nobody's."""
    for left in (lake.path / FOLDER).glob(".scratch-*"):
        rmtree(left, ignore_errors=True)
    with TemporaryDirectory(dir=lake.path / FOLDER, prefix=".scratch-") as folder:
        yield Path(folder)


class _Stuck:
    """Ends the process where a look does not go on for _HUNG_AFTER_S; one thread, however many rules there are."""

    def __init__(self) -> None:
        self._since, self._ended = time.monotonic(), threading.Event()
        threading.Thread(target=self._watch, name="stuck", daemon=True).start()

    def goes_on(self) -> None:
        self._since = time.monotonic()

    def end(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while (left := self._since + _HUNG_AFTER_S - time.monotonic()) > 0:
            if self._ended.wait(left):
                return
        os._exit(70)


@dataclass
class _Running:
    courier: Courier
    ending: threading.Event
    thread: threading.Thread


class _Watching:
    def __init__(self, lake: Lake, store: Store, held: ExitStack) -> None:
        self._lake, self._store = lake, store
        self._scratch = held.enter_context(scratch(lake))
        self._evaluation: Evaluation | None = None
        self._couriers: dict[str, _Running] = {}
        self._mark: tuple[int, int] | None = None
        self._kept = lake.path / FOLDER / "last.toml"
        self._seen: tuple[tuple[int, int], float] = (0, 0), 0.0
        """How the file is now, and since when."""
        self._due, self._pause_until, self._known = 0.0, 0.0, 0
        """Instants are of the monotonic clock: one that is set changes nothing."""
        self._said: dict[str, str] = {}
        self._trimmed, self._measured = 0.0, time.monotonic()

    def turn(self) -> None:
        """Look at what is new, or due. Raises nothing that waiting may mend."""
        try:
            self.learn()
            if time.monotonic() >= self._pause_until:
                self._look()
        except GridError as cause:
            self._pause_until = time.monotonic() + _PAUSE_S
            self._say("look", str(cause))

    def learn(self, is_first: bool = False) -> None:
        """Read the file where it changed; one that is wrong leaves all as it was, but at the start."""
        mark = _mark(self._lake)
        if mark == self._mark:
            return
        if mark != self._seen[0]:
            self._seen = mark, time.monotonic()
        if not is_first and time.monotonic() - self._seen[1] < _SETTLES_S:
            return
        self._mark = mark
        last = self._last() if is_first else None
        try:
            found = declared(self._lake)
            if found is None:
                raise GridError(f"{self._lake.path / FILE} is not there")
            if not found.alerts and (last is not None or not is_first):  # being written, or cut off
                raise GridError(f"{self._lake.path / FILE} has no [[alerts]]; to end all, begin to watch anew")
        except GridError as cause:
            if is_first and last is None:
                raise
            self._say("file", f"{cause}; the rules stay as they were")
            if last is None:
                return
            found = last
        else:
            self._said.pop("file", None)
            self._keep()
        if self._evaluation is None or found != self._evaluation.declared:
            self._evaluation = Evaluation(self._lake, found, self._store, self._scratch, self._evaluation)
            self._due = 0.0
        self._send_to(found.sinks)
        self._store.give_up([sink.name for sink in found.sinks], now_us())

    def _last(self) -> Declared | None:
        """The rules that the watcher before this one had, where it did not end in order: it was killed, or ended itself."""
        try:
            return parsed(self._kept.read_text(encoding="utf-8"), str(self._kept))
        except (OSError, UnicodeDecodeError, GridError):
            return None

    def _keep(self) -> None:
        with suppress(OSError):
            durable.replace(self._kept, (self._lake.path / FILE).read_bytes())
            self._kept.chmod(0o600)  # addresses may be secrets

    def _look(self) -> None:
        assert self._evaluation is not None
        numbers = self._evaluation.to_look_at(self._known)
        if not numbers and self._known and time.monotonic() >= self._due:
            numbers = [self._known]
        elif not numbers and not self._known and (looked := self._store.looked()):
            numbers = [looked]  # once at the start: what became due meanwhile
        if self._known and numbers and numbers[0] > self._known + 1:
            say(
                f"alerts: version sets {self._known + 1} to {numbers[0] - 1} are passed over: rules take longer than publishing"
            )
        for number in numbers:
            stuck = _Stuck()
            try:
                told = self._evaluation.look(number, stuck.goes_on)
            except SetGone as cause:
                self._say("look", str(cause))
                self._known, self._pause_until = number, time.monotonic() + _PAUSE_S
                continue
            finally:
                stuck.end()
            self._known = number
            every = parse_duration(self._evaluation.declared.every).total_seconds()
            wait_s = every if told.due is None else min(every, (told.due - now_us()) / 1e6)
            self._due = time.monotonic() + max(0.0, wait_s)
            for name in self._said.keys() - {"file"} - told.errors.keys():
                del self._said[name]
            for name, why in told.errors.items():
                self._say(name, why)
        if time.monotonic() - self._trimmed > 3600:
            self._trimmed = time.monotonic()
            self._store.trim(now_us())

    def _send_to(self, sinks: tuple[AnySink, ...]) -> None:
        wanted = {sink.name: sink for sink in sinks}
        for name in self._couriers.keys() - wanted.keys():
            self._couriers.pop(name).ending.set()
        for name, sink in wanted.items():
            if name in self._couriers:
                self._couriers[name].courier.change(sink)
                continue
            courier, ending = Courier(self._lake, sink), threading.Event()
            thread = threading.Thread(target=courier.run, args=(ending,), name=f"sink {name}", daemon=True)
            self._couriers[name] = _Running(courier, ending, thread)
            thread.start()

    def has_grown(self) -> bool:
        """Whether it holds more memory than it should: what engines took is not always given back."""
        if time.monotonic() - self._measured < _MEASURES_EVERY_S:
            return False
        self._measured = time.monotonic()
        return psutil.Process().memory_info().rss > MOST_RESIDENT

    def end(self) -> None:
        """Give couriers a moment for what waits, and end them."""
        deadline = time.monotonic() + _LAST_SENDING_S
        while time.monotonic() < deadline and any(self._store.unsent(name) for name in self._couriers):
            time.sleep(0.05)
        durable.remove(self._kept)
        for running in self._couriers.values():
            running.ending.set()
        for running in self._couriers.values():
            running.thread.join(max(0.1, deadline - time.monotonic()))

    def _say(self, what: str, line: str) -> None:
        """Once for each reason. what: a rule, or `look`, or `file`."""
        if self._said.get(what) != line:
            self._said[what] = line
            rule = "" if what in ("look", "file") else f"rule {what}: "
            say(f"alerts: {rule}{line}")


def _mark(lake: Lake) -> tuple[int, int]:
    try:
        found = (lake.path / FILE).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
