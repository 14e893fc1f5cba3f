"""Parquet rows to the contract's columns: types are widened where nothing is lost, else the row is a reject."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import Contract, FieldSpec
from data_sources.decode.casting import (
    MICROS,
    UTC_MICROS,
    drop_non_finite,
    localize,
    parse_dates,
    parse_timestamps,
    try_cast,
)
from data_sources.decode.json_lines import finish
from data_sources.decode.rejects import EXTRA, Decoded, Rejecting


def decode_parquet(table: pa.Table, first: int, contract: Contract) -> Decoded:
    """Rows and rejects of a Parquet table whose first row has position `first`; see Decoded."""

    def raw(i: int) -> bytes:
        row = {name: _value(table[name][i]) for name in table.column_names}
        return json.dumps(_plain(row), ensure_ascii=False).encode("utf-8", "replace")

    positions = np.arange(first, first + table.num_rows, dtype=np.int64)
    rejecting = Rejecting(raw, positions)
    columns = []
    for field in contract.fields:
        if field.input_name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.arrow))
            continue
        column = _whole(table[field.input_name])
        typed, bad = _convert(column, field)
        for i in bad.tolist():
            seen = str(_value(column[i]))[:60]
            rule = f"{'time' if field.type in ('timestamp', 'date') else 'type'}:{field.name}"
            rejecting.add(i, "undecodable", rule, f"{field.name}: {column.type} {seen!r} is not a {field.type}")
        columns.append(typed)
    declared = {f.input_name for f in contract.fields}
    unknown = [name for name in table.column_names if name not in declared]
    typed = pa.table([*columns, _extra(table, unknown)], names=[*(f.input_name for f in contract.fields), EXTRA])
    return finish(typed, positions - first, contract, rejecting, positions)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _convert(column: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """The field's type, null where a value does not fit, and the indices of those."""
    kind = column.type
    if pa.types.is_null(kind):
        return pa.nulls(len(column), field.arrow), np.empty(0, np.int64)
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _text(column, field)
    if field.type == "timestamp" and pa.types.is_temporal(kind) and not pa.types.is_time(kind):
        return _time(column, field)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    fits = (
        (field.is_numeric and number)
        or (field.type == "bool" and pa.types.is_boolean(kind))
        or (field.type == "date" and pa.types.is_date(kind))
    )
    if not fits:
        bad = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        return pa.nulls(len(column), field.arrow), bad
    if field.type.startswith("decimal"):
        return _decimal(column, field)
    typed, bad = try_cast(column, lambda a: pc.cast(a, field.arrow))
    if field.type == "float64":
        typed, infinite = drop_non_finite(typed)
        bad = np.union1d(bad, infinite)
    return typed, bad


def _text(column: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """Parquet does not check that text is UTF-8, and some writers leave it binary."""
    text, bad = try_cast(pc.cast(column, pa.large_binary()), lambda a: pc.cast(a, pa.string()))
    if field.type == "string":
        return text, bad
    if field.type not in ("timestamp", "date"):
        return pa.nulls(len(column), field.arrow), np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    typed, unread = parse_timestamps(text, field) if field.type == "timestamp" else parse_dates(text, field)
    return typed, np.union1d(bad, unread)


def _time(column: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """Timestamps of any unit (finer digits are cut off) and dates, naive ones local to the field's zone."""
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    if zone is not None:
        column = pc.cast(column, pa.timestamp(column.type.unit))
    if column.type == pa.timestamp("ns"):
        column = pc.floor_temporal(column, unit="microsecond")
    naive, bad = try_cast(column, lambda a: pc.cast(a, MICROS))
    if zone is not None:
        return pc.cast(naive, UTC_MICROS), bad
    times, unreal = localize(naive, field)
    return times, np.union1d(bad, unreal)


def _decimal(column: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """Without rounding: a double fits if it is the double nearest to the decimal it becomes."""
    if pa.types.is_integer(column.type):
        column = column.cast(pa.decimal128(20, 0))
    typed, bad = try_cast(column, lambda a: pc.cast(a, field.arrow))
    if pa.types.is_floating(column.type):
        rounded = pc.not_equal(pc.cast(typed, column.type), column).fill_null(False)
        bad = np.union1d(bad, np.flatnonzero(rounded.to_numpy(zero_copy_only=False)))
    return typed, bad


def _extra(table: pa.Table, unknown: list[str]) -> pa.Array:
    if not unknown:
        return pa.nulls(table.num_rows, pa.string())
    columns = [[_plain(_value(v)) for v in table[name]] for name in unknown]
    rows = (
        {k: v for k, v in zip(unknown, values, strict=True) if v is not None} for values in zip(*columns, strict=True)
    )
    return pa.array([json.dumps(r, ensure_ascii=False, sort_keys=True) if r else None for r in rows], pa.string())


def _value(scalar: pa.Scalar) -> Any:
    """As a Python value; in words where Python has none (nanoseconds, the year 10000, text that is not UTF-8)."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.cast(pa.binary()).as_py() if pa.types.is_string(scalar.type) else str(scalar.type)
    except (ValueError, OverflowError):
        pass
    try:
        return scalar.cast(pa.string()).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return str(scalar.type)


def _plain(value: Any) -> Any:
    """What JSON can say."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
