"""Energy balance: what a transformer supplied against what its customers took, technical loss included, and why not.

    supplied   ──► transformer ──► technical loss
                        └──► customers valid on it at that time ──► taken, the sum of their meters

`values` are supplied, taken (with the loss), and, where known, how many of its meters are stuck and how much more than
its supply the customers of another transformer beside it took: a mirror. The score is the missing share of the supply, not
compared with earlier ones, in deviations: 1.4826 times the median distance from the median of the last `WINDOW` shares, of
which the median over `MEMORY` counts. So a theft that goes on does not become usual, and no fault widens the spread in its
first weeks. Its sign says which way: above 0 supply is missing, below customers took more than was supplied.

The reason is the first that fits: a stuck meter; a clock that is wrong, where what is missing now is there at another
time of the same day; a meter on another transformer's list, where customers took more than was supplied, or another
transformer's did, by as much as is missing, in what is known of a day; else theft.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from transforms.detect.readings import Readings
from transforms.detect.scores import Scores
from transforms.detect.tails import as_normal, beyond

Floats = npt.NDArray[np.float64]

WINDOW, LEAST = 168, 24
"""Readings before that the spread is of, and how few will do."""

MEMORY = 8 * WINDOW
"""Readings before of which the spread is the usual one: what goes on for less than half of them does not widen it."""

FINEST = 0.01
"""The spread is at least so much of the supply: meters are that exact."""

DAY = 24
"""Readings in which a wrong clock's energy is made up for."""

MADE_UP = 0.5
"""Of a day's energy that lies wrong, at most so much is left when it is added up, where a clock is wrong."""

ALIKE = 0.3
"""Over a day, what is missing here and what is too much there differ by at most so much, where they are one meter's."""

REASONS = ("theft", "mis-mapped meter", "clock skew", "stuck meter")


def energy_balance(readings: Readings) -> Scores:
    """Not scored: nothing is known of the customers, or nothing was supplied. Raises ValueError for one value only."""
    if len(readings.raw) < 2:
        raise ValueError("energy_balance takes two values or more: supplied, taken, stuck meters, mirror")
    supplied, taken = readings.raw[:2]
    unknown = np.full(len(readings), np.nan)
    stuck, mirror = (readings.raw[n] if len(readings.raw) > n else unknown for n in (2, 3))
    missing = supplied - taken
    scale = np.maximum(np.abs(supplied), np.abs(taken))
    known = np.isfinite(missing) & (scale > 0)
    share = np.where(known, missing / np.where(known, scale, 1.0), np.nan)
    spread, count = _spread(readings, share)
    score = share / np.maximum(spread, FINEST)
    short = count < LEAST
    return Scores(
        "energy_balance",
        score,
        beyond(as_normal(score, np.maximum(count, LEAST))),
        np.where(known, _reason(readings, np.where(known, missing, np.nan), stuck, mirror), np.int8(-1)).astype(
            np.int8
        ),
        REASONS,
        supplied,
        taken,
        np.where(known, np.maximum(spread, FINEST) * scale, np.nan),
        count,
        np.select([~known, short], [np.int8(0), np.int8(1)], np.int8(-1)).astype(np.int8),
        (
            "nothing supplied, or too few customers' readings",
            f"fewer than {LEAST} readings: the meters' accuracy as the spread",
        ),
    )


def _spread(readings: Readings, share: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Of the shares before each reading's own, per series, and how many they are; 0 of fewer than LEAST."""
    spread, count = np.zeros(len(share)), np.zeros(len(share), np.int64)
    for start, end in zip(readings.starts.tolist(), [*readings.starts[1:].tolist(), len(share)], strict=False):
        before = pl.Series(share[start:end], nan_to_null=True).shift(1)
        usual = before.rolling_median(WINDOW, min_samples=LEAST)
        away = (pl.Series(share[start:end], nan_to_null=True) - usual).abs().shift(1)
        lately = away.rolling_median(WINDOW, min_samples=1).rolling_median(MEMORY, min_samples=1)
        spread[start:end] = 1.4826 * lately.fill_null(0.0).to_numpy()
        count[start:end] = before.is_not_null().cast(pl.Int64).rolling_sum(WINDOW, min_samples=1).to_numpy()
    return spread, count


def _reason(readings: Readings, missing: Floats, stuck: Floats, mirror: Floats) -> npt.NDArray[np.int8]:
    low, rows = readings.back(DAY - 1), np.arange(len(missing))

    def of_day(x: Floats) -> Floats:
        """Up to each reading, its own included, of what is known."""
        x = np.where(np.isfinite(x), x, 0.0)
        before = readings.series.running(x)
        return before + x - before[low]

    both_ways = (np.abs(of_day(missing)) < MADE_UP * of_day(np.abs(missing))) & (rows - low >= DAY // 2)
    unlike = np.abs(missing - mirror)
    elsewhere = of_day(unlike) < ALIKE * of_day(np.where(np.isfinite(unlike), np.abs(missing), 0.0))
    return np.select(
        [stuck > 0, both_ways, (missing < 0) | elsewhere],
        [np.int8(3), np.int8(2), np.int8(1)],
        np.int8(0),
    )
