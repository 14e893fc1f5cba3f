"""Spike: a reading that leaves its neighbours, those just before it, by more than readings used to.

The score is the distance from the median of the three readings before, in standard deviations of such distances over
the last 30 days. The neighbours after it are not waited for: an alert comes with the reading.
"""

from __future__ import annotations

import numpy as np

from transforms.detect.moments import moments
from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes, signed
from transforms.detect.tails import as_normal, beyond


def spike(readings: Readings) -> Scores:
    """Not scored: fewer than three readings in the 30 days before, fewer than two earlier distances, or none of them above 0."""
    x = readings.value
    a, b, c = x[readings.back(1)], x[readings.back(2)], x[readings.back(3)]
    middle = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    away = x - middle
    whole = (readings.fewest >= 3) & (readings.back(3) >= readings.oldest)
    history = moments(away, readings.starts, readings.oldest, readings.before, whole)
    # about 0, not about their mean: neighbours are what a reading is expected to be
    deviation = np.sqrt(history.variance + history.mean * history.mean)
    usable = whole & (history.number >= 2) & (deviation > 0)
    score = np.full(len(readings), np.nan)
    np.divide(away, deviation, out=score, where=usable)
    return Scores(
        "spike",
        score,
        beyond(as_normal(score, history.number)),
        signed(score),
        ("jumps up", "drops"),
        readings.raw[0],
        np.where(whole, readings.unscaled(middle), np.nan),
        np.where(usable, deviation, np.nan),
        history.number,
        codes(len(readings), ~usable),
        ("no history",),
    )
