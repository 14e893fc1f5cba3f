"""The published composite: sigmoid(5 * (0.3 |z|/5 + 0.25 |seasonal z|/3 + 0.25 |rate|/10 + 0.2 distance/10 - 0.5)).

Exact, and kept for comparison: its parts are added raw, so a rate in kWh and one in watts weigh differently, and no
probability stands behind the number. `fused` is what this package takes instead.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.detect.mahalanobis import mahalanobis
from transforms.detect.rate_of_change import rate_of_change
from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes
from transforms.detect.seasonal_z import seasonal_z
from transforms.detect.z import z

Floats = npt.NDArray[np.float64]

_WEIGHTS = ((0.3, 5.0), (0.25, 3.0), (0.25, 10.0), (0.2, 10.0))
"""Of each score, and what it is divided by before."""


def formula(z_score: Floats, seasonal_z_score: Floats, rate: Floats, distance: Floats) -> Floats:
    """Between 0.0759 of nothing unusual and 1."""
    return _sigmoid(_parts(z_score, seasonal_z_score, rate, distance))


def _parts(*scores: Floats) -> list[Floats]:
    return [weight * (np.abs(x) / scale) for x, (weight, scale) in zip(scores, _WEIGHTS, strict=True)]


def _sigmoid(parts: list[Floats]) -> Floats:
    first, second, third, fourth = parts
    return 1.0 / (1.0 + np.exp(-5.0 * (first + second + third + fourth - 0.5)))


def composite(readings: Readings) -> Scores:
    """Of the four detectors on the same readings; not scored where one of them is not."""
    return composed(readings, z(readings), seasonal_z(readings), rate_of_change(readings), mahalanobis(readings))


def composed(readings: Readings, plain: Scores, seasonal: Scores, rate: Scores, distance: Scores) -> Scores:
    """Of the scores of the four, where they are at hand."""
    parts = _parts(plain.score, seasonal.score, rate.score, distance.score)
    score = _sigmoid(parts)
    most, reason = parts[0], np.zeros(len(readings), np.int8)
    for n, part in enumerate(parts[1:], 1):
        reason[part > most] = n
        most = np.maximum(most, part)
    reason[np.isnan(score)] = -1
    return Scores(
        "composite",
        score,
        readings.nothing,
        reason,
        ("far from its history", "far from its hour of the week", "changes fast", "unlike its history"),
        readings.raw[0],
        plain.expected,
        plain.spread,
        plain.history,
        codes(len(readings), np.isnan(score)),
        ("no history",),
    )
