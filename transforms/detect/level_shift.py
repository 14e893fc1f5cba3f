"""Level shift: the mean of the latest readings leaves that of the ones before them, and stays.

    |------- 64 readings -------|-- 16, this one the last --|      shift = mean of the 16 - mean of the 64

The score is the shift, in standard deviations of the shifts that the series showed in the last 30 days: readings that
follow each other are alike, so formulas for independent ones would call every morning a new level.
"""

from __future__ import annotations

import numpy as np

from transforms.detect.moments import Stretch, moments, shifted
from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes, none, ratio, signed
from transforms.detect.tails import two_sided

LATEST, EARLIER = 16, 64
LEAST = 64
"""Earlier shifts that a score needs."""


def level_shift(readings: Readings) -> Scores:
    """Not scored: fewer than `LEAST` earlier shifts, or only equal ones."""
    before = readings.squared.real
    turn = shifted(before, LATEST - 1)
    whole = readings.until.count.number >= LATEST + EARLIER - 1
    earlier = (turn - shifted(before, LATEST + EARLIER - 1)) / EARLIER
    shift = (before + readings.moved - turn) / LATEST - earlier
    stretch = Stretch(readings.oldest, np.maximum(readings.back(LATEST), readings.oldest))
    history = moments(shift, readings.series, stretch, whole)
    usable = whole & (history.number >= LEAST) & (history.variance > 0)
    score = ratio(shift, np.sqrt(history.variance + history.mean * history.mean), usable)
    return Scores(
        "level_shift",
        score,
        two_sided(score, history.count.student),
        signed(score),
        ("has gone up and stays", "has gone down and stays"),
        readings.raw[0],
        none(readings.unscaled(earlier + readings.centre), ~whole),
        none(history.deviation, ~usable),
        history.number,
        codes(len(readings), ~usable),
        ("short history",),
    )
