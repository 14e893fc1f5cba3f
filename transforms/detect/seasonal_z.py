"""Seasonal z: a reading against the mean of its own hour of the week (168 of them, by the local clock).

Source of the formula: (x - mean of the hour of the week) / deviation of the whole history; where that hour has no
reading in the last 30 days, the mean is the whole history's.
"""

from __future__ import annotations

import numpy as np

from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, signed
from transforms.detect.seasons import WEEK, seasons
from transforms.detect.tails import as_normal, beyond
from transforms.detect.z import LEAST


def seasonal_z(readings: Readings) -> Scores:
    """Not scored: a history of fewer than `LEAST` readings, or of equal ones."""
    history = readings.history
    count, mean = seasons(readings, WEEK).mean(readings.value)
    expected = np.where(count > 0, mean, history.mean)
    deviation = history.deviation
    usable = (history.number >= LEAST) & (deviation > 0)
    score = np.full(len(readings), np.nan)
    np.divide(readings.value - expected, deviation, out=score, where=usable)
    return Scores(
        "seasonal_z",
        score,
        beyond(as_normal(score, history.number)),
        signed(score),
        ("above its hour of the week", "below its hour of the week"),
        readings.raw[0],
        np.where(history.number > 0, readings.unscaled(expected), np.nan),
        np.where(usable, deviation, np.nan),
        np.where(count > 0, count, history.number),
        np.select(
            [history.number < LEAST, deviation == 0, count == 0], [np.int8(1), np.int8(2), np.int8(0)], np.int8(-1)
        ).astype(np.int8),
        ("all hours", "no history", "constant history"),
    )
