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

from transforms.detect.moments import moments, running
from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes
from transforms.detect.seasons import DAY, seasons
from transforms.detect.tails import above_chi_squared, as_normal

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SPANS = (1, 4, 16, 64)
LEAST = 20
"""Readings before a look counts."""

FINEST = 1e-3
"""A deviation is at least so much of its mean: a series that is nearly constant is not judged by its last digit."""

MEMORY = 200


class Look(NamedTuple):
    name: str
    deviate: Floats


def fused(readings: Readings) -> Scores:
    """Not scored: fewer than `LEAST` readings in the 30 days before."""
    found = looks(readings)
    squares = np.zeros(len(readings))
    largest = np.zeros(len(readings))
    which = np.full(len(readings), -1, np.int8)
    for n, look in enumerate(found):
        squares += look.deviate * look.deviate
        size = np.abs(look.deviate)
        more = size > largest
        which[more] = 2 * n + (look.deviate[more] < 0)
        np.maximum(largest, size, out=largest)
    moment = moments(readings.value, readings.starts, readings.oldest, None)
    known = moment.number >= LEAST
    score = np.where(known, np.sqrt(squares), np.nan)
    return Scores(
        "fused",
        score,
        above_chi_squared(np.where(known, squares, np.nan) / SCALE, FREEDOM),
        which,
        tuple(f"{look.name} {way}" for look in found for way in ("high", "low")),
        readings.raw[0],
        np.where(moment.number > 0, readings.unscaled(moment.mean), np.nan),
        np.where(moment.variance > 0, moment.deviation, np.nan),
        moment.number,
        codes(len(readings), ~known),
        (f"fewer than {LEAST} readings in 30 days",),
    )


def looks(readings: Readings) -> list[Look]:
    """The deviates of each look; 0 where it has too little history."""
    x, starts = readings.value, readings.starts
    centre = np.repeat(x[starts], np.diff(np.append(starts, len(x))))
    season = seasons(readings, DAY)
    count, mean = season.mean(x)
    residual = np.where(count > 0, x - mean, 0.0)
    found = []
    for name, of, known in (("value", x - centre, None), ("value for its hour of the day", residual, count > 0)):
        before = running(of, starts)
        for span in SPANS:
            low = np.maximum(readings.back(span - 1), readings.oldest)
            means = of if span == 1 else (before + of - before[low]) / (np.arange(len(x)) + 1 - low)
            level = means + centre if known is None else means
            found.append(
                Look(name if span == 1 else f"{name}, over {span} readings,", _deviate(readings, level, known))
            )
    step = x - x[readings.back(1)]
    neighbour = (readings.fewest >= 1) & (readings.back(1) >= readings.oldest)
    found.insert(len(SPANS), Look("step", _deviate(readings, step, neighbour)))
    return found


def repeats(readings: Readings, score: Floats) -> Bools:
    """Whether one of the `MEMORY` readings before of the same series scored as high or higher."""
    found = np.zeros(len(score), bool)
    filled = np.nan_to_num(score)
    for start, end in zip(readings.starts.tolist(), [*readings.starts[1:].tolist(), len(score)], strict=False):
        best = pl.Series(filled[start : end - 1]).rolling_max(MEMORY, min_samples=1).to_numpy()
        found[start + 1 : end] = filled[start + 1 : end] <= best
    return found


def _deviate(readings: Readings, x: Floats, counted: Bools | None) -> Floats:
    history = moments(x, readings.starts, readings.oldest, None, counted)
    deviation = np.maximum(history.deviation, FINEST * np.abs(history.mean) + 1e-12)
    found = as_normal((x - history.mean) / deviation, history.number)
    found[~(history.number >= LEAST)] = 0.0
    return found if counted is None else np.where(counted, found, 0.0)


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
