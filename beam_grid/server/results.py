"""Answers kept while their version set is the newest: many dashboards ask the same, and a set never changes.

    job ─► kept at this set? ─► that answer
       └─► asked just now by another? ─► waits for that answer
       └─► a worker; the answer is kept where it would be the same again (no clock, no chance in it)

Of what reads the query log, which grows between sets, it is kept for a second, or until this server adds to the log.
A caller gets what was asked with the same reach: the tables a key may see are part of what is looked up.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from beam_grid.server.jobs import Job, encode
from beam_grid.server.pool import Answer

_KEPT_BYTES, _KEPT_S, _OF_THE_LOG_S = 64 << 20, 60.0, 1.0
_A_SMALL_ANSWER = 1 << 10

_Key = tuple[int, bytes]


@dataclass
class _Kept:
    answer: Answer
    until: float
    """By the monotonic clock."""

    @property
    def bytes(self) -> int:
        return self.answer.most_bytes + _A_SMALL_ANSWER


class Results:
    """Of one server. Bounded in bytes and seconds; the answer least lately asked for goes first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._coming: dict[_Key, asyncio.Future[None]] = {}
        self._newest = self._bytes = self._grown = 0
        self.hits = 0
        """Answers that no worker was asked for."""

    async def ask(
        self, job: Job, newest: int, gone: asyncio.Future[Any], compute: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """The answer, from what is kept or by `compute`. newest: number of the newest set, 0 where there is none."""
        number = job.set_number
        if job.kind not in ("sql", "table") or job.explain or number is None:
            return await compute()
        start = time.monotonic()
        self._forget(newest)
        asked = encode(msgspec.structs.replace(job, set_number=None, number=0))
        key = number, hashlib.blake2b(asked, digest_size=32).digest()  # of a statement of any length
        found = self._get(key)
        if found is None and key in self._coming:
            await asyncio.wait({self._coming[key], gone}, return_when=asyncio.FIRST_COMPLETED)
            found = self._get(key)
        if found is not None:
            self.hits += 1
            return replace(found, waited_s=0.0, took_s=time.monotonic() - start)
        return await self._computed(key, compute)

    async def _computed(self, key: _Key, compute: Callable[[], Awaitable[Answer]]) -> Answer:
        mine = key not in self._coming  # of several that waited in vain the first leads; the others ask for themselves
        if mine:
            self._coming[key] = asyncio.get_running_loop().create_future()
        grown = self._grown
        try:
            answer = await compute()
            told = answer.told
            is_over = told.again == "anew" or (told.again == "same_till_logged" and self._grown != grown)
            if told.status == "ok" and not is_over and told.set_number is not None:
                self._keep((told.set_number, key[1]), answer)
            return answer
        finally:
            if mine:
                self._coming.pop(key).set_result(None)

    def _get(self, key: _Key) -> Answer | None:
        found = self._kept.get(key)
        if found is None or found.until < time.monotonic():
            return None
        self._kept.move_to_end(key)
        return found.answer

    def _keep(self, key: _Key, answer: Answer) -> None:
        self._drop(key)
        seconds = _KEPT_S if answer.told.again == "same" else _OF_THE_LOG_S
        kept = self._kept[key] = _Kept(answer, time.monotonic() + seconds)
        self._bytes += kept.bytes
        while self._bytes > _KEPT_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: _Key) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._bytes -= kept.bytes

    def forget_of_the_log(self) -> None:
        """The query log has grown: what was asked before is not kept, also where its answer is still to come."""
        self._grown += 1
        for key in [key for key, kept in self._kept.items() if kept.answer.told.again == "same_till_logged"]:
            self._drop(key)

    def _forget(self, newest: int) -> None:
        """What was kept of older sets; of all where the lake was made anew and its numbers begin again."""
        if newest == self._newest:
            return
        for key in [key for key in self._kept if newest < self._newest or key[0] < newest]:
            self._drop(key)
        self._newest = newest
