"""VEE over a stream of readings, whole series at a time: what a table of validated intervals is made with.

    rows, sorted by series and time ─► whole series ─► intervals_of, validated ─► a row an interval

Readings that share an interval with another one are not rows of their own: the interval says `clock`, and the raw table
has both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Any, Literal

import pyarrow as pa

from data_sources.contract.vee import COLUMNS
from data_sources.errors import UserError
from transforms.vee.checks import Check
from transforms.vee.intervals import intervals_of
from transforms.vee.run import SCHEMA, validated
from transforms.whole_series import whole_series


def validated_rows(
    batches: Iterable[pa.RecordBatch],
    *,
    series: str,
    time: str,
    width: int,
    checks: Sequence[dict[str, Any]],
    linear_up_to: int,
    value: str | None = None,
    zone: str = "UTC",
    holidays: Sequence[date] = (),
    register: str | None = None,
    register_at: Literal["start", "end"] = "end",
    rolls_over_at: float | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows as `validated_schema` says, in order of series and time. width, linear_up_to: microseconds; checks: settings of
    `Check`. Raises UserError as `intervals_of` does."""
    asked = [Check(**check) for check in checks]
    for rows in whole_series(batches, series):
        laid = intervals_of(
            rows,
            series=series,
            time=time,
            width=width,
            value=value,
            register=register,
            register_at=register_at,
            rolls_over_at=rolls_over_at,
            zone=zone,
        )
        found = validated(laid, asked, linear_up_to=linear_up_to, holidays=holidays, rolls_over_at=rolls_over_at)
        schema = validated_schema(rows.schema, series=series, time=time, value=value, register=register)
        carried = _carried(rows.schema, series, time, value, register)
        columns = [laid.names.take(pa.array(laid.series)), *(found[name] for name in COLUMNS)]
        columns += [rows[name].take(found["place"].combine_chunks()) for name in carried]
        yield from pa.table(columns, schema=schema).to_batches()


def validated_schema(
    rows: pa.Schema, *, series: str, time: str, value: str | None = None, register: str | None = None
) -> pa.Schema:
    """The series, `COLUMNS`, then what else the rows have: of the reading that stands in the interval.

    Raises UserError for a column that is missing, of another kind, or called as one of `COLUMNS`.
    """
    intervals_of(rows.empty_table(), series=series, time=time, value=value, width=1_000_000, register=register)
    carried = [rows.field(name) for name in _carried(rows, series, time, value, register)]
    for field in (rows.field(series), *carried):
        if field.name.lower() in COLUMNS:
            raise UserError(f"vee: the answer has a column '{field.name}' of its own; call the rows' otherwise")
    told = [SCHEMA.field(name) for name in COLUMNS]
    return pa.schema([_nullable(rows.field(series)), *told, *map(_nullable, carried)])


def _carried(rows: pa.Schema, series: str, time: str, value: str | None, register: str | None) -> list[str]:
    return [name for name in rows.names if name not in (series, time, value, register)]


def _nullable(field: pa.Field) -> pa.Field:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.field(field.name, kind)
