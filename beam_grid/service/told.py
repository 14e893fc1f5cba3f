"""What a run that follows tells: LAKE/status/HOST-PID-....json, and the newest vitals to whoever asks in this process.

    the loop ──beat──► newest bytes ──┬─► a thread, at most once a second ─► LAKE/status/....json ─► beam-grid status
                                      └─► metrics and health, when they are asked

Guarantees: `beat` costs some microseconds, never waits for a disk and never fails the loop; the last beat is written
within a second even where no other follows it; the file is there whole or not at all, is no other process's (in containers
all have one PID), and gone after a clean end; what others left is gone soon after somebody leads.
Not guaranteed: that the file survives a power cut (it is not synced), nor that a file means a follower that lives: ask
`tellings`, which says of each whether its process does.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from msgspec import Struct

from beam_grid.service.vitals import Vitals
from data_sources.typed_json import decoder, encode

log = logging.getLogger(__name__)

_WRITE_EVERY_S = 1.0

_FORGET_EVERY_S = 60.0
"""How often who leads looks for what others left that are gone: of another host's that takes as long to be told."""

_RATE_OVER_S = 60.0
"""Rates are of the last so many seconds."""

PATIENCE_S = 60.0
"""A slice may take its time: a loop is not called hung before this, however often it is to go round."""

MOST_UNPUBLISHED = 10
"""Commits that may wait to be published where all is called well."""


class Telling(Struct, kw_only=True):
    """Content of a file of LAKE/status."""

    vitals: Vitals
    every_s: float = 10.0
    """How often the loop looks for new records."""
    publishes: bool = True
    """Whether it brings up tables too."""
    rates: dict[str, float] = {}
    """Records read per second over about the last minute, by feed."""


_decode = decoder(Telling)


class Told:
    """with Told(lake.path, every_s=pace.every, publishes=tables is not None) as told: ... told.beat(vitals)

    May be entered once. `beat` may be called from any thread.
    """

    def __init__(self, lake: Path, every_s: float = 10.0, publishes: bool = True) -> None:
        self._folder, self._every_s, self._publishes = lake / "status", every_s, publishes
        host = re.sub(r"[^\w-]", "_", socket.gethostname(), flags=re.ASCII)
        self._file = self._folder / f"{host}-{os.getpid()}-{os.urandom(4).hex()}.json"
        self._newest: bytes | None = None
        self._read: dict[str, deque[tuple[float, int]]] = {}
        self._guard, self._news, self._ended = threading.Lock(), threading.Event(), threading.Event()
        self._failed, self._leads, self._forget_at = False, False, 0.0
        self._writer = threading.Thread(target=self._write_on, name="status", daemon=True)

    def __enter__(self) -> Told:
        self._forget()
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._news.set()
        self._writer.join(5.0)
        try:
            self._file.unlink(missing_ok=True)
        except OSError as cause:
            log.debug("status of %s stays: %s", self._file, cause)

    def beat(self, vitals: Vitals) -> None:
        """The loop went round, or something happened to a feed: called once a round, and after each event."""
        telling = Telling(vitals=vitals, every_s=self._every_s, publishes=self._publishes, rates=self._rates(vitals))
        self._newest, self._leads = encode(telling), vitals.role == "leader"
        self._news.set()

    def newest(self) -> list[Telling]:
        """The last beat, as it was; none before the first."""
        return [] if self._newest is None else [_decode(self._newest)]

    def _rates(self, vitals: Vitals) -> dict[str, float]:
        now, rates = time.monotonic(), {}
        with self._guard:
            for name, feed in vitals.feeds.items():
                seen = self._read.setdefault(name, deque(maxlen=4096))
                total = feed.fates.get("read", 0)
                if not seen or now - seen[-1][0] >= _WRITE_EVERY_S or len(seen) == 1:
                    seen.append((now, total))
                while len(seen) > 2 and now - seen[1][0] > _RATE_OVER_S:
                    seen.popleft()
                since, before = seen[0]
                if now - since >= _WRITE_EVERY_S:
                    rates[name] = max(0, total - before) / (now - since)
        return rates

    def _write_on(self) -> None:
        while True:
            self._news.wait()
            if self._ended.is_set():
                return
            self._news.clear()
            self._write()
            if self._leads and time.monotonic() >= self._forget_at:
                self._forget(leaders=self._forget_at == 0)  # it holds the lake's lock: nobody else does
                self._forget_at = time.monotonic() + _FORGET_EVERY_S
            self._ended.wait(_WRITE_EVERY_S)

    def _forget(self, leaders: bool = False) -> None:
        """Remove what others left that are gone; leaders: all that say they lead are."""
        for file, follower in _files(self._folder):
            vitals = follower.telling.vitals
            if file == self._file or (follower.is_alive and not (leaders and vitals.role == "leader")):
                continue
            log.warning("the follower before (process %s on %s) ended without a word", vitals.pid, vitals.host)
            for left in (file, _draft(file)):
                try:
                    left.unlink(missing_ok=True)
                except OSError as cause:
                    log.debug("status %s stays: %s", left, cause)

    def _write(self) -> None:
        draft = _draft(self._file)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(self._newest or b"")
            os.replace(draft, self._file)
            self._failed = False
        except OSError as cause:  # a full disk is the lander's to tell; a run must not end for want of a status
            if not self._failed:
                log.warning("status %s cannot be written (%s)", self._file, cause.strerror or cause)
            self._failed = True


class Follower(Struct, kw_only=True):
    """One file of LAKE/status, and whether its process lives."""

    telling: Telling
    is_alive: bool
    why: str | None = None
    """What is wrong with it: its process is gone, or its loop has not gone round for too long."""


def tellings(lake: Path) -> list[Follower]:
    """All that is told of followers of a lake, those that live first. Damaged files are left out."""
    found = [follower for _, follower in _files(lake / "status")]
    return sorted(found, key=lambda f: (not f.is_alive, f.telling.vitals.role != "leader", -f.telling.vitals.beat_at))


def _files(folder: Path) -> Iterator[tuple[Path, Follower]]:
    for file in sorted(folder.glob("*.json")):
        try:
            telling = _decode(file.read_bytes())
        except (OSError, ValueError):
            continue
        yield file, _follower(telling)


def _draft(file: Path) -> Path:
    return file.with_suffix(".tmp")


def overdue(telling: Telling, now_us: int) -> str | None:
    """Why the loop is taken to hang; None while it goes round."""
    since = (now_us - telling.vitals.beat_at) / 1e6
    if since <= max(3 * telling.every_s, PATIENCE_S):
        return None
    return f"the loop has not gone round for {since:.0f} s"


def _follower(telling: Telling) -> Follower:
    vitals = telling.vitals
    hung = overdue(telling, time.time_ns() // 1000)
    if vitals.host != socket.gethostname():  # its process is not ours to look at
        return Follower(telling=telling, is_alive=hung is None, why=hung and f"{hung} (on {vitals.host})")
    if not _lives(vitals.pid) or (hung and _is_another(vitals.pid, vitals.started_at)):
        return Follower(telling=telling, is_alive=False, why=f"process {vitals.pid} is gone and did not say goodbye")
    return Follower(telling=telling, is_alive=True, why=hung)


def _lives(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _is_another(pid: int, started_at: int) -> bool:
    """Whether the process that has the number was born later; not told where the clock was set meanwhile."""
    import psutil

    try:
        return psutil.Process(pid).create_time() > started_at / 1e6 + 2.0
    except psutil.Error:
        return False
