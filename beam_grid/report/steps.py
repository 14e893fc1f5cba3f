"""Steps of a chart over a window table: its windows as they are, several put together, or every n-th of those that overlap.

windows    |15m|15m|15m|15m|             steps of an hour, from the offset on
days       |24 h|25 h|24 h| ··           weeks, months or years of the table's time zone
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from beam_grid.report.words import as_time
from data_sources.contract import CALENDARS
from data_sources.durations import micros
from transforms.local_days import DAY, first_day, starts_of_days

if TYPE_CHECKING:
    from data_sources.contract import WindowSpec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = "'Timestamp(Microsecond, Some(\"UTC\"))'"
_NICE = (60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 7 * 86400, 28 * 86400, 364 * 86400)

_WIDER = {
    "day": (("day", 1), ("week", 1), ("month", 1), ("year", 1)),
    "week": (("week", 1), ("week", 4), ("week", 52)),
    "month": (("month", 1), ("month", 3), ("year", 1)),
    "year": (("year", 1),),
}
"""What a calendar's windows are put together to: so many of which calendar's."""


class Filled(Protocol):
    """A window table with rows: its windows, the start of the first and the end of the last."""

    @property
    def spec(self) -> WindowSpec: ...
    @property
    def first(self) -> datetime | None: ...
    @property
    def last(self) -> datetime | None: ...


@dataclass(frozen=True)
class Steps:
    """seconds: how wide a step is, of a calendar's on average; at: SQL of a window's step; where: SQL that bounds the
    windows; begins: when a calendar's steps begin."""

    seconds: int
    at: str
    where: str
    begins: tuple[datetime, ...] = ()

    def starts(self, seen: list[Any]) -> list[datetime]:
        """Every step from the first seen to the last, those without windows too."""
        times = [t for t in map(as_time, seen) if t is not None]
        if not times:
            return []
        first, last, width = min(times), max(times), timedelta(seconds=self.seconds)
        if self.begins:
            return [at for at in self.begins if first <= at <= last]
        return [first + n * width for n in range((last - first) // width + 1)]


def steps_of(table: Filled, most: int) -> Steps:
    """At most about so many steps: windows that do not overlap are put together; of others every n-th is taken."""
    window = table.spec
    assert table.first is not None and table.last is not None
    if window.calendar is not None:
        return _of_a_calendar(window, table.first, table.last, most)
    own = micros(window.step) // 1_000_000
    span = int((table.last - table.first).total_seconds())
    if span <= own * most:
        return Steps(own, "window_start", "")
    wide = [s for s in _NICE if s % own == 0 and span <= s * most]
    step = wide[0] if wide else own * -(-span // (own * most))
    origin = _EPOCH + timedelta(microseconds=micros(window.offset) % micros(window.step))
    at = f"date_bin(INTERVAL '{step} seconds', window_start, TIMESTAMP '{origin:%Y-%m-%dT%H:%M:%S}Z')"
    return Steps(step, "window_start", f"WHERE window_start = {at} ") if window.overlap else Steps(step, at, "")


def _of_a_calendar(window: WindowSpec, first: datetime, last: datetime, most: int) -> Steps:
    assert window.calendar is not None and window.time_zone is not None
    span = last - first
    fit = [(name, n) for name, n in _WIDER[window.calendar] if span <= CALENDARS[name] * n * most]
    calendar, count = fit[0] if fit else ("year", -(-span // (CALENDARS["year"] * most)))
    low, high = (micros(at - _EPOCH) for at in (first, last))
    days = np.arange(low // DAY - 1, high // DAY + 2)
    begins = starts_of_days(np.unique(first_day(days, calendar)), window.time_zone)
    begins = begins[(begins < high)]
    begins = begins[max(0, int(np.searchsorted(begins, low, side="right")) - 1) :: count]
    moments = tuple(_EPOCH + timedelta(microseconds=at) for at in begins.tolist())
    seconds = round((CALENDARS[calendar] * count).total_seconds())
    if (calendar, count) == (window.calendar, 1):
        return Steps(seconds, "window_start", "", moments)
    instants = [f"arrow_cast('{at.isoformat()}', {_TIME})" for at in moments]
    cases = "".join(f"WHEN window_start < {end} THEN {at} " for at, end in itertools.pairwise(instants))
    return Steps(seconds, f"CASE {cases}ELSE {instants[-1]} END" if cases else instants[-1], "", moments)
