"""One JSON record, strictly: the reference for what a record may be. The block decoder must agree with it.

Refused, each with a rule's name: what is not one JSON object (`json`), a name given twice (`json`), NaN and
infinities (`number`), numbers beyond a double, lone surrogates, nesting deeper than 64 (`json`), a value of
another type than the field's (`type:FIELD`). Never coerced: text to number, number to text or bool, 1.7 to 2.
A whole number written 1.0 is an int64; a decimal may be a number or its text and must fit without rounding.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from data_sources.contract import Contract, FieldSpec
from data_sources.decode.rejects import MAX_RECORD

MAX_NESTING = 64
_OPENERS = re.compile(rb"[\[{]")
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.S)
_MAX_DIGITS = 400
"""More than any whole number has that a double can hold."""


class StrictError(ValueError):
    """A record that cannot be decoded; `rule` names what it broke."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule


def decode_record(raw: bytes, contract: Contract) -> tuple[dict[str, Any], str | None]:
    """The record's values by input name, and the JSON of what it holds beyond the contract (or None).

    Dates and timestamps stay text. Raises StrictError.
    """
    value = _object(raw)
    _check_leaves(value)
    known = {}
    for field in contract.fields:
        if field.input_name in value:
            known[field.input_name] = _fit(value.pop(field.input_name), field)
    return known, _as_extra(value)


def decode_extra(raw: bytes, declared: set[str]) -> str | None:
    """The second half of `decode_record`'s answer, of a record whose declared fields are known to be right."""
    value = {name: v for name, v in _object(raw).items() if name not in declared}
    _check_leaves(value)
    return _as_extra(value)


def _as_extra(value: dict[str, Any]) -> str | None:
    extra = {name: v for name, v in value.items() if v is not None}
    return _WRITER.encode(extra) if extra else None


def _object(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_RECORD:
        raise StrictError("size", f"the record has more than {MAX_RECORD:,} bytes")
    if len(_OPENERS.findall(raw)) > MAX_NESTING and _depth(raw) > MAX_NESTING:
        raise StrictError("json", f"nested deeper than {MAX_NESTING}")
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as cause:
        raise StrictError("utf-8", f"byte {cause.start} is not UTF-8") from cause
    if not text.strip():
        raise StrictError("json", "the record is empty")
    try:
        value = _READER.decode(text)
    except StrictError:
        raise
    except (ValueError, RecursionError) as cause:
        raise StrictError("json", f"not JSON: {str(cause)[:200]}") from cause
    if not isinstance(value, dict):
        raise StrictError("json", f"a JSON {_kind(value)}, not an object")
    return value


def _fit(value: Any, field: FieldSpec) -> Any:
    if value is None:
        return None
    kind = field.type
    if kind in ("string", "date", "timestamp"):
        if isinstance(value, str):
            return value
    elif kind == "bool":
        if isinstance(value, bool):
            return value
    elif kind == "float64":
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return float(value)
    elif kind == "int64":
        if isinstance(value, Decimal) and value == value.to_integral_value():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            if -(2**63) <= value < 2**63:
                return value
            raise StrictError(f"type:{field.name}", f"{field.name}: {str(value)[:40]} does not fit int64")
    elif isinstance(value, int | Decimal | str) and not isinstance(value, bool):
        return _decimal(value, field)
    shown = json.dumps(value, default=str)[:80]
    hint = '; if it counts from 1970, say its unit with format = "epoch_s" or "epoch_ms"'
    counts = kind in ("date", "timestamp") and isinstance(value, int | Decimal) and not isinstance(value, bool)
    raise StrictError(
        f"type:{field.name}",
        f"{field.name}: a JSON {_kind(value)} where {kind} is due: {shown}{hint if counts else ''}",
    )


def _decimal(value: Any, field: FieldSpec) -> Decimal:
    """Raises StrictError unless the number fits the field's precision and scale without rounding."""
    if isinstance(value, str) and not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", value):
        raise StrictError(f"type:{field.name}", f"{field.name}: {value[:40]!r} is not a number")
    precision, scale = field.arrow.precision, field.arrow.scale
    sign, digits, exponent = Decimal(value).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")  # digits, so that no context rounds
    moved = int(exponent) + len(digits) - len(text) + scale
    if text and (moved < 0 or len(text) + moved > precision):
        raise StrictError(f"type:{field.name}", f"{field.name}: {str(value)[:40]} does not fit {field.type}")
    unscaled = int(text) * 10**moved if text else 0
    return Decimal((sign, tuple(map(int, str(unscaled))), -scale))


def _check_leaves(value: Any) -> None:
    """Numbers must fit a double, text must be Unicode."""
    if isinstance(value, dict):
        for name, part in value.items():
            _check_leaves(name)
            _check_leaves(part)
    elif isinstance(value, list):
        for part in value:
            _check_leaves(part)
    elif isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as cause:
            raise StrictError("utf-8", "a lone surrogate, which is no character") from cause
    elif isinstance(value, int | Decimal) and not isinstance(value, bool):
        try:
            finite = math.isfinite(float(value))
        except OverflowError:
            finite = False
        if not finite:
            raise StrictError("number", "a number beyond what a double holds")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise StrictError("json", f"the name {twice[:80]!r} is given twice")
    return value


def _fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond a Decimal's own: nothing or beyond a double
        return Decimal(float(text))


def _whole(text: str) -> int | Decimal:
    if len(text) > _MAX_DIGITS:
        raise StrictError("number", f"a whole number of {len(text):,} digits")
    return Decimal(text) if text == "-0" else int(text)


def _refuse(constant: str) -> Any:
    raise StrictError("number", f"{constant} is not a number")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    for kind, name in ((bool, "boolean"), (str, "string"), (dict, "object"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "number"


def _depth(raw: bytes) -> int:
    """How deep brackets nest; those inside texts do not count."""
    depth = deepest = 0
    for byte in _TEXT.sub(b"", raw):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


_READER = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=_fraction, parse_int=_whole, parse_constant=_refuse, strict=True
)


def _number(value: Decimal) -> int | float:
    """As a double holds it; one that is whole and exact without a fraction, so that 1, 1.0 and 1e0 read the same."""
    number = float(value)
    return int(number) if abs(number) < 2**53 and number == int(number) else number


_WRITER = json.JSONEncoder(default=_number, ensure_ascii=False, sort_keys=True)
