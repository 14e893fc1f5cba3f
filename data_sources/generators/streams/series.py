"""A series over event time: level, daily, weekly and seasonal wave, trend, and noise that remembers.

The noise is drawn at knots `memory` apart, from hashed numbers, and interpolated between them with its variance held:

    knots    z0 --------- z1 --------- z2        value(w) = ((1-w) z1 + w z2) / sqrt((1-w)^2 + w^2)
                          |--- w --->

So a value is known from its time (and entity) alone. Autocorrelation of the noise, over all phases: 1 at lag 0, 0.74
at half the memory, 0.29 at the memory, 0 from twice the memory on. The waves are cosines of the given amplitudes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data_sources.durations import micros
from data_sources.generators.streams.column import SeriesSpec
from data_sources.generators.streams.draws import hashed_normal

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_DAY_US = 86_400_000_000
_MONDAY_US = 4 * _DAY_US  # 1970-01-05
_YEAR_DAYS = 365.2425


def series(spec: SeriesSpec, seed: int, purpose: str, time_us: Ints, begin_us: int, entity: Ints | None) -> Floats:
    """The series' value at each time (microseconds since the epoch, UTC); `trend` counts from `begin_us`."""
    day = time_us / _DAY_US
    value = np.full(len(time_us), spec.base)
    if spec.daily:
        value += spec.daily * _wave(day - spec.daily_peak / 24)
    if spec.weekly:
        value += spec.weekly * _wave(((time_us - _MONDAY_US) / _DAY_US - spec.weekly_peak) / 7)
    if spec.seasonal:
        value += spec.seasonal * _wave((day - spec.seasonal_peak) / _YEAR_DAYS)
    if spec.trend:
        value += spec.trend * (time_us - begin_us) / _DAY_US
    if spec.noise:
        value += spec.noise * remembering(seed, purpose, time_us, micros(spec.memory), entity)
    return value


def remembering(seed: int, purpose: str, time_us: Ints, memory_us: int, entity: Ints | None) -> Floats:
    """Standard normal noise at each time, autocorrelated as the module says; each entity has its own."""
    who = np.zeros(1, np.int64) if entity is None else entity
    knot = time_us // memory_us
    w = (time_us % memory_us) / memory_us
    before, after = (hashed_normal(seed, purpose, who, knot + step) for step in (0, 1))
    return ((1 - w) * before + w * after) / np.sqrt((1 - w) ** 2 + w**2)


def _wave(turns: Floats) -> Floats:
    return np.cos(2 * np.pi * turns)
