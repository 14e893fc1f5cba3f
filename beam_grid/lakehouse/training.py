"""Training sets: to each row of a series and a time, the features as they were then. An ASOF join in DuckDB.

    features of A     f1 at 10:00      f2 at 10:15       f3 at 10:30
    asked of A                 10:07            10:15
                               f1               f2          the newest at the time or before, never one after

Rows keep their order and none is lost: one whose series had no reading yet has nulls.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from beam_grid.errors import GridError
from beam_grid.lakehouse import duck, scan
from data_sources.contract.features import VERSION
from data_sources.durations import micros
from data_sources.identifiers import double_quoted

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from beam_grid.lakehouse.online import Declared
    from beam_grid.lakehouse.table_set import TableSet
    from beam_grid.landing import Lake

FEATURE_TIME = "feature_time"
"""When the reading was, of which the features are."""

_ROW, _SERIES, _TIME = "__row", "__series", "__time"


def training_set(
    lake: Lake, found: TableSet, of: Declared, asked: pa.Table, time: str, max_age: timedelta | None, scratch: Path
) -> pa.Table:
    """The columns of `asked`, then the features, their version and `feature_time`.

    asked: has a column called as the series and one with times. max_age: features of a reading that is longer ago are
    null. Raises GridError for a column that is missing, of another kind, or called as a feature is, and for a set whose
    table is gone or was made anew.
    """
    import duckdb
    import pyarrow as pa

    table, series = found.tables[of.table], of.spec.series
    for name in (series, time):
        if name not in asked.column_names:
            raise GridError(
                f"features: the entities have no column {name!r}; they have {', '.join(asked.column_names)}"
            )
    with duck.connect(scratch) as engine:
        rows = scan.of_set(engine, lake.path.resolve(), found, of.table)
        kinds = engine.sql(f"FROM {rows} LIMIT 0").to_arrow_table().schema
        given = {series, of.time, *of.key}
        told = [name for name in kinds.names if name not in given] + [FEATURE_TIME]
        for name in told:
            if name in asked.column_names:
                raise GridError(f"features: the entities have a column {name!r}, as the features have; rename it")
        keys = pa.table({_ROW: pa.array(range(asked.num_rows), pa.int64()), _SERIES: _series(asked[series], series, kinds), _TIME: _times(asked[time], time)})  # fmt: skip
        engine.register("asked", keys)
        picked = [
            (double_quoted(name), f"f.{double_quoted(of.time if name == FEATURE_TIME else name)}") for name in told
        ]
        age = "true" if max_age is None else f"a.{_TIME} - f.{double_quoted(of.time)} <= to_microseconds({micros(max_age)})"  # fmt: skip
        columns = ", ".join(f"CASE WHEN {age} THEN {column} END AS {name}" for name, column in picked)
        by, at = double_quoted(series), double_quoted(of.time)
        order = "".join(f", {double_quoted(name)} DESC" for name in of.key if name not in (series, of.time))
        if order:  # of two readings at one time the later one saw the other
            rows = f"(FROM {rows} QUALIFY row_number() OVER (PARTITION BY {by}, {at} ORDER BY {order[2:]}) = 1)"
        try:
            known = engine.sql(
                f"SELECT {columns} FROM asked a ASOF LEFT JOIN {rows} f "
                f"ON a.{_SERIES} = f.{by} AND a.{_TIME} >= f.{at} ORDER BY a.{_ROW}"
            ).to_arrow_table()
        except (duckdb.IOException, OSError) as cause:
            raise GridError(f"{of.table}: version {table.version} can no longer be read; look at the newest set") from cause  # fmt: skip
    for field, column in zip(known.schema, known.columns, strict=True):
        asked = asked.append_column(field, column)
    return asked


def entities(given: Any) -> pa.Table:
    """A table of what somebody gives: Arrow, polars, pandas, rows of a lake, or a list of dicts. Raises GridError."""
    import pyarrow as pa

    try:
        if isinstance(given, list):
            return pa.Table.from_pylist(given)
        if isinstance(given, pa.Table):
            return given
        if hasattr(given, "__arrow_c_stream__"):
            return pa.table(given)
        if hasattr(given, "iloc"):
            return pa.Table.from_pandas(given, preserve_index=False)
    except (pa.ArrowException, AttributeError, TypeError) as cause:
        raise GridError(f"features: the entities cannot be read as a table ({cause})") from cause
    raise GridError(
        f"features: the entities are a {type(given).__name__}; give a table of Arrow, polars or pandas, or a list of dicts"
    )


def _series(column: pa.ChunkedArray, name: str, kinds: pa.Schema) -> pa.ChunkedArray:
    import pyarrow as pa

    try:
        return column.cast(kinds.field(name).type)
    except pa.ArrowException as cause:
        raise GridError(f"features: {name!r} is {column.type}, the table has {kinds.field(name).type}") from cause


def _times(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """In UTC, cut to the microsecond before: never later than given. Without a zone it is UTC."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_timestamp(column.type):
        raise GridError(f"features: {name!r} is {column.type}; give times, as datetime or Arrow's timestamp")
    column = column.cast(
        pa.timestamp(column.type.unit, "UTC")
    )  # before it is cut: of an hour that comes twice Arrow cuts none
    if column.type.unit == "ns":
        column = pc.floor_temporal(column, unit="microsecond")
    return column.cast(pa.timestamp("us", "UTC"), safe=False)


__all__ = ["FEATURE_TIME", "VERSION", "entities", "training_set"]
