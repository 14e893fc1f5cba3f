"""Tables of SQLite files as sources: each row a JSON record, in the order of rowids, for the JSON decoder to judge.

Guarantees: nothing is written beside the file or into it; a row has the fate its JSON would have, with its rowid as
position. NULL, INTEGER, REAL and TEXT are JSON's null, number and text, 0 and 1 in a field of type bool are false and
true, a BLOB is the object {"$blob": hex}. So text that is not UTF-8, infinities and blobs in declared fields are
rejects, never coerced (SQLite itself keeps NaN as NULL).

Not guaranteed: an answer from a file another program writes to meanwhile; it is refused, with the reason. SQLite's
own locks see to that; where the file is in WAL mode, what is not yet in it stands in FILE-wal, which is looked for.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import numpy as np
from msgspec import structs

from data_sources.contract import Contract
from data_sources.decode.json_lines import decode_json
from data_sources.decode.rejects import MAX_RECORD, Decoded
from data_sources.formats import Block, Planned, ended
from data_sources.formats.parquet import missing_of
from data_sources.records import Records, lines
from data_sources.sources.errors import SourceError
from data_sources.sources.opening import BLOCK
from data_sources.splits import FileEnd, FileSplit

MAGIC, HEADER = b"SQLite format 3\0", 100
_WAL = 2
"""Byte 19 of the header: the version needed to read the file, 2 for WAL (https://sqlite.org/fileformat.html)."""
_ROWID = ("rowid", "_rowid_", "oid")
_WAIT_S = 1.0
_FETCH = 1000
_LAST = 2**63 - 1


class TableError(SourceError):
    """A table that cannot be read: says what was seen and what to try."""


@dataclass(frozen=True)
class Sqlite:
    """See Format. Position of a record: its rowid."""

    contract: Contract
    endings = (".db", ".sqlite", ".sqlite3")
    grows = False
    is_text = False

    def plan(self, split: FileSplit, before: FileEnd | None, rows: int) -> Planned:
        assert self.contract.sqlite is not None
        notes = missing_of(columns_of(split.path, self.contract), self.contract)
        found = plan_rows(split.path, self.contract, before.offset if before else None, rows)
        if found is None:
            return Planned(None)
        source = f"{split.name}:{self.contract.sqlite.table}"
        taken = structs.replace(split, source=source, start=found[0], line=found[0], rows=found[1])
        return Planned(taken, notes if before is None else ())

    def cut(self, split: FileSplit, rows: int) -> list[FileSplit]:
        return [split]  # a table is read in one transaction

    def read(self, split: FileSplit) -> Iterator[Block | FileEnd]:
        for found in read_rows(split, self.contract, BLOCK):
            yield found if isinstance(found, Records) else ended(split, found[0], found[0], done=found[1])

    def decode(self, block: Block, header: tuple[str, ...] | None, constants: Mapping[str, str | None]) -> Decoded:
        assert isinstance(block, Records)
        return decode_json(block, self.contract, constants)

    def messages(self, records: Records) -> Records:
        raise ValueError('messages are read as JSON, and the contract says format = "sqlite"')


def columns_of(path: str, contract: Contract) -> tuple[str, ...]:
    """Names of the table's columns; raises TableError."""
    with _opened(path) as connection:
        table, _ = _table(connection, contract)
        return tuple(column[0] for column in connection.execute(f"SELECT * FROM {table} LIMIT 0").description)


def plan_rows(path: str, contract: Contract, start: int | None, limit: int) -> tuple[int, int] | None:
    """(rowid of the first row from `start` on, how many rows there are from it, at most `limit`); None without rows.

    start: None for the whole table, which is then walked once, so that a damaged file is known before it is read.
    Raises TableError.
    """
    with _opened(path) as connection:
        table, rowid = _table(connection, contract)
        where = "" if start is None else f"WHERE {rowid} >= {start}"
        first = connection.execute(f"SELECT min({rowid}) FROM {table} {where}").fetchone()[0]
        if first is None:
            return None
        if start is None:
            for _ in connection.execute(f"SELECT * FROM {table}"):
                pass
        count = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {rowid} >= {first} LIMIT {limit})"
        return first, connection.execute(count).fetchone()[0]


def read_rows(split: FileSplit, contract: Contract, block: int) -> Iterator[Records | tuple[int, bool]]:
    """The split's rows in Records of about `block` bytes, then (rowid to go on at, whether no row is left).

    Raises TableError, also where the file is no longer the one planned.
    """
    with _opened(split.path) as connection:
        table, rowid = _table(connection, contract)
        _same(split)
        rows = connection.execute(
            f"SELECT {rowid}, * FROM {table} WHERE {rowid} >= {split.start} ORDER BY {rowid} LIMIT {split.rows}"
        )
        names = [column[0] for column in rows.description[1:]]
        flags = [i for i, name in enumerate(names) if name in _flags(contract)]
        last, size = split.start, 0
        positions: list[int] = []
        texts: list[bytes] = []
        while some := rows.fetchmany(_FETCH):
            for last, *values in some:
                texts.append(_as_json(names, values, flags))
                positions.append(last)
                size += len(texts[-1])
            if size >= block:
                yield _records(texts, positions)
                positions, texts, size = [], [], 0
        if texts:
            yield _records(texts, positions)
        more = connection.execute(f"SELECT 1 FROM {table} WHERE {rowid} > {last} LIMIT 1").fetchone()
        _same(split)
        yield min(last + 1, _LAST), more is None


def _records(texts: list[bytes], positions: list[int]) -> Records:
    return replace(lines(b"\n".join(texts) + b"\n", 1), positions=np.asarray(positions, np.int64))


def _as_json(names: list[str], values: list[Any], flags: list[int]) -> bytes:
    """A row on one line; of one beyond all bounds the head, which is enough to reject it."""
    for i in flags:
        if type(values[i]) is int and values[i] in (0, 1):
            values[i] = bool(values[i])
    row = dict(zip(names, values, strict=True))
    return json.dumps(row, ensure_ascii=False, default=_blob).encode("utf-8", "surrogateescape")[: MAX_RECORD + 1]


def _blob(value: bytes) -> dict[str, str]:
    return {"$blob": value.hex()}


def _text(value: bytes) -> str:
    """Bytes that are not UTF-8 go through as surrogates, and come out of `_as_json` as they were."""
    return value.decode("utf-8", "surrogateescape")


def _flags(contract: Contract) -> set[str]:
    return {name for field in contract.fields if field.type == "bool" for name in field.wanted}


@contextmanager
def _opened(path: str) -> Iterator[sqlite3.Connection]:
    """A connection in a read transaction; what SQLite raises within becomes a TableError."""
    with open(path, "rb") as file:
        header = file.read(HEADER)
    if len(header) < HEADER or not header.startswith(MAGIC):
        seen = "is empty" if not header else f"begins with {header[:16]!r}"
        raise TableError(f"is no SQLite database (it {seen}); unpack it, or take it away")
    page = int.from_bytes(header[16:18], "big")
    page = 65_536 if page == 1 else page
    if page and os.path.getsize(path) % page:
        raise TableError("is cut short (its last page is not whole); copy it again")  # SQLite would read zeros there
    wal = header[19] == _WAL
    log = f"{os.path.realpath(path)}-wal"  # beside the file itself, where `path` is a link
    if wal and os.path.exists(log) and os.path.getsize(log):
        raise TableError(
            f"holds changes that are still in {os.path.basename(log)}; close the program that writes to it, or copy it "
            "with sqlite3's .backup"
        )
    mode = "mode=ro&immutable=1" if wal else "mode=ro"  # to read a WAL file otherwise, SQLite writes beside it
    try:
        # the reading thread is not the one that closes a generator that nobody reads to its end
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(path))}?{mode}", _WAIT_S, uri=True, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as cause:
        raise TableError(f"SQLite cannot open it: {cause}") from cause
    try:
        connection.text_factory = _text
        connection.execute("PRAGMA trusted_schema = OFF")  # the file's own schema runs nothing with side effects
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("BEGIN")
        yield connection
    except sqlite3.Error as cause:
        raise TableError(f"SQLite says: {cause}; {_remedy(str(cause))}") from cause
    finally:
        connection.close()


def _remedy(said: str) -> str:
    if "locked" in said:
        return "another program writes to it; run again when it is done"
    if "readonly" in said:  # what stands in FILE-journal must first be taken back, which is writing
        return "a program stopped while it wrote to it; open it once with sqlite3, which undoes what was left half done"
    return "mend it or take it away"


def _table(connection: sqlite3.Connection, contract: Contract) -> tuple[str, str]:
    """The table's quoted name, and a name its rowid goes by."""
    assert contract.sqlite is not None
    wanted = contract.sqlite.table
    there = connection.execute("SELECT name, type, sql FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
    found = [(kind, sql) for name, kind, sql in there if name.lower() == wanted.lower()]
    if not found:
        names = ", ".join(sorted(repr(name) for name, _, _ in there))[:200] or "none"
        raise TableError(f"has no table {wanted!r}; its tables: {names}")
    table = _quoted(wanted)
    if found[0][0] == "view" or re.match(r"\s*CREATE\s+VIRTUAL", found[0][1], re.I):
        raise TableError(f"{wanted!r} is a view or virtual table, whose rows have no fixed place; make a table of it")
    columns = [column[0] for column in connection.execute(f"SELECT * FROM {table} LIMIT 0").description]
    free = [name for name in _ROWID if name not in {c.lower() for c in columns}]
    try:
        connection.execute(f"SELECT {free[0]} FROM {table} LIMIT 0")
    except (IndexError, sqlite3.OperationalError) as cause:
        if "no such column" not in str(cause) and free:
            raise
        raise TableError(f"table {wanted!r} shows no rowid; copy it to one without WITHOUT ROWID") from cause
    return table, free[0]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _same(split: FileSplit) -> None:
    stat = os.stat(split.path)
    if (stat.st_size, stat.st_mtime_ns) != (split.size, split.mtime):
        raise TableError("changed while it was read")
