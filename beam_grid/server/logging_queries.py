"""Queries, gathered in memory and appended to gold.query_log in batches, by a task beside the answers.

No answer waits for it. Where it cannot be written (a full disk) that is said once, and the oldest rows in memory go.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from beam_grid.lakehouse import query_log
from beam_grid.lakehouse.query_log import Asked
from beam_grid.landing import Lake

log = logging.getLogger(__name__)

_EVERY_S = 5.0
_TRIM_EVERY = 50
"""Batches."""
_MOST_WAITING = 50_000


class QueryLog:
    """`run` writes until it is cancelled; `flush` writes what there is now."""

    def __init__(self, lake: Lake, days: int, rows: int, written: Callable[[], None]) -> None:
        """written: called when the table has grown."""
        self._lake, self._days, self._rows = lake, days, rows
        self._waiting: deque[Asked] = deque(maxlen=_MOST_WAITING)
        self._writing = asyncio.Lock()
        self._batches = 0
        self._written = written
        self._failed = False

    def add(self, row: Asked) -> None:
        self._waiting.append(row)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        async with self._writing:
            batch = list(self._waiting)
            self._waiting.clear()
            if not batch:
                return
            try:
                await asyncio.to_thread(query_log.append, self._lake, batch)
            except Exception as cause:  # the log must not end the server, whatever delta-rs raises
                self._waiting.extendleft(reversed(batch[-(_MOST_WAITING - len(self._waiting)) :]))
                self._say("cannot be written", cause)
                return
            self._written()
            self._failed = False
            self._batches += 1
            if self._batches % _TRIM_EVERY == 1:
                try:
                    await asyncio.to_thread(query_log.trim, self._lake, self._days, self._rows)
                except Exception as cause:
                    self._say("cannot be trimmed", cause)

    def _say(self, what: str, cause: Exception) -> None:
        if not self._failed:
            log.warning("gold.query_log %s (%s)", what, " ".join(str(cause).split())[:300])
        self._failed = True
