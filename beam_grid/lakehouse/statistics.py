"""Statistics of a data file as Delta's log has them, taken from the Parquet footer.

Rows, nulls, least and greatest per column. Bounds may be wider than the values and never narrower: text is cut at 32
characters, a cut maximum rounded up; times are cut to milliseconds, which is what every reader expects, and the maximum
rounded up. Booleans, binaries and fractions that are not finite have no bounds.
Source: Delta Lake's PROTOCOL.md, "Per-file Statistics".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TEXT = 32
"""Characters of text that a bound keeps."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MILLISECOND = 253_402_300_799_999_000
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def statistics(path: Path, columns: Sequence[str], *, tight: bool = True) -> str:
    """The `stats` of an add action, for these columns; one that the file lacks is null throughout.

    tight: whether the bounds are those of the rows that are there; a deletion vector makes them loose.
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
        if low is not None and high is not None:
            least[name], greatest[name] = low, high
    found = {
        "numRecords": meta.num_rows, "minValues": least, "maxValues": greatest, "nullCount": nulls, "tightBounds": tight,
    }  # fmt: skip
    return _ENCODER.encode(found).decode()


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
            found = pc.min_max(values) if _is_ordered(kind) else {"min": pa.scalar(None), "max": pa.scalar(None)}
            return values.null_count, _bound(kind, found["min"].as_py()), _bound(kind, found["max"].as_py(), up=True)
        nulls += stats.null_count
        if stats.has_min_max and _is_ordered(kind):
            raw = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
            lows.append(stats.min_raw if raw else stats.min)
            highs.append(stats.max_raw if raw else stats.max)
    if not lows:
        return nulls, None, None
    return nulls, _bound(kind, min(lows)), _bound(kind, max(highs), up=True)


def _is_ordered(kind: pa.DataType) -> bool:
    return not (pa.types.is_boolean(kind) or pa.types.is_binary(kind) or pa.types.is_nested(kind))


def _bound(kind: pa.DataType, value: Any, *, up: bool = False) -> Any:
    """The value as a bound in JSON; None where it can be none."""
    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        return instant(value if isinstance(value, int) else _micros(value), up=up)
    if pa.types.is_date(kind):
        return (date(1970, 1, 1) + timedelta(days=value)).isoformat() if isinstance(value, int) else value.isoformat()
    if isinstance(value, str):
        return value if len(value) <= TEXT else value[:TEXT] + ("\U0010ffff" if up else "")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _micros(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def instant(micros: int, *, up: bool = False) -> str:
    """An instant as a bound. The last millisecond of the year 9999 has none after it: it stands with its digits."""
    if micros > _LAST_MILLISECOND and up:
        return "9999-12-31T23:59:59.999999Z"
    whole = -(-micros // 1000) * 1000 if up else micros // 1000 * 1000
    moment = _EPOCH + timedelta(microseconds=whole)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
