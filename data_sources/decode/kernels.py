"""Arrow kernels over whole arrays, exact about which values they refuse.

`try_cast` halves an array until the values that a kernel refuses stand alone, so that one bad value costs a
handful of kernel calls and the good ones keep the kernel's speed; fast and slow way are the same kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MICROS = pa.timestamp("us")
UTC_MICROS = pa.timestamp("us", "UTC")
NONE = np.empty(0, np.int64)

_FAN_OUT = 8
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31 in days since the epoch: what Spark, Python and SQL all hold."""


def try_cast(values: pa.Array, cast: Callable[[pa.Array], pa.Array]) -> tuple[pa.Array, np.ndarray]:
    """Cast what can be cast, value by value. Returns the array, null where a value was refused, and the refused indices.

    Of texts each is tried once, however often it is there: what spoils a column is often one word for "no value".
    Where there is no such cast from the array's type, all values are refused and the array's type is null.
    """
    try:
        return cast(values), NONE
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    try:
        cast(values.slice(0, 0))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.nulls(len(values)), np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    if pa.types.is_string(values.type) and len(values) > _FAN_OUT:
        encoded = values.dictionary_encode()
        if len(encoded.dictionary) < len(values):
            distinct, bad = _cast_parts(encoded.dictionary, cast)
            at = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            return distinct.take(encoded.indices), np.flatnonzero(np.isin(at, bad))
    return _cast_parts(values, cast)


def _cast_parts(values: pa.Array, cast: Callable[[pa.Array], pa.Array]) -> tuple[pa.Array, np.ndarray]:
    """The same, cut smaller where a part is refused."""
    try:
        return cast(values), NONE
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    if len(values) == 1:
        return pa.nulls(1, cast(values.slice(0, 0)).type), np.zeros(1, np.int64)
    parts, refused = [], []
    step = -(-len(values) // _FAN_OUT)
    for start in range(0, len(values), step):
        part, bad = _cast_parts(values.slice(start, step), cast)
        parts.append(part)
        refused.append(bad + start)
    return pa.concat_arrays(parts), np.concatenate(refused)


def beyond_years(values: pa.Array) -> np.ndarray:
    """Indices of dates and timestamps outside the years 1 to 9999."""
    date = pa.types.is_date(values.type)
    unit = 1 if date else 86_400_000_000
    numbers = pc.cast(values, pa.int32() if date else pa.int64())
    first, last = _FIRST_DAY * unit, (_LAST_DAY + 1) * unit - 1
    found = pc.min_max(numbers)
    if found["min"].as_py() is None or (found["min"].as_py() >= first and found["max"].as_py() <= last):
        return NONE
    outside = pc.or_(pc.less(numbers, first), pc.greater(numbers, last)).fill_null(False)
    return np.flatnonzero(outside.to_numpy(zero_copy_only=False))


def drop_non_finite(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Null out NaN and infinities; returns the array and where they stood."""
    finite = pc.is_finite(values)
    if pc.all(finite).as_py() in (True, None):
        return values, NONE
    bad = np.flatnonzero(~finite.fill_null(True).to_numpy(zero_copy_only=False))
    return pc.if_else(finite, values, pa.scalar(None, values.type)), bad


def scatter(parts: list[tuple[np.ndarray, pa.Array]], length: int, kind: pa.DataType) -> pa.Array:
    """One array of `length` from arrays and the places each of their values has in it; the places must cover it."""
    if len(parts) == 1 and len(parts[0][0]) == length:
        return parts[0][1]
    order = np.argsort(np.concatenate([at for at, _ in parts]), kind="stable")
    return pa.concat_arrays([values.cast(kind) for _, values in parts]).take(pa.array(order))


def put(values: pa.Array, at: np.ndarray, replacing: pa.Array) -> pa.Array:
    """The array with the values at `at` replaced."""
    if not len(at):
        return values
    mask = np.zeros(len(values), bool)
    mask[at] = True
    return pc.replace_with_mask(values, pa.array(mask), replacing)
