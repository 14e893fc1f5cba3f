"""Rows that hold a day: columns named after times of day (00:00, 00:15, ...) or numbered (H1 to H24, 1 to 96)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from beam_grid.first_contract.model import Column

_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?")
_SPAN = re.compile(r"(\d{1,2}:\d\d)\s*[-–]\s*\d{1,2}:\d\d")
_NUMBERED = re.compile(r"([A-Za-zäöü ._-]*?)(\d{1,3})")
_COUNTS = {23, 24, 25, 46, 47, 48, 49, 50, 92, 95, 96, 97, 100}


@dataclass(frozen=True)
class Wide:
    """columns: the regular expression for [unpivot]; names: those it matches; form: the strptime code of a name, None
    where names are numbers of intervals; pattern: what takes the beginning out of date and name, joined."""

    columns: str
    names: tuple[str, ...]
    form: str | None
    pattern: str | None = None
    ends: bool = False
    """Whether the names are ends of intervals: 24:00 is one, and 00:00 is not."""

    @property
    def minutes(self) -> int:
        """Length of an interval."""
        return 24 * 60 // _per_day(len(self.names))


def wide_of(columns: Sequence[Column]) -> Wide | None:
    """The columns that are records of their own, None where there are none."""
    names = [c.name for c in columns]
    clocks = tuple(n for n in names if _CLOCK.fullmatch(n.strip()))
    if len(clocks) >= 12:
        seconds = ":%S" if clocks[0].count(":") == 2 else ""
        is_end = any(n.strip().startswith("24:") for n in clocks)
        first = any(re.match(r"0?0:00", n.strip()) for n in clocks)
        more = "(:[0-9]{2})?" if seconds else ""
        return Wide(rf"^\s*[0-9]{{1,2}}:[0-9]{{2}}{more}\s*$", clocks, f"%H:%M{seconds}", ends=is_end and not first)
    spans = tuple(n for n in names if _SPAN.fullmatch(n.strip()))
    if len(spans) >= 12:
        pattern = r"^(.+?) *[-–] *[0-9]{1,2}:[0-9]{2}$"
        return Wide(r"^\s*[0-9]{1,2}:[0-9]{2}\s*[-–]\s*[0-9]{1,2}:[0-9]{2}\s*$", spans, "%H:%M", pattern)
    return _numbered(names)


def _numbered(names: list[str]) -> Wide | None:
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = _NUMBERED.fullmatch(name.strip())
        if match:
            groups.setdefault(match[1], []).append((int(match[2]), name))
    for prefix, found in groups.items():
        numbers = sorted(n for n, _ in found)
        if len(found) not in _COUNTS or numbers != list(range(numbers[0], numbers[0] + len(found))) or numbers[0] > 1:
            continue
        columns = rf"^\s*{_escaped(prefix)}[0-9]{{1,3}}\s*$"
        hourly = len(found) <= 25
        form = f"{prefix.replace('%', '%%')}%H" if hourly else None
        return Wide(columns, tuple(name for _, name in found), form, ends=numbers[0] == 1)
    return None


def _escaped(text: str) -> str:
    return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", text)


def _per_day(count: int) -> int:
    return min((24, 48, 96), key=lambda n: abs(n - count))
