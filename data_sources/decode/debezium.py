"""Debezium's envelope for SQL Server, read as the native change rows of the same feed.

    {"op": "u", "before": {..}, "after": {..}, "source": {"commit_lsn": .., "change_lsn": .., "event_serial_no": ..}}
        -> the row of `after` (of `before` for a delete) with operation 4 and the contract's sequence fields

Bare or inside `payload`. An update's before image is left out: what it says, the row before it said. A truncate
(op t) has no image: it becomes a row of nulls but for operation 0, its sequence and its time. A tombstone
(`null`, or no value at all) becomes a row of nulls: it lands and changes nothing. Dates and timestamps may be
numbers, as Debezium writes them without a schema: days; milliseconds, microseconds or nanoseconds by their size.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np

from data_sources.cdc import AFTER, COMMAND_ID, DELETE, INSERT, TRUNCATE
from data_sources.contract import Contract
from data_sources.decode.rejects import MAX_RECORD, Rejecting
from data_sources.records import Records

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING, _ABSENT = msgspec.Raw(b"null"), msgspec.Raw(b"")
_CODES = {"c": (INSERT, "after"), "r": (INSERT, "after"), "u": (AFTER, "after"), "d": (DELETE, "before")}


class _Source(msgspec.Struct):
    commit_lsn: Any = None
    change_lsn: Any = None
    event_serial_no: Any = None
    ts_ms: Any = None


class _Envelope(msgspec.Struct):
    op: Any = None
    before: msgspec.Raw = _NOTHING
    after: msgspec.Raw = _NOTHING
    source: _Source | None = None
    payload: msgspec.Raw = _ABSENT


_decode = msgspec.json.Decoder(_Envelope).decode
_decode_image = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Unwrapped(NamedTuple):
    """Records with envelopes made flat; masks of tombstones, of truncates, and of records that are rejected here."""

    records: Records
    tombstones: np.ndarray
    truncates: np.ndarray
    refused: np.ndarray


def unwrap(records: Records, contract: Contract, rejecting: Rejecting) -> Unwrapped:
    """Read envelopes as native records; adds the rejects it finds to `rejecting`."""
    none = np.zeros(len(records), bool)
    lake = contract.lake
    if lake.load != "cdc" or lake.envelope == "none" or not len(records):
        return Unwrapped(records, none, none, none)
    wrapped = b'"op"' in records.data
    short = np.flatnonzero(records.ends - records.starts <= 16)
    tombstones = none.copy()
    tombstones[[i for i in short.tolist() if records.raw(i).strip() in (b"", b"null")]] = True
    if not wrapped:
        return Unwrapped(records, tombstones, none, none)
    truncates, refused, flat = none.copy(), none.copy(), []
    for i in range(len(records)):
        raw: bytes | None = records.raw(i)
        try:
            if not tombstones[i]:
                raw, truncates[i] = _flatten(raw or b"", contract)
        except _Refused as cause:
            refused[i] = True
            rejecting.add(i, cause.cause, cause.rule, str(cause))
        if raw is None:
            tombstones[i], raw = True, b""
        flat.append(raw)
    return Unwrapped(_as_records(flat, records), tombstones, truncates, refused)


class _Refused(ValueError):
    def __init__(self, cause: str, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.cause, self.rule = cause, rule


def _flatten(raw: bytes, contract: Contract) -> tuple[bytes | None, bool]:
    """A native record as it is, an envelope as a native record, None for a tombstone; and whether it is a truncate.

    Raises _Refused.
    """
    lake = contract.lake
    if len(raw) > MAX_RECORD:
        return raw, False
    try:
        envelope = _decode(raw)
        if bytes(envelope.payload) and envelope.op is None:
            if _is_null(envelope.payload):
                return None, False
            envelope = _decode(envelope.payload)
    except (ValueError, RecursionError):  # not JSON, or a row that has fields of these names: the decoder's business
        return raw, False
    operation = contract.field(lake.operation or "")
    is_bare = _is_null(envelope.before) and _is_null(envelope.after)
    is_native = lake.envelope == "auto" and operation.input_name != "op" and operation.input_name.encode() in raw
    if envelope.op == "t" and is_bare and envelope.source is not None and not is_native:
        return _truncate(envelope.source, contract), True
    if envelope.op is None or (lake.envelope == "auto" and is_bare):
        return raw, False
    known = _CODES.get(envelope.op) if isinstance(envelope.op, str) else None
    if known is None:
        if lake.envelope == "auto" and operation.input_name.encode() in raw:
            return raw, False
        seen = json.dumps(envelope.op)[:40]
        raise _Refused("rule_broken", f"operation:{operation.name}", f"op {seen} is none of c, u, d, r, t")
    code, which = known
    image = getattr(envelope, which)
    if _is_null(image):
        raise _Refused("undecodable", f"image:{which}", f"op {envelope.op!r} has no {which!r} image")
    try:
        fields = _decode_image(image)
    except (ValueError, RecursionError) as cause:
        raise _Refused("undecodable", f"image:{which}", f"the {which!r} image is not an object") from cause
    return _native(bytes(image).strip(), fields, code, envelope.source or _Source(), contract), False


def _truncate(source: _Source, contract: Contract) -> bytes:
    """A truncate as a native record of its operation, sequence and time; raises _Refused where it has none of one."""
    place = _place(source, contract)
    if not any(value is not None for value in place.values()):
        name = next(iter(place), contract.lake.sequence_by[0])
        raise _Refused(
            "undecodable", f"null:{name}", "op 't' has no place in the log: its source names no LSN or number"
        )
    return _native(b"{}", {}, TRUNCATE, source, contract)


def _is_null(raw: msgspec.Raw) -> bool:
    return bytes(raw).strip() == b"null"


def _native(image: bytes, fields: dict[str, msgspec.Raw], code: int, source: _Source, contract: Contract) -> bytes:
    added = _place(source, contract)
    added[contract.field(contract.lake.operation or "").input_name] = code
    time = contract.field(contract.event_time)
    if time.input_name not in fields and isinstance(source.ts_ms, int):
        added[time.input_name] = _iso(source.ts_ms * 1000)
    numbers = {
        f.input_name: f.type
        for f in contract.fields
        if f.type in ("date", "timestamp") and bytes(fields.get(f.input_name, b"n"))[:1] in b"-0123456789"
    }
    if numbers:
        parts = [json.dumps(k).encode() + b":" + bytes(v) for k, v in fields.items() if k not in numbers]
        image = b"{" + b",".join(parts) + b"}"
        added |= {k: _time(bytes(fields[k]), kind) for k, kind in numbers.items()}
    added = {k: v for k, v in added.items() if (v is not None and k not in fields) or k in numbers}
    tail = json.dumps(added).encode()
    if not added:
        return image
    return image[:-1] + (b"," if len(image) > 2 and image[1:-1].strip() else b"") + tail[1:]


def _place(source: _Source, contract: Contract) -> dict[str, Any]:
    """What the source says of the sequence, by input name, the operation left out."""
    found: dict[str, Any] = {}
    lsns = [source.commit_lsn, source.change_lsn]
    for name in contract.lake.sequence_by:
        field = contract.field(name)
        if name == contract.lake.operation or field.input_name == COMMAND_ID:  # which the envelope does not tell
            continue
        if field.type == "string":
            found[field.input_name] = lsns.pop(0) if lsns else None
        else:
            found[field.input_name] = _number(source.event_serial_no)
    return found


def _number(value: Any) -> Any:
    """An event_serial_no is text, a number or null."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _time(raw: bytes, kind: str) -> Any:
    try:
        number = int(raw)
        if kind == "date" and abs(number) < 4_000_000:
            return (date(1970, 1, 1) + timedelta(days=number)).isoformat()
        micros = number * 1000 if abs(number) < 10**14 else number if abs(number) < 10**17 else number // 1000
        return _iso(micros)[: 10 if kind == "date" else None]
    except (ValueError, OverflowError):
        return raw.decode("utf-8", "replace")  # the decoder will refuse it


def _iso(micros: int) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=micros)).isoformat()
    except OverflowError:
        return str(micros)


def _as_records(values: list[bytes], like: Records) -> Records:
    """The same records with other bytes."""
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    ends = np.cumsum(lengths + 1) - 1
    data = b"\n".join(values)
    whole = data.count(b"\n") == max(len(values) - 1, 0)
    return Records(data, ends - lengths, ends, like.positions, like.arrivals, whole)
