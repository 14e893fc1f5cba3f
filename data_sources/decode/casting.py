"""Text to typed columns, whole arrays at a time, exact about which values do not fit.

`try_cast` halves an array until the values that a kernel refuses stand alone, so that one bad value costs a
handful of kernel calls and the good ones keep the kernel's speed; fast and slow way are the same kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import FieldSpec
from data_sources.expressions import sandbox

MICROS = pa.timestamp("us")
UTC_MICROS = pa.timestamp("us", "UTC")

_AWARE = r"Z$|[ T].*[+-]\d\d(:?\d\d)?$"
_FAN_OUT = 8
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31 in days since the epoch: what Spark, Python and SQL all hold."""


def try_cast(values: pa.Array, cast: Callable[[pa.Array], pa.Array]) -> tuple[pa.Array, np.ndarray]:
    """Cast what can be cast. Returns the array, null where a value was refused, and the refused indices."""
    try:
        return cast(values), np.empty(0, np.int64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    if len(values) == 1:
        return pa.nulls(1, cast(values.slice(0, 0)).type), np.zeros(1, np.int64)
    parts, refused = [], []
    step = -(-len(values) // _FAN_OUT)
    for start in range(0, len(values), step):
        part, bad = try_cast(values.slice(start, step), cast)
        parts.append(part)
        refused.append(bad + start)
    return pa.concat_arrays(parts), np.concatenate(refused)


def parse_text(values: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """Text (CSV) to the field's type; returns typed array and refused indices. Floats are finite."""
    if field.type == "string":
        return values, np.empty(0, np.int64)
    if field.type == "timestamp":
        return parse_timestamps(values, field)
    if field.type == "date":
        return parse_dates(values, field)
    cast = _to_int if field.type == "int64" else lambda a: pc.cast(a, field.arrow)
    typed, bad = try_cast(values, cast)
    if len(bad):
        typed, bad = try_cast(pc.utf8_trim_whitespace(values), cast)
    if field.type == "float64":
        typed, infinite = drop_non_finite(typed)
        bad = np.union1d(bad, infinite)
    return typed, bad


def _to_int(values: pa.Array) -> pa.Array:
    """Decimal digits only: Arrow would take 0x1F for 31."""
    if pc.any(pc.match_substring(values, "x", ignore_case=True)).as_py():
        raise pa.ArrowInvalid("hexadecimal")
    return pc.cast(values, pa.int64())


def beyond_years(values: pa.Array) -> np.ndarray:
    """Indices of dates and timestamps outside the years 1 to 9999."""
    date = pa.types.is_date(values.type)
    unit = 1 if date else 86_400_000_000
    numbers = pc.cast(values, pa.int32() if date else pa.int64())
    first, last = _FIRST_DAY * unit, (_LAST_DAY + 1) * unit - 1
    found = pc.min_max(numbers)
    if found["min"].as_py() is None or (found["min"].as_py() >= first and found["max"].as_py() <= last):
        return np.empty(0, np.int64)
    outside = pc.or_(pc.less(numbers, first), pc.greater(numbers, last)).fill_null(False)
    return np.flatnonzero(outside.to_numpy(zero_copy_only=False))


def drop_non_finite(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Null out NaN and infinities; returns the array and where they stood."""
    finite = pc.is_finite(values)
    if pc.all(finite).as_py() in (True, None):
        return values, np.empty(0, np.int64)
    bad = np.flatnonzero(~finite.fill_null(True).to_numpy(zero_copy_only=False))
    return pc.if_else(finite, values, pa.scalar(None, values.type)), bad


def parse_timestamps(values: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """ISO 8601 with any offset, or the field's own format, to UTC microseconds (finer digits are cut off).

    Naive values are local to the field's time zone; one that does not exist there is refused, one that is
    ambiguous follows `on_dst`.
    """
    if field.format is not None:
        return _parse_formatted(values, field)
    try:
        return pc.cast(values, UTC_MICROS), np.empty(0, np.int64)
    except pa.ArrowInvalid:
        pass
    if values.null_count == len(values):
        return pa.nulls(len(values), UTC_MICROS), np.empty(0, np.int64)
    values = pc.replace_substring_regex(values, r"(\.\d{6})\d{1,3}", r"\1")
    aware = pc.match_substring_regex(values, _AWARE).fill_null(True).to_numpy(zero_copy_only=False)
    result, refused = [], []
    for mask, cast in ((aware, lambda a: pc.cast(a, UTC_MICROS)), (~aware, lambda a: pc.cast(a, MICROS))):
        at = np.flatnonzero(mask)
        if not len(at):
            continue
        times, bad = try_cast(values.take(pa.array(at)), cast)
        bad_at = at[bad]
        if times.type.tz is None:
            times, unreal = localize(times, field)
            bad_at = np.union1d(bad_at, at[unreal])
        result.append((at, times))
        refused.append(bad_at)
    return _scatter(result, len(values), UTC_MICROS), np.unique(np.concatenate(refused))


def parse_dates(values: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """`2025-06-15`, or the field's own format, to dates."""
    if field.format is None:
        return try_cast(values, lambda a: pc.cast(a, pa.date32()))
    times, bad = _strptime(values, field.format)
    return pc.cast(times, pa.date32(), safe=False), bad


def localize(naive: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """Naive local microseconds to UTC by the field's `time_zone` and `on_dst`; returns times and refused indices.

    spring   01:59 -> 03:00   02:30 does not exist: always refused
    autumn   02:59 -> 02:00   02:30 is there twice: reject, earlier or later
    """
    if field.time_zone == "UTC":
        return pc.cast(naive, UTC_MICROS), np.empty(0, np.int64)
    earlier = pc.assume_timezone(naive, field.time_zone, ambiguous="earliest", nonexistent="earliest")
    later = pc.assume_timezone(naive, field.time_zone, ambiguous="latest", nonexistent="earliest")
    unreal = pc.not_equal(pc.local_timestamp(earlier), naive).fill_null(False)
    chosen = later if field.on_dst == "later" else earlier
    if field.on_dst == "reject":
        unreal = pc.or_(unreal, pc.not_equal(earlier, later).fill_null(False))
    chosen = pc.cast(pc.if_else(unreal, pa.scalar(None, chosen.type), chosen), UTC_MICROS)
    return chosen, np.flatnonzero(unreal.to_numpy(zero_copy_only=False))


def _parse_formatted(values: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    times, bad = _strptime(values, field.format or "")
    if times.type.tz is not None:
        return pc.cast(times, UTC_MICROS), bad
    times, unreal = localize(times, field)
    return times, np.union1d(bad, unreal)


def _strptime(values: pa.Array, form: str) -> tuple[pa.Array, np.ndarray]:
    """DuckDB's try_strptime: the strptime codes of Python, on whole columns; with %z the result is UTC.

    Words such as "infinity" and "epoch", which DuckDB takes for times whatever the format, are refused, and Z is
    an offset as it is in Python.
    """
    cursor = sandbox().cursor()
    wordy = pc.invert(pc.match_substring_regex(values, r"\d"))
    if pc.any(wordy).as_py():
        values = pc.if_else(wordy, pa.scalar("", pa.string()), values)
    if form.endswith("%z"):
        values = pc.replace_substring_regex(values, r"(\d) ?Z$", r"\1+00:00")
    cursor.register("texts", pa.table({"t": values}))
    call = f"try_strptime(t, '{form.replace(chr(39), chr(39) * 2)}')"
    if "%z" in form or "%Z" in form:
        call = f"CAST({call} AS TIMESTAMPTZ)"
    times = cursor.sql(f"SELECT {call} AS t FROM texts").to_arrow_table()["t"].combine_chunks()
    cursor.unregister("texts")
    wanted = UTC_MICROS if times.type.tz else MICROS
    times = pc.cast(times, wanted, safe=False)
    bad = pc.and_(times.is_null(), values.is_valid())
    return times, np.flatnonzero(bad.to_numpy(zero_copy_only=False))


def _scatter(parts: list[tuple[np.ndarray, pa.Array]], length: int, kind: pa.DataType) -> pa.Array:
    if len(parts) == 1 and len(parts[0][0]) == length:
        return parts[0][1]
    order = np.argsort(np.concatenate([at for at, _ in parts]), kind="stable")
    return pa.concat_arrays([values.cast(kind) for _, values in parts]).take(pa.array(order))
