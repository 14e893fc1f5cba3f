"""Level shift: the mean of the latest readings leaves that of the ones before them, and stays.

    |------- 64 readings -------|-- 16, this one the last --|      shift = mean of the 16 - mean of the 64

The score is the shift, in standard deviations of the shifts that the series showed in the last 30 days: readings that
follow each other are alike, so formulas for independent ones would call every morning a new level.
"""

from __future__ import annotations

import numpy as np

from transforms.detect.moments import moments, running
from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes, signed
from transforms.detect.tails import as_normal, beyond

LATEST, EARLIER = 16, 64
LEAST = 64
"""Earlier shifts that a score needs."""


def level_shift(readings: Readings) -> Scores:
    """Not scored: fewer than `LEAST` earlier shifts, or only equal ones."""
    x, rows = readings.value, np.arange(len(readings))
    centre = np.repeat(x[readings.starts], np.diff(np.append(readings.starts, len(x))))
    before = running(x - centre, readings.starts)
    turn, oldest = readings.back(LATEST - 1), readings.back(LATEST + EARLIER - 1)
    whole = (readings.fewest >= LATEST + EARLIER - 1) & (oldest >= readings.oldest)
    earlier = (before[turn] - before[oldest]) / EARLIER
    shift = (before + (x - centre) - before[turn]) / LATEST - earlier
    history = moments(
        shift, readings.starts, readings.oldest, np.maximum(readings.back(LATEST), readings.oldest), whole
    )
    usable = whole & (history.number >= LEAST) & (history.variance > 0)
    score = np.full(len(rows), np.nan)
    np.divide(shift, np.sqrt(history.variance + history.mean**2), out=score, where=usable)
    return Scores(
        "level_shift",
        score,
        beyond(as_normal(score, history.number)),
        signed(score),
        ("has gone up and stays", "has gone down and stays"),
        readings.raw[0],
        np.where(whole, readings.unscaled(earlier + centre), np.nan),
        np.where(usable, history.deviation, np.nan),
        history.number,
        codes(len(rows), ~usable),
        ("short history",),
    )
