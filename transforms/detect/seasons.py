"""Readings beside those of their series in the same hour of the day, or of the week, by the local clock.

    hour of day 9:   Monday |x x x x|    Tuesday |x x x x|    Wednesday |x x[x]x|
                            low                               high   the reading

    hour of week:    |x x x x| 4 weeks   |x x x x| 3 weeks   |x x x x| 2 weeks   |x x x x| a week before |x x[x]x|

On the morning that a clock leaves an hour out, or has it twice, a reading is compared with what that hour says.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from transforms.detect.readings import HISTORY, HOUR, Readings, lowest, monotone, run_starts

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

T = TypeVar("T", bound=np.generic)

WEEK, DAY = 168, 24
_WEEKS = HISTORY // (WEEK * HOUR)


class Season(NamedTuple):
    """The readings ordered by series, hour of the day and time. order: where each stands in time; low, high: the stretch
    each is compared with, 30 days up to its own hour's beginning; number: how many rows that is."""

    order: Ints
    low: Ints
    high: Ints
    number: Ints

    def back(self, x: npt.NDArray[T]) -> npt.NDArray[T]:
        """From this order into that of time."""
        found = np.empty_like(x)
        found[self.order] = x
        return found


def daily(readings: Readings) -> Season:
    """Computed once for all detectors."""
    if "daily" not in readings.shared:
        readings.shared["daily"] = _daily(readings)
    found: Season = readings.shared["daily"]
    return found


def daily_mean(readings: Readings) -> tuple[Ints, Floats]:
    """Count and mean of the history in the same hour of the day, the mean as `Readings.moved` is."""
    season = daily(readings)
    # sums run on over a series' hours: a few long ones are faster than many short ones
    running = readings.series.running(readings.moved.take(season.order, mode="clip"))
    mean = running.take(season.high, mode="clip") - running.take(season.low, mode="clip")
    mean /= np.maximum(season.number, 1)
    return season.back(season.number), season.back(mean)


def weekly_mean(readings: Readings) -> tuple[Ints, Floats]:
    """Count and mean of the history in the same hour of the week: of 30 days, that hour one to four weeks before."""
    begins = np.flatnonzero(readings.before == readings.rows)
    ends = np.append(begins, len(readings))[1:]
    first = run_starts(readings.first.take(begins), np.zeros(len(begins), np.int64))
    running = readings.squared.real
    last = ends - 1
    held, total = ends - begins, running.take(last) + readings.moved.take(last) - running.take(begins)
    key = monotone(readings.hour.take(begins), first, _WEEKS * WEEK)
    count, mean = np.zeros(len(begins), np.int64), np.zeros(len(begins))
    for weeks in range(1, _WEEKS + 1):
        sought = key - weeks * WEEK
        then = lowest(key, sought)
        same = key.take(then, mode="clip") == sought
        count += held.take(then, mode="clip") * same
        mean += total.take(then, mode="clip") * same
    mean /= np.maximum(count, 1)
    return np.repeat(count, held), np.repeat(mean, held)


def _daily(readings: Readings) -> Season:
    series = readings.series
    hour = readings.hour.astype(np.int32)
    group = np.repeat(np.arange(len(series.starts)) * DAY, series.lengths) + (hour - hour // DAY * DAY)
    small = group.astype(np.int16) if len(series.starts) * DAY < 2**15 else group  # a radix sort, then
    order = np.argsort(small, kind="stable")
    first = run_starts(small.take(order), np.zeros(len(order), np.int64))
    key = monotone(readings.time.take(order), first, HISTORY)
    low = lowest(key, key - HISTORY, 16)
    high = np.maximum(run_starts(hour.take(order), first), low)
    return Season(order, low, high, high - low)
