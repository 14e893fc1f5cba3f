"""Views that were asked for lately, made once per version set: a file that all workers read, instead of each asking anew.

    set 13 is published ─► a worker makes gold.sensor_now of it ─► 13 is announced; statements see it from here on

A view that takes too long or too much is left a view. Files are kept for some sets, for cursors that go on reading them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from beam_grid.errors import GridError
from beam_grid.server.jobs import Job

if TYPE_CHECKING:
    from beam_grid.lakehouse.table_set import TableSet
    from beam_grid.server.pool import Pool

log = logging.getLogger(__name__)

_KEPT_SETS = 4

_LATELY_S = 60.0
"""A view that nobody asked for in so long is not made."""

_LEFT_S = 300.0
"""So long a view that took too long or too much is left one, and a name that is none is not thought of."""

_WAITED_FOR_S, _TRIED_S = 1.0, 5.0
"""A set is announced after so long without them, and after making them rests at most as long; so long the worker has."""

_MOST_BYTES = 128 << 20
"""Of one view."""

_GROUP = 16_384
"""Rows that are passed over together, by their bounds."""

SAFE_TYPES = (
    "VARCHAR",
    "BOOLEAN",
    "BIGINT",
    "INTEGER",
    "DOUBLE",
    "FLOAT",
    "DATE",
    "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE",
)
"""Those that Parquet gives back as they were; and decimals."""


class Made:
    """A folder of such files, of one server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, found: TableSet, view: str) -> Path:
        """Where the view of this set is, or would be. A lake made anew has the same numbers at other times."""
        at = int(found.created_at.timestamp() * 1e6)
        return self.folder / f"{found.number:010d}-{at}" / f"{quote(view, safe='.')}.parquet"

    def write(self, file: Path, rows: pa.Table) -> bool:
        """Put a view's rows there; False where they are too many."""
        if rows.nbytes > _MOST_BYTES:
            return False
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        words = [field.name for field in rows.schema if pa.types.is_string(field.type)]
        bounded = [f.name for f in rows.schema if not pa.types.is_floating(f.type)]  # a footer's bounds pass over NaN
        pq.write_table(
            rows, draft, row_group_size=_GROUP, compression="none", use_dictionary=words, write_statistics=bounded,
            store_schema=False,
        )  # fmt: skip
        draft.rename(file)
        return True

    def forget_old(self) -> None:
        """Remove the files of all but the newest sets."""
        for old in sorted(self.folder.iterdir())[:-_KEPT_SETS]:
            shutil.rmtree(old, ignore_errors=True)


class Making:
    """Has the views of a new set made that were asked for lately."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._made = pool, Made(pool.made)
        self._asked: dict[str, float] = {}
        self._left: dict[str, float] = {}
        self._under_way: asyncio.Task[None] | None = None
        self._rests_until = 0.0

    def asked(self, tables: Iterable[str]) -> None:
        """Somebody was answered from these."""
        self._asked |= dict.fromkeys(tables, time.monotonic())

    def rest_s(self) -> float:
        """Seconds in which nothing is to be made: half as long as the last making took, so that it never takes up a core."""
        return max(0.0, self._rests_until - time.monotonic())

    async def make(self, number: int) -> None:
        """Returns when they are made, or after a second: a view that is not ready is asked as a view."""
        now = time.monotonic()
        self._asked = {name: at for name, at in self._asked.items() if now - at < _LATELY_S}
        self._left = {name: at for name, at in self._left.items() if now - at < _LEFT_S}
        names = tuple(sorted(self._asked.keys() - self._left.keys()))
        if not names or (self._under_way is not None and not self._under_way.done()):
            return
        self._under_way = asyncio.create_task(self._make(number, names))
        await asyncio.wait({self._under_way}, timeout=_WAITED_FOR_S)

    async def _make(self, number: int, names: tuple[str, ...]) -> None:
        made: tuple[str, ...] = ()
        began = time.monotonic()
        try:
            answer = await self._pool.ask(Job(kind="make", set_number=number, views=names), _TRIED_S)
            made = answer.told.tables if answer.told.status == "ok" else ()
            await asyncio.to_thread(self._made.forget_old)
        except (GridError, OSError) as cause:
            log.info("views of version set %d are not made: %s", number, cause)
        self._rests_until = time.monotonic() + min((time.monotonic() - began) / 2, _WAITED_FOR_S)
        self._left |= dict.fromkeys(set(names) - {*made}, time.monotonic())
