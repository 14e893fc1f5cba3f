"""Precision, recall, false-positive rate, alerts and delay of a detector's flags, each with a 95 % interval.

An event is a run of labelled readings of one series, one after another. Delay is the time from an event's first reading
to the first of its readings that was flagged.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.detect.readings import DAY, SECOND, Readings, run_starts

Bools = npt.NDArray[np.bool_]


class Share(NamedTuple):
    """of `whole`, and Wilson's interval of 95 %; NaN of nothing."""

    share: float
    low: float
    high: float


class Counts(NamedTuple):
    """Readings that were judged. unscored: those without a probability, which count as not flagged."""

    hit: int
    missed: int
    false: int
    ordinary: int
    unscored: int
    series_days: float
    delays_s: npt.NDArray[np.float64]

    @property
    def recall(self) -> Share:
        return wilson(self.hit, self.hit + self.missed)

    @property
    def precision(self) -> Share:
        return wilson(self.hit, self.hit + self.false)

    @property
    def false_positives(self) -> Share:
        return wilson(self.false, self.ordinary)

    @property
    def alerts_per_1000_per_week(self) -> float:
        """Flagged readings, of 1,000 series."""
        return (self.hit + self.false) / self.series_days * 7000 if self.series_days else math.nan

    def plus(self, other: Counts) -> Counts:
        """Of both; their readings are not each other's."""
        return Counts(
            self.hit + other.hit,
            self.missed + other.missed,
            self.false + other.false,
            self.ordinary + other.ordinary,
            self.unscored + other.unscored,
            self.series_days + other.series_days,
            np.concatenate([self.delays_s, other.delays_s]),
        )


def wilson(count: int, whole: int, z: float = 1.959964) -> Share:
    """Share and interval, which also of 0 or all of a few says something."""
    if not whole:
        return Share(math.nan, math.nan, math.nan)
    share, square = count / whole, z * z / whole
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / whole + square / (4 * whole))
    return Share(share, max(0.0, middle - half), min(1.0, middle + half))


def count(readings: Readings, flagged: Bools, scored: Bools, labelled: Bools, judged: Bools) -> Counts:
    """labelled: the readings that are anomalies; flagged, scored: what the detector said. All in the readings' order."""
    starts = run_starts(labelled.view(np.int8), readings.first)
    hits = np.flatnonzero(labelled & flagged & judged)
    events, places = np.unique(starts[hits], return_index=True)
    delays = (readings.time[hits[places]] - readings.time[events]) / SECOND
    where = np.flatnonzero(judged)
    span = int(np.ptp(readings.time[where])) if len(where) else 0
    series = len(np.unique(readings.first[where]))
    return Counts(
        len(hits),
        int((labelled & ~flagged & judged).sum()),
        int((~labelled & flagged & judged).sum()),
        int((~labelled & judged).sum()),
        int((~scored & judged).sum()),
        series * span / DAY,
        delays,
    )
