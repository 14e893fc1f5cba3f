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

import numpy as np
import numpy.typing as npt

from data_sources.contract.vee import Kind
from transforms.vee.intervals import DAY, Floats, Intervals, Ints, Mask, used

LEAST_WEEKS, MOST_WEEKS = 3, 8
"""Of history that `low` and `high` compare with."""

_EXACT = 1e-12
"""Of a number: more than floats are off by that add up to it, less than a register counts."""


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
    for check in checks:
        if check.kind in _ALONE:
            found[check.kind] = _ALONE[check.kind](intervals, check, doubtful)
            doubtful |= found[check.kind]
    usual = None
    for check in checks:
        if check.kind == "register":
            found[check.kind] = _register(intervals, check, rolls_over_at)
        elif check.kind in ("low", "high"):
            usual = _usual(intervals, doubtful) if usual is None else usual
            found[check.kind] = ~doubtful & _unusual(intervals.value, check, usual)
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


def _unusual(value: Floats, check: Check, usual: Floats) -> Mask:
    if check.kind == "low":
        return (value < check.factor * usual) & (usual - value > check.least)
    return (value > check.factor * usual) & (value - usual > check.least)


def _clock(intervals: Intervals, check: Check, doubtful: Mask) -> Mask:
    return intervals.is_off


def _register(intervals: Intervals, check: Check, rolls_over_at: float | None) -> Mask:
    wrong = np.zeros(len(intervals), bool)
    for begin, end, counted in zip(*map(np.ndarray.tolist, spans(intervals, rolls_over_at)), strict=True):
        values = intervals.value[begin:end]
        if not np.isfinite(values).all():
            continue
        if abs(values.sum() - counted) > check.tolerance + rounding(intervals, begin, end, values):
            wrong[begin:end] = True
    return wrong


_ALONE = {"gap": _gap, "negative": _negative, "zero_run": _zero_run, "spike": _spike, "clock": _clock}
"""What looks at an interval and its neighbours; what these find fault with vouches for no other."""


def spans(intervals: Intervals, rolls_over_at: float | None) -> tuple[Ints, Ints, Floats]:
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
    return place[:-1][kept], place[1:][kept], counted[kept]


def rounding(intervals: Intervals, begin: int, end: int, values: Floats) -> float:
    """By how much floats may miss what is left of a stretch's count beside these values of it."""
    count = max(abs(intervals.before[begin]), abs(intervals.register[end - 1]))
    return float(_EXACT * count + np.abs(_EXACT * values).sum())


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
