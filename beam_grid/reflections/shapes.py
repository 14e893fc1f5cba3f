"""What a reflection's table looks like and how rows become it, in DuckDB: partial aggregates of groups, or rows as they are.

Columns of partial aggregates: the dimensions, `_rows` (how many), and each measure's as `transforms.measures` lists them
for a tile; a group may have several lines, which whoever reads merges.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pyarrow as pa

from beam_grid.lakehouse import data_files
from beam_grid.lakehouse.table_set import Reflection
from beam_grid.reflections import declared
from data_sources.contract import Contract, Measure
from data_sources.identifiers import double_quoted
from transforms.measures import FUNCTIONS, TIME, Aggregate, merged_sql

if TYPE_CHECKING:
    import duckdb


_DAY = 86_400_000_000

_LONGEST = {None: 0, "minute": 60_000_000, "hour": 3_600_000_000, "day": _DAY, "month": 31 * _DAY}


class Misfit(Exception):
    """The declaration does not fit its table; says which column, and what there is."""


@dataclass(frozen=True)
class Shape(ABC):
    """How rows become a reflection. SQL is DuckDB's; rows are a relation with the source's columns."""

    schema: pa.Schema
    groups: dict[str, str]
    """What tells rows apart that are made anew together, of a row of the source; by name."""
    kept_groups: dict[str, str]
    """The same of a row of the reflection."""
    time: str | None
    """The column of the reflection with a time, by which its files are passed over."""
    source_time: tuple[str, str, int] | None
    """The same of the source: its column, the group made of it, and how long after the group's time a row's may be, in
    microseconds."""

    since: int | None = None
    """Rows before this instant are left out, microseconds since the epoch."""

    first: tuple[str, str] | None = None
    """A group, and the column of the reflection it is of, besides `time`, whose bounds files are passed over by."""

    def prepare(self, engine: duckdb.DuckDBPyConnection) -> None:
        """Teach the engine what the SQL calls."""
        return

    @abstractmethod
    def made(self, rows: str) -> str:
        """The reflection's lines of these rows."""

    @abstractmethod
    def merged(self, lines: str) -> str:
        """Lines put together, in the order they are written."""

    def parts(self, rows: Iterable[pa.RecordBatch]) -> Iterable[Iterable[pa.RecordBatch]]:
        """They, in parts that share no file."""
        return [rows]


def shape_of(one: Reflection, source: pa.Schema, since: int | None) -> Shape:
    """Raises Misfit where the source has no such column, or it is of another kind."""
    for name in declared.fields(one):
        if name not in source.names:
            raise Misfit(f"{one.table} has no column {name!r}; it has {', '.join(source.names)}")
    if one.raw is not None:
        return RawRows.of(one, source, since)
    return Partials.of(one, source)


class _Column(NamedTuple):
    arrow: pa.DataType


class _Source:
    """A table's columns, as measures ask a contract for its fields."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def field(self, name: str) -> _Column:
        return _Column(self._schema.field(name).type)


@dataclass(frozen=True)
class Partials(Shape):
    """Partial aggregates of groups."""

    aggregates: tuple[Aggregate, ...] = ()

    @classmethod
    def of(cls, one: Reflection, source: pa.Schema) -> Partials:
        columns: dict[str, pa.DataType] = {}
        groups: dict[str, str] = {}
        for dimension in declared.dimensions(one):
            kind, quoted = source.field(dimension.field).type, double_quoted(dimension.field)
            if dimension.unit is not None and not pa.types.is_timestamp(kind):
                raise Misfit(
                    f"{dimension.unit}({dimension.field}) needs a timestamp; it is {kind}: name the column itself"
                )
            if pa.types.is_nested(kind) or pa.types.is_floating(kind):
                raise Misfit(f"{dimension.field!r} is {kind}, which tells no groups apart; leave it out")
            columns[dimension.column] = TIME if dimension.unit else kind
            groups[dimension.column] = quoted if dimension.unit is None else f"date_trunc('{dimension.unit}', {quoted})"
        aggregates = []
        for measure in declared.measures(one):
            asked = Measure(name=measure.column, function=measure.function, argument=measure.field, rank=measure.rank)
            aggregate = FUNCTIONS[measure.function](cast(Contract, _Source(source)), asked)  # asks for fields alone
            if measure.field is not None:
                _check_kind(measure, source.field(measure.field).type)
            aggregates.append(aggregate)
            columns |= aggregate.columns
        kept = {name: double_quoted(name) for name in groups}
        times = [d for d in declared.dimensions(one) if pa.types.is_timestamp(columns[d.column])]
        fields = [("_rows", pa.int64()), *columns.items()]
        time, source_time = None, None
        if times:
            time = times[0].column
            source_time = (times[0].field, time, _LONGEST[times[0].unit])
        return cls(pa.schema(fields), groups, kept, time, source_time, aggregates=tuple(aggregates))

    def prepare(self, engine: duckdb.DuckDBPyConnection) -> None:
        for aggregate in self.aggregates:
            aggregate.prepare(engine)

    def made(self, rows: str) -> str:
        picked = [f"{sql} AS {double_quoted(name)}" for name, sql in self.groups.items()]
        picked += [f"{sql} AS {double_quoted(name)}" for a in self.aggregates for name, sql in a.start.items()]
        grouped = f" GROUP BY {', '.join(self.groups.values())}" if self.groups else " HAVING count(*) > 0"
        return f"SELECT {', '.join([*picked, 'count(*) AS _rows'])} FROM {rows}{grouped}"

    def merged(self, lines: str) -> str:
        keys = list(self.kept_groups.values()) or ["'all'"]
        merged = merged_sql(lines, keys, list(self.aggregates), ["CAST(sum(_rows) AS BIGINT) AS _rows"])
        if not self.kept_groups:
            return merged
        first = [double_quoted(self.time)] if self.time else []
        order = [*first, *(key for key in keys if key not in first)]
        return f"{merged} ORDER BY {', '.join(order)}"


@dataclass(frozen=True)
class RawRows(Shape):
    """Rows as they are, from `since` on, in order of the declared columns, each day in files of its own.

    A question for one sensor reads a group of rows of each day; of a row that changed its hour of its sensor is made
    anew, so that the day's files with other sensors stay.
    """

    order: tuple[str, ...] = ()

    @classmethod
    def of(cls, one: Reflection, source: pa.Schema, since: int | None) -> RawRows:
        assert one.raw is not None
        time, kind = one.raw.time, source.field(one.raw.time).type
        if not pa.types.is_timestamp(kind):
            raise Misfit(f"raw.time: {time!r} is {kind}, not a timestamp")
        groups = {"hour": f"date_trunc('hour', {double_quoted(time)})"}
        sort = one.raw.sort or (time,)
        first = None
        if pa.types.is_string(source.field(sort[0]).type) or pa.types.is_integer(source.field(sort[0]).type):
            groups["first"] = double_quoted(sort[0])
            first = ("first", sort[0])
        order = (f"date_trunc('day', {double_quoted(time)})", *map(double_quoted, sort))
        within = (time, "hour", _LONGEST["hour"])
        return cls(source, groups, groups, time, within, since=since, first=first, order=order)

    def parts(self, rows: Iterable[pa.RecordBatch]) -> Iterable[Iterable[pa.RecordBatch]]:
        return data_files.parted(rows, lambda batch: batch.column(self.time).cast(pa.int64()).to_numpy() // _DAY)

    def made(self, rows: str) -> str:
        return f"SELECT * FROM {rows}{self._within}"

    def merged(self, lines: str) -> str:
        return f"SELECT * FROM {lines}{self._within} ORDER BY {', '.join(self.order)}"

    @property
    def _within(self) -> str:
        return "" if self.since is None else f" WHERE epoch_us({double_quoted(self.time or '')}) >= {self.since}"


def _check_kind(measure: declared.Measured, kind: Any) -> None:
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if measure.function in ("sum", "avg", "quantile") and not is_number:
        raise Misfit(f"{measure.function}({measure.field}) needs a number; it is {kind}")
    if pa.types.is_nested(kind):
        raise Misfit(f"{measure.field!r} is {kind}, which is not measured")
