"""Readings laid on their grid: one row an interval, from the first of a series to its last, whether one was read or not.

    read       00:00   00:15            00:45  00:47            of 00:30 nothing, of 00:45 two
    intervals  |------|------|---------|------|
    value        x       x       NaN      x                    00:47 is off the grid: it is `beside`, and keeps its place

The grid is that of UTC, so the day on which a clock is put back has its 25 hours, and the one in spring its 23.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.errors import UserError
from transforms.arrow import floats
from transforms.detect.readings import offsets

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

DAY = 86_400_000_000
LONGEST_GAP = 400 * DAY
"""Of a longer one no intervals are laid: a clock was wrong, or the meter elsewhere. What comes after is a stretch of its own."""


@dataclass(frozen=True)
class Intervals:
    """In order of series and time. width: microseconds; names: of the series; series: number of each row's name; start:
    microseconds since the epoch; value: NaN where nothing was read; register: the meter's count at the interval's end,
    NaN where none was read; opening: the count before the first interval, in its row; place: the row of the table, -1 for none; is_off: its reading was not taken at its start, or
    others were taken in it; beside: rows of the table whose interval another reading has."""

    width: int
    names: pa.Array
    series: Ints
    start: Ints
    value: Floats
    register: Floats
    opening: Floats
    place: Ints
    is_off: Mask
    beside: Ints
    zone: str = "UTC"

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def starts(self) -> Ints:
        """The first row of each stretch of a series without a gap that is too long."""
        goes_on = (self.series[1:] == self.series[:-1]) & (np.diff(self.start) == self.width)
        return np.flatnonzero(np.concatenate([np.ones(min(len(self), 1), bool), ~goes_on]))

    @cached_property
    def first(self) -> Ints:
        """The first row of each row's stretch."""
        return self._for_each(self.starts)

    @cached_property
    def end(self) -> Ints:
        """The row after the last of each row's stretch."""
        return self._for_each(np.append(self.starts[1:], len(self)) if len(self) else self.starts)

    def _for_each(self, of_stretch: Ints) -> Ints:
        return np.repeat(of_stretch, np.diff(np.append(self.starts, len(self))))

    @cached_property
    def local(self) -> Ints:
        """The start on the zone's clock, in microseconds as if it were UTC."""
        return self.start + offsets(self.start, self.zone)

    @cached_property
    def is_missing(self) -> Mask:
        return ~np.isfinite(self.value)

    @cached_property
    def before(self) -> Floats:
        """The register's count at each interval's start."""
        return np.where(np.arange(len(self)) == self.first, self.opening, self.other(-1, self.register))

    def other(self, rows: int, of: Floats) -> Floats:
        """`of` so many rows later (earlier, below 0), NaN beyond the stretch."""
        at = np.arange(len(self)) + rows
        inside = (at >= self.first) & (at < self.end)
        return np.where(inside, of[np.clip(at, 0, max(len(self) - 1, 0))], np.nan) if len(self) else of


def intervals_of(
    table: pa.Table,
    *,
    series: str,
    time: str,
    width: int,
    value: str | None = None,
    register: str | None = None,
    register_at: Literal["start", "end"] = "end",
    rolls_over_at: float | None = None,
    zone: str = "UTC",
) -> Intervals:
    """Of a table in any order; width in microseconds, time the interval's start. Rows without a series or a time are
    left out. Of two readings of an interval that on the grid counts, else the later one; the others are `beside`.

    register_at: whether a row's count is that at its interval's start or end. Without a value the values are what the
    register counted from one count to the next, so there is an interval less than counts.

    Raises UserError for a column that is missing or of another kind, and a width below a second or above a day.
    """
    for name in filter(None, (series, time, value, register)):
        if name not in table.column_names:
            raise UserError(f"vee: no column '{name}'; the table has {', '.join(table.column_names)}")
    if not pa.types.is_timestamp(table.schema.field(time).type):
        raise UserError(f"vee: column '{time}' is {table.schema.field(time).type}; a timestamp is needed")
    for name in filter(None, (value, register)):
        kind = table.schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
            raise UserError(f"vee: column '{name}' is {kind}; a number is needed")
    if value is None and register is None:
        raise UserError("vee: name a value, a register, or both")
    if not 1_000_000 <= width <= DAY:
        raise UserError(f"vee: intervals of {width / 1e6:g} s; give 1s to 1d")
    encoded = pc.dictionary_encode(table[series].combine_chunks())
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    rows = pl.DataFrame(
        {
            "place": np.arange(table.num_rows),
            "series": pl.Series(encoded.indices),
            "time": pl.Series(table[time].cast(pa.timestamp("us", "UTC")).cast(pa.int64())),
            "value": _numbers(table, value),
            "register": _numbers(table, register),
        }
    ).drop_nulls(["series", "time"])
    rows = rows.with_columns(
        (pl.col("time") % width).alias("off"), (pl.col("time") - pl.col("time") % width).alias("start")
    )
    rows = rows.sort("series", "start", pl.col("off") > 0, pl.col("time").neg(), pl.col("place").neg())
    ahead = rows.select(pl.struct("series", "start").is_first_distinct()).to_series()
    rows = rows.with_columns((pl.len().over("series", "start") > 1).alias("several"))
    beside, rows = rows.filter(~ahead)["place"].to_numpy(), rows.filter(ahead)
    number, start = rows["series"].to_numpy().astype(np.int64), rows["start"].to_numpy()
    jumps = np.diff(number, prepend=-1) != 0
    jumps[1:] |= np.diff(start) > LONGEST_GAP
    opens = np.flatnonzero(jumps)
    closes = np.append(opens[1:], len(number))[: len(opens)] - 1
    counts = (start[closes] - start[opens]) // width + 1
    total = int(counts.sum())
    base = np.cumsum(counts) - counts
    runs = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(total) - base[runs]
    held = np.repeat(base, closes - opens + 1) + (start - np.repeat(start[opens], closes - opens + 1)) // width

    def spread(column: pl.Series, nothing: Any) -> npt.NDArray[Any]:
        found = np.full(total, nothing)
        found[held] = column.to_numpy()
        return found

    laid = Intervals(
        width,
        encoded.dictionary,
        number[opens][runs],
        start[opens][runs] + step * width,
        spread(rows["value"], np.nan),
        spread(rows["register"], np.nan),
        np.full(total, np.nan),
        spread(rows["place"], -1),
        spread((rows["off"] > 0) | rows["several"], False),
        np.sort(beside),
        zone,
    )
    if register is None:
        return laid
    laid = _with_counts(laid, register_at, rolls_over_at, is_value=value is None)
    kind = table.schema.field(register).type
    if value is None and pa.types.is_decimal(kind):  # what two decimals differ by has no more digits than they have
        laid = replace(laid, value=np.round(laid.value, kind.scale))
    return laid


def used(before: Floats, after: Floats, rolls_over_at: float | None) -> Floats:
    """What a register counted from one count to another; NaN where one is not known, or it is another meter's.

    One that counts back has rolled over, where it is said at what and that makes less than a tenth of it.
    """
    found = after - before
    if rolls_over_at is not None:
        rolled = found + rolls_over_at
        found = np.where((found < 0) & (rolled >= 0) & (rolled < rolls_over_at / 10), rolled, found)
    return np.where(found >= 0, found, np.nan)


def _with_counts(laid: Intervals, register_at: Literal["start", "end"], rolls_over_at: float | None, *, is_value: bool) -> Intervals:  # fmt: skip
    """With the register's counts at the intervals' ends; the values from them, where they are all there is."""
    rows = np.arange(len(laid))
    if register_at == "start":
        opening = np.where(rows == laid.first, laid.register, np.nan)
        laid, kept = replace(laid, register=laid.other(1, laid.register), opening=opening), rows + 1 < laid.end
    else:
        laid, kept = replace(laid, opening=laid.other(-1, laid.register)), rows > laid.first
    if not is_value:
        return laid
    cut = {name: getattr(laid, name)[kept] for name in ("series", "start", "register", "opening", "place", "is_off")}
    laid = replace(laid, value=laid.value[kept], **cut)
    return replace(laid, value=used(laid.before, laid.register, rolls_over_at))


def _numbers(table: pa.Table, name: str | None) -> Floats:
    if name is None:
        return np.full(table.num_rows, np.nan)
    found = floats(table[name])
    return np.where(np.isfinite(found), found, np.nan)
