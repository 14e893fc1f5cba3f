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


def formula(z_score: Floats, seasonal_z_score: Floats, rate: Floats, distance: Floats) -> Floats:
    """Between 0.0759 of nothing unusual and 1."""
    weighted = (
        0.3 * (np.abs(z_score) / 5.0)
        + 0.25 * (np.abs(seasonal_z_score) / 3.0)
        + 0.25 * (np.abs(rate) / 10.0)
        + 0.2 * (np.asarray(distance) / 10.0)
    )
    return 1.0 / (1.0 + np.exp(-5.0 * (weighted - 0.5)))


def composite(readings: Readings) -> Scores:
    """Of the four detectors on the same readings; not scored where one of them is not."""
    return composed(readings, z(readings), seasonal_z(readings), rate_of_change(readings), mahalanobis(readings))


def composed(readings: Readings, plain: Scores, seasonal: Scores, rate: Scores, distance: Scores) -> Scores:
    """Of the scores of the four, where they are at hand."""
    score = formula(plain.score, seasonal.score, rate.score, distance.score)
    weights = np.array(
        [np.abs(plain.score) * 0.06, np.abs(seasonal.score) / 12, np.abs(rate.score) / 40, distance.score / 50]
    )
    reason = np.where(np.isfinite(score), np.argmax(weights, axis=0), -1).astype(np.int8)
    return Scores(
        "composite",
        score,
        np.full(len(readings), np.nan),
        reason,
        ("far from its history", "far from its hour of the week", "changes fast", "unlike its history"),
        readings.raw[0],
        plain.expected,
        plain.spread,
        plain.history,
        codes(len(readings), np.isnan(score)),
        ("no history",),
    )
