"""Count, mean and variance of a stretch of rows before each row, by running sums: a few operations per row.

Sums run per series, so that neighbours cost no digits; nor does the level of a series, if its values are taken from its
first one as zero, as `Readings.moved` are. A variance that is lost in the rounding of its sums is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.detect.tails import Student, student

Floats = npt.NDArray[np.float64]
Pairs = npt.NDArray[np.complex128]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_ROUNDING = 4e-16


@dataclass(frozen=True)
class Series:
    """Where series lie in an array of rows. starts: the first row of each."""

    starts: Ints
    rows: int

    @cached_property
    def lengths(self) -> Ints:
        return np.diff(np.append(self.starts, self.rows))

    def firsts(self, x: Floats) -> Floats:
        """One value per series, for each of its rows."""
        return np.repeat(x, self.lengths)

    def running(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """For each row the sum of the rows of its series before it; how many they are, of what is true or false."""
        kind = np.int64 if x.dtype == bool else x.dtype
        if self._side_by_side is not None:
            wide = np.zeros((len(self.starts), int(self.lengths.max()) + 1), kind)
            wide.reshape(-1)[self._side_by_side + 1] = x
            np.cumsum(wide, axis=1, out=wide)
            return wide.reshape(-1).take(self._side_by_side, mode="clip")
        total = np.empty(self.rows, kind)
        for start, end in self._stretches:
            total[start] = 0
            np.cumsum(x[start : end - 1], out=total[start + 1 : end])
        return total

    def running_pair(self, x: Floats, y: Floats) -> Pairs:
        """`running` of two as one number, x real and y imaginary: adding two is as fast as adding one."""
        both = np.empty(self.rows, np.complex128)
        both.real, both.imag = x, y
        return self.running(both)

    @cached_property
    def _side_by_side(self) -> Ints | None:
        """Where each row stands, if short series are laid out as a table with one column more; None where they are long."""
        several, width = len(self.starts), int(self.lengths.max(initial=0)) + 1
        if not 256 * several > self.rows or width * several > 4 * self.rows:
            return None
        return np.arange(self.rows) + np.repeat(np.arange(several) * width - self.starts, self.lengths)

    @cached_property
    def _stretches(self) -> list[tuple[int, int]]:
        return [*zip(self.starts.tolist(), (self.starts + self.lengths).tolist(), strict=True)]


@dataclass(frozen=True)
class Count:
    """How many values a mean is of, and what follows from that."""

    number: Ints

    @cached_property
    def share(self) -> Floats:
        """1 / number, and 1 of none."""
        found = self.number.astype(np.float64)
        np.maximum(found, 1.0, out=found)
        return np.reciprocal(found, out=found)

    @cached_property
    def rounding(self) -> Floats:
        """Of a variance, per sum of squares."""
        return _ROUNDING * self.share

    @cached_property
    def none(self) -> Ints:
        """The rows with no value."""
        return np.flatnonzero(self.number == 0)

    @cached_property
    def student(self) -> Student:
        return student(self.number)


@dataclass(frozen=True)
class Moments:
    """count: of values in the stretch; mean, variance (of the population): 0 of no values."""

    count: Count
    mean: Floats
    variance: Floats

    @property
    def number(self) -> Ints:
        return self.count.number

    @cached_property
    def deviation(self) -> Floats:
        """Standard deviation of the population."""
        return np.sqrt(self.variance)


@dataclass(frozen=True)
class Stretch:
    """Rows [low, high) for each row; both within the row's own series, and `high` not beyond the row itself; None is
    the row itself."""

    low: Ints
    high: Ints | None = None

    def total(self, running: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The sum over the stretch, of a running sum."""
        return self._until(running) - running.take(self.low, mode="clip")

    @cached_property
    def count(self) -> Count:
        return Count((np.arange(len(self.low)) if self.high is None else self.high) - self.low)

    def moments(self, squares: Pairs, count: Count | None = None) -> Moments:
        """Of `squared` values; count: where the stretch has not one in each row."""
        count = self.count if count is None else count
        until = self._until(squares)
        found = until - squares.take(self.low, mode="clip")
        mean, variance = found.real * count.share, found.imag * count.share
        variance -= mean * mean
        variance[variance <= until.imag * count.rounding] = 0.0
        return Moments(count, mean, variance)

    def _until(self, running: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return running if self.high is None else running.take(self.high, mode="clip")


def squared(x: Floats, series: Series) -> Pairs:
    """Running sums of values and, as imaginary part, of their squares."""
    return series.running_pair(x, x * x)


def moments(x: Floats, series: Series, stretch: Stretch, counted: Bools | None = None) -> Moments:
    """Of values that are near 0 at the beginning of their series. counted: which rows have a value, where not all do."""
    if counted is None:
        return stretch.moments(squared(x, series))
    return stretch.moments(squared(np.where(counted, x, 0.0), series), Count(stretch.total(series.running(counted))))


def shifted(x: Floats, rows: int) -> Floats:
    """The value so many rows before each, of whatever series; 0 before the first row."""
    found = np.zeros_like(x)
    found[rows:] = x[: max(0, len(x) - rows)]
    return found
