"""The newest version set, as it is published: a look at one file name several times a second, and word to all who wait."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from beam_grid.errors import GridError
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.lakehouse.versions import at_number, newest_number
from beam_grid.landing import Lake

log = logging.getLogger(__name__)

_EVERY_S = 0.2


@dataclass
class Catalog:
    """`number` is the newest set's, 0 before the first. `watch` runs until it is cancelled."""

    lake: Lake
    number: int = 0
    prepare: Callable[[int], Awaitable[None]] | None = None
    """Awaited before a number is told."""
    rest_s: Callable[[], float] = lambda: 0.0
    """How many seconds no number is to be looked for: the one that is told after a rest is the newest then."""
    looked_at: float = field(default_factory=time.monotonic)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(self.rest_s())
            try:
                number = await asyncio.to_thread(newest_number, self.lake, self.number)
            except OSError as cause:
                log.warning("lake %s: its version sets cannot be listed (%s)", self.lake.path, cause.strerror)
                number = self.number
            self.looked_at = time.monotonic()
            if number != self.number:
                if self.prepare is not None:
                    await self.prepare(number)
                self.number = number
                self._tell()
            await asyncio.sleep(_EVERY_S)

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def newer_than(self, number: int, patience_s: float) -> int:
        """The newest number, as soon as it is greater, or after so many seconds as it is."""
        news = self._news
        if self.number <= number:
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), patience_s)
        return self.number

    async def read(self, number: int) -> TableSet | None:
        """The set with this number; None where it is not kept or cannot be read."""
        try:
            return await asyncio.to_thread(at_number, self.lake, number)
        except GridError as cause:
            log.warning("%s", cause)
            return None
