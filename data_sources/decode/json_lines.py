"""JSON records to rows: whole blocks at Arrow's speed, the few it refuses one by one.

Guarantees: a record has the same fate alone, in a good block and in a bad one. The block reader
(pyarrow.json) is strict about types, doubled names and surrogates. What it would let pass is looked for
beforehand (two objects on a line, an object over two lines, bytes that are not UTF-8, nesting that could overflow
its stack) or after
(NaN, infinities), and goes to `strict.decode_record`, as does each record of a small piece it refuses.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Set
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from data_sources.cdc import no_place_reason, place_fields, without_place
from data_sources.contract import Contract, FieldSpec
from data_sources.decode.absent import absent, without
from data_sources.decode.casting import beyond_years, parse_dates, parse_timestamps, reasons
from data_sources.decode.debezium import unwrap
from data_sources.decode.flat import flatten, missing_in, plan_of, typed
from data_sources.decode.reading import Reading, taken_later
from data_sources.decode.rejects import EXTRA, MAX_RECORD, Decoded, Rejecting
from data_sources.decode.strict import MAX_NESTING, StrictError, decode_extra, decode_record
from data_sources.decode.times import shifted
from data_sources.decode.twice import find_twice
from data_sources.decode.unknown import is_text, to_extra
from data_sources.records import Records

_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_TWO_OBJECTS = re.compile(rb"\}[ \t\r]*\{")
_PIECE = 64
_FAN_OUT = 16
_MOST_TEXTS = 64
_UNKNOWN_TEXTS: dict[str, frozenset[str]] = {}
"""Per contract, names it does not declare whose text looks like a time; only saves reading a block twice."""


def decode_json(records: Records, contract: Contract, constants: Mapping[str, str | None] | None = None) -> Decoded:
    """Rows and rejects of JSON records; see Decoded.

    constants: by field, the text that holds for all of them, read as a value of a CSV column is.
    """
    by_reader = records.refused
    records, tombstones, truncates, refused, rejecting, origin = unwrap(records, contract)
    settled = tombstones | refused
    for i, (rule, reason) in by_reader.items():
        at = i if origin is None else int(np.searchsorted(origin, i))
        rejecting.add(at, "undecodable", rule, reason)
        settled[at] = True
    plan = plan_of(contract, constants or {})
    if plan is None:
        index, raw = _decode(records, contract, settled, rejecting)
        why = functools.partial(_missing, records)
        decoded = finish(raw, index, contract, rejecting, records.positions, truncates, missing=why)
    else:
        records, rejecting, parents = flatten(records, plan, rejecting, settled)
        if parents is not None:
            tombstones, truncates, settled = tombstones[parents], truncates[parents], settled[parents]
        index, raw = _decode(records, plan.inner, settled | rejecting.mask(len(records)), rejecting)
        reading = Reading(contract, index, rejecting, constants or {})
        blank = None if plan.value is None else raw.column(plan.value).is_null()
        raw = typed(raw, plan, reading)
        decoded = finish(
            raw, index, contract, rejecting, records.positions, truncates, later=reading.later, parents=parents, blank=blank,
            missing=lambda i, field: missing_in(records.raw(i), field, plan),
        )  # fmt: skip
    if tombstones.any():
        decoded = _with_tombstones(decoded, np.flatnonzero(tombstones), records.positions)
    if decoded.parents is not None:
        return decoded if origin is None else decoded._replace(parents=origin[decoded.parents])
    return decoded._replace(parents=origin)


def _decode(
    records: Records, contract: Contract, settled: np.ndarray, rejecting: Rejecting
) -> tuple[np.ndarray, pa.Table]:
    """Values of the records that are not settled, texts of times as they are, by the contract's input names."""
    doubtful = _doubtful(records)
    parts: list[tuple[np.ndarray, pa.Table]] = []
    strict: list[int] = np.flatnonzero(doubtful & ~settled).tolist()
    _decode_blocks(records, np.flatnonzero(~doubtful & ~settled), contract, parts, strict)
    if strict:
        parts.append(_decode_strictly(records, sorted(strict), contract, rejecting))
    index = np.concatenate([at for at, _ in parts]) if parts else np.empty(0, np.int64)
    raw = pa.concat_tables([t for _, t in parts]) if parts else _raw_schema(contract).empty_table()
    if len(parts) > 1:
        order = np.argsort(index, kind="stable")
        index, raw = index[order], raw.take(pa.array(order))
    return index, raw


def _missing(records: Records, i: int, field: FieldSpec) -> str | None:
    """A sentence where the record has no such name."""
    try:
        names = _names(records.raw(i))
    except (ValueError, RecursionError):
        return None
    return None if field.input_name in names else f"{field.name} is missing: the record has no {field.input_name!r}"


def _with_tombstones(decoded: Decoded, at: np.ndarray, positions: np.ndarray) -> Decoded:
    """Rows of nulls for the records at `at`, in their places."""
    nulls = {f.name: pa.nulls(len(at), f.type) for f in decoded.rows.schema}
    nulls |= {"_position": pa.array(positions[at], pa.int64()), "_index": pa.array(at, pa.int64())}
    rows = pa.concat_tables([decoded.rows, pa.table(nulls, schema=decoded.rows.schema)])
    return decoded._replace(rows=rows.take(pa.array(np.argsort(rows["_index"].to_numpy(), kind="stable"))))


def finish(
    raw: pa.Table,
    index: np.ndarray,
    contract: Contract,
    rejecting: Rejecting,
    positions: np.ndarray,
    truncates: np.ndarray | None = None,
    *,
    later: Mapping[str, pa.Array] | None = None,
    parents: np.ndarray | None = None,
    missing: Callable[[int, FieldSpec], str | None] | None = None,
    blank: pa.Array | pa.ChunkedArray | None = None,
) -> Decoded:
    """Parse times, shift them, refuse nulls where a value is due, and drop what was refused.

    raw: a column a field, in the contract's order, then EXTRA. truncates: mask over all records of those that have no
    row, of which no value but the event time is due. later, parents: see `Reading` and `Decoded`. missing: a sentence
    where a record does not have a field at all, None where the field is null. blank: of an unpivoted row's records,
    whether their cell is; see `absent.py`.
    """
    columns, second = [], dict(later or {})
    for place, field in enumerate(contract.fields):
        column = raw.column(place).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        if field.type in ("timestamp", "date") and pa.types.is_string(column.type):
            parse, texts = parse_timestamps if field.type == "timestamp" else parse_dates, column
            column, bad = parse(texts, field)
            for i, (rule, reason) in zip(bad.tolist(), reasons(texts, bad, field) if len(bad) else (), strict=True):
                rejecting.add(index[i], "undecodable", rule, reason)
            if field.on_dst == "in_order":
                second[field.name], _ = parse(texts, taken_later(field))
        if field.shift is not None:
            column = shifted(column, field.shift)
        if field.type in ("timestamp", "date"):
            reason = f"{field.name}: lies outside the years 1 to 9999"
            rejecting.add_all(index[beyond_years(column)], "undecodable", f"time:{field.name}", reason)
        if column.null_count and field.name in contract.required:
            empty = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
            if truncates is not None and field.name != contract.event_time:
                empty = empty[~truncates[index[empty]]]
            for i in index[empty].tolist():
                reason = (missing and missing(i, field)) or f"{field.name} is null"
                rejecting.add(i, "undecodable", f"null:{field.name}", reason)
        columns.append(_as_dictionary(column) if field.type == "string" else column)
    twice = find_twice(dict(zip((f.name for f in contract.fields), columns, strict=True)), second, index, contract)
    placeless = without_place(dict(zip(contract.schema.names, columns, strict=True)), contract)
    if len(placeless):
        rule = f"null:{place_fields(contract)[0]}"
        rejecting.add_all(index[placeless], "undecodable", rule, no_place_reason(contract))
    rows = pa.table(
        [*columns, pa.array(positions[index], pa.int64()), raw[EXTRA].combine_chunks(), pa.array(index, pa.int64())],
        names=[*(f.name for f in contract.fields), "_position", "_extra", "_index"],
    )
    if len(rejecting):
        rows = rows.filter(pa.array([i not in rejecting for i in index.tolist()], pa.bool_()))
    decoded = Decoded(rows, rejecting, parents, twice)
    if blank is None or parents is None:
        return decoded
    times = dict(zip((f.name for f in contract.fields), columns, strict=True))
    dropped = np.zeros(len(parents), bool)
    dropped[index] = absent(times, np.asarray(blank), parents[index], contract)
    return without(decoded, dropped) if dropped.any() else decoded


def _as_dictionary(column: pa.Array) -> pa.Array:
    """Text with few values as a dictionary: the steps that follow then move 4 bytes a row."""
    sample = column.slice(0, 8192)
    return column.dictionary_encode() if len(sample.unique()) * 2 < len(sample) else column


def _raw_schema(contract: Contract) -> pa.Schema:
    text = ("timestamp", "date")
    fields = [pa.field(f.input_name, pa.string() if f.type in text else f.arrow) for f in contract.fields]
    return pa.schema([*fields, pa.field(EXTRA, pa.string())])


def _doubtful(records: Records) -> np.ndarray:
    """Which records the block reader must not see."""
    if not len(records):
        return np.zeros(0, bool)
    if not records.data:
        return np.ones(len(records), bool)
    buffer = np.frombuffer(records.data, np.uint8)
    lengths = records.ends - records.starts
    doubtful = (lengths < 2) | (lengths > MAX_RECORD)
    last = np.maximum(records.ends - 1, 0)
    doubtful |= (buffer[np.minimum(records.starts, len(buffer) - 1)] != ord("{")) | (buffer[last] != ord("}"))
    if not _is_utf8(records.data):
        doubtful |= np.fromiter((not _is_utf8(records.raw(i)) for i in range(len(records))), bool, len(records))
    flat = b"[" not in records.data and np.count_nonzero(buffer == ord("{")) == len(records)
    if flat and records.whole_lines and not doubtful.any():
        return doubtful
    for i in np.flatnonzero(~doubtful).tolist():
        raw = records.raw(i)
        nested = raw.count(b"{") + raw.count(b"[")
        doubtful[i] = nested > MAX_NESTING or b"\n" in raw or (nested > 1 and _TWO_OBJECTS.search(raw) is not None)
    return doubtful


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decode_blocks(
    records: Records,
    at: np.ndarray,
    contract: Contract,
    parts: list[tuple[np.ndarray, pa.Table]],
    strict: list[int],
    sifted: bool = False,
) -> None:
    """Decode the records at `at` together; cut smaller what the block reader refuses."""
    if not len(at):
        return
    table = _read_block(records.take(at) if len(at) < len(records) else records, contract)
    if table is not None and table.num_rows == len(at):
        keep = _all_finite(table, contract)
        if keep is not None:
            strict.extend(at[~keep].tolist())
            table, at = table.filter(pa.array(keep)), at[keep]
        declared = {f.input_name for f in contract.fields}
        extra, held = to_extra(table.select([name for name in table.column_names if name not in declared]))
        table = table.select([f.input_name for f in contract.fields])
        extra, refused = _extras(records, at, held, declared, extra)
        table = table.append_column(EXTRA, extra)
        if refused.any():
            strict.extend(at[refused].tolist())
            table, at = table.filter(pa.array(~refused)), at[~refused]
        parts.append((at, table))
    elif len(at) <= _PIECE:
        strict.extend(at.tolist())
    elif not sifted:
        fits = _sift(records, at, contract)
        strict.extend(at[~fits].tolist())
        _decode_blocks(records, at[fits], contract, parts, strict, sifted=True)
    else:
        for piece in np.array_split(at, _FAN_OUT):
            _decode_blocks(records, piece, contract, parts, strict, sifted=True)


def _extras(
    records: Records, at: np.ndarray, held: np.ndarray, declared: set[str], known: pa.Array
) -> tuple[pa.Array, np.ndarray]:
    """What the records hold beyond the contract, those at `at[held]` one by one; a mask of those in which it is no JSON."""
    refused = np.zeros(len(at), bool)
    if not held.any():
        return known, refused
    extra: list[str | None] = known.to_pylist()
    for n in np.flatnonzero(held).tolist():
        try:
            extra[n] = decode_extra(records.raw(at[n]), declared)
        except StrictError:
            refused[n] = True
    return pa.array(extra, pa.string()), refused


def _sift(records: Records, at: np.ndarray, contract: Contract) -> np.ndarray:
    """Mask of the records at `at` that a typed JSON reader finds in order: finds most of what spoils a block."""
    decode = _sieve(contract).decode
    fits = np.ones(len(at), bool)
    for n, i in enumerate(at.tolist()):
        try:
            decode(records.raw(i))
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            fits[n] = False
    return fits


@functools.lru_cache(maxsize=16)
def _sieve(contract: Contract) -> msgspec.json.Decoder[Any]:
    kinds = {"string": str, "date": str, "timestamp": str, "float64": float, "int64": int, "bool": bool}
    fields = [
        (f"f{n}", kinds.get(f.type, Any) | None if f.type in kinds else Any, None)
        for n, f in enumerate(contract.fields)
    ]
    names = {f"f{n}": f.input_name for n, f in enumerate(contract.fields)}
    return msgspec.json.Decoder(msgspec.defstruct("Sieve", fields, rename=names))


def _read_block(records: Records, contract: Contract) -> pa.Table | None:
    schema = _raw_schema(contract)
    schema = schema.remove(schema.get_field_index(EXTRA))
    texts = _UNKNOWN_TEXTS.get(contract.hash, frozenset())
    try:
        try:
            table = _read_json(records, schema, texts)
        except pa.ArrowInvalid:
            if not texts:
                raise
            table = _read_json(records, schema, frozenset())
        taken = {f.name for f in table.schema if f.name not in schema.names and is_text(f.type)}
        if taken - texts and len(texts) < _MOST_TEXTS:
            _UNKNOWN_TEXTS[contract.hash] = texts | taken
            table = _read_json(records, schema, taken)
        for field in schema:
            if pa.types.is_decimal(field.type):
                table[field.name].validate(full=True)  # the reader lets 10^8 pass as a decimal(10,2)
        return table
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return None


def _read_json(records: Records, schema: pa.Schema, texts: Set[str]) -> pa.Table:
    """texts: names beyond the schema that are read as text, which the reader would take for times."""
    schema = pa.schema([*schema, *(pa.field(name, pa.string()) for name in sorted(texts))])
    return pyarrow.json.read_json(
        pa.BufferReader(records.joined()),
        read_options=pyarrow.json.ReadOptions(block_size=max(MAX_RECORD + 1, 1 << 20)),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer"),
    )


def _all_finite(table: pa.Table, contract: Contract) -> np.ndarray | None:
    """Mask of rows whose floats are finite, or None where all are."""
    keep = None
    for field in contract.fields:
        if field.type == "float64":
            finite = pc.is_finite(table[field.input_name])
            if pc.all(finite).as_py() is False:
                mask = pc.fill_null(finite, True).to_numpy()
                keep = mask if keep is None else keep & mask
    return keep


def _decode_strictly(
    records: Records, at: list[int], contract: Contract, rejecting: Rejecting
) -> tuple[np.ndarray, pa.Table]:
    good: list[int] = []
    rows: list[dict[str, Any]] = []
    for i in at:
        try:
            known, extra = decode_record(records.raw(i), contract)
        except StrictError as cause:
            rejecting.add(i, "undecodable", cause.rule, str(cause))
            continue
        good.append(i)
        rows.append({**known, EXTRA: extra})
    return np.asarray(good, np.int64), pa.Table.from_pylist(rows, schema=_raw_schema(contract))
