"""Checks: which intervals cannot be right, or are odd.

    gap              nothing was read
    negative         below 0
    zero_run         0 for `rows` intervals on end, or longer
    spike            more than `factor` x the mean of the two before, and of the two after
    low, high        less, more than `factor` x the mean of its own hour of the week, over at least three weeks before
    register         the values between two counts of the register do not add up to their difference, by `tolerance`
    clock            read off the grid, or twice in an interval

A value that one check finds fault with vouches for no other: `low` and `high` compare with what passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from transforms.vee.intervals import DAY, Floats, Intervals, Ints, Mask, used

Kind = Literal["gap", "negative", "zero_run", "spike", "low", "high", "register", "clock"]

LEAST_WEEKS, MOST_WEEKS = 3, 8
"""Of history that `low` and `high` compare with."""


@dataclass(frozen=True)
class Check:
    """One check. estimate: what it finds is replaced, else only warned of; factor, rows, tolerance, least: see above;
    least is in the value's unit: what is closer is no fault."""

    kind: Kind
    estimate: bool = False
    factor: float = 5.0
    rows: int = 8
    tolerance: float = 0.001
    least: float = 0.0


def failed(intervals: Intervals, checks: Sequence[Check], *, rolls_over_at: float | None = None) -> dict[str, Mask]:
    """Per check which intervals it finds fault with; in the order given, but `low` and `high` after all others.

    rolls_over_at: the register's first count that does not fit it, as 100000 of one of five digits.
    """
    found: dict[str, Mask] = {}
    doubtful = intervals.is_missing.copy()
    late = {"low", "high"}
    for check in sorted(checks, key=lambda check: check.kind in late):
        mask = (
            _ONE[check.kind](intervals, check, doubtful)
            if check.kind != "register"
            else _register(intervals, check, rolls_over_at)
        )
        found[check.kind] = mask
        if check.kind not in late and check.kind != "register":
            doubtful |= mask
    return {check.kind: found[check.kind] for check in checks}


def _gap(intervals: Intervals, check: Check, doubtful: Mask) -> Mask:
    return intervals.is_missing.copy()


def _negative(intervals: Intervals, check: Check, doubtful: Mask) -> Mask:
    return intervals.value < -check.least


def _zero_run(intervals: Intervals, check: Check, doubtful: Mask) -> Mask:
    zero = intervals.value == 0
    return zero & (_run_lengths(zero, intervals.first) >= check.rows)


def _spike(intervals: Intervals, check: Check, doubtful: Mask) -> Mask:
    good = np.where(doubtful, np.nan, intervals.value)
    sides = [_mean(intervals.other(way, good), intervals.other(2 * way, good)) for way in (-1, 1)]
    near = np.maximum(*sides)  # NaN where one side is not known
    return (intervals.value > check.factor * near) & (intervals.value - near > check.least)


def _mean(one: Floats, other: Floats) -> Floats:
    """Of those that are known."""
    return np.where(np.isnan(one), other, np.where(np.isnan(other), one, (one + other) / 2))


def _low(intervals: Intervals, check: Check, doubtful: Mask) -> Mask:
    usual = _usual(intervals, doubtful)
    return ~doubtful & (intervals.value < check.factor * usual) & (usual - intervals.value > check.least)


def _high(intervals: Intervals, check: Check, doubtful: Mask) -> Mask:
    usual = _usual(intervals, doubtful)
    return ~doubtful & (intervals.value > check.factor * usual) & (intervals.value - usual > check.least)


def _clock(intervals: Intervals, check: Check, doubtful: Mask) -> Mask:
    return intervals.is_off


def _register(intervals: Intervals, check: Check, rolls_over_at: float | None) -> Mask:
    wrong = np.zeros(len(intervals), bool)
    for begin, end, counted in spans(intervals, rolls_over_at):
        values = intervals.value[begin:end]
        if np.isfinite(values).all() and abs(values.sum() - counted) > check.tolerance:
            wrong[begin:end] = True
    return wrong


_ONE = {
    "gap": _gap,
    "negative": _negative,
    "zero_run": _zero_run,
    "spike": _spike,
    "low": _low,
    "high": _high,
    "clock": _clock,
}


def spans(intervals: Intervals, rolls_over_at: float | None) -> list[tuple[int, int, float]]:
    """Stretches of rows [begin, end) between two counts of the register, and what it counted meanwhile."""
    opens = np.flatnonzero(np.isfinite(intervals.opening) & (np.arange(len(intervals)) == intervals.first))
    closes = np.flatnonzero(np.isfinite(intervals.register))
    place = np.concatenate([opens, closes + 1])
    count = np.concatenate([intervals.opening[opens], intervals.register[closes]])
    stretch = np.concatenate([opens, intervals.first[closes]])
    order = np.lexsort((place, stretch))
    place, count, stretch = place[order], count[order], stretch[order]
    counted = used(count[:-1], count[1:], rolls_over_at)
    kept = (stretch[:-1] == stretch[1:]) & np.isfinite(counted)
    return list(zip(place[:-1][kept].tolist(), place[1:][kept].tolist(), counted[kept].tolist(), strict=True))


def _usual(intervals: Intervals, doubtful: Mask) -> Floats:
    """The mean of the last good values of the same time of the week, up to MOST_WEEKS; NaN below LEAST_WEEKS."""
    week = intervals.local % (7 * DAY)
    order = np.lexsort((intervals.start, week, intervals.series))
    group = np.flatnonzero(
        (np.diff(intervals.series[order], prepend=-1) != 0) | (np.diff(week[order], prepend=-1) != 0)
    )
    first = np.repeat(group, np.diff(np.append(group, len(order))))
    good = ~doubtful[order]
    sums = np.concatenate([[0.0], np.cumsum(np.where(good, intervals.value[order], 0.0))])
    counts = np.concatenate([[0], np.cumsum(good)])
    rows = np.arange(len(order))
    low = np.maximum(rows - MOST_WEEKS, first)
    number = counts[rows] - counts[low]
    usual = np.full(len(order), np.nan)
    np.divide(sums[rows] - sums[low], number, out=usual, where=number >= LEAST_WEEKS)
    found = np.empty(len(order))
    found[order] = usual
    return found


def _run_lengths(is_in: Mask, first: Ints) -> Ints:
    """How long the run is that each row is in, 0 for those in none; a series ends a run."""
    rows = np.arange(len(is_in))
    begins = is_in & ((rows == first) | ~np.concatenate([[False], is_in[:-1]]))
    number = np.cumsum(begins)
    lengths: npt.NDArray[np.int64] = np.bincount(number[is_in], minlength=int(number[-1]) + 1 if len(rows) else 1)
    return np.where(is_in, lengths[number], 0)
