"""Which rows of its series each reading's features look at, as [low, high) of rows sorted by series and time.

    over 4 rows        x  x  x [x  x  x (x)]          the reading and those before it, within `recent`
    over 30m           x  x [x  x  x (x) x]           also what has the same time
    over history   [x  x  x  x] x  x (x)              whole local days, up to the one of the reading
                   |-- days ---| today

Nothing behind the reading's time is in any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from transforms.detect.readings import DAY, monotone, offsets, run_starts

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_MINUTE = 60_000_000
_APART = 1 << 32
"""Between the days of two series: no history reaches from one to the other."""


@dataclass(frozen=True)
class Frames:
    """code: a number for each series, ascending; time: microseconds since the epoch, ascending in a series."""

    code: Ints
    time: Ints
    zone: str
    history: int
    """Days."""
    recent: int
    """Microseconds."""

    def __len__(self) -> int:
        return len(self.time)

    @cached_property
    def first(self) -> Ints:
        """The first row of each row's series."""
        return run_starts(self.code, np.zeros(len(self), np.int64))

    @cached_property
    def behind(self) -> Ints:
        """Behind the last row with the same series and time."""
        if not len(self):
            return np.empty(0, np.int64)
        last = np.append((self.time[1:] != self.time[:-1]) | (self.code[1:] != self.code[:-1]), True)
        ends = np.flatnonzero(last) + 1
        return np.repeat(ends, np.diff(np.append(0, ends)))

    @cached_property
    def local(self) -> Ints:
        """The time on the zone's clock, in microseconds as if it were UTC."""
        return self.time + offsets(self.time, self.zone)

    @cached_property
    def days(self) -> Ints:
        """Series and local day as one number that never falls: a clock set back over midnight repeats no day."""
        return np.maximum.accumulate(self.code * _APART + self.local // DAY + _APART // 2)

    @cached_property
    def today(self) -> Ints:
        """The first row of the series on the same local day."""
        return run_starts(self.days, np.zeros(len(self), np.int64))

    @cached_property
    def oldest(self) -> Ints:
        """The first row of each row's history."""
        return np.searchsorted(self.days, self.days - self.history)

    def since(self, span: int, at: Ints) -> Ints:
        """The first row of the series that is at most so many microseconds older, of the rows `at`."""
        key = monotone(self.time, self.first, span)
        return np.maximum(np.searchsorted(key, key[at] - span), self.first[at])

    def within(self, clock: tuple[int, int]) -> Bools:
        """Rows at these minutes of the local day; the second may lie behind midnight."""
        minute = self.local % DAY // _MINUTE
        start, end = clock
        if start < end:
            return (minute >= start) & (minute < end)
        return (minute >= start) | (minute < end)
