"""Median and MAD: a reading against the median of the latest readings in its own hour of the day, robust to outliers.

Up to half of the history may be outliers (thefts, spikes) and move the median little, where they would drag a mean along
and inflate a standard deviation until they look usual. The spread is 1.4826 times the median of how far the series'
latest readings, of all hours, lay from their own medians: the standard deviation, if values are normal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes, signed
from transforms.detect.seasons import DAY, seasons
from transforms.detect.tails import as_normal, beyond

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
    season = seasons(readings, DAY)
    last = season.high - 1
    known = last - WINDOW + 1 >= season.low
    medians = _rolling(x[season.order], WINDOW, WINDOW)
    median = season.back(np.where(known, medians[np.where(known, last, 0)], np.nan))

    away = x - median
    last = readings.before - 1
    known = last - DISTANCES + 1 >= readings.first
    mads = _rolling(np.abs(away), DISTANCES, LEAST)
    spread = 1.4826 * np.where(known, mads[np.where(known, last, 0)], np.nan)
    spread = np.maximum(spread, FINEST * np.abs(median))
    score = np.full(len(readings), np.nan)
    np.divide(away, spread, out=score, where=spread > 0)
    count = np.where(np.isfinite(score), WINDOW, 0)
    return Scores(
        "median_mad",
        score,
        beyond(as_normal(score, np.full(len(score), WORTH))),
        signed(score),
        ("above its hour of the day", "below its hour of the day"),
        readings.raw[0],
        readings.unscaled(median),
        spread,
        count,
        codes(len(readings), np.isnan(score)),
        (f"fewer than {WINDOW} readings in that hour",),
    )


def _rolling(x: Floats, window: int, least: int) -> Floats:
    """Median of each row and those before it, `window` in all; NaN of fewer than `least` values."""
    return pl.Series(x, nan_to_null=True).rolling_median(window, min_samples=least).to_numpy()
