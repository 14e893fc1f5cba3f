"""Tables of features held for serving: the newest row of each series in this process's memory, found without a worker.

    request ─► held at this set? ─► found by key
            └─► read once, for all who ask meanwhile ─► held
    a new set ─► those asked for in the last minute are read ─► it is announced

What did not change from one set to the next is not read again. Memory is the rows: some 200 bytes a series.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from beam_grid.errors import GridError
from beam_grid.lakehouse.online import Declared, Held, declared, load
from beam_grid.lakehouse.versions import at_number
from beam_grid.landing import Lake

_LATELY_S = 60.0
_WAITED_FOR_S = 1.0
"""A set is announced after so long without them; who asks then waits."""


_Of = tuple[Declared, Held]


class Online:
    """Of one server. Of a table two sets are held at most: the newest, and the one before."""

    def __init__(self, lake: Lake, scratch: Path) -> None:
        self._lake, self._scratch = lake, scratch
        self._held: dict[tuple[str, int], asyncio.Task[_Of]] = {}
        self._asked: dict[str, float] = {}
        self._newest = 0

    async def held(self, name: str, number: int) -> tuple[Declared, Held]:
        """The features of a set. name: of the table, without its schema. Raises GridError for a name that is none, and for
        a set that is gone."""
        found = await asyncio.shield(self._task(name, number))
        self._asked[name] = time.monotonic()
        return found

    async def prepare(self, number: int) -> None:
        """Have at hand what was asked for lately; returns when it is, or after a second."""
        now = time.monotonic()
        self._asked = {name: at for name, at in self._asked.items() if now - at < _LATELY_S}
        for name, at in [key for key in self._held if key[0] not in self._asked]:
            self._forget(name, at)
        if tasks := [self._task(name, number) for name in self._asked]:
            await asyncio.wait(tasks, timeout=_WAITED_FOR_S)

    def _task(self, name: str, number: int) -> asyncio.Task[_Of]:
        if number < self._newest - 1:  # the lake was made anew, and its numbers begin again
            self._held.clear()
        self._newest = number
        if (name, number) not in self._held:
            of_name = [key for key in self._held if key[0] == name]
            known = [self._held[key].result() for key in of_name if self._held[key].done()]
            reading = asyncio.to_thread(self._read, name, number, known[-1] if known else None)
            task = self._held[name, number] = asyncio.create_task(reading)
            task.add_done_callback(
                lambda done: self._forget(name, number) if done.cancelled() or done.exception() else None
            )
            for key in of_name[:-1]:
                self._forget(*key)
        return self._held[name, number]

    def _forget(self, name: str, number: int) -> None:
        self._held.pop((name, number), None)

    def _read(self, name: str, number: int, before: tuple[Declared, Held] | None) -> tuple[Declared, Held]:
        found = at_number(self._lake, number) if number else None
        if found is None:
            gone = f"version set {number} is no longer kept; ask again"
            raise GridError(gone if number else "the lake has no tables yet; run `beam-grid refine` first")
        of = declared(self._lake, name, found)
        if before is not None and before[0] == of and before[1].at == found.tables[of.latest].at:
            return before
        return of, load(self._lake, found, of, self._scratch)
