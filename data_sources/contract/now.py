"""`[now]` of a contract: which field is a sensor, which are its values, and when it is silent; docs/sensor-now.md.

It brings a window of its own, NAME_hourly, from which the history is kept up: per sensor and hour each value's count,
mean, deviation and last, so that no query reads the rows of thirty days.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import Field, field_validator, model_validator

from data_sources.contract.parts import Duration, Part, TimeZone

HOUR = timedelta(hours=1)
MOST_SILENT = timedelta(days=1)
MOST_HISTORY = timedelta(days=400)
USUAL = ("basis", "values", "hours", "mean", "stddev")
"""What is told of each value's history: columns VALUE_PART."""
_OWN = (
    "window_start", "hour", "last_at", "now", "value_name", "value", "mean", "stddev", "deviation", "deviation_percent",
    "z_score", "state", "basis", "history_values", "history_hours",
)  # fmt: skip
_INNER = ("window_start", "window_end", "hour", "last_at", "now", "k", "is_week", "is_silent", "is_recent", "silent_before", "recent_after")  # fmt: skip
"""Names that stand beside those of the fields on the way there."""


class NowSpec(Part):
    """What `gold.NAME` shows: each sensor's newest values beside what is usual for it at that hour."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,89}$")
    sensor: str
    values: list[str] = Field(min_length=1)
    beside: list[str] = []
    silent_after: Duration = HOUR
    history: Duration = timedelta(days=30)
    time_zone: TimeZone = "UTC"
    least_values: int = Field(default=15, ge=2)
    least_hours: int = Field(default=3, ge=1)

    @property
    def hourly(self) -> str:
        """The window that it is made from."""
        return f"{self.name}_hourly"

    @property
    def usual(self) -> str:
        """The table of what is usual."""
        return f"{self.name}_usual"

    @property
    def tables(self) -> tuple[str, str]:
        """What of gold is its own beside the window: the view and its table."""
        return self.name, self.usual

    @property
    def recent(self) -> timedelta:
        """How long a value counts as the sensor's newest: an hour, or as long as it is not silent."""
        return max(HOUR, self.silent_after)

    def measures(self, event_time: str) -> dict[str, str]:
        """The measures of its window."""
        found = {"last_at": f"max({event_time})"}
        for value in self.values:
            found |= {
                value: f"last({value})",
                f"{value}_values": f"count({value})",
                f"{value}_mean": f"avg({value})",
                f"{value}_stddev": f"stddev({value})",
            }
        return found | {field: f"last({field})" for field in self.beside}

    @field_validator("silent_after")
    @classmethod
    def _within_a_day(cls, given: timedelta) -> timedelta:
        if not timedelta(0) < given <= MOST_SILENT:
            raise ValueError("must be longer than 0s and at most 1d")
        return given

    @field_validator("history")
    @classmethod
    def _whole_days(cls, given: timedelta) -> timedelta:
        if not timedelta(days=1) <= given <= MOST_HISTORY or given % timedelta(days=1):
            raise ValueError('must be whole days, 1d to 400d, as in history = "30d"')
        return given

    @model_validator(mode="after")
    def _each_once(self) -> NowSpec:
        named = [self.sensor, *self.values, *self.beside]
        for name in named:
            if named.count(name) > 1:
                raise ValueError(f"{name!r} is named twice among sensor, values and beside; once is enough")
        made = {f"{value}_{part}".lower() for value in self.values for part in USUAL} | {*_INNER}
        for name in named:
            if name.lower() in made or (name not in self.values and name.lower() in _OWN):
                raise ValueError(
                    f"gold.{self.name} has a column {name.lower()!r} of its own; leave the field out, or rename it"
                )
        return self


def with_window(raw: dict[str, Any]) -> dict[str, Any]:
    """The contract's plain data with the window that [now] brings; as it was where [now] cannot be read."""
    now, windows = raw.get("now"), raw.get("windows", [])
    if now is None or not isinstance(windows, list) or not isinstance(raw.get("event_time"), str):
        return raw
    try:
        spec = NowSpec.model_validate(now)
    except ValueError:  # told where the contract itself is read
        return raw
    brought = {"name": spec.hourly, "size": "1h", "by": [spec.sensor], "measures": spec.measures(raw["event_time"])}
    if any(_name(window) == spec.hourly for window in windows):
        return raw
    return {**raw, "windows": [*windows, brought]}


def _name(window: Any) -> Any:
    return window.get("name") if isinstance(window, dict) else None


def check_now(spec: NowSpec, numeric: dict[str, bool], event_time: str, window: Any) -> None:
    """Raise ValueError for a value that is no number, and for a window of another meaning under its window's name.

    numeric: by field of the contract whether it is a number; window: the contract's window called NAME_hourly.
    """
    for value in spec.values:
        if not numeric[value]:
            raise ValueError(f"now.values: {value!r} is no number; name it in beside to have its newest shown")
    is_own = window.size == HOUR and window.step == HOUR and window.by == [spec.sensor] and not window.offset
    if not is_own or window.measures != spec.measures(event_time):
        raise ValueError(f"window {spec.hourly!r}: [now] makes a window of this name; rename one of them")
