"""z: how many standard deviations a reading lies from the mean of its series' last 30 days.

Source of the formula: (x - mean) / deviation, the deviation the population's (numpy's `std`).
"""

from __future__ import annotations

import numpy as np

from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes, signed
from transforms.detect.tails import as_normal, beyond

LEAST = 2
"""Readings that a history needs."""


def z(readings: Readings) -> Scores:
    """Not scored: a history of fewer than `LEAST` readings, or of equal ones."""
    history = readings.history
    deviation = history.deviation
    usable = (history.number >= LEAST) & (deviation > 0)
    score = np.full(len(readings), np.nan)
    np.divide(readings.value - history.mean, deviation, out=score, where=usable)
    fallback = codes(len(readings), history.number < LEAST)
    fallback[(history.number >= LEAST) & (deviation == 0)] = 1
    return Scores(
        "z",
        score,
        beyond(as_normal(score, history.number)),
        signed(score),
        ("above its history", "below its history"),
        readings.raw[0],
        np.where(history.number > 0, readings.unscaled(history.mean), np.nan),
        np.where(usable, deviation, np.nan),
        history.number,
        fallback,
        ("no history", "constant history"),
    )
