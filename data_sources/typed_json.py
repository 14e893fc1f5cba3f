"""Typed values (msgspec structs) as JSON text: one way to write them, one to read them.

Not every text is UTF-8: a file's name may be any bytes, which Python holds as lone surrogates and its own `json`
writes as \\udc80 to \\udcff. msgspec refuses them, and the NaN of an early manifest; such a value, and only such a one,
takes the slower way through Python's `json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def encode(value: Any, indent: int = 0) -> bytes:
    """JSON, on one line or, for people, indented. Equal values give equal bytes. NaN and infinities become null."""
    try:
        written = msgspec.json.encode(value)
    except UnicodeEncodeError:
        written = json.dumps(msgspec.to_builtins(value, str_keys=True)).encode()
        return written if not indent else json.dumps(json.loads(written), indent=indent).encode()
    return msgspec.json.format(written, indent=indent) if indent else written


def decoder(kind: type[T]) -> Callable[[bytes | str], T]:
    """A function that reads values of one type; it raises ValueError, which says where in the text what was amiss."""
    plain = msgspec.json.Decoder(kind)

    def decode(text: bytes | str) -> T:
        try:
            return plain.decode(text)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return from_plain(json.loads(text), kind)

    return decode


def from_plain(value: Any, kind: type[T]) -> T:
    """What `json.loads` made, as a typed value; raises ValueError."""
    return msgspec.convert(value, kind, str_keys=True)
