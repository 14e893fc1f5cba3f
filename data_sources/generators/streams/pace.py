"""Busy hours and bursts: evenly spread times bent so that a day's rows gather where the pace is high.

even    |.|.|.|.|.|.|.|.|.|.|.|.|     the clock that runs by rows
paced   |. . .|......|.. .|.....|     dense where the weight is high; order and the day's number stay
"""

from __future__ import annotations

import numpy as np

from data_sources.durations import micros
from data_sources.generators.streams.dials import PaceSpec
from data_sources.generators.streams.draws import Floats, Ints

_DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000

Pace = tuple[Floats, Floats]
"""Moments of a day in microseconds, and the share of the day's rows before each, scaled to the day's length."""


def pace_of(spec: PaceSpec) -> Pace:
    """The day's curve from the hours' weights and the bursts; a burst past midnight ends there."""
    edges = {hour * _HOUR_US for hour in range(25)}
    for burst in spec.bursts:
        edges |= {burst.start_us, min(burst.start_us + micros(burst.last), _DAY_US)}
    moments = np.array(sorted(edges))
    weight = np.array(spec.hours)[moments[:-1] // _HOUR_US]
    for burst in spec.bursts:
        within = (moments[:-1] >= burst.start_us) & (moments[:-1] < burst.start_us + micros(burst.last))
        weight = np.where(within, weight * burst.times, weight)
    before = np.concatenate([[0.0], np.cumsum(weight * np.diff(moments))])
    return moments.astype(np.float64), before / before[-1] * _DAY_US


def paced(pace: Pace, even_us: Ints) -> Ints:
    """The paced time of each evenly spread one, in whole milliseconds."""
    moments, before = pace
    within = np.interp((even_us % _DAY_US).astype(np.float64), before, moments)
    return even_us // _DAY_US * _DAY_US + within.astype(np.int64) // 1000 * 1000
