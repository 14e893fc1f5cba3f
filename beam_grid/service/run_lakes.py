"""`beam-grid run-lakes`: several lakes, each followed by a process of its own, started anew when it ends.

    run-lakes ─┬─ run --follow, lake north ── LAKE/status/*.json ───┐
               └─ run --follow, lake south ── LAKE/status/*.json ───┴─► /metrics, /healthz, /readyz of them all

Guarantees: what one lake does - a crash, memory without end, a contract that is wrong - leaves the others as they are;
SIGTERM and Ctrl-C reach each, and this ends when all have; children do not outlive it, however it ends.
Not guaranteed: that memory stays below its limit in the moments between two looks (a second); where that must hold,
give the whole a control group (ops/systemd). Why processes: docs/decisions/0007-a-process-for-each-lake.md.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import psutil

from beam_grid import console
from beam_grid.errors import GridError
from beam_grid.service.lakes import ServedLake
from beam_grid.service.told import Telling, tellings

_LOOK_EVERY_S = 1.0

_SHORTEST_S, _LONGEST_S = 1.0, 60.0
"""Pauses before a lake's process is started again; doubled with each end that comes soon."""

_WELL_AFTER_S = 60.0
"""A process that ran so long had started well: the next pause is the shortest again."""

_GRACE_S = 120.0
"""How long a process may take to end in order; then it is killed, which loses nothing but time."""


@dataclass
class _Child:
    """A lake's process, over all its lives."""

    lake: ServedLake
    cores: str
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    due: float = 0.0
    """When to start it, by time.monotonic."""
    ends: int = 0
    """That came soon, one after another."""
    kill_at: float | None = None
    code: int = 0
    has_ended: bool = False
    """Somebody ended it in order: it is not started again."""
    last_line: str = ""

    def start(self) -> None:
        command = [sys.executable, "-m", "beam_grid.service.child", str(os.getpid()), self.cores, *self.lake.command()]
        env = {**os.environ, "BEAM_GRID_METRICS_PORT": "0"}
        env["BEAM_GRID_LOG_FORMAT"] = "json" if console.is_json() else "text"
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env,
            start_new_session=True,
        )  # fmt: skip
        self.began, self.kill_at, self.last_line = time.monotonic(), None, ""
        threading.Thread(target=self._pass_on, args=(self.process,), name=self.lake.name, daemon=True).start()

    def _pass_on(self, process: subprocess.Popen[bytes]) -> None:
        """What it says, with the lake's name."""
        assert process.stderr is not None
        for raw in process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            if not line:
                continue
            self.last_line = line
            if console.is_json():
                with suppress(ValueError):
                    line = json.dumps({**json.loads(line), "lake": self.lake.name}, ensure_ascii=False)
                print(line, file=sys.stderr, flush=True)
            else:
                print(f"[{self.lake.name}] {line}", file=sys.stderr, flush=True)

    def tell(self, number: int) -> None:
        """Send a signal; it has until `kill_at` to end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.kill_at = self.kill_at or time.monotonic() + _GRACE_S

    def resident_mib(self) -> float:
        """Of the process and what it started."""
        assert self.process is not None
        total = 0
        with suppress(psutil.Error):
            own = psutil.Process(self.process.pid)
            for process in (own, *own.children(recursive=True)):
                with suppress(psutil.Error):
                    total += process.memory_info().rss
        return total / (1 << 20)


@dataclass
class Serving:
    """All lakes of a file, until told to end."""

    lakes: list[ServedLake]
    ending: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Raises GridError for more cores than there are."""
        if sys.platform == "linux":
            there = sorted(os.sched_getaffinity(0))
            turn = cycle(there)
            for lake in self.lakes:
                if lake.cpus is not None and lake.cpus > len(there):
                    raise GridError(f"{lake.name}: cpus = {lake.cpus}; this process may use {len(there)}")
        self._children = [
            _Child(lake, "-" if lake.cpus is None else ",".join(map(str, islice(turn, lake.cpus))))
            for lake in self.lakes
        ]

    def run(self) -> int:
        """Keep all up until `ending` is set, or none is left; 1 where a lake's last end was no good one, else 0."""
        with _signals(self):
            try:
                while not self.ending.is_set() and not all(child.has_ended for child in self._children):
                    for child in self._children:
                        self._look_after(child)
                    self.ending.wait(_LOOK_EVERY_S)
            except KeyboardInterrupt:
                self.tell(signal.SIGINT)
                raise
            finally:
                self._end_all()
        return 1 if any(child.code for child in self._children) else 0

    def tellings(self) -> list[Telling]:
        """Of the followers that run now."""
        pids = {c.process.pid for c in self._children if c.process is not None and c.process.poll() is None}
        told = [f.telling for lake in self.lakes for f in tellings(Path(lake.lake))]
        return [telling for telling in told if telling.vitals.pid in pids]

    def missing(self) -> dict[str, str]:
        """Lakes that no process follows now, each with a reason."""
        told = {Path(telling.vitals.lake) for telling in self.tellings()}
        return {
            child.lake.lake: f"{child.lake.name}: nobody follows it: {child.last_line or 'starting'}"
            for child in self._children
            if Path(child.lake.lake) not in told
        }

    def tell(self, number: int) -> None:
        """Send a signal to all."""
        for child in self._children:
            child.tell(number)

    def _look_after(self, child: _Child) -> None:
        now, lake = time.monotonic(), child.lake
        if child.has_ended:
            return
        if child.process is None:
            if now >= child.due:
                child.start()
            return
        code = child.process.poll()
        if code is None:
            limit = lake.max_memory_mib
            if child.kill_at is None and limit is not None and (used := child.resident_mib()) > limit:
                console.say(
                    f"{lake.name}: its process holds {used:,.0f} MiB, the limit is {limit:,}: it ends, and starts anew"
                )
                child.tell(signal.SIGTERM)
            _kill_where_due(child)
            return
        was_told = child.kill_at is not None
        child.process, child.code = None, 0 if was_told else code
        if code == 0 and not was_told:
            child.has_ended = True
            console.say(f"{lake.name}: its process was ended in order, and is not started again")
            return
        child.ends = 0 if now - child.began >= _WELL_AFTER_S else child.ends + 1
        pause = min(_LONGEST_S, _SHORTEST_S * 2 ** max(0, child.ends - 1)) * random.uniform(0.8, 1.2)
        child.due = now + pause
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        console.say(f"{lake.name}: its process ended {how}; it is started again in {pause:.0f} s")

    def _end_all(self) -> None:
        for child in self._children:
            if child.kill_at is None:
                child.tell(signal.SIGTERM)
        for child in self._children:
            while child.process is not None and (code := child.process.poll()) is None:
                _kill_where_due(child)
                time.sleep(0.05)
            if child.process is not None:
                child.code = 0 if code == -signal.SIGTERM else code or 0  # it had not begun to follow


def _kill_where_due(child: _Child) -> None:
    if child.kill_at is not None and time.monotonic() >= child.kill_at and child.process is not None:
        console.say(f"{child.lake.name}: its process did not end within {_GRACE_S:.0f} s and is killed")
        child.process.kill()


@contextmanager
def _signals(serving: Serving) -> Iterator[None]:
    """While open, SIGTERM ends all in order."""
    before = signal.signal(signal.SIGTERM, lambda *_: serving.ending.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
