"""VEE over a stream of readings, whole series at a time: what a table of validated intervals is made with.

    rows, sorted by series and time ─► whole series ─► intervals_of, validated ─► a row an interval

A row with `_edited` (`_edited_by`, `_edited_because`) is no reading but says what the interval at its time is to be.
Readings that share an interval with another one are not rows of their own: the interval says `clock`, and the raw table
has both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract.vee import COLUMNS, EDIT
from data_sources.errors import UserError
from transforms.vee.checks import Check
from transforms.vee.intervals import Intervals, intervals_of
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
    for whole in whole_series(batches, series):
        rows, edits = _parted(whole)
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
        said = _placed(laid, edits, series, time)
        found = validated(
            laid,
            asked,
            linear_up_to=linear_up_to,
            holidays=holidays,
            rolls_over_at=rolls_over_at,
            edits={row: one["_edited"] for row, one in said.items()},
        )
        who, why = ([None] * len(laid) for _ in range(2))
        for row, one in said.items():
            who[row], why[row] = one["_edited_by"], one["_edited_because"]
        schema = validated_schema(whole.schema, series=series, time=time, value=value, register=register)
        told = {name: found[name] for name in SCHEMA.names} | {
            "edited_by": pa.array(who, pa.string()),
            "reason": pa.array(why, pa.string()),
        }
        columns = [laid.names.take(pa.array(laid.series)), *(told[name] for name in COLUMNS)]
        columns += [
            rows[name].take(found["place"].combine_chunks())
            for name in _carried(rows.schema, series, time, value, register)
        ]
        yield from pa.table(columns, schema=schema).to_batches()


def _parted(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Readings, and edits of intervals."""
    names = [f"_{name}" for name in EDIT]
    if names[0] not in rows.column_names:
        return rows, rows.slice(0, 0)
    is_edit = pc.is_valid(rows[names[0]])
    return rows.filter(pc.invert(is_edit)).drop_columns(names), rows.filter(is_edit)


def _placed(laid: Intervals, edits: pa.Table, series: str, time: str) -> dict[int, dict[str, Any]]:
    """Edits by the row of their interval; without those of intervals that are not there."""
    found = {}
    if edits.num_rows:
        codes = pc.index_in(edits[series], value_set=laid.names).to_pylist()
        starts = edits[time].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
        for code, start, said in zip(codes, starts, edits.to_pylist(), strict=True):
            if code is None or start is None:
                continue
            low, high = np.searchsorted(laid.series, [code, code + 1])
            row = low + int(np.searchsorted(laid.start[low:high], start))
            if row < high and laid.start[row] == start:
                found[row] = said
    return found


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
    told = [SCHEMA.field(name) if name in SCHEMA.names else pa.field(name, pa.string()) for name in COLUMNS]
    return pa.schema([_nullable(rows.field(series)), *told, *map(_nullable, carried)])


def _carried(rows: pa.Schema, series: str, time: str, value: str | None, register: str | None) -> list[str]:
    beside = {series, time, value, register, *(f"_{name}" for name in EDIT)}
    return [name for name in rows.names if name not in beside]


def _nullable(field: pa.Field) -> pa.Field:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.field(field.name, kind)
