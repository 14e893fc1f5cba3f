"""A column's words: the one way it is made, and what goes with it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from pydantic import Field, field_validator, model_validator

from data_sources.generators.streams.distributions import DISTRIBUTIONS, check_parameters
from data_sources.generators.streams.words import Moment, Name, Part, Share, Span

TYPES = ("string", "int64", "float64", "decimal(p,s)", "bool", "timestamp")
WAYS = ("values", "share", "expr", "begin", "unique", "series", "references", "min")
"""The ways to tell a column; `min` stands for a distribution over a range."""

_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_FORMAT = re.compile(r"[^%]*%0?[0-9]*d[^%]*")


class SeriesSpec(Part):
    """A series over event time: level, waves with their peaks, trend and a noise that remembers (see `series.py`)."""

    base: float = 0.0
    daily: float = 0.0
    daily_peak: float = Field(default=18.0, ge=0, lt=24)  # hour of the day, UTC
    weekly: float = 0.0
    weekly_peak: float = Field(default=2.0, ge=0, lt=7)  # days after Monday 0:00
    seasonal: float = 0.0
    seasonal_peak: float = Field(default=15.0, ge=0, lt=366)  # day of the year
    trend: float = 0.0  # a day
    noise: float = Field(default=0.0, ge=0)  # standard deviation
    memory: Span = timedelta(hours=1)
    by: str | None = None

    @field_validator("memory")
    @classmethod
    def _lasting(cls, memory: timedelta) -> timedelta:
        if not memory:
            raise ValueError("memory must be longer than 0s; for noise without memory use a normal column")
        return memory


class Correlation(Part):
    """A column's rank goes with another's: `strength` is the correlation of their normal scores."""

    to: str = Field(alias="with")
    strength: float = Field(ge=-1, le=1)


class ColumnSpec(Part):
    """One column: its name and type, the one way it is made, and what holds for all ways (`omit`, `nulls`)."""

    name: Name
    type: str
    omit: bool = False
    nulls: Share = 0.0
    description: str = ""
    format: str | None = None
    values: list[Any] | None = Field(default=None, min_length=1)
    weights: list[float] | None = None
    share: Share | None = None
    expr: str | None = None
    begin: Moment | None = None
    interval: Span | None = None
    unique: int | None = Field(default=None, ge=1, le=1 << 48)
    series: SeriesSpec | None = None
    references: str | None = None
    min: float | None = None
    max: float | None = None
    distribution: str | None = None
    mean: float | None = None
    stddev: float | None = None
    rate: float | None = None
    median: float | None = None
    sigma: float | None = None
    exponent: float | None = None
    correlate: Correlation | None = None

    @field_validator("type")
    @classmethod
    def _known_type(cls, text: str) -> str:
        if match := _DECIMAL.fullmatch(text):
            if not 1 <= int(match[1]) <= 18 or int(match[2]) > int(match[1]):
                raise ValueError(f"{text!r} needs 1 <= p <= 18 and s <= p")
            return f"decimal({match[1]},{match[2]})"
        if text not in TYPES or text == "decimal(p,s)":
            raise ValueError(f"unknown type {text!r}; use one of {', '.join(TYPES)}")
        return text

    @property
    def way(self) -> str:
        """Which of WAYS this column is made by."""
        return next((w for w in WAYS[:-1] if getattr(self, w) is not None), "min")

    @property
    def digits(self) -> int | None:
        """Decimal places of a decimal type."""
        match = _DECIMAL.fullmatch(self.type)
        return int(match[2]) if match else None

    @model_validator(mode="after")
    def _told_once(self) -> ColumnSpec:
        told = [w for w in WAYS[:-1] if getattr(self, w) is not None]
        if self.distribution is not None or (self.min is not None and "unique" not in told) or self.max is not None:
            told.append("min/max/distribution")
        if len(told) != 1:
            seen = f"is told in {len(told)} ways ({', '.join(told)})" if told else "says not how it is made"
            raise ValueError(f"{seen}; give exactly one of {', '.join(WAYS[:-1])} or min and max")
        self._check_weights()
        if (self.begin is None) != (self.interval is None):
            raise ValueError('begin and interval go together, as in begin = "2024-01-01", interval = "1s"')
        if self.interval is not None and not self.interval:
            raise ValueError("interval must be longer than 0s")
        fits = {"share": "bool", "begin": "timestamp"}.get(self.way)
        if fits and self.type != fits:
            raise ValueError(f"{self.way} makes a {fits}, not a {self.type}; write type = {fits!r}")
        if self.format is not None and (self.type != "string" or not _FORMAT.fullmatch(self.format)):
            raise ValueError(f"format {self.format!r} must be like MTR%06d, on a column of type string")
        if self.way in ("min", "unique", "series") and self.type == "string" and self.format is None:
            raise ValueError('a string made of numbers needs a format, such as "MTR%06d"')
        if self.way in ("min", "unique", "series") and self.type in ("bool", "timestamp"):
            raise ValueError(f"{self.type} cannot be drawn from numbers; use share, begin and interval, or expr")
        self._check_distribution()
        return self

    def _check_weights(self) -> None:
        if self.weights is None:
            return
        if self.values is None:
            raise ValueError("weights are for values; give values = [...]")
        if len(self.weights) != len(self.values):
            raise ValueError(f"{len(self.weights)} weights for {len(self.values)} values; give one a value")
        if bad := [w for w in self.weights if not 0 <= w < float("inf")]:
            raise ValueError(f"weight {bad[0]:g} is impossible; weights are 0 or more")
        if not sum(self.weights):
            raise ValueError("all weights are 0: nothing could be drawn; give at least one above 0")

    def _check_distribution(self) -> None:
        parameters = {p for ps in DISTRIBUTIONS.values() for p in ps if getattr(self, p) is not None}
        if self.way != "min":
            if parameters or self.correlate:
                word = min(parameters) if parameters else "correlate"
                raise ValueError(f"{word} is for a column with a distribution; leave it out")
            return
        check_parameters(self)
