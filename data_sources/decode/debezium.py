"""Debezium's envelopes, read as the native change rows of the same feed.

    {"op": "u", "before": {..}, "after": {..}, "source": {"commit_lsn": .., "change_lsn": .., "event_serial_no": ..}}
        -> the row of `after` (of `before` for a delete) with operation 4 and the contract's sequence fields

Bare or inside `payload`. SQL Server's place in the log fills the fields of `sequence_by` by itself; any other comes by
a path from the message, `source = "$.source.lsn"`. A change without a place is refused. Values are read as the schema
block says, see debezium_values.py; a schema block is parsed once, however many messages carry it.

An update's before image is left out: what it says, the row before it said. Where it has another key than the after
image the update is two records, the before image with operation 3 and the after image with 4, so that the old key can
end. A truncate (op t) has no image: it becomes a row of nulls but for operation 0, its sequence and its time. A
tombstone (`null`, no value at all, or a `payload` that is null and nothing beside it but `schema`) becomes a row of
nulls: it lands and changes nothing.

A name given twice in a message, or in an image, is a reject; what is given twice inside `source` is not looked for.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import msgspec
import numpy as np

from data_sources.cdc import AFTER, BEFORE, DELETE, INSERT, TRUNCATE
from data_sources.contract import Contract
from data_sources.decode.debezium_plan import Image, Plan, plan_of
from data_sources.decode.debezium_values import Refused, instant, unquoted
from data_sources.decode.flat import names_once
from data_sources.decode.rejects import MAX_RECORD, Rejecting
from data_sources.records import Records

_NOTHING, _ABSENT = msgspec.Raw(b"null"), msgspec.Raw(b"")
_NO_PAYLOAD = re.compile(rb'"payload"\s*:\s*null')
_CODES = {"c": (INSERT, "after"), "r": (INSERT, "after"), "u": (AFTER, "after"), "d": (DELETE, "before")}


class _Source(msgspec.Struct):
    commit_lsn: msgspec.Raw = _NOTHING
    change_lsn: msgspec.Raw = _NOTHING
    event_serial_no: msgspec.Raw = _NOTHING
    ts_ms: Any = None


class _Envelope(msgspec.Struct):
    op: Any = None
    before: msgspec.Raw = _NOTHING
    after: msgspec.Raw = _NOTHING
    source: _Source | None = None
    payload: msgspec.Raw = _ABSENT
    schema: msgspec.Raw = _ABSENT


_decode = msgspec.json.Decoder(_Envelope).decode
_decode_image = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Unwrapped(NamedTuple):
    """Records with envelopes made flat; masks of tombstones, of truncates, and of records that are rejected here.

    parents: where a message became two records, the index of the message each record came from; None: one to one.
    """

    records: Records
    tombstones: np.ndarray
    truncates: np.ndarray
    refused: np.ndarray
    rejecting: Rejecting
    parents: np.ndarray | None = None


class _Message(NamedTuple):
    """An envelope in parts: its own JSON (without schema and payload), and its schema block, if any."""

    envelope: _Envelope
    raw: bytes
    schema: bytes


def unwrap(records: Records, contract: Contract) -> Unwrapped:
    """Read envelopes as native records, with the rejects found on the way."""
    none = np.zeros(len(records), bool)
    lake = contract.lake
    rejecting = Rejecting(records.raw, records.positions)
    if lake.load != "cdc" or lake.envelope == "none" or not len(records):
        return Unwrapped(records, none, none, none, rejecting)
    tombstones = _tombstones(records)
    if b'"op"' not in records.data:
        return Unwrapped(records, tombstones, none, none, rejecting)
    plan = plan_of(contract)
    flat: list[bytes] = []
    parents: list[int] = []
    gone, truncated, causes = list[int](), list[int](), dict[int, Refused]()
    for i in range(len(records)):
        raw: bytes = records.raw(i)
        found: list[bytes] = [raw]
        try:
            if tombstones[i]:
                gone.append(len(flat))
            else:
                found, is_truncate = _flatten(raw, plan)
                if is_truncate:
                    truncated.append(len(flat))
        except Refused as refusal:
            causes[len(flat)] = refusal
        flat += found
        parents += [i] * len(found)
    origin = np.asarray(parents, np.int64)
    expanded = _as_records(flat, records, origin)
    rejecting = Rejecting(lambda n: records.raw(parents[n]), expanded.positions)
    for n, cause in causes.items():
        rejecting.add(n, cause.cause, cause.rule, str(cause))
    tombstones, truncates, refused = (_mask(at, len(flat)) for at in (gone, truncated, list(causes)))
    parents_or_none = origin if len(flat) > len(records) else None
    return Unwrapped(expanded, tombstones, truncates, refused, rejecting, parents_or_none)


def _tombstones(records: Records) -> np.ndarray:
    """Mask of the tombstones, whatever stands beside them: a row may have a `payload` that is null, and other names."""
    mask = np.zeros(len(records), bool)
    short = np.flatnonzero(records.ends - records.starts <= 16)
    mask[[i for i in short.tolist() if records.raw(i).strip() in (b"", b"null")]] = True
    ends = [match.end() for match in _NO_PAYLOAD.finditer(records.data)] if b'"payload"' in records.data else []
    at = np.unique(np.searchsorted(records.ends, np.asarray(ends, np.int64)))
    for i in at[at < len(records)].tolist():
        mask[i] |= _is_wrapped_tombstone(records.raw(i))
    return mask


def _is_wrapped_tombstone(raw: bytes) -> bool:
    try:
        found = _decode_image(raw) if len(raw) <= MAX_RECORD else {}
    except (ValueError, RecursionError):
        return False
    return found.keys() <= {"schema", "payload"} and "payload" in found and _is_null(found["payload"])


def _mask(at: list[int], length: int) -> np.ndarray:
    mask = np.zeros(length, bool)
    mask[at] = True
    return mask


def _flatten(raw: bytes, plan: Plan) -> tuple[list[bytes], bool]:
    """A native record as it is, an envelope as one native record or two; and whether it is a truncate. Raises Refused."""
    if len(raw) > MAX_RECORD:
        return [raw], False
    try:
        message = _Message(_decode(raw), raw, b"")
        payload = bytes(message.envelope.payload)
        if payload and message.envelope.op is None:
            message = _Message(_decode(payload), payload, bytes(message.envelope.schema))
    except (ValueError, RecursionError):  # not JSON, or a row that has fields of these names: the decoder's business
        return [raw], False
    envelope = message.envelope
    is_bare = _is_null(envelope.before) and _is_null(envelope.after)
    if envelope.op == "t" and is_bare and envelope.source is not None and not plan.may_be_native(raw):
        return [_native(Image(b"{}", {}), TRUNCATE, message, plan)], True
    if envelope.op is None or (plan.is_auto and is_bare):
        return [raw], False
    known = _CODES.get(envelope.op) if isinstance(envelope.op, str) else None
    if known is None:
        if plan.is_auto and plan.operation.input_name.encode() in raw:
            return [raw], False
        seen = json.dumps(envelope.op)[:40]
        raise Refused(f"operation:{plan.operation.name}", f"op {seen} is none of c, u, d, r, t", "rule_broken")
    if _is_given_twice(message.raw) or (message.raw is not raw and raw.count(b'"payload"') > 1 and _repeats(raw)):
        raise Refused("json", "a name of the message is given twice")
    code, which = known
    image = _image(envelope, which)
    found = []
    if code == AFTER and not _is_null(envelope.before):
        before = _image(envelope, "before")
        if plan.has_another_key(before, image):
            place = {name: image.values[name] for name in plan.sequence if name in image.values}
            before = before.replaced(place)  # both images stand at one place in the log
            found.append(_native(plan.read(before, message.schema, "before"), BEFORE, message, plan))
    found.append(_native(plan.read(image, message.schema, which), code, message, plan))
    return found, False


def _image(envelope: _Envelope, which: str) -> Image:
    raw = getattr(envelope, which)
    if _is_null(raw):
        raise Refused(f"image:{which}", f"op {envelope.op!r} has no {which!r} image")
    try:
        image = Image(bytes(raw).strip(), _decode_image(raw))
    except (ValueError, RecursionError) as cause:
        raise Refused(f"image:{which}", f"the {which!r} image is not an object") from cause
    if not names_once(image.raw, image.values):
        raise Refused("json", f"a name of the {which!r} image is given twice")
    return image


def _is_given_twice(payload: bytes) -> bool:
    """Whether one of an envelope's own names is; a column called so, or a text, is looked at more closely."""
    count = payload.count
    may_be = count(b'"op"') > 1 or count(b'"before"') > 1 or count(b'"after"') > 1 or count(b'"source"') > 1
    return may_be and _repeats(payload)


def _repeats(raw: bytes) -> bool:
    return not names_once(raw, _decode_image(raw))


def _is_null(raw: msgspec.Raw) -> bool:
    return bytes(raw).strip() == b"null"


def _native(image: Image, code: int, message: _Message, plan: Plan) -> bytes:
    """The image with operation, place in the log and time; raises Refused where it has no place."""
    source = message.envelope.source or _Source()
    added: dict[str, Any] = {name: _known(getattr(source, part)) for name, part in plan.lsns.items()}
    serial = _known(source.event_serial_no)
    if serial is not None and plan.serials:
        serial = msgspec.Raw(unquoted(bytes(serial)))  # text, a number or null
    added.update(dict.fromkeys(plan.serials, serial))
    if plan.paths:
        added.update(plan.from_message(message.raw, message.schema))
    if not plan.is_placed and not any(added.get(name) is not None or image.has(name) for name in plan.sequence):
        raise Refused(f"null:{plan.sequence_names[0]}", _placeless(message, plan))
    operation = plan.operation.input_name
    if image.get(operation) is not None:  # a column that is called so says nothing of the change
        image = image.replaced({operation: msgspec.Raw(b"%d" % code)})
    added[operation] = code
    time = plan.event_time
    has_time = any(image.has(name) or added.get(name) is not None for name in time.wanted)
    if not has_time and type(source.ts_ms) is int:
        added[time.input_name] = msgspec.Raw(instant(time, source.ts_ms))
    return image.with_added(added)


def _placeless(message: _Message, plan: Plan) -> str:
    """What is missing, with the path to write where another database's place is seen."""
    reason = f"the change has no place in the log: none of {', '.join(plan.sequence_names)} is in the message"
    try:
        source = _decode_image(_decode_image(message.raw)["source"])
    except (ValueError, KeyError, RecursionError):
        return reason
    seen = [name for name in ("lsn", "scn", "commit_scn", "file", "pos", "row") if name in source]
    if not seen:
        return reason
    paths = ", ".join(f'"$.source.{name}"' for name in seen)
    return f"{reason}; give fields of sequence_by a path to it, as in source = {paths}"


def _known(value: msgspec.Raw) -> msgspec.Raw | None:
    return None if _is_null(value) else value


def _as_records(values: list[bytes], like: Records, parents: np.ndarray) -> Records:
    """Records of other bytes at the places of those they came from."""
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    ends = np.cumsum(lengths + 1) - 1
    data = b"\n".join(values)
    whole = data.count(b"\n") == max(len(values) - 1, 0)
    arrivals = None if like.arrivals is None else like.arrivals[parents]
    return Records(data, ends - lengths, ends, like.positions[parents], arrivals, whole)
