"""A feed's commits as a sequence that is not in memory: each is read when it is asked for, and the newest are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

from beam_grid.commit import Commit
from beam_grid.landing import FeedLog
from beam_grid.segments import LandedIndex

_KEPT = 128


@dataclass
class Reader:
    """Of one feed, for a process that looks at it again and again; `upto` gives what there was at a commit."""

    feed: FeedLog
    landed: LandedIndex = field(init=False)
    _recent: OrderedDict[int, Commit] = field(default_factory=OrderedDict)
    _last: int = 0

    def __post_init__(self) -> None:
        self.landed = LandedIndex(self.feed)

    def all(self) -> Commits:
        """The commits up to the newest."""
        self._last = self.feed.last_after(self._last)
        return self.upto(self._last)

    def upto(self, last: int) -> Commits:
        """The commits up to this one, and which files hold what they landed."""
        if self.landed.last > last:
            self.landed = LandedIndex(self.feed)
        self.landed.upto(last, self._recent.values())
        return Commits(self, last)

    def read(self, number: int) -> Commit:
        found = self._recent.get(number)
        if found is None:
            found = self._recent[number] = self.feed.read(number)
            if len(self._recent) > _KEPT:
                self._recent.popitem(last=False)
        return found


@dataclass(frozen=True)
class Commits(Sequence[Commit]):
    """The commits of a feed from the first to `last`. Going over all of them reads all of them."""

    reader: Reader
    last: int

    def __len__(self) -> int:
        return self.last

    @overload
    def __getitem__(self, place: int) -> Commit: ...
    @overload
    def __getitem__(self, place: slice) -> list[Commit]: ...
    def __getitem__(self, place: int | slice) -> Commit | list[Commit]:
        if isinstance(place, slice):
            return [self.reader.read(n + 1) for n in range(*place.indices(self.last))]
        if not -self.last <= place < self.last:
            raise IndexError(place)
        return self.reader.read(place % self.last + 1)
