"""What the parts of a contract share: their base, their small types and how a misspelt word is answered."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from data_sources.durations import format_duration, format_shift, parse_duration, parse_shift

TYPES = ("string", "int64", "float64", "decimal(p,s)", "bool", "date", "timestamp")

Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Shift = Annotated[timedelta, BeforeValidator(parse_shift), PlainSerializer(format_shift)]
DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")
UNFIT = re.compile(r"[ ,;{}()\n\t=`\"]")


def _time_zone(zone: str) -> str:
    import pyarrow.compute as pc  # here: most contracts name no zone

    try:
        ZoneInfo(zone)
        pc.assume_timezone(pa.scalar(0, pa.timestamp("us")), zone)
    except Exception as cause:
        if not available_timezones():
            raise ValueError(f"{zone!r}: this machine has no time zone data; install its package tzdata") from cause
        raise ValueError(f"unknown time zone {zone!r}; use a name like UTC or Europe/Berlin") from cause
    return zone


TimeZone = Annotated[str, AfterValidator(_time_zone)]


class Part(BaseModel):
    """A part of a contract: unknown words are refused, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def meant(seen: str, known: Iterable[str]) -> str:
    """A hint at the word that was probably meant, or at all there are."""
    words = list(known)
    close = difflib.get_close_matches(seen, words, n=1, cutoff=0.5)
    starts = [k for k in words if k.startswith(seen) or seen.startswith(k)]
    if close or starts:
        return f" (did you mean {(close or starts)[0]!r}?)"
    return f" (known: {', '.join(words)})"
