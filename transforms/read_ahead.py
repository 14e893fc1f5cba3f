"""Blocks of a partition, read and decoded before they are asked for.

    one thread reads    |b0|b1|b2|b3|..
    two decode             |b0 |b2 |..
                           |b1 |b3 |..
    the step judges            |b0|b1|b2|..     in order; at most `room` blocks wait

What a block decodes to depends on nothing that landed before it. So inside one process the next slice's first blocks
are made while this slice is still written (ReadAhead): the driver hears from `when_read` that reading has ended, plans
on and calls `begin`; the step finds them by `take`. Blocks that a changed plan no longer asks for are dropped by `forget`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from data_sources.splits import End

_DECODERS = ThreadPoolExecutor(2, "decode")
"""Shared by all partitions: more threads were not faster on two cores. They start with the first block."""

ROOM = 3
"""Blocks that wait while their own slice is judged."""

ROOM_AHEAD = 20
"""Blocks that wait while the slice before theirs is written, of about 4 MiB each."""

ROWS_AHEAD = 400_000
"""Records of partitions that are begun while the slice before theirs is written."""


class Blocks:
    """Iterates, in order, over what `decode` makes of each block that is read, and over notes between them as they are.

    read: yields (block, True) and (note, False). An error of either is raised where its block is due.
    """

    def __init__(self, read: Iterator[tuple[Any, bool]], decode: Callable[[Any], Any]) -> None:
        self._read, self._decode = read, decode
        self._reader = ThreadPoolExecutor(1, "read")
        self._waiting: deque[Future[Any]] = deque()

    def fill(self, room: int) -> None:
        """Start blocks until `room` of them wait."""
        while len(self._waiting) < room:
            self._waiting.append(self._reader.submit(self._next))

    def _next(self) -> Any:
        found = next(self._read, None)
        if found is None or not found[1]:
            return found
        return _DECODERS.submit(self._decode, found[0]), True

    def __iter__(self) -> Iterator[Any]:
        try:
            self.fill(ROOM)
            while (found := self._waiting.popleft().result()) is not None:
                self.fill(ROOM)
                yield found[0].result() if found[1] else found[0]
        finally:
            self.close()

    def close(self) -> None:
        """Stop; what is under way ends first."""
        self._reader.shutdown(cancel_futures=True)
        for waiting in self._waiting:
            if not waiting.cancelled() and waiting.exception() is None and (found := waiting.result()) and found[1]:
                found[0].cancel()
        self._waiting.clear()


class ReadAhead:
    """What one run of slices has begun to read, and who hears when a slice of it has been read. It passes by reference, so
    it is for workers that are this process; runs in other threads have others.
    """

    def __init__(self) -> None:
        self._begun: dict[str, Blocks] = {}
        self._listeners: dict[str, Callable[[list[End]], None]] = {}

    def begin(self, key: str, blocks: Blocks) -> None:
        """Start making blocks that a step will ask for by `key`."""
        blocks.fill(ROOM_AHEAD)
        self._begun[key] = blocks

    def take(self, key: str) -> Blocks | None:
        """The blocks begun under this key, if any; they are the caller's now."""
        return self._begun.pop(key, None)

    def forget(self, but: Collection[str] = ()) -> None:
        """Drop what was begun and not taken, but for these keys: its blocks, and the thread that reads them."""
        for key in [key for key in self._begun if key not in but]:
            self._begun.pop(key).close()

    def when_read(self, attempt: str, tell: Callable[[list[End]], None] | None) -> None:
        """Call `tell` with where each partition of an attempt ended, once it has been read; None: no more."""
        if tell is None:
            self._listeners.pop(attempt, None)
        else:
            self._listeners[attempt] = tell

    def has_read(self, attempt: str, ends: list[End]) -> None:
        """A partition of the attempt has been read."""
        if (tell := self._listeners.get(attempt)) is not None:
            tell(ends)
