"""Count, mean and variance of a stretch of rows before each row, by running sums: a few operations per row.

Sums run per series, from its first value as zero, so that neither the level of a series nor its neighbours cost digits.
A variance that is lost in the rounding of its sums is 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_ROUNDING = 4e-16


class Moments(NamedTuple):
    """number: of values in the stretch; mean, variance (of the population): 0 of no values."""

    number: Ints
    mean: Floats
    variance: Floats

    @property
    def deviation(self) -> Floats:
        """Standard deviation of the population."""
        return np.sqrt(self.variance)


def moments(x: Floats, starts: Ints, low: Ints, high: Ints | None, counted: Bools | None = None) -> Moments:
    """Of rows [low, high) for each row; both within the row's own series, and `high` not beyond the row itself; None is
    the row itself.

    starts: the first row of each series; counted: which rows have a value, where not all do (the others may be NaN).
    """
    zero = x[starts] if counted is None else np.where(counted[starts], x[starts], 0.0)
    centre = np.repeat(zero, np.diff(np.append(starts, len(x))))
    moved = x - centre if counted is None else np.where(counted, x - centre, 0.0)
    if high is not None:
        high = np.maximum(high, low)
    once, twice = running(moved, starts), running(moved * moved, starts)

    def until(sums: Floats) -> Floats:
        return sums if high is None else sums[high]

    if counted is None:
        count = (np.arange(len(x)) if high is None else high) - low
    else:
        values = running(counted.astype(np.float64), starts)
        count = (until(values) - values[low]).astype(np.int64)
    share = 1.0 / np.maximum(count, 1)
    mean = until(once) - once[low]
    mean *= share
    squares = until(twice)
    variance = squares - twice[low]
    variance *= share
    variance -= mean * mean
    variance[variance <= squares * (_ROUNDING * share)] = 0.0
    mean += centre
    mean[count == 0] = 0.0
    return Moments(count, mean, variance)


def running(x: Floats, starts: Ints) -> Floats:
    """For each row the sum of the rows of its series before it."""
    total = np.empty_like(x)
    ends = [*starts[1:].tolist(), len(x)]
    for start, end in zip(starts.tolist(), ends, strict=False):  # no rows have one end and no start
        total[start] = 0.0
        np.cumsum(x[start : end - 1], out=total[start + 1 : end])
    return total


def trailing_mean(x: Floats, starts: Ints, low: Ints) -> Floats:
    """Mean of rows from `low` up to and with each row."""
    centre = np.repeat(x[starts], np.diff(np.append(starts, len(x))))
    before = running(x - centre, starts)
    rows = np.arange(len(x)) + 1 - low
    return (before + (x - centre) - before[low]) / rows + centre
