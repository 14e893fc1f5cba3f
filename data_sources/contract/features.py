"""`[[features]]` of a contract: what is told of each reading for a model, as a table of gold; docs/features.md.

temp_ma  = "avg(temperature_c) over 11 rows"                       the reading and the 10 before it
temp_30m = "avg(temperature_c) over 30m"                           those of the last 30 minutes
night    = "avg(temperature_c) over history at 19:00-06:00"        the local days before the reading's own
off      = "(temp_ma - night) / nullif(night, 0)"                  DuckDB over the fields and the features above
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from data_sources.contract.parts import UNFIT, Duration, Part, TimeZone, meant
from data_sources.contract.series import check_readings, is_number
from data_sources.durations import format_duration, micros, parse_duration
from data_sources.expressions import ExpressionError, check_condition, check_expression

AGGREGATES = ("count", "count_if", "sum", "min", "max", "avg", "stddev", "quantile")
"""What is over several readings, as measures of windows are; a quantile over the history alone."""

FUNCTIONS = (*AGGREGATES, "change", "days_since")

VERSION = "feature_version"
"""The column with the declaration's version."""

DAY = timedelta(days=1)
_MOST_ROWS, _MOST_RECENT, _MOST_HISTORY = 10_000, 31 * DAY, 400 * DAY
_CALL = re.compile(r"\s*([a-z_]+)\s*\((.*)\)\s*(?:over\s+(.*?)\s*(?:\s+at\s+(\S+)\s*)?)?", re.S)
_CLOCK = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


class Feature(NamedTuple):
    """One feature. Without a function `argument` is an expression."""

    name: str
    function: str | None
    argument: str
    """A field, a condition (count_if, days_since), an expression, or "" of count()."""
    rank: float | None = None
    """Of a quantile, 0 to 1."""
    rows: int | None = None
    """Over so many readings; of change how many readings before."""
    span: int | None = None
    """Over so many microseconds; with neither, over the history."""
    clock: tuple[int, int] | None = None
    """Only readings of these minutes of the local day, the second excluded; it may lie behind midnight."""

    @property
    def is_of_history(self) -> bool:
        """Whether all readings of a series and local day have the same."""
        return self.function in AGGREGATES and self.rows is None and self.span is None

    @property
    def is_carried(self) -> bool:
        """Whether the next reading of the same day can go on from the row before it, without older readings."""
        return self.is_of_history or self.function == "days_since"

    @property
    def is_condition(self) -> bool:
        return self.function in ("count_if", "days_since")

    @property
    def type(self) -> pa.DataType | None:
        """Of its column; None where the expression tells."""
        if self.function is None:
            return None
        return pa.int64() if self.function in ("count", "count_if") else pa.float64()


class FeatureSpec(Part):
    """gold.NAME: a row of features per reading, which know its series up to it and nothing later."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,80}$")
    version: str = "1"
    series: str
    columns: dict[str, str] = Field(min_length=1)
    history: Duration = 90 * DAY
    recent: Duration = DAY
    time_zone: TimeZone = "UTC"

    @property
    def latest(self) -> str:
        """The table with the newest row of each series."""
        return f"{self.name}_latest"

    @property
    def tables(self) -> tuple[str, str]:
        """What of gold is its own."""
        return self.name, self.latest

    @cached_property
    def parsed(self) -> tuple[Feature, ...]:
        return tuple(parse_feature(name, text) for name, text in self.columns.items())

    def reads(self, fields: list[str]) -> list[str]:
        """Those of the fields that its features name."""
        said = " ".join(feature.argument for feature in self.parsed).lower()
        return [name for name in fields if re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", said)]

    @field_validator("version", mode="before")
    @classmethod
    def _version_as_text(cls, given: Any) -> str:
        return str(given)

    @field_validator("history")
    @classmethod
    def _whole_days(cls, given: timedelta) -> timedelta:
        if not DAY <= given <= _MOST_HISTORY or given % DAY:
            raise ValueError('must be whole days, 1d to 400d, as in history = "90d"')
        return given

    @field_validator("recent")
    @classmethod
    def _not_long(cls, given: timedelta) -> timedelta:
        if not timedelta(0) < given <= _MOST_RECENT:
            raise ValueError('must be longer than 0s and at most 31d, as in recent = "6h"')
        return given

    @model_validator(mode="after")
    def _readable(self) -> FeatureSpec:
        for feature in self.parsed:
            if feature.span is not None and feature.span > micros(self.recent):
                raise ValueError(
                    f"columns.{feature.name}: looks back further than recent = "
                    f'"{format_duration(self.recent)}"; make recent longer, or take "over history"'
                )
        return self


def parse_feature(name: str, text: str) -> Feature:
    """What `text` says; raises ValueError that names the column and what may be written."""
    where = f"columns.{name}"
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name) or UNFIT.search(name):
        raise ValueError(f"{where}: cannot name a column; use lower-case letters, digits and _, a letter first")
    match = _CALL.fullmatch(text)
    if match is None or match[1] not in FUNCTIONS:
        if begins := re.match(r"\s*([a-z_]+)\s*\(.*\)\s*over\b", text, re.S):
            known = ", ".join(f"{function}()" for function in AGGREGATES)
            raise ValueError(f"{where}: {begins[1]}() over ... is not one of {known}{meant(begins[1], AGGREGATES)}")
        return Feature(name, None, text.strip())
    function, argument, over, clock = match[1], match[2].strip(), match[3], match[4]
    if function in ("change", "days_since"):
        if over is not None:
            raise ValueError(f"{where}: {function}() has no over; leave it out")
        return _change(where, name, argument) if function == "change" else Feature(name, function, _given(where, function, argument))  # fmt: skip
    if over is None:
        raise ValueError(
            f'{where}: {text!r} does not say over what; write "over 11 rows", "over 30m" or "over history"'
        )
    rank = None
    if function == "quantile":
        argument, rank = _ranked(where, argument)
    argument = "" if argument == "*" and function == "count" else argument
    if function != "count":
        _given(where, function, argument)
    rows, span = _over(where, over)
    if function == "quantile" and (rows is not None or span is not None):
        raise ValueError(f"{where}: a quantile is of the history; write quantile({argument}, {rank}) over history")
    if clock is not None and rows is not None:
        raise ValueError(f'{where}: "at" goes with a time or the history, not with rows; leave it out')
    return Feature(name, function, argument, rank, rows, span, None if clock is None else _clock(where, clock))


def check_features(
    spec: FeatureSpec, kinds: Mapping[str, str], event_time: str, key: list[str], load: str,
    arrow: Mapping[str, pa.DataType] | None,
) -> None:  # fmt: skip
    """Raise ValueError, with the remedy, for one that does not fit its contract. kinds: the type by field; arrow: the
    same as Arrow has it, None where conditions were checked before."""
    where = f"feature {spec.name!r}"
    check_readings(where, "features", spec.series, kinds, load)
    if kinds[event_time] != "timestamp":
        raise ValueError(f"{where}: event time {event_time!r} is a date, and features are of moments; leave it out")
    if spec.series == event_time:
        raise ValueError(f"{where}, series: {spec.series!r} is the event time; name the meter's field")
    carried = {name.lower() for name in (spec.series, event_time, *key, VERSION)}
    known = dict(arrow or {})
    for feature in spec.parsed:
        column = f"{where}, columns.{feature.name}"
        if feature.name in carried:
            raise ValueError(f"{column}: gold.{spec.name} has a column of this name already; choose another")
        if feature.name in kinds and (feature.function or feature.argument != feature.name):
            raise ValueError(f"{column}: is called like a field and is not it; choose another name")
        if feature.function is not None and not feature.is_condition and feature.argument:
            _check_argument(column, feature, kinds)
    for feature in [f for f in spec.parsed if f.function is not None]:
        if feature.is_condition and arrow is not None:
            try:
                check_condition(feature.argument, dict(arrow))
            except ExpressionError as cause:
                raise ValueError(f"{where}, columns.{feature.name}: {cause}") from cause
        known[feature.name] = feature.type
    for feature in [f for f in spec.parsed if f.function is None] if arrow is not None else []:
        try:
            known[feature.name] = plain(check_expression(feature.argument, known))
        except ExpressionError as cause:
            raise ValueError(f"{where}, columns.{feature.name}: {cause}") from cause


def plain(kind: pa.DataType) -> pa.DataType:
    """The type that a column of an expression has, of the one that DuckDB gives it. Raises ExpressionError for a list, a
    struct or what else is no plain value."""
    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_integer(kind):
        return pa.float64() if kind == pa.uint64() else pa.int64()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    if kind == pa.null() or pa.types.is_large_string(kind):
        return pa.string()
    if kind in (pa.bool_(), pa.string(), pa.date32()):
        return kind
    raise ExpressionError(f"a feature is a number, text, time or truth, not a {kind}; cast it")


def _check_argument(where: str, feature: Feature, kinds: Mapping[str, str]) -> None:
    name = feature.argument
    if name not in kinds:
        raise ValueError(f"{where}: there is no field {name!r}{meant(name, kinds)}")
    if feature.function != "count" and not is_number(kinds[name]):
        raise ValueError(f"{where}: {feature.function} needs a number, {name!r} is a {kinds[name]}")


def _given(where: str, function: str, argument: str) -> str:
    if not argument:
        example = "status = 'FAILED'" if function in ("count_if", "days_since") else "kwh"
        raise ValueError(f"{where}: {function}() needs something in brackets, as in {function}({example})")
    return argument


def _change(where: str, name: str, argument: str) -> Feature:
    field, _, rows = (part.strip() for part in argument.rpartition(","))
    if not field or not rows.isascii() or not rows.isdigit() or not 1 <= int(rows) <= _MOST_ROWS:
        raise ValueError(f"{where}: change() needs a field and how many readings before, as in change(kwh, 5)")
    return Feature(name, "change", field, rows=int(rows))


def _ranked(where: str, argument: str) -> tuple[str, float]:
    field, _, rank = (part.strip() for part in argument.rpartition(","))
    if not field or not re.fullmatch(r"0(\.\d+)?|1(\.0+)?|\.\d+", rank):
        raise ValueError(f"{where}: quantile() needs a field and a rank from 0 to 1, as in quantile(kwh, 0.95)")
    return field, float(rank)


def _over(where: str, over: str) -> tuple[int | None, int | None]:
    """(rows, microseconds) of what stands behind over; neither of the history."""
    if over == "history":
        return None, None
    if match := re.fullmatch(r"(\d+)\s+rows", over):
        if not 1 <= int(match[1]) <= _MOST_ROWS:
            raise ValueError(f"{where}: over {over}: give 1 to {_MOST_ROWS:,} rows")
        return int(match[1]), None
    try:
        span = parse_duration(over)
    except ValueError as cause:
        raise ValueError(f'{where}: over {over!r}; write "over 11 rows", "over 30m" or "over history"') from cause
    if not span:
        raise ValueError(f"{where}: over {over}: must be longer than 0s")
    return None, micros(span)


def _clock(where: str, said: str) -> tuple[int, int]:
    match = _CLOCK.fullmatch(said)
    hours = [int(part) for part in match.groups()] if match else [99] * 4
    start, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if hours[1] > 59 or hours[3] > 59 or start >= 1440 or end > 1440 or start == end:
        raise ValueError(f"{where}: at {said!r}; write two times of the day, as in at 19:00-06:00")
    return start, end
