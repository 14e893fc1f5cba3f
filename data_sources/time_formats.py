"""What a field's `format` may say: strptime codes, or that the value counts from 1970.

A format is refused where it would read a time wrong without a word: a code given twice (the later one would win),
two codes for one thing, hours of twelve without %p, a time without its year, a day without its month.
"""

from __future__ import annotations

import re

from data_sources.expressions import ExpressionError, check_format

EPOCH_UNITS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1, "epoch_ns": 0}
"""Microseconds per unit; 0 for nanoseconds, of which a thousand make one."""

_CODE = re.compile(r"%(-?)([A-Za-z%])")
_SAYS = {
    "year": "YyGcx",
    "month": "mbBjcx",
    "day of the month": "djcx",
    "hour": "HIcX",
    "minute": "McX",
    "second": "ScX",
    "fraction of a second": "fgn",
    "half of the day": "p",
    "offset": "zZ",
}


def codes(form: str) -> list[str]:
    """The letters of a format's codes, in order, %% left out."""
    return [letter for _, letter in _CODE.findall(form) if letter != "%"]


def check_time_format(form: str) -> None:
    """Raise ExpressionError unless `form` reads a time, and each part of it once."""
    if form in EPOCH_UNITS:
        return
    if form.startswith("epoch"):
        raise ExpressionError(f"format {form!r} is no unit of an epoch; write one of {', '.join(EPOCH_UNITS)}")
    check_format(form)
    used = codes(form)
    for part, letters in _SAYS.items():
        found = [f"%{letter}" for letter in used if letter in letters]
        if len(found) > 1:
            raise ExpressionError(
                f"format {form!r} reads the {part} twice ({' and '.join(found)}); name it once, and take one time out of "
                'a text that holds two with pattern = "..."'
            )
    if "I" in used and "p" not in used:
        raise ExpressionError(
            f"format {form!r} has %I, hours of twelve, and no %p to tell morning from evening; write %H"
        )
    if not set(used) & set(_SAYS["year"]):
        raise ExpressionError(
            f'format {form!r} has no year; join the columns that make the time, as in source = ["Date", "Time"]'
        )
    if "G" in used and "V" not in used:
        raise ExpressionError(f"format {form!r} has %G, the year that a week counts to, and no %V, the week; write %Y")
    if "d" in used and not set(used) & set(_SAYS["month"]):
        raise ExpressionError(
            f"format {form!r} has a day of the month and no month; write %m, or %j for a day of the year"
        )
