"""Gap: a reading that came longer after the one before it than readings of its series used to.

The score is the time since the reading before, over the usual time (the geometric mean of the last `TIMES`, so that one
long gap makes the next hardly more usual). A clock that jumps ahead is a gap; readings that come early are none.
"""

from __future__ import annotations

import numpy as np

from transforms.detect.moments import Stretch, moments
from transforms.detect.readings import SECOND, Readings
from transforms.detect.scores import Scores, codes
from transforms.detect.tails import one_sided

FINEST = 0.1
"""The spread of the logarithm is at least this: a clock that is exact to the second is not judged by a few."""

TIMES = 100
"""How many earlier times between readings are compared with."""


def gap(readings: Readings) -> Scores:
    """Not scored: fewer than two earlier times between readings."""
    seconds = np.diff(readings.time, prepend=readings.time[:1]) / SECOND
    seconds[readings.starts] = 0.0
    logarithm = np.log(np.maximum(seconds, 1e-3))
    history = moments(logarithm, readings.series, Stretch(readings.back(TIMES)), seconds > 0)
    spread = np.maximum(history.deviation, FINEST)
    known = history.number >= 2
    unknown = np.flatnonzero(~known)
    deviate = (logarithm - history.mean) / spread
    usual = np.exp(history.mean)
    score = seconds / usual
    spread *= usual
    for each in (deviate, usual, score, spread):
        each[unknown] = np.nan
    return Scores(
        "gap",
        score,
        one_sided(deviate, history.count.student),
        codes(len(readings), deviate > 0),
        ("came late after the one before",),
        seconds,
        usual,
        spread,
        history.number,
        codes(len(readings), ~known),
        ("no history",),
    )
