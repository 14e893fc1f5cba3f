"""Parquet rows to the contract's columns: types are widened where nothing is lost, else the row is a reject."""

from __future__ import annotations

import json
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
from data_sources.decode.rejects import Decoded, Rejecting


def decode_parquet(table: pa.Table, first: int, contract: Contract) -> Decoded:
    """Rows and rejects of a Parquet table whose first row has position `first`; see Decoded."""

    def raw(i: int) -> bytes:
        return json.dumps(table.slice(i, 1).to_pylist()[0], default=_plain, ensure_ascii=False).encode(
            "utf-8", "replace"
        )

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
            seen = str(column[i].as_py())[:60]
            rejecting.add(
                i, "undecodable", f"type:{field.name}", f"{field.name}: {column.type} {seen!r} is not a {field.type}"
            )
        columns.append(typed)
    declared = {f.input_name for f in contract.fields}
    unknown = [name for name in table.column_names if name not in declared]
    typed = pa.table([*columns, _extra(table, unknown)], names=[*(f.input_name for f in contract.fields), "_extra"])
    return finish(typed, positions - first, contract, rejecting, positions)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _convert(column: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    kind, none = column.type, np.empty(0, np.int64)
    if pa.types.is_null(kind):
        return pa.nulls(len(column), field.arrow), none
    if field.type in ("timestamp", "date") and pa.types.is_string(kind):
        return parse_timestamps(column, field) if field.type == "timestamp" else parse_dates(column, field)
    if field.type == "timestamp" and pa.types.is_timestamp(kind):
        if kind.tz is not None:
            return pc.cast(column, UTC_MICROS, safe=False), none
        return localize(pc.cast(column, MICROS, safe=False), field)
    if field.type == "timestamp" and pa.types.is_date(kind):
        return localize(pc.cast(column, MICROS), field)
    fits = (
        (field.type == "string" and pa.types.is_string(kind))
        or (field.type == "bool" and pa.types.is_boolean(kind))
        or (field.type == "date" and pa.types.is_date(kind))
        or (field.type == "int64" and pa.types.is_integer(kind))
        or (
            field.type == "float64"
            and (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
        )
        or (
            field.type.startswith("decimal")
            and (pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind))
        )
    )
    if not fits:
        bad = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        return pa.nulls(len(column), field.arrow), bad
    wide_int = pa.types.is_integer(kind) and field.type.startswith("decimal")
    typed, bad = try_cast(column, lambda a: pc.cast(a.cast(pa.decimal128(20, 0)) if wide_int else a, field.arrow))
    if field.type == "float64":
        typed, infinite = drop_non_finite(typed)
        bad = np.union1d(bad, infinite)
    return typed, bad


def _extra(table: pa.Table, unknown: list[str]) -> pa.Array:
    if not unknown:
        return pa.nulls(table.num_rows, pa.string())
    rows = ({k: v for k, v in row.items() if v is not None} for row in table.select(unknown).to_pylist())
    return pa.array(
        [json.dumps(r, default=_plain, ensure_ascii=False, sort_keys=True) if r else None for r in rows], pa.string()
    )


def _plain(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
