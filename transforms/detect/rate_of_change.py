"""Rate of change: how far a series went over the last 30 minutes, per reading.

    |----- 30 minutes, both ends in -----|
    x_1   x_2   ...                    x_n        (x_n - x_1) / n, and 0 of a single reading

Source of the formula: the published detector, which divides by the readings and not by the steps between them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.detect.moments import moments
from transforms.detect.readings import SECOND, Readings
from transforms.detect.scores import Scores, codes, none, ratio, signed
from transforms.detect.tails import two_sided

WINDOW = 1800 * SECOND


def rate_of_change(readings: Readings) -> Scores:
    """The score is the rate, in the values' unit per reading; its probability is against the series' earlier rates."""
    rate, oldest = rates(readings)
    history = moments(rate, readings.series, readings.past)
    deviation = history.deviation
    usable = (history.number >= 2) & (deviation > 0)
    deviate = ratio(rate - history.mean, deviation, usable)
    return Scores(
        "rate_of_change",
        rate,
        two_sided(deviate, history.count.student),
        signed(rate),
        ("rises fast", "falls fast"),
        readings.raw[0],
        readings.raw[0].take(oldest, mode="clip"),
        none(deviation, ~usable),
        history.number,
        codes(len(readings), oldest == readings.rows),
        ("single reading",),
    )


def rates(readings: Readings) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The rate at each reading, and the first row of its 30 minutes."""
    oldest = readings.since(WINDOW)
    rate = readings.value - readings.value.take(oldest, mode="clip")
    rate /= readings.rows - oldest + 1
    return rate, oldest
