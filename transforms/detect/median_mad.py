"""Median and MAD: a reading against the median of the latest readings in its own hour of the day, robust to outliers.

Up to half of the history may be outliers (thefts, spikes) and move the median little, where they would drag a mean along
and inflate a standard deviation until they look usual. The spread is 1.4826 times the median of how far the series'
latest readings, of all hours, lay from their own medians: the standard deviation, if values are normal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.detect.medians import medians_of_15, medians_of_96
from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes, ratio, signed
from transforms.detect.seasons import daily
from transforms.detect.tails import student, two_sided

WINDOW = 15
"""Readings of the same local hour of the day, none older than 30 days."""

DISTANCES, LEAST = 96, 24
"""How many of the latest readings the spread is of, and how many of them must have had a median."""

WORTH = 37
"""Readings whose standard deviation is as sure as the MAD of `DISTANCES`: it is 37 % as efficient, and one for the mean."""

FINEST = 1e-3
"""The spread is at least so much of the median: a series that is nearly constant is not judged by its last digit."""

Floats = npt.NDArray[np.float64]


def median_mad(readings: Readings) -> Scores:
    """Not scored: fewer than `WINDOW` readings in that hour, or `LEAST` distances."""
    x = readings.value
    season = daily(readings)
    medians = medians_of_15(x.take(season.order, mode="clip")).take(season.high - 1, mode="clip")
    medians[season.number < WINDOW] = np.nan
    median = season.back(medians)

    away = x - median
    spread = medians_of_96(np.abs(away), LEAST).take(readings.before - 1, mode="clip")
    spread *= 1.4826
    spread[readings.before - readings.first < DISTANCES] = np.nan
    spread = np.maximum(spread, FINEST * np.abs(median))
    score = ratio(away, spread, spread > 0)
    count = np.isfinite(score) * WINDOW
    return Scores(
        "median_mad",
        score,
        two_sided(score, student(np.array([WORTH]))),
        signed(score),
        ("above its hour of the day", "below its hour of the day"),
        readings.raw[0],
        readings.unscaled(median),
        spread,
        count,
        codes(len(readings), np.isnan(score)),
        (f"fewer than {WINDOW} readings in that hour",),
    )
