"""Flatline: a series that says the same again and again, more often in a row than it used to.

The score is how many equal readings stand in a row, this one included. If two readings in a row were equal with the
share p of the history before the run, chance makes such a run with p^(score - 1).
"""

from __future__ import annotations

import numpy as np

from transforms.detect.readings import Readings, run_starts
from transforms.detect.scores import Scores, codes

LEAST = 16
"""Pairs of readings before the run."""


def flatline(readings: Readings) -> Scores:
    """p is (equal pairs + 1) / (pairs + 2), over the 30 days before the run; without a probability below `LEAST` pairs, as in
    a series that never said anything else."""
    rows = readings.rows
    x = readings.raw[0]
    begins = run_starts(x.view(np.int64) if x.flags.c_contiguous else x.copy().view(np.int64), readings.first)
    length = (rows - begins + 1).astype(np.float64)
    equal = readings.series.running(begins < rows)
    low = readings.oldest.take(begins, mode="clip")
    pairs = begins - low
    share = (equal.take(begins, mode="clip") - equal.take(low, mode="clip") + 1.0) / (pairs + 2.0)
    probability = np.ones(len(readings))
    longer = np.flatnonzero(begins < rows)
    probability[longer] = np.power(share[longer], length[longer] - 1.0)
    probability[pairs < LEAST] = np.nan
    return Scores(
        "flatline",
        length,
        probability,
        codes(len(readings), length > 1),
        ("says the same again and again",),
        x,
        1.0 / (1.0 - share),
        readings.nothing,
        pairs,
        codes(len(readings), pairs < LEAST),
        ("short history",),
    )
