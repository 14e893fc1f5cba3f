"""The next slice, planned and its first blocks decoded while this one is written. Only saves time: a plan made ahead
holds only if the commit then says of the source's files what was foreseen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from beam_grid.plan import Plan
from beam_grid.state import FeedState
from data_sources.sources import Listing, Source, SourceError
from data_sources.splits import End, Split

if TYPE_CHECKING:
    from transforms.blocks import Slice
    from transforms.read_ahead import ReadAhead

Ends = dict[str, End]


class LookAhead:
    """For one feed's run of slices, in the process whose workers read them."""

    def __init__(self, state: FeedState, source: Source, rows: int) -> None:
        self._state, self._source, self._rows = state, source, rows
        self._thread = ThreadPoolExecutor(1)
        self._next: Future[tuple[Ends, Listing] | None] | None = None
        self._first = True
        self._blocks: ReadAhead | None = None

    @property
    def blocks(self) -> ReadAhead:
        """What this run has begun to read; its graph's steps are to look there."""
        if self._blocks is None:
            from transforms.read_ahead import ReadAhead

            self._blocks = ReadAhead()
        return self._blocks

    def watch(self, slice: Slice, plan: Plan) -> None:
        """Begin to read this slice now, if it is the first; once each partition has been read go on to the next one.

        After a slice that is not full there is little to gain, and what comes meanwhile would be found a slice late.
        """
        if not self._source.plans_ahead:
            return
        self._forget_but(plan, slice)
        if self._first:
            self._begin([partition.splits for partition in plan.partitions], slice)
        self._first = False
        if plan.rows < self._rows:
            return
        ends, unread = dict(self._state.ends), len(plan.partitions)

        def read(found: Iterable[End]) -> None:
            nonlocal unread
            ends.update((end.key, end) for end in found)
            unread -= 1
            if not unread:
                self.blocks.when_read(slice.attempt, None)
                self._next = self._thread.submit(self._start, slice, ends)

        self.blocks.when_read(slice.attempt, read)

    def _start(self, slice: Slice, ends: Ends) -> tuple[Ends, Listing] | None:
        try:
            listing = self._source.plan(slice.contract, ends, self._rows)
        except (SourceError, OSError):  # it is met, and told, when the slice is planned
            return None
        self._begin([splits for _, splits in self._source.partitions(listing, slice.contract)], slice)
        return ends, listing

    def listing(self) -> Listing | None:
        """What was planned ahead, if it was planned from where the commits stand now."""
        if self._next is None:
            return None
        found, self._next = self._next.result(), None
        return found[1] if found and found[0] == self._state.ends else None

    def close(self) -> None:
        self._thread.shutdown()
        if self._blocks is not None:
            self._blocks.forget()

    def _forget_but(self, plan: Plan, slice: Slice) -> None:
        """Drop what was begun for another plan, or by another clock: no step will ask for it."""
        from transforms.blocks import key_of

        self.blocks.forget({key_of(partition.splits, slice) for partition in plan.partitions})

    def _begin(self, partitions: Iterable[Sequence[Split]], slice: Slice) -> None:
        from transforms.blocks import begin
        from transforms.read_ahead import ROWS_AHEAD

        rows = 0
        for splits in partitions:
            if rows < ROWS_AHEAD:
                begin(splits, slice, self.blocks)
                rows += sum(split.rows for split in splits)
