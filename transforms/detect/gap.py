"""Gap: a reading that came longer after the one before it than readings of its series used to.

The score is the time since the reading before, over the usual time (the geometric mean of the last `TIMES`, so that one
long gap makes the next hardly more usual). A clock that jumps ahead is a gap; readings that come early are none.
"""

from __future__ import annotations

import numpy as np

from transforms.detect.moments import moments
from transforms.detect.readings import SECOND, Readings
from transforms.detect.scores import Scores, codes
from transforms.detect.tails import above, as_normal

FINEST = 0.1
"""The spread of the logarithm is at least this: a clock that is exact to the second is not judged by a few."""

TIMES = 100
"""How many earlier times between readings are compared with."""


def gap(readings: Readings) -> Scores:
    """Not scored: fewer than two earlier times between readings."""
    rows = np.arange(len(readings))
    before = np.maximum(rows - 1, readings.first)
    seconds = (readings.time - readings.time[before]) / SECOND
    logarithm = np.log(np.maximum(seconds, 1e-3))
    history = moments(logarithm, readings.starts, readings.back(TIMES), None, (rows > readings.first) & (seconds > 0))
    spread = np.maximum(history.deviation, FINEST)
    deviate = np.where(history.number >= 2, (logarithm - history.mean) / spread, np.nan)
    usual = np.exp(history.mean)
    known = history.number >= 2
    return Scores(
        "gap",
        np.where(known, seconds / usual, np.nan),
        above(as_normal(deviate, history.number)),
        codes(len(readings), deviate > 0),
        ("came late after the one before",),
        seconds,
        np.where(known, usual, np.nan),
        np.where(known, usual * spread, np.nan),
        history.number,
        codes(len(readings), ~known),
        ("no history",),
    )
