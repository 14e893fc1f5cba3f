"""Readings as detectors take them: per series in order of time, beside the history each of them is compared with.

    series A  |--------- 30 days ---------|own hour|          a reading's history: [oldest, before)
              oldest                 before   ^ the reading

A reading never vouches for itself, nor do the others of its own hour: the history ends where its local hour begins.
So the score of a reading depends on its series up to it and on nothing later; adding rows changes no earlier score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.errors import UserError
from transforms.detect.moments import Moments, Pairs, Series, Stretch, squared

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SECOND = 1_000_000
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
HISTORY = 30 * DAY
"""How far back a reading is compared, in microseconds."""

_CHUNK = 32_768


@dataclass(frozen=True)
class Readings:
    """Sorted by series and time. time: microseconds since the epoch; raw: the values, one array per field; places: the
    row of each reading in the table given; zone: whose clock tells hours; resolution: where values are compared on a
    scale that is logarithmic above so many units and linear below, None where as they are."""

    time: Ints
    raw: tuple[Floats, ...]
    first: Ints
    places: Ints
    zone: str = "UTC"
    resolution: float | None = None
    shared: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What detectors computed and others may take."""

    def __len__(self) -> int:
        return len(self.time)

    @cached_property
    def value(self) -> Floats:
        """The first field, on the scale it is compared on."""
        return self.scaled(self.raw[0])

    def scaled(self, x: Floats) -> Floats:
        return x if self.resolution is None else np.arcsinh(x / self.resolution)

    def unscaled(self, x: Floats) -> Floats:
        return x if self.resolution is None else np.sinh(np.clip(x, -700, 700)) * self.resolution

    @cached_property
    def rows(self) -> Ints:
        return np.arange(len(self))

    @cached_property
    def nothing(self) -> Floats:
        """NaN for each."""
        return np.full(len(self), np.nan)

    @cached_property
    def starts(self) -> Ints:
        """The first row of each series."""
        return np.flatnonzero(self.first == self.rows)

    @cached_property
    def series(self) -> Series:
        return Series(self.starts, len(self))

    @cached_property
    def hour(self) -> Ints:
        """Of the zone's clock, since the epoch."""
        return (self.time + offsets(self.time, self.zone)) // HOUR

    @cached_property
    def oldest(self) -> Ints:
        """The first row of each reading's history."""
        return self.since(HISTORY)

    @cached_property
    def before(self) -> Ints:
        """The row after the last of each reading's history: the first of its own local hour."""
        return run_starts(self.hour, self.first)

    def since(self, span: int) -> Ints:
        """The first row of the same series that is at most `span` microseconds older, for each row."""
        key = monotone(self.time, self.first, span)
        return lowest(key, key - span)

    @cached_property
    def past(self) -> Stretch:
        """Each reading's history."""
        return Stretch(self.oldest, np.maximum(self.before, self.oldest))

    @cached_property
    def until(self) -> Stretch:
        """The 30 days up to each reading."""
        return Stretch(self.oldest)

    @cached_property
    def moved(self) -> Floats:
        """The first field, from the first value of its series as zero."""
        return self.value - self.centre

    @cached_property
    def centre(self) -> Floats:
        return self.series.firsts(self.value[self.starts])

    @cached_property
    def squared(self) -> Pairs:
        """Running sums of `moved` and of its squares."""
        return squared(self.moved, self.series)

    @cached_property
    def history(self) -> Moments:
        """Of the first field."""
        found = self.past.moments(self.squared)
        mean = found.mean + self.centre
        mean[found.count.none] = 0.0
        return replace(found, mean=mean)

    def back(self, rows: int) -> Ints:
        """The row `rows` before each, at least the first of its series."""
        return np.maximum(self.rows - rows, self.first)

    @cached_property
    def fewest(self) -> Ints:
        """How many rows of its series come before each."""
        return self.rows - self.first

    def chunks(self, least: int | None = None) -> Iterator[tuple[int, int]]:
        """Begin and end of whole series, `least` rows or more; by itself what fits into a core's cache."""
        least = _CHUNK if least is None else least
        starts, last = self.starts, 0
        while last < len(self):
            at = np.searchsorted(starts, last + least)
            end = int(starts[at]) if at < len(starts) else len(self)
            yield last, end
            last = end

    def part(self, begin: int, end: int) -> Readings:
        """Of whole series, without what was computed."""
        rows = slice(begin, end)
        return replace(
            self,
            time=self.time[rows],
            raw=tuple(x[rows] for x in self.raw),
            first=self.first[rows] - begin,
            places=self.places[rows],
            shared={},
        )


def readings_of(
    table: pa.Table,
    *,
    series: str,
    time: str,
    values: Sequence[str],
    zone: str = "UTC",
    resolution: float | None = None,
) -> Readings:
    """Of a table in any order. Rows without a series, a time or a finite first value are left out: they have no score.

    series: names the meter or sensor, of any type; time: a timestamp, UTC where it has no zone; values: numbers, the
    first of which most detectors judge. Raises UserError for a column that is missing or of another kind.
    """
    if not values:
        raise UserError("detectors: values is empty: name at least one column of numbers")
    for name in (series, time, *values):
        if name not in table.column_names:
            raise UserError(f"detectors: no column '{name}'; the table has {', '.join(table.column_names)}")
    if not pa.types.is_timestamp(table.schema.field(time).type):
        raise UserError(f"detectors: column '{time}' is {table.schema.field(time).type}; a timestamp is needed")
    for name in values:
        kind = table.schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
            raise UserError(f"detectors: column '{name}' is {kind}; a number is needed")
    if resolution is not None and not resolution > 0:
        raise UserError(f"detectors: resolution is {resolution}: give more than 0, in the values' unit")
    table = table.select(list(dict.fromkeys([series, time, *values]))).combine_chunks()
    named = table[series]
    if pa.types.is_dictionary(named.type):
        named = named.cast(named.type.value_type)
    frame = pl.DataFrame(pl.from_arrow(table.select(list(dict.fromkeys([time, *values])))))
    ready = frame.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("_row"),
        pl.Series("_series", _codes(named), dtype=pl.Int64),
        pl.col(time).dt.epoch("us").alias("_time"),
        *[pl.col(name).cast(pl.Float64).fill_null(float("nan")).alias(f"_{n}") for n, name in enumerate(values)],
    ).filter(pl.col("_series").is_not_null() & pl.col("_time").is_not_null() & pl.col("_0").is_finite())
    code, at = ready["_series"].to_numpy(), ready["_time"].to_numpy()
    later = (code[1:] > code[:-1]) | ((code[1:] == code[:-1]) & (at[1:] >= at[:-1]))
    if not later.all():
        ready = ready.sort("_series", "_time", "_row")
        code = ready["_series"].to_numpy()
    rows = tuple(np.ascontiguousarray(ready[f"_{n}"].to_numpy()) for n in range(len(values)))
    rows = (rows[0], *(np.where(np.isfinite(x), x, np.nan) for x in rows[1:]))
    first = run_starts(code, np.zeros(len(code), np.int64))
    return Readings(ready["_time"].to_numpy(), rows, first, ready["_row"].to_numpy(), zone, resolution)


def run_starts(x: npt.NDArray[np.integer], first: Ints) -> Ints:
    """Where the run of equal `x` that each row is part of began; a series begins a run."""
    starts = np.arange(len(x))
    if len(x):
        starts[1:] *= (x[1:] != x[:-1]) | (first[1:] == starts[1:])
    return np.maximum.accumulate(starts)


def monotone(time: Ints, first: Ints, span: int) -> Ints:
    """Times moved so that they rise over all rows: longer gaps, and those between series, are `span` + 1 long.

    Two rows are within `span` of each other here where they are in time, and of one series.
    """
    steps = np.minimum(np.diff(time, prepend=time[:1]), span + 1)
    steps[first == np.arange(len(time))] = span + 1
    return np.cumsum(steps)


def lowest(key: Ints, sought: Ints, pace: int = 64) -> Ints:
    """`searchsorted(key, sought)` where both rise, faster where what is sought keeps pace with the rows.

    Each `pace`th row is searched; rows between two of them are guessed to follow one by one, and searched if not so.
    """
    some = np.searchsorted(key, sought[::pace])
    most = np.append(some, len(key))[1:]
    found = np.minimum(some[:, None] + np.arange(pace), most[:, None]).ravel()[: len(key)]
    left = np.append(np.iinfo(np.int64).min, key)
    wrong = np.flatnonzero((left.take(found, mode="clip") >= sought) | (left[1:].take(found, mode="clip") < sought))
    found[wrong] = np.searchsorted(key, sought[wrong])
    return found


def _codes(named: pa.ChunkedArray) -> pa.Array:
    """A number for each distinct name, in the order in which they come; null stays."""
    encoded = pc.dictionary_encode(named).combine_chunks()
    return encoded.indices if isinstance(encoded, pa.DictionaryArray) else pa.array([], pa.int64())


def offsets(time: Ints, zone: str) -> Ints:
    """How far the zone's clock is ahead of UTC at each time, in microseconds.

    Exact to the quarter of an hour in which a clock changes. Raises UserError for a zone that is not known.
    """
    if zone == "UTC":
        return np.zeros(len(time), np.int64)
    try:
        rules = ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as cause:
        raise UserError(f"detectors: time zone '{zone}' is not known; write it as Asia/Kolkata") from cause
    quarters = time // (900 * SECOND)
    changes = np.flatnonzero(np.diff(quarters, prepend=quarters[:1] - 1)) if len(time) else np.empty(0, np.int64)
    distinct, places = np.unique(quarters[changes], return_inverse=True)
    ahead = _ahead(distinct, rules)[places]
    return np.repeat(ahead, np.diff(np.append(changes, len(time))))


def _ahead(quarters: Ints, rules: ZoneInfo) -> Ints:
    """Of distinct quarters of hours, ascending; a day that ends with the offset it began with has one."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def at(quarter: int) -> int:
        try:
            ahead = rules.utcoffset((epoch + timedelta(minutes=15 * quarter)).astimezone(rules))
        except (OverflowError, ValueError):
            ahead = timedelta()
        return 0 if ahead is None else round(ahead.total_seconds()) * SECOND

    found = np.empty(len(quarters), np.int64)
    days, starts = np.unique(quarters // 96, return_index=True)
    after = np.append(starts, len(quarters))[1:]  # of none there is none
    for day, start, end in zip(days.tolist(), starts, after, strict=True):
        begins, ends = at(day * 96), at(day * 96 + 95)
        found[start:end] = begins if begins == ends else [at(quarter) for quarter in quarters[start:end].tolist()]
    return found
