"""Spike: a reading that leaves its neighbours, those just before it, by more than readings used to.

The score is the distance from the median of the three readings before, in standard deviations of such distances over
the last 30 days. The neighbours after it are not waited for: an alert comes with the reading.
"""

from __future__ import annotations

import numpy as np

from transforms.detect.moments import moments, shifted
from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes, none, ratio, signed
from transforms.detect.tails import two_sided


def spike(readings: Readings) -> Scores:
    """Not scored: fewer than three readings in the 30 days before, fewer than two earlier distances, or none of them above 0."""
    x = readings.value
    a, b, c = (shifted(x, rows) for rows in (1, 2, 3))
    middle = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    away = x - middle
    whole = readings.until.count.number >= 3
    history = moments(away, readings.series, readings.past, whole)
    # about 0, not about their mean: neighbours are what a reading is expected to be
    deviation = np.sqrt(history.variance + history.mean * history.mean)
    usable = whole & (history.number >= 2) & (deviation > 0)
    score = ratio(away, deviation, usable)
    return Scores(
        "spike",
        score,
        two_sided(score, history.count.student),
        signed(score),
        ("jumps up", "drops"),
        readings.raw[0],
        none(readings.unscaled(middle), ~whole),
        none(deviation, ~usable),
        history.number,
        codes(len(readings), ~usable),
        ("no history",),
    )
