"""z: how many standard deviations a reading lies from the mean of its series' last 30 days.

Source of the formula: (x - mean) / deviation, the deviation the population's (numpy's `std`).
"""

from __future__ import annotations

from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes, none, ratio, signed
from transforms.detect.tails import two_sided

LEAST = 2
"""Readings that a history needs."""


def z(readings: Readings) -> Scores:
    """Not scored: a history of fewer than `LEAST` readings, or of equal ones."""
    history = readings.history
    deviation = history.deviation
    usable = (history.number >= LEAST) & (deviation > 0)
    score = ratio(readings.value - history.mean, deviation, usable)
    fallback = codes(len(readings), history.number < LEAST)
    fallback[(history.number >= LEAST) & (deviation == 0)] = 1
    return Scores(
        "z",
        score,
        two_sided(score, history.count.student),
        signed(score),
        ("above its history", "below its history"),
        readings.raw[0],
        none(readings.unscaled(history.mean.copy()), history.number == 0),
        none(deviation.copy(), ~usable),
        history.number,
        fallback,
        ("no history", "constant history"),
    )
