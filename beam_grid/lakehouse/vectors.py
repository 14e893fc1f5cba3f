"""Deletion vectors: which rows of a data file are gone, as Delta's protocol writes them down.

    add action ─► {"storageType": "i", the bitmap itself in the log}            few rows
                  {"storageType": "u", "deletion_vector_UUID.bin" beside the data, at an offset}

    bitmap     magic number (4 bytes) | 64-bit Roaring bitmap in its portable form
    file       version 1 (1 byte) | size (4) bitmap checksum (4) | size bitmap checksum | ...

Source: Delta Lake's PROTOCOL.md, "Deletion Vector Format". Row positions count from 0 over the whole file.
"""

from __future__ import annotations

import base64
import struct
import uuid
import zlib
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from beam_grid import durable
from beam_grid.errors import GridError

Vector = dict[str, Any]
"""A `deletionVector` of an add or remove action."""

_MAGIC = 1681511377
_INLINE_BYTES = 1024
"""A bitmap up to this size stands in the log: one file less to write, to sync and to open."""

_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_B85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_FROM_Z85, _TO_Z85 = str.maketrans(_Z85, _B85), str.maketrans(_B85, _Z85)


def deleted(table: Path, vector: Vector | None) -> np.ndarray:
    """Positions of the rows that are gone, in order (uint64). Raises GridError for a vector that is damaged."""
    if vector is None:
        return np.array([], np.uint64)
    from pyroaring import BitMap64

    data = _bitmap(table, vector)
    if len(data) < 4 or struct.unpack("<i", data[:4])[0] != _MAGIC:
        raise GridError(f"{table}: a deletion vector ({vector['pathOrInlineDv'][:40]}) is not one; {_WAY_OUT}")
    return np.frombuffer(BitMap64.deserialize(data[4:]).to_array(), np.uint64)


def write(table: Path, positions: np.ndarray) -> Vector:
    """A vector of these row positions; a large one is written, and synced, as a file of its own."""
    from pyroaring import BitMap64

    bitmap = BitMap64(array("Q", positions.astype(np.uint64).tobytes()))
    data = struct.pack("<i", _MAGIC) + bitmap.serialize()
    facts = {"sizeInBytes": len(data), "cardinality": len(bitmap)}
    if len(data) <= _INLINE_BYTES:
        return {"storageType": "i", "pathOrInlineDv": _encoded(data), **facts}
    name = uuid.uuid4()
    with durable.synced_file(table / _file_name(name)) as out:
        out.write(b"\x01" + struct.pack(">i", len(data)) + data + struct.pack(">I", zlib.crc32(data)))
    return {"storageType": "u", "pathOrInlineDv": _encoded(name.bytes), "offset": 1, **facts}


def path_of(vector: Vector | None) -> str | None:
    """Of its file in the table; None where it has none there."""
    if vector is None or vector["storageType"] != "u":
        return None
    text = vector["pathOrInlineDv"]
    name = uuid.UUID(bytes=base64.b85decode(text[-20:].translate(_FROM_Z85)))
    return str(Path(text[:-20]) / _file_name(name))


def _bitmap(table: Path, vector: Vector) -> bytes:
    text, size = vector["pathOrInlineDv"], vector["sizeInBytes"]
    if vector["storageType"] == "i":
        return base64.b85decode(text.translate(_FROM_Z85))[:size]
    path = path_of(vector)
    if path is None:
        raise GridError(f"{table}: a deletion vector lies outside of the table ({text}); {_WAY_OUT}")
    where = table / path
    try:
        with where.open("rb") as file:
            file.seek(vector.get("offset") or 0)
            head = file.read(4)
            data, check = file.read(size), file.read(4)
    except OSError as cause:
        raise GridError(f"{where}: cannot be read ({cause.strerror}); {_WAY_OUT}") from cause
    if len(check) != 4 or struct.unpack(">i", head)[0] != size or struct.unpack(">I", check)[0] != zlib.crc32(data):
        raise GridError(f"{where}: is damaged (its checksum differs); {_WAY_OUT}")
    return data


def _file_name(name: uuid.UUID) -> str:
    return f"deletion_vector_{name}.bin"


def _encoded(data: bytes) -> str:
    return base64.b85encode(data, pad=True).decode("ascii").translate(_TO_Z85)


_WAY_OUT = "move the table away and run refine, which makes it anew from the commits"
