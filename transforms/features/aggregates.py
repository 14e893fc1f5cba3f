"""Aggregates over frames of rows, with SQL's rules: none of no values, the sample's deviation, quantiles between values.

Each frame is summed by itself, from its own first value as zero: neither what stood before it, nor how the rows came to be
in one array, costs digits, and the deviation of equal values is 0. Cost is the sum of the frames' lengths.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_AT_ONCE = 1 << 21
"""Values that are laid out together, where no frame is longer."""


def counts(counted: Bools, low: Ints, high: Ints) -> Ints:
    """How many of the rows in [low, high) count."""
    until = np.append(0, np.cumsum(counted))
    return np.maximum(until[np.maximum(high, low)] - until[low], 0)


def aggregate(function: str, x: Floats, counted: Bools, low: Ints, high: Ints, rank: float | None = None) -> Floats:
    """`function` of the rows in [low, high) that count, NaN of none (stddev: of fewer than two).

    function: sum, min, max, avg, stddev or quantile, whose `rank` is 0 to 1.
    """
    until = np.append(0, np.cumsum(counted))
    values, begin = x[counted], until[low]
    number = np.maximum(until[np.maximum(high, low)] - begin, 0)
    found = np.full(len(low), np.nan)
    if function == "quantile":
        for length in np.unique(number[number > 0]).tolist():
            rows = np.flatnonzero(number == length)
            for part in np.array_split(rows, -(-len(rows) * length // _AT_ONCE)):
                found[part] = _quantile(values[begin[part, None] + np.arange(length)], rank or 0.0)
        return found
    least = 2 if function == "stddev" else 1
    for part in _parts(np.flatnonzero(number >= least), number):
        found[part] = _reduced(function, values, begin[part], number[part])
    return found


def newest(counted: Bools, high: Ints) -> Ints:
    """The last row before `high` that counts, of all rows; -1 where there is none."""
    rows = np.append(-1, np.flatnonzero(counted))
    return rows[np.append(0, np.cumsum(counted))[high]]


def _parts(rows: Ints, number: Ints) -> Iterator[Ints]:
    """The frames, so many at a time that their values are about `_AT_ONCE`."""
    if len(rows):
        ends = np.cumsum(number[rows])
        yield from np.split(rows, np.searchsorted(ends, np.arange(_AT_ONCE, int(ends[-1]), _AT_ONCE)))


def _reduced(function: str, values: Floats, begin: Ints, number: Ints) -> Floats:
    if not len(begin):
        return np.empty(0)
    starts = np.cumsum(number) - number
    laid = values[np.arange(int(number.sum())) + np.repeat(begin - starts, number)]
    if function in ("min", "max"):
        return (np.minimum if function == "min" else np.maximum).reduceat(laid, starts)
    if function == "sum":
        return np.add.reduceat(laid, starts)
    zero = laid[starts]
    laid -= np.repeat(zero, number)
    once = np.add.reduceat(laid, starts)
    if function == "avg":
        return zero + once / number
    laid *= laid
    squares = np.add.reduceat(laid, starts) - once * once / number
    return np.sqrt(np.maximum(squares, 0.0) / (number - 1))


def _quantile(rows: Floats, rank: float) -> Floats:
    """Of each row of a matrix, between the two values next to its place."""
    place = (rows.shape[1] - 1) * rank
    below = int(place)
    above = min(below + 1, rows.shape[1] - 1)
    ordered = np.partition(rows, (below, above), axis=1)
    return ordered[:, below] + (place - below) * (ordered[:, above] - ordered[:, below])
