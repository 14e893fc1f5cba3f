"""Which meters read, when, and what their homes used: the same for all that tells of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data_sources.durations import format_duration
from data_sources.generators.registry import METERS_PER_REGION, STATES, SUBSTATIONS_PER_REGION

FIRST_DAY = datetime(2025, 6, 15, tzinfo=UTC)
METERS = 1000
DAY_MS, WINDOW_MS = 86_400_000, 900_000
READINGS_PER_DAY = 96

_CHUNK_INTERVALS = 100
_FIRST_MS = int(FIRST_DAY.timestamp()) * 1000
_INDIA_OFFSET_MS = 330 * 60_000  # people get up by India's clock (UTC+5:30, no summer time)
_SPREAD = 0.18

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Use(NamedTuple):
    """Of each meter and interval, in order of time. meter: row of `meters()`; interval: since the first day's midnight;
    kwh: what was used, not rounded."""

    meter: Ints
    interval: Ints
    event_ms: Ints
    kwh: Floats


@dataclass(frozen=True)
class Order:
    """The meters by the moment within each interval at which they read, in milliseconds from its start.

    None reads before `earliest_ms`.
    """

    seed: int
    per_day: int
    meters: Ints
    moments_ms: Ints
    earliest_ms: int

    @classmethod
    def of(
        cls,
        seed: int,
        scale: float = 1.0,
        interval: timedelta | None = None,
        meters: int | None = None,
        *,
        whole_substations: bool = False,
    ) -> Order:
        """Of all meters, or so many: from all regions alike, or those of whole substations. Raises ValueError for an
        argument out of range."""
        per_day = _readings_per_day(scale) if interval is None else _intervals_per_day(scale, interval)
        earliest_ms = 0 if interval is None else max(0, DAY_MS // per_day - WINDOW_MS)
        moments = np.random.default_rng([seed, 4]).integers(earliest_ms, DAY_MS // per_day, METERS)
        order = np.argsort(moments, kind="stable")
        order = order[np.isin(order, _chosen(meters, whole_substations))]
        return cls(seed, per_day, order, moments[order], earliest_ms)

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Intervals of a day, [first, last), that are drawn together."""
        for first in range(0, self.per_day, _CHUNK_INTERVALS):
            yield first, min(first + _CHUNK_INTERVALS, self.per_day)

    def start_ms(self, day: int, interval: Ints) -> Ints:
        """When intervals of a day begin, milliseconds since the epoch."""
        return _FIRST_MS + day * DAY_MS + interval * DAY_MS // self.per_day

    def drawn(self, day: int, first: int) -> np.random.Generator:
        """What a chunk's readings are drawn with: first of all how much was used."""
        return np.random.default_rng([self.seed, 1, day, first])

    def when(self, day: int, first: int, last: int) -> tuple[Ints, Ints, Ints]:
        """Meter, interval since the first day and milliseconds since the epoch of a chunk's readings, in order of time.

        interval 0                    interval 1
        |--m3-----m1--------m2-------|--m3-----m1--------m2-------|   each meter at its own moment
        """
        interval = np.arange(first, last)
        event_ms = (self.start_ms(day, interval)[:, None] + self.moments_ms).ravel()
        meter = np.tile(self.meters, len(interval))
        return meter, np.repeat(day * self.per_day + interval, len(self.meters)), event_ms

    def used(self, day: int) -> Iterator[Use]:
        """What homes used on a day, by chunk, whatever their meters said: the draws that `readings` begins with."""
        sizes = meter_sizes(self.seed)
        for first, last in self.chunks():
            meter, interval, event_ms = self.when(day, first, last)
            drawn = noise(self.drawn(day, first), len(meter))
            yield Use(meter, interval, event_ms, used_kwh(sizes[meter], event_ms, drawn))


def meter_sizes(seed: int) -> Floats:
    """The typical reading of each of the 1,000 meters, in kWh: many flats, a few workshops."""
    return np.random.default_rng([seed, 0]).lognormal(math.log(2.5), 0.6, METERS)


def noise(rng: np.random.Generator, count: int) -> Floats:
    """By what factor homes use more or less than is usual at the hour, in each of `count` intervals."""
    return rng.lognormal(0, _SPREAD, count)


def used_kwh(size: Floats, event_ms: Ints, noise: Floats) -> Floats:
    """What homes of these sizes use in the interval that ends at these moments."""
    return np.clip(size * load_shape(local_hour(event_ms)) * noise, 0.06, 45)


def local_hour(event_ms: Ints) -> Floats:
    """Of the day in India, 0 to 24."""
    return (event_ms + _INDIA_OFFSET_MS) % DAY_MS / 3_600_000


def load_shape(hour: Floats) -> Floats:
    """Load by local hour, mean about 1: a low night, a peak at 7:30 and a higher one in the evening."""
    morning = np.exp(-(((hour - 7.5) / 1.7) ** 2))
    evening = np.exp(-(((hour - 19.5) / 2.4) ** 2))
    return 0.55 + 0.85 * morning + 1.3 * evening + 0.15 * np.exp(-(((hour - 13) / 3) ** 2))


def _chosen(count: int | None, whole_substations: bool) -> Ints:
    """Rows of `meters()`: all of them, or `count`, taken from the regions in turn, a meter or a substation at a time."""
    if count is None:
        return np.arange(METERS)
    if not 1 <= count <= METERS:
        raise ValueError(f"meters is {count}: give 1 to {METERS:,}")
    n, each = np.arange(count), 1
    if whole_substations:
        each = METERS_PER_REGION // SUBSTATIONS_PER_REGION
        if count % each:
            raise ValueError(f"meters is {count}: with faults give a multiple of {each}, those of whole substations")
    n, within = n // each, n % each
    return np.sort(n % len(STATES) * METERS_PER_REGION + n // len(STATES) + within * SUBSTATIONS_PER_REGION)


def _intervals_per_day(scale: float, interval: timedelta) -> int:
    if scale != 1:
        raise ValueError(f"scale is {scale} and interval {format_duration(interval)}: give one of them")
    day = timedelta(days=1)
    if not timedelta(0) < interval <= day or day % interval:
        raise ValueError(f"interval is {format_duration(interval)}: give one that divides a day, such as 15m or 1h")
    return day // interval


def _readings_per_day(scale: float) -> int:
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}: give a number above 0, such as 1 (96 readings a meter and day)")
    per_day = max(1, round(READINGS_PER_DAY * scale))
    if per_day > DAY_MS:
        most = DAY_MS // READINGS_PER_DAY
        raise ValueError(f"scale is {scale}: give at most {most} (a reading a millisecond)")
    return per_day
