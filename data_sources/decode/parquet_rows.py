"""Parquet rows to the contract's columns: types are widened where nothing is lost, else the row is a reject."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import Contract, FieldSpec
from data_sources.decode.columns import bind, unique_names
from data_sources.decode.expand import expand
from data_sources.decode.json_lines import decode_json, finish
from data_sources.decode.kernels import MICROS, NONE, UTC_MICROS, drop_non_finite, try_cast
from data_sources.decode.reading import Convert, Reading, joined
from data_sources.decode.rejects import EXTRA, Decoded, Rejecting
from data_sources.decode.times import epoch_numbers, localize, parse_dates, parse_timestamps, unreal
from data_sources.records import Records, messages

_NUMBER_TEXT = re.compile(rb'"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"')
_open = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def decode_parquet(
    table: pa.Table, first: int, contract: Contract, constants: Mapping[str, str | None] | None = None
) -> Decoded:
    """Rows and rejects of a Parquet table whose first row has position `first`; see Decoded.

    constants: by field, the text that holds for all rows, read as a value of a CSV column is.
    """
    names = unique_names(table.column_names)

    def raw(i: int) -> bytes:
        return as_json(table, names, i)

    positions = np.arange(first, first + table.num_rows, dtype=np.int64)
    rejecting, index, parents = Rejecting(raw, positions), positions - first, None
    binding, rows = bind(table.column_names, contract), Rows(table)
    slots: dict[str, pa.Array] = {}
    cells: dict[str, Cells] = {}
    if contract.unpivot is not None:
        handed = Records(b"", index, index, positions)
        rejecting, expanded = expand(handed, index, binding, rejecting, raw)
        rows, index = Rows(table, expanded.rows), expanded.at
        positions, parents = expanded.positions, expanded.parents
        slot, value = contract.unpivot.into
        at = binding.unpivoted
        slots[slot] = pa.array([names[n] for n in at], pa.string()).take(pa.array(expanded.places))
        cells[value] = Cells([_whole(table.column(n)) for n in at], expanded.rows, expanded.places)
    reading = Reading(contract, index, rejecting, constants or {})
    typed = _fields(rows, binding.columns, slots, cells, contract, reading)
    raw_table = pa.table(
        [*typed, _extra(rows, names, binding.unknown)], names=[*(f.name for f in contract.fields), EXTRA]
    )
    return finish(
        raw_table,
        index,
        contract,
        rejecting,
        positions,
        later=reading.later,
        parents=parents,
        missing=binding.says_missing,
        blank=None if contract.unpivot is None else cells[contract.unpivot.into[1]].are_null(),
    )


def as_json(table: pa.Table, names: Sequence[str], i: int) -> bytes:
    """A row as a reject keeps it. names: of the columns."""
    row = {name: _value(table.column(at)[i]) for at, name in enumerate(names)}
    return json.dumps(_plain(row), ensure_ascii=False).encode("utf-8", "replace")


def decode_kept(records: Records, contract: Contract, constants: Mapping[str, str | None] | None = None) -> Decoded:
    """Rows and rejects of Parquet rows that were kept as JSON, see `_plain`; which types their columns had is not known any
    more, so a text of digits in a field of numbers is taken for the decimal that it was."""
    numbers = {name for field in contract.fields if field.is_numeric and field.pattern is None for name in field.wanted}
    if contract.unpivot is not None and contract.field(contract.unpivot.into[1]).is_numeric:
        return decode_json(records, contract, constants)
    texts = [_with_numbers(records.raw(i), numbers) for i in range(len(records))]
    arrivals = np.zeros(len(texts), np.int64) if records.arrivals is None else records.arrivals
    return decode_json(messages(texts, records.positions.tolist(), arrivals.tolist()), contract, constants)


def _with_numbers(raw: bytes, names: Set[str]) -> bytes:
    """The record with the numbers that were written as text under these names as JSON numbers."""
    try:
        row = _open(raw)
    except (ValueError, RecursionError):
        return raw
    for name in names & row.keys():
        if _NUMBER_TEXT.fullmatch(bytes(row[name])):
            row[name] = msgspec.Raw(bytes(row[name])[1:-1])
    return _encode(row)


class Rows:
    """The columns of a table, each row once or as often as `take` names it."""

    def __init__(self, table: pa.Table, take: np.ndarray | None = None) -> None:
        self._table, self._take = table, None if take is None else pa.array(take)

    def __len__(self) -> int:
        return self._table.num_rows if self._take is None else len(self._take)

    def __getitem__(self, at: int) -> pa.Array:
        column = _whole(self._table.column(at))
        return column if self._take is None else column.take(self._take)


class Cells:
    """The cells of the columns that are unpivoted, one a record; columns of numbers keep their types, others become text
    where they have several.

    columns: of the rows; rows, places: of each record its row, and which of the columns its cell is in.
    """

    def __init__(self, columns: list[pa.Array], rows: np.ndarray, places: np.ndarray) -> None:
        kinds = {c.type for c in columns if not pa.types.is_null(c.type)}
        if len(kinds) > 1 and not all(map(_is_number, kinds)):
            columns = [c if len(bad) else text for c in columns for text, bad in [_as_text(c, _ANY_TEXT)]]
        elif len(kinds) == 1:  # the kernels run once
            (kind,) = kinds
            whole = pa.concat_arrays([pa.nulls(len(c), kind) if pa.types.is_null(c.type) else c for c in columns])
            columns, rows, places = [whole], places * len(columns[0]) + rows, np.zeros(len(places), np.int64)
        self._columns, self._rows, self._places = columns, rows, places
        self._at = places * len(columns[0]) + rows if columns else places

    def read(self, reading: Reading, field: FieldSpec, convert: Convert) -> pa.Array:
        """Each column converted on its own: an integer is not rounded because there are doubles beside it."""
        return reading.native(
            self, field, lambda _, f: self._converted(convert, f), lambda _, bad, f: self._said(bad, f)
        )

    def are_null(self) -> pa.Array:
        return self._of_each([c.is_null() for c in self._columns] or [pa.array([], pa.bool_())])

    def _converted(self, convert: Convert, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
        found = [convert(column, field) for column in self._columns] or [(pa.nulls(0, field.arrow), NONE)]
        refused = np.concatenate([np.isin(np.arange(len(values)), bad) for values, bad in found])
        return self._of_each([values for values, _ in found]), np.flatnonzero(refused[self._at])

    def _said(self, bad: np.ndarray, field: FieldSpec) -> list[str]:
        at = zip(self._places[bad].tolist(), self._rows[bad].tolist(), strict=True)
        return [reason for place, row in at for reason in _said(self._columns[place], np.array([row]), field)]

    def _of_each(self, columns: list[pa.Array]) -> pa.Array:
        return pa.concat_arrays(columns).take(pa.array(self._at))


def _fields(
    rows: Rows,
    columns: Mapping[str, tuple[int | str, ...]],
    slots: Mapping[str, pa.Array],
    cells: Mapping[str, Cells],
    contract: Contract,
    reading: Reading,
) -> list[pa.Array]:
    """A typed column a field: from its own column as it is, from texts where it joins some or has a pattern."""
    texts: dict[str, pa.Array] = {}
    for field in contract.fields:  # what a list of columns may name, too
        if reading.has_constant(field) and field.name not in columns:
            texts[field.name] = reading.constant(field, len(rows))
        elif field.name in slots:
            texts[field.name] = reading.taken(slots[field.name], field)
        elif field.name in cells and field.pattern is not None:
            texts[field.name] = reading.taken(cells[field.name].read(reading, field, _as_text), field)
    typed = []
    for field in contract.fields:
        places = columns.get(field.name)
        if field.name in texts:
            typed.append(reading.typed(texts[field.name], field))
        elif field.name in cells:
            typed.append(cells[field.name].read(reading, field, _convert))
        elif places is None:
            typed.append(pa.nulls(len(rows), field.arrow))
        elif len(places) > 1 or field.pattern is not None:
            as_text = _as_text if len(places) == 1 else _as_part
            parts = [
                reading.native(rows[at], field, as_text, _said)
                if isinstance(at, int)
                else texts[at]
                if at in texts
                else cells[at].read(reading, field, as_text)
                for at in places
            ]
            joint = parts[0] if len(parts) == 1 else joined(parts, field)
            typed.append(reading.typed(reading.taken(joint, field), field))
        else:
            typed.append(reading.native(rows[places[0]], field, _convert, _said))  # type: ignore[index]
    return typed


def _said(column: pa.Array, bad: np.ndarray, field: FieldSpec) -> list[str]:
    """Why values of a column are none of the field's."""
    shown = [repr(str(_value(column[i]))[:60]) for i in bad.tolist()]
    if field.type == "timestamp" and pa.types.is_timestamp(column.type) and column.type.tz is None:
        naive, beyond = try_cast(column.take(pa.array(bad)), lambda a: pc.cast(a, MICROS, safe=False))
        if not len(beyond) and field.time_zone != "UTC":
            return unreal(naive, shown, field)
    return [f"{field.name}: {column.type} {text} is not a {field.type}" for text in shown]


def _as_text(column: pa.Array, _: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """A column as the text it would have in a CSV, and the indices of values that have none."""
    kind = column.type
    if pa.types.is_string(kind):
        return column, NONE
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _text(column, _ANY_TEXT)
    texts, bad = try_cast(column, lambda a: pc.cast(a, pa.string()))
    return pc.cast(texts, pa.string()), bad


def _as_part(column: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """The same beside others: timestamps that are all midnights are the dates that a time of day is joined to."""
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        days = pc.cast(column, pa.date32(), safe=False)
        if pc.all(pc.equal(pc.cast(days, column.type, safe=False), column)).as_py() is not False:
            column = days
    return _as_text(column, field)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


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
        return pa.nulls(len(column), field.arrow), NONE
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _text(column, field)
    if field.type == "timestamp" and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return _time(column, field)
    number = _is_number(kind)
    if field.epoch and number:
        naive, bad = epoch_numbers(column, field.epoch)
        if field.type == "date":
            return pc.cast(naive, pa.date32(), safe=False), bad
        times, missed = localize(naive, field)
        return times, np.union1d(bad, missed)
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
    times, missed = localize(naive, field)
    return times, np.union1d(bad, missed)


def _decimal(column: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """Without rounding: a double fits if it is the double nearest to the decimal it becomes."""
    if pa.types.is_integer(column.type):
        column = column.cast(pa.decimal128(20, 0))
    elif pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    typed, bad = try_cast(column, lambda a: pc.cast(a, field.arrow))
    if pa.types.is_floating(column.type):
        rounded = pc.not_equal(pc.cast(typed, column.type), column).fill_null(False)
        bad = np.union1d(bad, np.flatnonzero(rounded.to_numpy(zero_copy_only=False)))
    return typed, bad


def _extra(rows: Rows, names: list[str], unknown: tuple[int, ...]) -> pa.Array:
    if not unknown:
        return pa.nulls(len(rows), pa.string())
    columns = [[_plain(_value(v)) for v in rows[at]] for at in unknown]
    named = [names[at] for at in unknown]
    found = (
        {k: v for k, v in zip(named, values, strict=True) if v is not None} for values in zip(*columns, strict=True)
    )
    return pa.array([json.dumps(r, ensure_ascii=False, sort_keys=True) if r else None for r in found], pa.string())


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
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"$blob": value.hex()}
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


_ANY_TEXT = FieldSpec(name="text", type="string")
