"""Fused: the default detector. Nine looks at a series, each as rare as it is, added as evidence.

    value and its means over 4, 16 and 64 readings        }  each against the mean and the deviation of its own last
    the step from the reading before                      }  30 days, as the normal deviate that is as rare
    the value without its hour of the day, also over 4,   }  (Student's t of that many readings)
    16 and 64 readings

The score is the root of the sum of the squared deviates. Its probability is that of a chi-squared sum (Fisher's method
for normal deviates) whose looks overlap (Brown's scaling): `SCALE` and `FREEDOM` follow from how the looks correlate on
independent readings. Real readings are not independent: take the threshold from an evaluation, not from a textbook.

`repeats` says whether one of the last `MEMORY` readings was rarer: what goes on is one anomaly, not one per reading.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from transforms.detect.moments import Count, Moments, moments, shifted, squared
from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes, none
from transforms.detect.seasons import daily_mean
from transforms.detect.tails import above_chi_squared

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SPANS = (1, 4, 16, 64)
LEAST = 20
"""Readings before a look counts."""

FINEST = 1e-3
"""A deviation is at least so much of its mean: a series that is nearly constant is not judged by its last digit."""

MEMORY = 200


class Look(NamedTuple):
    """away: from the mean of the history; surprise: its square, in deviations, over one more than the readings, plus 1:
    the deviate's square is its logarithm times Student's weight."""

    name: str
    away: Floats
    surprise: Floats


class Family(NamedTuple):
    """Looks at one history. unsure: rows where it is too short."""

    looks: list[Look]
    history: Count
    unsure: Ints


def fused(readings: Readings) -> Scores:
    """Not scored: fewer than `LEAST` readings in the 30 days before."""
    moment = readings.until.moments(readings.squared)
    families = _families(readings, moment)
    squares, largest = np.zeros(len(readings)), np.zeros(len(readings))
    which = np.full(len(readings), -1, np.int8)
    names: list[str] = []
    for family in families:
        total, most, mine = _evidence(family)
        squares += total
        np.copyto(which, mine + np.int8(2 * len(names)), where=most > largest)
        np.maximum(largest, most, out=largest)
        names += [look.name for look in family.looks]
    none(squares, moment.number < LEAST)
    return Scores(
        "fused",
        np.sqrt(squares),
        above_chi_squared(squares / SCALE, FREEDOM),
        which,
        tuple(f"{name} {way}" for name in names for way in ("high", "low")),
        readings.raw[0],
        none(readings.unscaled(moment.mean + readings.centre), moment.number == 0),
        none(moment.deviation, moment.variance == 0),
        moment.number,
        codes(len(readings), moment.number < LEAST),
        (f"fewer than {LEAST} readings in 30 days",),
    )


def _families(readings: Readings, moment: Moments) -> list[Family]:
    """moment: of the value itself."""
    until, series, centre = readings.until, readings.series, readings.centre
    lows = [np.maximum(readings.back(span - 1), readings.oldest) for span in SPANS[1:]]
    shares = [1.0 / (readings.rows + 1 - low) for low in lows]

    def means(x: Floats, running: Floats) -> list[Floats]:
        through = running + x
        return [(through - running.take(low, mode="clip")) * share for low, share in zip(lows, shares, strict=True)]

    x = readings.moved
    value = [_look("value", x, moment, centre)]
    for span, level in zip(SPANS[1:], means(x, readings.squared.real.copy()), strict=True):
        value.append(_look(f"value, over {span} readings,", level, until.moments(squared(level, series)), centre))

    before = until.count.number >= 1
    step = readings.value - shifted(readings.value, 1)
    steps = moments(step, series, until, before)

    counted, usual = daily_mean(readings)
    known = counted > 0
    held = Count(until.total(series.running(known)))
    residual = np.where(known, x - usual, 0.0)
    hour = []
    for span, level in zip(SPANS, [residual, *means(residual, series.running(residual))], strict=True):
        name = "value for its hour of the day" + (f", over {span} readings," if span > 1 else "")
        hour.append(_look(name, level, until.moments(squared(level * known, series), held)))

    return [
        Family(value, until.count, np.flatnonzero(until.count.number < LEAST)),
        Family([_look("step", step, steps)], steps.count, np.flatnonzero((steps.number < LEAST) | ~before)),
        Family(hour, held, np.flatnonzero((held.number < LEAST) | ~known)),
    ]


def _look(name: str, level: Floats, history: Moments, centre: Floats | None = None) -> Look:
    """level, and the history's mean: from `centre` as zero."""
    away = level - history.mean
    finest = np.abs(history.mean if centre is None else history.mean + centre)
    finest *= FINEST
    finest += 1e-12
    np.square(finest, out=finest)
    surprise = np.square(away)
    surprise /= np.maximum(history.variance, finest, out=finest)
    surprise *= history.count.student.narrow
    surprise += 1.0
    return Look(name, away, surprise)


def _evidence(family: Family) -> tuple[Floats, Floats, npt.NDArray[np.int8]]:
    """The sum of the looks' squared deviates, the largest of them, and which that is: 2 per look, the second if low."""
    first, *others = family.looks
    product, most, which = first.surprise, first.surprise, (first.away < 0).view(np.int8)
    with np.errstate(over="ignore"):
        for n, look in enumerate(others, 1):
            product = product * look.surprise
            np.copyto(which, (look.away < 0).view(np.int8) + np.int8(2 * n), where=look.surprise > most)
            most = np.maximum(most, look.surprise)
    total = np.log(product)  # one logarithm for all
    over = np.flatnonzero(np.isinf(product))
    total[over] = np.sum([np.log(look.surprise[over]) for look in family.looks], axis=0)
    largest = np.log(most) if others else total
    weight = family.history.student.weight
    return _weighed(total, weight, family.unsure), _weighed(largest, weight, family.unsure), which


def _weighed(logarithm: Floats, weight: Floats, unsure: Ints) -> Floats:
    found = logarithm * weight
    found[unsure] = 0.0
    return found


def repeats(readings: Readings, score: Floats) -> Bools:
    """Whether one of the `MEMORY` readings before of the same series scored as high or higher."""
    found = np.zeros(len(score), bool)
    filled = np.nan_to_num(score)
    for start, end in zip(readings.starts.tolist(), [*readings.starts[1:].tolist(), len(score)], strict=False):
        best = pl.Series(filled[start : end - 1]).rolling_max(MEMORY, min_samples=1).to_numpy()
        found[start + 1 : end] = filled[start + 1 : end] <= best
    return found


def _shared() -> float:
    """The sum over all pairs of looks of their squared correlation, on independent readings and a long history."""
    weights = []
    for span in SPANS:
        weights.append(np.where(np.arange(max(SPANS)) < span, 1.0, 0.0))
    step = np.zeros(max(SPANS))
    step[:2] = 1.0, -1.0
    every = np.array([*weights, step, *weights])
    unit = every / np.sqrt((every**2).sum(axis=1, keepdims=True))
    return float(((unit @ unit.T) ** 2).sum())


_LOOKS = 2 * len(SPANS) + 1
SCALE = _shared() / _LOOKS
FREEDOM = _LOOKS / SCALE
