"""Local days, weeks, months and years as spans between two instants, by the rules of a time zone.

    Europe/Berlin   |─ 25 Oct, 24 h ─|── 26 Oct, 25 h ──|─ 27 Oct ─|
    UTC           22:00            22:00              23:00

A day begins at the first instant at which the clock there shows its midnight or later: at 01:00 where the clock goes from
24:00 to 01:00, at the first of two midnights where it goes back over one. So days follow each other without a gap, and
one that the zone left out (Pacific/Apia, 30 Dec 2011) has no length. Weeks begin on Monday. Rules are zoneinfo's, the
system's time zone data; in years that Python does not know, those of 400 years earlier or later.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Instants = npt.NDArray[np.int64]
"""Microseconds since the epoch."""

Days = npt.NDArray[np.int64]
"""Dates as days since 1970-01-01."""

DAY = 86_400_000_000
SECOND = 1_000_000
"""In microseconds; every local day begins at a whole second."""

YEAR_1 = -62_135_596_800_000_000
"""No window begins before the first instant that a table's readers know."""

LONGEST = {"day": 3, "week": 9, "month": 33, "year": 368}
"""No calendar window has more days of 24 hours: a zone that changes its side of the date line doubles a day."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 a clock on a wall
_CYCLE = 146_097
"""Days after which the calendar repeats itself, weekdays included: 400 years."""

_FIRST, _LAST = (datetime(2, 1, 1) - _EPOCH).days, (datetime(9999, 1, 1) - _EPOCH).days  # noqa: DTZ001


def bounds(instants: Instants, calendar: str, zone: str) -> tuple[Instants, Instants]:
    """Start and end of the window (`calendar`: day, week, month or year) that each instant lies in."""
    days = np.unique(instants // DAY)
    firsts = np.unique(first_day(np.concatenate([days - 1, days, days + 1]), calendar))  # an offset is less than a day
    after = next_first_day(firsts, calendar)
    firsts = np.unique(np.concatenate([firsts, after, next_first_day(after, calendar)]))
    starts = np.maximum(np.unique(starts_of_days(firsts, zone)), YEAR_1)
    at = np.searchsorted(starts, instants, side="right") - 1
    return starts[at], starts[at + 1]


def starts_of_days(days: Days, zone: str) -> Instants:
    """When each local day begins."""
    distinct, places = np.unique(days, return_inverse=True)
    return np.array([_start(zone, day) for day in distinct.tolist()], np.int64)[places]


def first_day(days: Days, calendar: str) -> Days:
    """The first day of the day, week, month or year that each day is in."""
    if calendar == "day":
        return days
    if calendar == "week":
        return days - (days + 3) % 7  # 1970-01-01 was a Thursday
    return days.astype("M8[D]").astype(_unit(calendar)).astype("M8[D]").astype(np.int64)


def next_first_day(firsts: Days, calendar: str) -> Days:
    """The first day of the day, week, month or year after."""
    if calendar in ("day", "week"):
        return firsts + (1 if calendar == "day" else 7)
    return (firsts.astype("M8[D]").astype(_unit(calendar)) + 1).astype("M8[D]").astype(np.int64)


def _unit(calendar: str) -> str:
    return {"month": "M8[M]", "year": "M8[Y]"}[calendar]


@functools.lru_cache(maxsize=1 << 16)
def _start(zone: str, day: int) -> int:
    if not _FIRST <= day < _LAST:
        cycle = _CYCLE if day < _FIRST else -_CYCLE
        return _start(zone, day + cycle) - cycle * DAY
    rules, midnight = ZoneInfo(zone), _EPOCH + timedelta(days=day)
    first, second = (_offset(midnight.replace(tzinfo=rules, fold=fold)) for fold in (0, 1))
    start = midnight - first
    if first < second:  # no clock showed this midnight: the change lies between what the two offsets make of it
        before, start = midnight - second, midnight - first
        while start - before > timedelta(seconds=1):
            middle = before + timedelta(seconds=(start - before) // timedelta(seconds=2))
            if _offset(middle.replace(tzinfo=UTC).astimezone(rules)) == first:
                before = middle
            else:
                start = middle
    return (start - _EPOCH) // timedelta(microseconds=1)


def _offset(moment: datetime) -> timedelta:
    offset = moment.utcoffset()
    assert offset is not None  # a ZoneInfo has one
    return offset
