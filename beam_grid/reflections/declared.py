"""LAKE/reflections.toml, which says what reflections a lake keeps.

    [[reflections]]
    name = "load_by_region"
    table = "silver.smart_meter_readings"
    dimensions = ["region", "hour(timestamp)"]
    measures = ["count()", "sum(reading_kwh)", "quantile(voltage_v, 0.95)"]
    refresh = "commit"                                # or at most so often: "5m"

    [[reflections]]
    name = "last_week"
    table = "silver.smart_meter_readings"
    raw = { days = 7, time = "timestamp", sort = ["meter_id", "timestamp"] }

It belongs to the lake and to no contract: like an index it changes how fast answers are and never what they are.
"""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from typing import NamedTuple

import msgspec

from beam_grid.errors import GridError
from beam_grid.lakehouse.table_set import Reflection
from beam_grid.landing import Lake
from data_sources.durations import parse_duration

FILE = "reflections.toml"
SCHEMA = "reflection"

UNITS = ("minute", "hour", "day", "month")
FUNCTIONS = ("count", "sum", "min", "max", "avg", "quantile", "distinct")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_TABLE = re.compile(r"(silver|gold|bronze)\.[A-Za-z0-9_]+")
_BUCKET = re.compile(rf"({'|'.join(UNITS)})\(\s*(.+?)\s*\)")
_MEASURE = re.compile(r"([a-z]+)\(\s*(.*?)\s*\)")
_RANK = re.compile(r"(.+?)\s*,\s*(0(?:\.\d+)?|1(?:\.0+)?)")


class Dimension(NamedTuple):
    """A column of the table, or a timestamp of it cut to a unit."""

    field: str
    unit: str | None

    @property
    def column(self) -> str:
        """Its name in the reflection."""
        return self.field if self.unit is None else f"{self.field}__{self.unit}"


class Measured(NamedTuple):
    """A measure: its function, the column it is of (None of count()), and a quantile's rank."""

    function: str
    field: str | None
    rank: float | None = None

    @property
    def column(self) -> str:
        """The name, or the beginning of the names, of its columns in the reflection."""
        words = [self.function, *([] if self.field is None else [self.field])]
        if self.rank is not None:
            words.append(f"{self.rank:g}".replace(".", "_"))
        return "__".join(words)

    @property
    def columns(self) -> tuple[str, ...]:
        """All of its columns."""
        return (f"{self.column}__n", f"{self.column}__sum") if self.function == "avg" else (self.column,)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reflections: list[Reflection] = []


def declared(lake: Lake) -> dict[str, Reflection]:
    """Those of the lake's file by table name, reflection.NAME; none where there is no file.

    Raises GridError naming the file, the reflection, the word and what to write.
    """
    where = lake.path / FILE
    try:
        text = where.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as cause:
        raise GridError(f"{where}: cannot be read ({getattr(cause, 'strerror', None) or cause})") from cause
    return parsed(text, str(where))


def parsed(text: str, where: str) -> dict[str, Reflection]:
    """The same of a text; `where` is what errors call it."""
    try:
        listed = msgspec.convert(tomllib.loads(text), _File).reflections
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as cause:
        raise GridError(
            f"{where}: {cause}; write [[reflections]] with name, table, dimensions and measures, or raw"
        ) from cause
    found: dict[str, Reflection] = {}
    for one in listed:
        try:
            _check(one)
        except ValueError as cause:
            raise GridError(f"{where}, reflection {one.name!r}: {cause}") from cause
        if f"{SCHEMA}.{one.name}" in found:
            raise GridError(f"{where}, reflection {one.name!r}: is declared twice; rename one of them")
        found[f"{SCHEMA}.{one.name}"] = one
    return found


def dimensions(one: Reflection) -> list[Dimension]:
    """Its dimensions; raises ValueError for one that cannot be read."""
    return [_dimension(text) for text in one.dimensions]


def measures(one: Reflection) -> list[Measured]:
    """Its measures; raises ValueError for one that cannot be read."""
    return [_measure(text) for text in one.measures]


def fields(one: Reflection) -> list[str]:
    """The columns of the table that it is made of; of a raw one those that decide what it holds."""
    if one.raw is not None:
        return list(dict.fromkeys([one.raw.time, *one.raw.sort]))
    named = [d.field for d in dimensions(one)] + [m.field for m in measures(one) if m.field is not None]
    return list(dict.fromkeys(named))


def pause(one: Reflection) -> timedelta:
    """The least time between two refreshes."""
    return timedelta(0) if one.refresh == "commit" else parse_duration(one.refresh)


def _check(one: Reflection) -> None:
    if not _NAME.fullmatch(one.name):
        raise ValueError("name: cannot name a table; use lower-case letters, digits and _, a letter first")
    if not _TABLE.fullmatch(one.table):
        raise ValueError(f"table: {one.table!r} is no table of a lake; write it as silver.FEED or gold.WINDOW")
    try:
        pause(one)
    except ValueError as cause:
        raise ValueError(f'refresh: {cause}; write "commit" or a duration, as "5m"') from cause
    if one.raw is not None:
        if one.dimensions or one.measures:
            raise ValueError("raw: holds the rows as they are; leave dimensions and measures out")
        if one.raw.days < 1:
            raise ValueError(f"raw.days: {one.raw.days} is too few; write 1 or more")
        return
    if not one.dimensions and not one.measures:
        raise ValueError('dimensions: are missing; write dimensions and measures, or raw = { days = 7, time = "..." }')
    names = [d.column.lower() for d in dimensions(one)]
    names += [column.lower() for measure in measures(one) for column in measure.columns]
    for name in names:
        if names.count(name) > 1 or name == "_rows":
            raise ValueError(f"the column {name!r} is there twice; each dimension and measure once")


def _dimension(text: str) -> Dimension:
    match = _BUCKET.fullmatch(text)
    if match is not None:
        return Dimension(match[2], match[1])
    if "(" in text:
        raise ValueError(f"dimensions: {text!r} is not a column, nor one of {', '.join(f'{u}(x)' for u in UNITS)}")
    return Dimension(text, None)


def _measure(text: str) -> Measured:
    match = _MEASURE.fullmatch(text)
    if match is None or match[1] not in FUNCTIONS:
        raise ValueError(f"measures: {text!r} is not one of {', '.join(f'{f}()' for f in FUNCTIONS)}")
    function, argument = match[1], match[2]
    if function == "quantile":
        parts = _RANK.fullmatch(argument)
        if parts is None:
            raise ValueError(f"measures: {text!r} needs a column and a rank from 0 to 1, as quantile(kwh, 0.95)")
        return Measured(function, parts[1], float(parts[2]))
    if function != "count" and not argument:
        raise ValueError(f"measures: {text!r} needs a column, as in {function}(kwh)")
    return Measured(function, argument or None)
