"""Durations of a contract: `10s`, `15m`, `1h`, `2d`.

Kept as `datetime.timedelta`; windows do their arithmetic in whole microseconds since the epoch.
"""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_FORM = re.compile(r"([0-9]+)\s*(s|m|h|d)")
LONGEST = timedelta(days=36_500)
"""A hundred years: as good as for ever, and no sum of times with it overflows."""


def parse_duration(text: str | timedelta) -> timedelta:
    """Parse `10s`, `15m`, `1h` or `2d`; raises ValueError that names what was seen; the longest is 36500d."""
    if isinstance(text, timedelta):
        return text
    match = _FORM.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write it as 10s, 15m, 1h or 2d")
    try:
        duration = timedelta(**{_UNITS[match[2]]: int(match[1])})
    except (OverflowError, ValueError):
        duration = timedelta.max
    if duration > LONGEST:
        raise ValueError(f"{str(text)[:40]!r} is longer than a duration may be; the longest is {LONGEST.days}d")
    return duration


def micros(duration: timedelta) -> int:
    """Whole microseconds of a duration."""
    return duration // timedelta(microseconds=1)


def format_duration(duration: timedelta) -> str:
    """The shortest way to write a duration back: 900 s is `15m`."""
    seconds = int(duration.total_seconds())
    for unit, width in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % width == 0:
            return f"{seconds // width}{unit}"
    return f"{seconds}s"


def parse_shift(text: str | timedelta) -> timedelta:
    """Parse a duration with or without a sign, as in `-15m`; raises ValueError that names what was seen."""
    if isinstance(text, timedelta):
        return text
    given = text.strip() if isinstance(text, str) else ""
    try:
        duration = parse_duration(given.removeprefix("+").removeprefix("-") if given[:2] not in ("+-", "-+") else given)
    except ValueError as cause:
        raise ValueError(f"{text!r} is not a shift; write it as -15m, 1h or -1d") from cause
    return -duration if given.startswith("-") else duration


def format_shift(shift: timedelta) -> str:
    """The shortest way to write a shift back."""
    return f"-{format_duration(-shift)}" if shift < timedelta(0) else format_duration(shift)
