"""Estimates for intervals without a value that can be trusted.

    short gap       between its neighbours, in a straight line              linear
    longer          the mean of the same time of the three nearest days     like_day
                    of its kind, before or after: of the same weekday;
                    a holiday, and a day beside it, is compared with Sundays
    then, where the register was read before and after: times what makes     ..., scaled
    the estimates and the good values add up to what it counted

Guarantees: only what was read and found good goes into an estimate; what cannot be estimated stays NaN.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from transforms.vee.checks import rounding, spans
from transforms.vee.intervals import DAY, Floats, Intervals, Ints, Mask

NONE, LINEAR, LIKE_DAY = 0, 1, 2
METHODS = ("none", "linear", "like_day")

_DAYS_AWAY, _DAYS_TAKEN = 35, 3
_SUNDAY = 6
_SECONDS = 86_400
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Estimation:
    """value: NaN where there is none; method: of METHODS; is_scaled: times what the register asked for; conflicts: rows
    of stretches in which the good values alone are more than the register counted."""

    value: Floats
    method: npt.NDArray[np.int8]
    is_scaled: Mask
    conflicts: Mask


def estimated(
    intervals: Intervals,
    wanted: Mask,
    *,
    linear_up_to: int,
    holidays: Collection[date] = (),
    rolls_over_at: float | None = None,
) -> Estimation:
    """Of the wanted rows, whose values go into none; linear_up_to: microseconds of gap that a straight line may bridge."""
    good = np.where(wanted, np.nan, intervals.value)
    value = np.full(len(intervals), np.nan)
    method = np.zeros(len(intervals), np.int8)
    line = _line(intervals, wanted, good, linear_up_to)
    is_line = wanted & np.isfinite(line)
    value[is_line], method[is_line] = line[is_line], LINEAR
    rest = np.flatnonzero(wanted & ~is_line)
    like = _like_days(intervals, rest, good, holidays)
    known = np.isfinite(like)
    value[rest[known]], method[rest[known]] = like[known], LIKE_DAY
    is_scaled, conflicts = np.zeros(len(intervals), bool), np.zeros(len(intervals), bool)
    begins, ends, used = spans(intervals, rolls_over_at)
    before = np.concatenate([[0], np.cumsum(wanted)])
    some = before[ends] > before[begins]  # of a register alone nearly all stretches are one interval that was read
    for begin, end, counted in zip(begins[some].tolist(), ends[some].tolist(), used[some].tolist(), strict=True):
        mine = begin + np.flatnonzero(wanted[begin:end])
        estimates, kept = value[mine], good[begin:end][~wanted[begin:end]]
        if not (np.isfinite(estimates).all() and np.isfinite(kept).all()):
            continue
        left, made, noise = counted - kept.sum(), estimates.sum(), rounding(intervals, begin, end, kept)
        if left < -noise:
            conflicts[begin:end] = True
            continue
        left = left if left > noise else 0.0
        value[mine] = estimates * (left / made) if made > 0 else left / len(mine)
        is_scaled[mine] = True
    return Estimation(value, method, is_scaled, conflicts)


def _line(intervals: Intervals, wanted: Mask, good: Floats, linear_up_to: int) -> Floats:
    rows = np.arange(len(intervals))
    is_out = np.isnan(good)
    before = np.maximum.accumulate(np.where(is_out, -1, rows)) if len(rows) else rows
    after = np.minimum.accumulate(np.where(is_out, len(rows), rows)[::-1])[::-1] if len(rows) else rows
    inside = wanted & (before >= intervals.first) & (after < intervals.end)
    inside &= (after - before - 1) * intervals.width <= linear_up_to
    found = np.full(len(rows), np.nan)
    low, high = before[inside], after[inside]
    share = (rows[inside] - low) / (high - low)
    found[inside] = good[low] + (good[high] - good[low]) * share
    return found


def _like_days(intervals: Intervals, rows: Ints, good: Floats, holidays: Collection[date]) -> Floats:
    """The mean of the three nearest like days; NaN with fewer than one. The one before goes before the one after."""
    total, number = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    if not len(rows):
        return total
    day, time = intervals.local // DAY, intervals.local % DAY
    closed = np.array(sorted(one.toordinal() - _EPOCH for one in holidays), np.int64)
    kind = np.where(np.isin(day, closed), _SUNDAY, (day + 3) % 7)
    first, days = int(day.min()) - _DAYS_AWAY, int(day.max() - day.min()) + 2 * _DAYS_AWAY + 1

    def keyed(series: Ints, day: Ints, time: Ints) -> Ints:
        return ((series * days) + (day - first)) * _SECONDS + time // 1_000_000

    keys = keyed(intervals.series, day, time)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    for away in (sign * n for n in range(1, _DAYS_AWAY + 1) for sign in (-1, 1)):
        sought = keyed(intervals.series[rows], day[rows] + away, time[rows])
        at = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
        there = (keys[at] == sought) & (number < _DAYS_TAKEN)
        other = order[at]
        there &= (kind[other] == kind[rows]) & np.isfinite(good[other])
        total[there] += good[other[there]]
        number[there] += 1
    return np.divide(total, number, out=np.full(len(rows), np.nan), where=number > 0)
