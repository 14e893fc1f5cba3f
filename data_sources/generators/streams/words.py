"""The small words of a spec: durations, moments, shares and names, and what every part of it has in common."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from data_sources.durations import parse_duration

_MILLIS = re.compile(r"([0-9]+)\s*(ms|us)")


class SpecError(ValueError):
    """A spec that cannot be used: says which file and column, what was seen and what to write instead."""


def _span(text: Any) -> timedelta:
    """A duration of a contract, or `500ms`, `20us`."""
    if isinstance(text, str) and (match := _MILLIS.fullmatch(text.strip())):
        return timedelta(microseconds=int(match[1]) * (1000 if match[2] == "ms" else 1))
    try:
        return parse_duration(text)
    except ValueError as cause:
        raise ValueError(f"{text!r} is not a duration; write it as 20us, 500ms, 10s, 15m, 1h or 2d") from cause


def _moment(value: Any) -> Any:
    """An aware UTC time from a TOML date, time or text; what has no offset is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as cause:
            raise ValueError(f"{value!r} is not a time; write it as 2024-01-01 or 2024-01-01T06:00:00Z") from cause
    if hasattr(value, "year") and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value


Span = Annotated[timedelta, BeforeValidator(_span)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,99}$")]


class Part(BaseModel):
    """A part of a spec: frozen, and without unknown words."""

    model_config = ConfigDict(extra="forbid", frozen=True)
