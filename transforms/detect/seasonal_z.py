"""Seasonal z: a reading against the mean of its own hour of the week (168 of them, by the local clock).

Source of the formula: (x - mean of the hour of the week) / deviation of the whole history; where that hour has no
reading in the last 30 days, the mean is the whole history's.
"""

from __future__ import annotations

import numpy as np

from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes, none, ratio, signed
from transforms.detect.seasons import weekly_mean
from transforms.detect.tails import two_sided
from transforms.detect.z import LEAST


def seasonal_z(readings: Readings) -> Scores:
    """Not scored: a history of fewer than `LEAST` readings, or of equal ones."""
    history = readings.history
    count, mean = weekly_mean(readings)
    expected = mean + readings.centre
    np.copyto(expected, history.mean, where=count == 0)
    deviation = history.deviation
    usable = (history.number >= LEAST) & (deviation > 0)
    score = ratio(readings.value - expected, deviation, usable)
    number = count.copy()
    np.copyto(number, history.number, where=count == 0)
    fallback = codes(len(readings), count == 0)
    fallback[deviation == 0] = 2
    fallback[history.number < LEAST] = 1
    return Scores(
        "seasonal_z",
        score,
        two_sided(score, history.count.student),
        signed(score),
        ("above its hour of the week", "below its hour of the week"),
        readings.raw[0],
        none(readings.unscaled(expected), history.number == 0),
        none(deviation.copy(), ~usable),
        number,
        fallback,
        ("all hours", "no history", "constant history"),
    )
