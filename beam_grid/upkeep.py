"""What keeps a feed's cost flat, done beside landing: segments in a thread, checkpoints and history now and then.

    commit 8 ──► segment 1 – 8          commit 64 ──► checkpoint 64, history        commit 72 ──► segment 65 – 72 ...

Nothing here is needed for a right answer: what fails is said and tried again with the next commits, and landing goes on.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor

from beam_grid import checkpoints, history, segments
from beam_grid.commit import Commit
from beam_grid.errors import GridError
from beam_grid.landing import FeedLog, Lake
from beam_grid.state import FeedState

log = logging.getLogger(__name__)

_COLLECT_EVERY_S = 3600.0
"""How often a run that follows removes files that nobody reads any more."""


class Upkeep:
    """Of one feed, for who lands it and holds the landing lock; `close` waits for what is under way."""

    def __init__(self, feed: FeedLog, state: FeedState, collect_at: float | None = None) -> None:
        """collect_at: when it is due to look for files that nobody reads, by time.monotonic; in an hour unless given."""
        self._feed, self._state = feed, state
        self._recent: list[Commit] = []
        self._thread = ThreadPoolExecutor(1, "segments")
        self._making: Future[bool] | None = None
        self._checked = max(checkpoints.numbers(feed), default=0)
        self._is_stopped = False
        self.collect_at = time.monotonic() + _COLLECT_EVERY_S if collect_at is None else collect_at
        self._begin()

    def _begin(self) -> None:
        """Make up for what an earlier run, or an earlier version, left."""
        if self._state.last - self._checked >= checkpoints.EVERY:
            self._check(self._feed.read(self._state.last))
        if self._state.last >= segments.RADIX:
            self._making = self._thread.submit(self._make, self._state.last, True)

    def after(self, commit: Commit) -> None:
        """The commit stands, and the state has it."""
        self._recent.append(commit)
        if self._making is not None and self._making.done():
            if self._making.result():
                self._state.landed.collapse()
            self._making = None
        if commit.number % segments.RADIX == 0 and self._making is None:
            self._making = self._thread.submit(self._make, commit.number, False)
        if commit.number % checkpoints.EVERY == 0:
            self._check(commit)

    def _check(self, commit: Commit) -> None:
        try:
            known = {one.number: one for one in self._recent}
            new = range(self._checked + 1, commit.number + 1)
            commits = (known.get(n) or self._feed.read(n) for n in new)
            history.write(self._feed, commits, self._feed.contract(commit.contract).event_time)
            checkpoints.write(self._feed, self._state, commit)
            self._checked = commit.number
            self._recent.clear()
            if time.monotonic() > self.collect_at:
                self.collect_at = time.monotonic() + _COLLECT_EVERY_S
                self._thread.submit(self._collect)
        except (OSError, GridError) as cause:
            log.warning("feed %s: no checkpoint at commit %d (%s)", self._feed.name, commit.number, cause)
            self._recent.clear()

    def _make(self, last: int, is_first: bool) -> bool:
        """Make what is due up to this commit; whether anything was made."""
        segmenter, made = segments.Segmenter(self._feed), False
        try:
            if is_first:
                segmenter.forget_damaged()
            for first, end in segmenter.due(last):
                if self._is_stopped:
                    break
                segmenter.make(first, end)
                made = True
        except Exception as cause:  # the commits are all there: it is tried again
            log.warning("feed %s: segments up to commit %d were not made (%s)", self._feed.name, last, cause)
        return made

    def _collect(self) -> None:
        try:
            segments.collect(self._feed, published(self._feed.lake, self._feed.name))
        except Exception as cause:  # they are in nobody's way, and are looked for again
            log.warning("feed %s: files that nobody reads any more were not removed (%s)", self._feed.name, cause)

    def stop(self) -> None:
        """Make no other segment than the one that is being made."""
        self._is_stopped = True

    def close(self) -> None:
        self._thread.shutdown(wait=True)


def published(lake: Lake, feed: str) -> int | None:
    """The last commit of the feed that every table holds; None where there are no tables, which are made from what stands."""
    from beam_grid.lakehouse.versions import newest

    if not (lake.path / "tables").exists():
        return None
    found = newest(lake)
    return found.commits.get(feed, 0) if found else 0
