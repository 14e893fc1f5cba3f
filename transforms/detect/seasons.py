"""Readings beside those of their series in the same hour of the day, or of the week, by the local clock.

    hour of week 33:   week 1 |x x x x|    week 2 |x x x x|    week 3 |x x[x]x|
                              low                        high   the reading

On the morning that a clock leaves an hour out, or has it twice, a reading is compared with what that hour says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.detect.moments import running
from transforms.detect.readings import HISTORY, HOUR, Readings, monotone, run_starts

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WEEK, DAY = 168, 24
_MONDAY = 72
"""Hours from the Monday before the epoch, a Thursday, to the epoch."""


class Seasons(NamedTuple):
    """The readings ordered by series, hour of the season and time. order: where each stands in time; starts: of
    series; low, high: the stretch each is compared with, 30 days up to its own hour's beginning."""

    order: Ints
    starts: Ints
    low: Ints
    high: Ints

    def back(self, x: Floats) -> Floats:
        """From this order into that of time."""
        found = np.empty_like(x)
        found[self.order] = x
        return found

    def mean(self, x: Floats) -> tuple[Ints, Floats]:
        """Count and mean of the history in the same hour; `x` and what is returned are in order of time."""
        # sums run on over a series' hours: a few long ones are faster than many short ones
        before = running(x[self.order], self.starts)
        count = self.high - self.low
        mean = (before[self.high] - before[self.low]) / np.maximum(count, 1)
        rows = np.empty_like(count)
        rows[self.order] = count
        return rows, self.back(mean)


def seasons(readings: Readings, hours: int) -> Seasons:
    """hours: `WEEK` or `DAY`. Computed once for all detectors."""
    if ("seasons", hours) not in readings.shared:
        readings.shared["seasons", hours] = _seasons(readings, hours)
    found: Seasons = readings.shared["seasons", hours]
    return found


def _seasons(readings: Readings, hours: int) -> Seasons:
    number = np.cumsum(readings.first == np.arange(len(readings))) - 1
    hour = readings.local // HOUR
    group = number * hours + (hour + _MONDAY) % hours
    small = group.astype(np.int16) if len(readings.starts) * hours < 2**15 else group  # a radix sort, then
    order = np.argsort(small, kind="stable")
    first = run_starts(group[order], np.zeros(len(order), np.int64))
    time = readings.time[order]
    key = monotone(time, first, HISTORY)
    low = np.maximum(np.searchsorted(key, key - HISTORY), first)
    high = run_starts(hour[order], first)
    return Seasons(order, readings.starts, low, np.maximum(high, low))
