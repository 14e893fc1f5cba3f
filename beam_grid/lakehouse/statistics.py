"""Statistics of a data file as Delta's log has them, taken from the Parquet footer.

Rows, nulls, least and greatest per column. Bounds may be wider than the values and never narrower: text is cut at 32
characters, a cut maximum rounded up; times are cut to milliseconds, which is what every reader expects, and the maximum
rounded up. Booleans, binaries and fractions that are not finite have no bounds.
Source: Delta Lake's PROTOCOL.md, "Per-file Statistics".
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TEXT = 32
"""Characters of text that a bound keeps."""

_GREATEST = "\U0010ffff"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MILLISECOND = 253_402_300_799_999_000
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def statistics(path: Path, columns: Sequence[str], *, tight: bool = True, unbounded: Container[str] = ()) -> str:
    """The `stats` of an add action, for these columns; one that the file lacks is null throughout.

    tight: whether the bounds are those of the rows that are there; a deletion vector makes them loose.
    unbounded: columns of which the footer does not say all; they get no bounds. Landed rows have no NaN.
    """
    file = pq.ParquetFile(path)
    meta, schema = file.metadata, file.schema_arrow
    place = {meta.schema.column(n).path: n for n in range(meta.num_columns)}
    least: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for name in columns:
        if name not in place:
            if name not in schema.names:
                nulls[name] = meta.num_rows
            continue
        nulls[name], low, high = _column(file, place[name], name)
        if low is not None and high is not None and name not in unbounded:
            least[name], greatest[name] = low, high
    found = {
        "numRecords": meta.num_rows, "minValues": least, "maxValues": greatest, "nullCount": nulls, "tightBounds": tight,
    }  # fmt: skip
    return dumps(found)


def loads(text: str) -> dict[str, Any]:
    """The `stats` of an add action, every digit of its numbers kept."""
    return _DECODER.decode(text)


def dumps(stats: dict[str, Any]) -> str:
    """They, as the log has them."""
    return _ENCODER.encode(stats).decode()


def _column(file: pq.ParquetFile, place: int, name: str) -> tuple[int, Any, Any]:
    """Nulls, least, greatest of a column, by its row groups' statistics; by its values where one has none."""
    meta, kind = file.metadata, file.schema_arrow.field(name).type
    nulls, lows, highs = 0, [], []
    for group in range(meta.num_row_groups):
        column = meta.row_group(group).column(place)
        stats = column.statistics
        if (
            stats is None
            or not stats.has_null_count
            or (not stats.has_min_max and stats.null_count < column.num_values)
        ):
            values = file.read(columns=[name])[name]
            if pa.types.is_dictionary(kind):
                kind = kind.value_type
                values = values.cast(kind)
            found = pc.min_max(values) if _is_ordered(kind) else {"min": pa.scalar(None), "max": pa.scalar(None)}
            return (
                values.null_count,
                _bound(kind, _raw(kind, found["min"])),
                _bound(kind, _raw(kind, found["max"]), up=True),
            )
        nulls += stats.null_count
        if stats.has_min_max and _is_ordered(kind):
            raw = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
            lows.append(stats.min_raw if raw else stats.min)
            highs.append(stats.max_raw if raw else stats.max)
    if not lows:
        return nulls, None, None
    return nulls, _bound(kind, min(lows)), _bound(kind, max(highs), up=True)


def _raw(kind: pa.DataType, value: pa.Scalar) -> Any:
    """The value as the footer's statistics have it: instants and days as numbers."""
    whole = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    return value.value if whole and value.is_valid else value.as_py()


def _is_ordered(kind: pa.DataType) -> bool:
    return not (pa.types.is_boolean(kind) or pa.types.is_binary(kind) or pa.types.is_nested(kind))


def _bound(kind: pa.DataType, value: Any, *, up: bool = False) -> Any:
    """The value as a bound in JSON; None where it can be none."""
    if value is None:
        return None
    try:
        if pa.types.is_timestamp(kind):
            return instant(value, up=up)
        if pa.types.is_date(kind):
            return (date(1970, 1, 1) + timedelta(days=value)).isoformat()
    except OverflowError:  # before the year 1, or after 9999: no text tells it
        return None
    if isinstance(value, str):
        return value if len(value) <= TEXT else _cut(value, up=up)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cut(text: str, *, up: bool) -> str | None:
    """The text's beginning as a bound; a maximum ends in the greatest character, which no text may go on with twice."""
    if not up:
        return text[:TEXT]
    return None if text[TEXT] == _GREATEST else text[:TEXT] + _GREATEST


def instant(micros: int, *, up: bool = False) -> str:
    """An instant as a bound. The last millisecond of the year 9999 has none after it: it stands with its digits.

    Raises OverflowError for an instant before the year 1 or after 9999.
    """
    if up and _LAST_MILLISECOND < micros < _LAST_MILLISECOND + 1000:
        return "9999-12-31T23:59:59.999999Z"
    whole = -(-micros // 1000) * 1000 if up else micros // 1000 * 1000
    moment = _EPOCH + timedelta(microseconds=whole)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
