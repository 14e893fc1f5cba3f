"""Which files of a table may hold a row that meets a condition, by the bounds that Delta's log keeps of them.

    kwh = 5              file 1: kwh 0 to 4        no row of it can
    sensor IN ('A', 'B') file 2: sensor 'B' to 'C' may
                         file 3: nobody counted    may

Guaranteed: a file that is left out has no such row. Text, whole numbers, days and instants are told apart by bounds,
nothing else: of fractions NaN is beyond its file's maximum. Bounds may be wider than the values: writers cut text, and
Spark cuts the greatest instant to its millisecond.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from beam_grid.lakehouse.live import LiveFile

Value = str | int | date | datetime

Parameter = str | int | float | bool | None
"""What a statement's $1, $2 and so on may be bound to."""

WHOLE = ("long", "integer", "short", "byte")
"""Delta's whole numbers."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CUT = timedelta(milliseconds=1)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(?P<offset>Z|[+-]\d\d:\d\d)?)?")


@dataclass(frozen=True)
class Within:
    """The column's value is not null and lies in one of the ranges, both ends inside; None is no end."""

    column: str
    ranges: tuple[tuple[Value | None, Value | None], ...]


def not_before(column: str, time: datetime) -> Within:
    return Within(column, ((time, None),))


@dataclass(frozen=True)
class Recurring:
    """The column's instant is not null and lies in one of these `phases` of a period: (micros + `origin`) div `length` mod
    `count`, as in every Monday's hour from 9 to 10. `origin` makes the sum positive."""

    column: str
    origin: int
    length: int
    count: int
    phases: frozenset[int]


Condition = Within | Recurring


Span = tuple[Value | None, Value | None]
"""No value is less than the first or greater than the second; None is not known."""


def may_hold(file: LiveFile, condition: Condition, kind: str) -> bool:
    """Whether a row of the file may meet it; `kind` is Delta's type of the column."""
    return may_meet(span(file, condition.column, kind), condition)


def span(file: LiveFile, column: str, kind: str) -> Span | None:
    """Of the column's values in the file; None where all are null."""
    if file.rows is not None and file.nulls.get(column) == file.rows:
        return None
    least, greatest = _bound(file.least.get(column), kind), _bound(file.greatest.get(column), kind)
    if greatest is not None and isinstance(greatest, datetime):
        greatest = greatest + _CUT if greatest <= datetime.max.replace(tzinfo=UTC) - _CUT else None
    return least, greatest


def may_meet(values: Span | None, condition: Condition) -> bool:
    """Whether one of a file's values may meet it."""
    if values is None:
        return False
    least, greatest = values
    if isinstance(condition, Within):
        return any(_meet(least, high) and _meet(low, greatest) for low, high in condition.ranges)
    if not isinstance(least, datetime) or not isinstance(greatest, datetime):
        return True
    first, last = (
        ((at - _EPOCH) // timedelta(microseconds=1) + condition.origin) // condition.length for at in (least, greatest)
    )
    return any((phase - first) % condition.count <= last - first for phase in condition.phases)


def least(file: LiveFile, column: str, kind: str) -> Value | None:
    """No value of the column is less; None where that is not known."""
    return _bound(file.least.get(column), kind)


def moment(text: str) -> tuple[datetime, bool] | None:
    """The instant that a text names, the same in all engines, and whether it says its offset; None for any other text."""
    written = _MOMENT.fullmatch(text)
    if written is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)), bool(written["offset"])
    except (ValueError, OverflowError):
        return None


def _meet(low: Any, high: Any) -> bool:
    return low is None or high is None or low <= high


def _bound(said: Any, kind: str) -> Value | None:
    """The log's word as a value of the column's type; None where it is none, which bounds nothing."""
    if kind in WHOLE:
        return said if isinstance(said, int) and not isinstance(said, bool) else None
    if not isinstance(said, str):
        return None
    if kind == "string":
        return said
    try:
        if kind == "date":
            return date.fromisoformat(said)
        if kind == "timestamp":
            found = datetime.fromisoformat(said)
            return None if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    return None
