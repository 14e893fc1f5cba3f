"""Look at each version set as it is published, and send what follows, until told to end.

    LAKE/versions ─► the next number? ─► look ─► alerts.db ◄─► couriers, a thread each

It knows of landing only what it publishes, and lives in a process of its own (beside.py), so nothing here can slow or
break it. It may be killed at any time. Memory and time of a rule are bounded; the process ends where a look does not.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from beam_grid.alerts.couriers import Courier
from beam_grid.alerts.declared import FILE, AnySink, Declared, declared
from beam_grid.alerts.evaluate import Evaluation, now_us
from beam_grid.alerts.matching import SetGone
from beam_grid.alerts.store import FOLDER, Store, opened
from beam_grid.console import say
from beam_grid.errors import GridError, LakeBusy
from beam_grid.landing import Lake
from data_sources.durations import parse_duration

LOCK = "alerts"

_LOOKS_EVERY_S = 0.2
_HUNG_AFTER_S = 300.0
_LAST_SENDING_S = 2.0
"""At the end couriers have so long for what was raised last; the rest is sent by the next run."""


def watch(lake: Lake, ending: threading.Event) -> None:
    """Until the event is set. Raises GridError for a file that is wrong at the start, LakeBusy where another watches."""
    with ExitStack() as held:
        _lead(lake, ending, held)
        watching = _Watching(lake, held.enter_context(opened(lake)), held)
        watching.learn(is_first=True)
        while not ending.is_set():
            watching.turn()
            ending.wait(_LOOKS_EVERY_S)
        watching.turn()
        watching.end()


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


@dataclass
class _Running:
    courier: Courier
    ending: threading.Event
    thread: threading.Thread


class _Watching:
    def __init__(self, lake: Lake, store: Store, held: ExitStack) -> None:
        self._lake, self._store = lake, store
        folder = lake.path / FOLDER
        self._scratch = Path(held.enter_context(TemporaryDirectory(dir=folder, prefix=".scratch-")))
        self._evaluation: Evaluation | None = None
        self._couriers: dict[str, _Running] = {}
        self._mark: tuple[int, int] | None = None
        self._due, self._known = 0.0, 0
        self._said: dict[str, str] = {}
        self._trimmed = 0.0

    def turn(self) -> None:
        """Look at what is new, or due. Raises nothing that waiting may mend."""
        try:
            self.learn()
            self._look()
        except GridError as cause:
            self._say("look", str(cause))

    def learn(self, is_first: bool = False) -> None:
        """Read the file where it changed; one that is wrong leaves all as it was, but at the start."""
        mark = _mark(self._lake)
        if mark == self._mark:
            return
        self._mark = mark
        try:
            found = declared(self._lake) or Declared()
        except GridError as cause:
            if is_first:
                raise
            self._say("file", f"{cause}; the rules stay as they were")
            return
        self._said.pop("file", None)
        if self._evaluation is None or found != self._evaluation.declared:
            self._evaluation, self._due = Evaluation(self._lake, found, self._store, self._scratch), 0.0
        self._send_to(found.sinks)

    def _look(self) -> None:
        assert self._evaluation is not None
        numbers = self._evaluation.to_look_at(self._known)
        if not numbers and self._known and time.time() >= self._due:
            numbers = [self._known]
        elif not numbers and not self._known and (looked := self._store.looked()):
            numbers = [looked]  # once at the start: what became due meanwhile
        for number in numbers:
            stuck = threading.Timer(_HUNG_AFTER_S, os._exit, (70,))
            stuck.daemon = True
            stuck.start()
            try:
                told = self._evaluation.look(number)
            except SetGone as cause:
                self._say("look", str(cause))
                self._known, self._due = number, time.time() + 1.0
                continue
            finally:
                stuck.cancel()
            self._known = number
            every = parse_duration(self._evaluation.declared.every).total_seconds()
            self._due = min(time.time() + every, (told.due or 1 << 62) / 1e6)
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

    def end(self) -> None:
        """Give couriers a moment for what waits, and end them."""
        deadline = time.monotonic() + _LAST_SENDING_S
        while time.monotonic() < deadline and any(self._store.unsent(name) for name in self._couriers):
            time.sleep(0.05)
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
