"""A file's text as one stream of bytes, whatever it is packed in.

    a.csv                 its bytes
    a.csv.gz, a.csv.zst   unpacked
    a.zip/b.csv           the member b.csv of the archive a.zip
    a.xlsx                rows of one sheet, written as CSV the way the contract says CSV is written
    UTF-16 and the like   as UTF-8, so that line ends and delimiters are one byte each

All but the first are *packed*: such a file is whole when it comes and never grows. Positions in it are those of the
stream. Raises OSError and SourceError, never anything of the libraries beneath.
"""

from __future__ import annotations

import codecs
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import xxhash

from data_sources.contract import Contract
from data_sources.sources.errors import SourceError

COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
EXCEL = ".xlsx"
BLOCK = 8 << 20
"""Bytes read at a time; with readings of 340 bytes about 24,000 rows."""

MOST_UNPACKED, MOST_RATIO = 256 << 20, 200
"""A member of an archive that unpacks to more bytes than this, and to so many times its packed size, is not opened:
meter readings pack to a tenth or a thirtieth, archives made to fill a disk to a thousandth."""


class Place(NamedTuple):
    """Where a file's bytes are: a file of the file system, or a member of an archive there."""

    file: str
    member: str | None


class Stamp(NamedTuple):
    """What tells that a file was not touched: bytes, and nanoseconds since the epoch."""

    size: int
    mtime: int


def compression(path: str) -> str | None:
    """The codec that a path's ending says."""
    return COMPRESSED.get(os.path.splitext(path)[1].lower())


def bare(path: str) -> str:
    """The path without the ending of its compression."""
    return os.path.splitext(path)[0] if compression(path) else path


def place(path: str) -> Place:
    """`/data/a.zip/b.csv` is the member b.csv of the file /data/a.zip, unless there is a folder of that name."""
    at = path.lower().find(".zip/")
    while at >= 0:
        if os.path.isfile(archive := path[: at + 4]):
            return Place(archive, path[at + 5 :])
        at = path.lower().find(".zip/", at + 1)
    return Place(path, None)


def is_packed(path: str, contract: Contract) -> bool:
    """Whether what is read is not the file's own bytes; it then never grows."""
    transcoded = contract.format == "csv" and contract.csv.is_transcoded
    return transcoded or compression(path) is not None or path.lower().endswith(EXCEL) or place(path).member is not None


def stamp(path: str) -> Stamp:
    stat = os.stat(place(path).file)
    return Stamp(stat.st_size, stat.st_mtime_ns)


def digest(path: str, start: int = 0, end: int | None = None) -> str:
    """xxh3 of a file's own bytes, of a member of an archive its checksum; hexadecimal."""
    where = place(path)
    if where.member is not None:
        with _archive(where.file) as archive:
            entry = _entry(archive, where)
            return f"{entry.CRC:08x}{entry.file_size:x}"
    total, left = xxhash.xxh3_64(), float("inf") if end is None else end - start
    with open(path, "rb") as stream:
        stream.seek(start)
        while left > 0 and (block := stream.read(int(min(BLOCK, left)))):
            total.update(block)
            left -= len(block)
    return total.hexdigest()


@contextmanager
def opened(path: str, contract: Contract, skip: int = 0) -> Iterator[Any]:
    """The stream, from byte `skip` on; it has `read` and `readline`."""
    where = place(path)
    try:
        with _unpacked(path, where) as raw:
            stream = _as_csv_bytes(path, raw, contract)
            if stream is raw and where.member is None and compression(path) is None:
                stream.seek(skip)
            else:
                while skip > 0:
                    skip -= len(stream.read(min(BLOCK, skip))) or skip
            yield stream
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as cause:
        raise SourceError(f"is a damaged archive ({cause}); copy it again") from cause
    except RuntimeError as cause:  # what zipfile raises for an encrypted member
        if where.member is None or "password" not in str(cause):
            raise
        raise SourceError("is encrypted; unpack it") from cause


def members(path: str) -> list[str]:
    """Names of the files in an archive; raises SourceError where it is none."""
    try:
        with _archive(path) as archive:
            return [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as cause:
        raise SourceError(f"is not a zip archive, or a damaged one ({cause}); copy it again") from cause


@contextmanager
def _archive(path: str) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(path) as archive:
        yield archive


def _entry(archive: zipfile.ZipFile, where: Place) -> zipfile.ZipInfo:
    entries = [entry for entry in archive.infolist() if entry.filename == where.member]
    if len(entries) != 1:
        raise SourceError(
            "is in the archive twice; unpack it, and give each of the two a name of its own"
            if entries
            else "is not in the archive any more"
        )
    return entries[0]


@contextmanager
def _unpacked(path: str, where: Place) -> Iterator[Any]:
    if where.member is None:
        codec = compression(path)
        with open(path, "rb") if codec is None else pa.input_stream(path, compression=codec) as stream:
            yield stream
        return
    with _archive(where.file) as archive:
        entry = _entry(archive, where)
        if entry.file_size > MOST_UNPACKED and entry.file_size > MOST_RATIO * max(entry.compress_size, 1):
            raise SourceError(
                f"unpacks to {entry.file_size:,} bytes of {entry.compress_size:,}: not opened; unpack it if it is data"
            )
        with archive.open(entry) as member:
            codec = compression(where.member)
            yield member if codec is None else pa.CompressedInputStream(pa.PythonFile(member, "r"), codec)


def _as_csv_bytes(path: str, raw: Any, contract: Contract) -> Any:
    if contract.format != "csv":
        return raw
    if path.lower().endswith(EXCEL):
        from data_sources.formats.excel import sheet_as_csv

        return io.BytesIO(sheet_as_csv(raw.read(), contract))
    return Transcoded(raw, contract.csv.encoding) if contract.csv.is_transcoded else raw


class Transcoded:
    """A stream of text in some encoding, read as UTF-8. Raises SourceError at bytes that are none of its characters."""

    def __init__(self, raw: BinaryIO, encoding: str) -> None:
        self._raw, self._encoding = raw, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._waiting = b""

    def read(self, count: int = -1) -> bytes:
        """At most `count` bytes; empty at the end."""
        while not self._waiting:
            block = self._raw.read(BLOCK if count < 0 else max(count, 64))
            self._waiting = self._text(block).encode()
            if not block:
                break
        taken = len(self._waiting) if count < 0 else count
        found, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return found

    def readline(self, count: int) -> bytes:
        """Bytes up to a line's end, at most `count`."""
        found = b""
        while len(found) < count and (block := self.read(min(count - len(found), 1 << 16))):
            end = block.find(b"\n") + 1
            if end:
                self._waiting = block[end:] + self._waiting
                return found + block[:end]
            found += block
        return found

    def _text(self, block: bytes) -> str:
        try:
            return self._decoder.decode(block, final=not block)
        except UnicodeError as cause:
            raise SourceError(f"is not {self._encoding} text ({cause}); write its encoding into [csv]") from cause
