"""What a value of a Debezium message means: by the type that the message's schema block names, else by the contract.

    io.debezium.time.Timestamp      1749946800000      a wall clock, in milliseconds as if it were UTC
    ...MicroTimestamp, ...NanoTimestamp, Connect's own Timestamp: the same in other units
    io.debezium.time.IsoTimestamp   2025-06-15T00:20:00Z    a wall clock too, whatever the Z says
    io.debezium.time.ZonedTimestamp 2025-06-14T18:50:00Z    an instant
    io.debezium.time.Date           20254              days
    ...Time, MicroTime, NanoTime    740000             a time of day, for fields of text
    org.apache.kafka.connect.data.Decimal   "AXHi"     base64 of the unscaled number; the scale stands in the schema

Guaranteed: no unit is guessed from the size of a number, and no base64 is taken for a number. What neither schema nor
contract explains is `Refused` with what to write. A wall clock keeps no offset, so that it is local to the field's
`time_zone` as the same row's text is; where that is UTC it says so, which is read faster.
Types and modes as in https://debezium.io/documentation/reference/stable/connectors/sqlserver.html#sqlserver-data-types.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from data_sources.contract import FieldSpec

Reader = Callable[[bytes], bytes]
"""JSON of one value (never null) to JSON that the decoder reads; raises Refused."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock
_UNITS = {"days": (86_400_000_000, 1), "epoch_s": (1_000_000, 1), "epoch_ms": (1_000, 1), "epoch_us": (1, 1), "epoch_ns": (1, 1_000)}  # fmt: skip
"""Microseconds in so many of a unit."""

_POINTS = {
    "io.debezium.time.Date": "days",
    "org.apache.kafka.connect.data.Date": "days",
    "io.debezium.time.Timestamp": "epoch_ms",
    "org.apache.kafka.connect.data.Timestamp": "epoch_ms",
    "io.debezium.time.MicroTimestamp": "epoch_us",
    "io.debezium.time.NanoTimestamp": "epoch_ns",
}
_TIMES_OF_DAY = {
    "io.debezium.time.Time": "epoch_ms",
    "org.apache.kafka.connect.data.Time": "epoch_ms",
    "io.debezium.time.MicroTime": "epoch_us",
    "io.debezium.time.NanoTime": "epoch_ns",
}
_ISO_WITHOUT_ZONE = ("io.debezium.time.IsoTimestamp", "io.debezium.time.IsoDate")
_NO_POINTS = (*_TIMES_OF_DAY, "io.debezium.time.IsoTime", "io.debezium.time.ZonedTime", "io.debezium.time.Year",
              "io.debezium.time.MicroDuration", "io.debezium.time.NanoDuration", "io.debezium.time.Interval")  # fmt: skip
_DECIMAL = "org.apache.kafka.connect.data.Decimal"
_VARIABLE = "io.debezium.data.VariableScaleDecimal"
_PLAIN = re.compile(rb"-?[0-9]{1,400}(\.[0-9]{1,400})?")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})+|(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)")
_MOST_BYTES, _MOST_SCALE = 160, 400
"""More than any number has that a field can hold."""

_SCHEMAS_ON = "have Debezium send its schemas (value.converter.schemas.enable=true)"


class Refused(ValueError):
    """A message or a value that cannot be read: what `Rejecting.add` wants to know."""

    def __init__(self, rule: str, reason: str, cause: str = "undecodable") -> None:
        super().__init__(reason)
        self.cause, self.rule = cause, rule


class Column(msgspec.Struct):
    """A part of a schema block: Connect's type, the name of what it means, and what it holds."""

    type: Any = ""
    name: Any = None
    field: Any = None
    parameters: Any = None
    fields: list[Column] = []

    def at(self, name: str) -> Column | None:
        """The part called `name`."""
        return next((part for part in self.fields if part.field == name), None)


class _Variable(msgspec.Struct, forbid_unknown_fields=True):
    scale: int
    value: str


_decode_schema = msgspec.json.Decoder(Column).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_variable = msgspec.json.Decoder(_Variable).decode
_encode = msgspec.json.encode


def read_schema(block: bytes) -> Column | None:
    """The schema block of a message; None where there is none."""
    try:
        return _decode_schema(block)
    except (ValueError, RecursionError):
        return None


def value_reader(field: FieldSpec, column: Column | None) -> Reader | None:
    """How a value of the row is read into the field; None where it is taken as it stands."""
    kind = column.name if column is not None and isinstance(column.name, str) else ""
    if kind in (_DECIMAL, _VARIABLE):
        scale = _scale(column) if kind == _DECIMAL else None
        number = partial(_decimal, field, kind, scale)
        if field.type == "string":
            return lambda raw: b'"' + number(raw) + b'"'
        if field.type in ("date", "timestamp"):
            return lambda raw: _by_contract(field, number(raw))
        return number if field.is_numeric else None
    if field.type in ("date", "timestamp"):
        if kind in _POINTS:
            return partial(_point, field, _POINTS[kind])
        if kind in _ISO_WITHOUT_ZONE:
            return partial(_iso_without_zone, field)
        if kind in _NO_POINTS:
            return partial(_no_point, field, kind)
        return partial(_by_contract, field)
    if field.type == "string":
        if kind in _POINTS:
            return partial(_point, field, _POINTS[kind])
        return partial(_time_of_day, field, _TIMES_OF_DAY[kind]) if kind in _TIMES_OF_DAY else None
    if not field.is_numeric:
        return None
    is_text = column is not None and column.type == "string" and not kind
    return None if is_text and field.type.startswith("decimal") else partial(_unexplained_number, field)


def metadata_reader(field: FieldSpec, name: str) -> Reader | None:
    """How what stands beside the row (source, transaction, ts_ms) is read into the field: its times are instants, its
    numbers may be text, as Oracle's scn is. `name` is the last name of its path."""
    if field.type in ("date", "timestamp"):
        units = {"ts_ms": "epoch_ms", "ts_us": "epoch_us", "ts_ns": "epoch_ns"}
        unit = field.epoch or units.get(name)
        return partial(_by_contract, field) if unit is None else partial(_point, field, unit, is_instant=True)
    return unquoted if field.is_numeric else None


def instant(field: FieldSpec, millis: int) -> bytes:
    """JSON of milliseconds since the epoch for a date or timestamp field; raises Refused."""
    return _point(field, "epoch_ms", b"%d" % millis, is_instant=True)


def _by_contract(field: FieldSpec, raw: bytes) -> bytes:
    """Text as it stands; numbers in the unit of the field's `format`; those of a date without one are days."""
    if raw[:1] not in b"-0123456789":
        iso_date = field.type == "date" and field.format is None and raw[-2:] == b'Z"' and b"T" not in raw
        return raw[:-2] + b'"' if iso_date else raw
    unit = field.epoch or ("days" if field.type == "date" else None)
    if unit is None:
        raise Refused(
            f"time:{field.name}",
            f"{field.name}: {_shown(raw)} is a number, and neither the message nor the contract says in which unit; write "
            f'format = "epoch_ms" (or epoch_s, epoch_us, epoch_ns) on the field, or {_SCHEMAS_ON}',
        )
    return _point(field, unit, raw)


def _point(field: FieldSpec, unit: str, raw: bytes, is_instant: bool = False) -> bytes:
    """A number of units since the epoch; text as it stands."""
    if raw[:1] not in b"-0123456789":
        return raw
    try:
        micros = _micros(raw, unit)
        return _written(field, micros, is_instant, unit == "days")
    except (OverflowError, InvalidOperation):
        hint = '; it was read as days, write format = "epoch_ms" if it is none' if unit == "days" else ""
        raise Refused(
            f"time:{field.name}", f"{field.name}: {_shown(raw)} lies outside the years 1 to 9999{hint}"
        ) from None


def _micros(raw: bytes, unit: str) -> int:
    many, per = _UNITS[unit]
    try:
        return int(raw) * many // per
    except ValueError:  # a fraction, an exponent, or digits without end
        number = Decimal(raw[:400].decode("ascii", "replace"))
        if len(raw) > 400 or abs(number) > 10**30:
            raise OverflowError from None
        return int(number * many // per)


def _written(field: FieldSpec, micros: int, is_instant: bool = False, is_day: bool = False) -> bytes:
    moment = _EPOCH + timedelta(microseconds=micros)
    if is_instant and (field.type == "date" or (field.format is not None and field.epoch is None)):
        moment = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(field.time_zone)).replace(tzinfo=None)
    if field.type != "string" and field.format is not None and field.epoch is None:
        return _formatted(field, moment)
    if field.type == "date" or (field.type == "string" and is_day):
        return b'"%s"' % moment.date().isoformat().encode()
    is_utc = field.type == "timestamp" and (is_instant or field.time_zone == "UTC")
    return b'"%s%s"' % (moment.isoformat().encode(), b"+00:00" if is_utc else b"")


def _formatted(field: FieldSpec, moment: datetime) -> bytes:
    """As the native row's text has it: the field's format is what the decoder will read."""
    form = str(field.format)
    if "%z" in form:
        moment = moment.replace(tzinfo=ZoneInfo(field.time_zone))
    try:
        text = moment.strftime(form)
        kept = datetime.strptime(text, form).replace(tzinfo=None)  # noqa: DTZ007 - both are wall clocks
    except ValueError:
        kept = None
    if kept != moment.replace(tzinfo=None) and not (field.type == "date" and kept and kept.date() == moment.date()):
        raise Refused(
            f"time:{field.name}",
            f"{field.name}: {moment.isoformat()} cannot be written as {form!r} without loss; leave `format` out",
        )
    return _encode(text)


def _iso_without_zone(field: FieldSpec, raw: bytes) -> bytes:
    """time.precision.mode=isostring writes a wall clock with a Z, which is no zone."""
    if raw[-2:] != b'Z"':
        return _by_contract(field, raw)
    text = raw[1:-2]
    if field.type == "date":
        text = text[:10]
    elif b"T" not in text:
        text += b"T00:00:00"
    return b'"%s%s"' % (text, b"Z" if field.time_zone == "UTC" and field.type == "timestamp" else b"")


def _no_point(field: FieldSpec, kind: str, raw: bytes) -> bytes:
    what = kind.rsplit(".", 1)[-1]
    raise Refused(
        f"time:{field.name}",
        f"{field.name}: the message's schema says {what}, which is no {field.type}; declare the field as string or int64",
    )


def _time_of_day(field: FieldSpec, unit: str, raw: bytes) -> bytes:
    """`00:12:20`, and beyond a day or below zero as MySQL has it."""
    if raw[:1] not in b"-0123456789":
        return raw
    try:
        micros = _micros(raw, unit)
    except (OverflowError, InvalidOperation):
        return raw
    seconds, fraction = divmod(abs(micros), 1_000_000)
    text = f"{'-' * (micros < 0)}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f'"{text}.{fraction:06}"'.encode() if fraction else f'"{text}"'.encode()


def _scale(column: Column | None) -> int | None:
    try:
        return int(column.parameters["scale"]) if column is not None else None
    except (KeyError, ValueError, TypeError):
        return None


def _decimal(field: FieldSpec, kind: str, scale: int | None, raw: bytes) -> bytes:
    """Digits of a number that may be base64 (Connect's decimal.format=BASE64), a number (NUMERIC), or carry its scale."""
    if raw[:1] == b"{":
        return _variable(field, raw)
    if raw[:1] != b'"':
        return raw
    if kind != _DECIMAL or scale is None:
        raise _no_number(field, raw, f"the message's schema names {kind} without a scale")
    return _unscaled(field, _text(raw), scale, raw)


def _variable(field: FieldSpec, raw: bytes) -> bytes:
    """{"scale": 2, "value": "AXHi"}, which says itself how it is read."""
    try:
        value = _decode_variable(raw)
    except (ValueError, RecursionError):
        raise _no_number(field, raw, "an object where a number is due") from None
    return _unscaled(field, value.value, value.scale, raw)


def _unscaled(field: FieldSpec, text: str, scale: int, raw: bytes) -> bytes:
    try:
        number = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        number = b""
    if not number or len(number) > _MOST_BYTES or abs(scale) > _MOST_SCALE:
        raise _no_number(field, raw, "its schema says base64 of a number, which it is not")
    value = int.from_bytes(number, "big", signed=True)
    digits = str(abs(value))
    if scale > 0:
        digits = digits.zfill(scale + 1)
        digits = f"{digits[:-scale]}.{digits[-scale:]}"
    elif scale < 0 and value:
        digits += "0" * -scale
    if field.type == "int64":
        head, _, tail = digits.partition(".")
        digits = digits if tail.strip("0") else head
    return f"{'-' * (value < 0)}{digits}".encode()


def _unexplained_number(field: FieldSpec, raw: bytes) -> bytes:
    """A number as it stands; text only where it cannot be base64: with a decimal point, a minus, or of a length that
    base64 never has."""
    if raw[:1] == b"{":
        return _variable(field, raw)
    if raw[:1] != b'"':
        return raw
    if field.type.startswith("decimal"):
        if b"." in raw or b"-" in raw:
            return raw
        text = _text(raw)
        if not _BASE64.fullmatch(text):
            return raw
        if text.isdigit():
            raise _no_number(field, raw, "it may be the number or base64 of another")
    raise _no_number(field, raw, f"text where {field.type} is due")


def _no_number(field: FieldSpec, raw: bytes, seen: str) -> Refused:
    wanted = "string" if field.type.startswith("decimal") else "double"
    return Refused(
        f"type:{field.name}",
        f"{field.name}: {_shown(raw)} cannot be read ({seen}). Debezium writes decimals as base64 unless told otherwise: "
        f"set decimal.handling.mode={wanted}, or {_SCHEMAS_ON}",
    )


def unquoted(raw: bytes) -> bytes:
    """A number that stands as text, as a number."""
    return raw[1:-1] if raw[:1] == b'"' and _PLAIN.fullmatch(raw[1:-1]) else raw


def _text(raw: bytes) -> str:
    """The text, empty where it is none that JSON may hold."""
    try:
        return _decode_text(raw)
    except ValueError:
        return ""


def _shown(raw: bytes) -> str:
    return raw[:60].decode("utf-8", "replace")
