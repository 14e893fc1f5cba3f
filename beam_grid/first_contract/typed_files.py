"""Parquet files and SQLite databases as samples: inputs whose columns have types."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import islice
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from beam_grid.first_contract.look import ROWS
from beam_grid.first_contract.model import Column, Sample
from data_sources.sources import SourceError
from data_sources.sources.finding import Found

_TIMES = ("time", "date", "ts", "at", "stamp")


def of_typed(file: Found, address: str, most: int) -> Sample:
    """The file's sample. Raises SourceError where it cannot be read or holds no rows."""
    sample = _parquet(file, address) if _is_parquet(file.path) else _sqlite(file, address)
    sample.files = [file.name]
    if not sample.rows:
        raise SourceError("has no rows; a contract is told from rows")
    return sample


def _is_parquet(path: str) -> bool:
    with open(path, "rb") as stream:
        return stream.read(4) == b"PAR1"


def _parquet(file: Found, address: str) -> Sample:
    try:
        opened = pq.ParquetFile(file.path)
        batches = [pa.Table.from_batches([b]) for b in islice(opened.iter_batches(ROWS), 1)]
        table = pa.concat_tables(batches) if batches else opened.schema_arrow.empty_table()
    except (pa.ArrowException, OSError) as cause:
        raise SourceError(f"is a damaged Parquet file ({' '.join(str(cause).split())[:200]})") from None
    return Sample(address, "parquet", [_of_arrow(table, name) for name in dict.fromkeys(table.column_names)])


def _of_arrow(table: pa.Table, name: str) -> Column:
    at = table.column_names.index(name)
    kind, values = table.schema.field(at).type, table.column(at)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    type_of, seen = _type(kind)
    if seen == "nested":
        return Column(name, [None if v is None else str(v)[:80] for v in values.to_pylist()], frozenset({"nested"}))
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", kind.tz), safe=False)
    texts = [_text(v) for v in values.to_pylist()]
    return Column(name, texts, frozenset({seen}), type=type_of)


def _type(kind: pa.DataType) -> tuple[str | None, str]:
    """(the contract's type that the column has, its kind)."""
    if pa.types.is_boolean(kind):
        return "bool", "bool"
    if pa.types.is_integer(kind):
        return "int64", "int"
    if pa.types.is_floating(kind):
        return "float64", "float"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{max(kind.scale, 0)})", "float"
    if pa.types.is_date(kind):
        return "date", "date"
    if pa.types.is_timestamp(kind):
        return "timestamp", "time" if kind.tz else "local"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return None, "text"
    return None, "nested"


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat(" ") if hasattr(value, "hour") else str(value)


def _sqlite(file: Found, address: str) -> Sample:
    try:
        with closing(sqlite3.connect(f"file:{quote(file.path)}?mode=ro&immutable=1", uri=True)) as connection:
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            connection.execute("PRAGMA trusted_schema = OFF")
            names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            counted = {}
            for (name,) in connection.execute(names).fetchall():
                counted[name] = connection.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0]
            if not counted:
                raise SourceError("has no tables")
            table = max(counted, key=lambda name: (_has_time(connection, name), counted[name]))
            columns = _of_table(connection, table)
    except sqlite3.Error as cause:
        raise SourceError(f"SQLite says: {cause}") from None
    sample = Sample(address, "sqlite", columns, {"table": table})
    others = [f"{name} ({count:,} rows)" for name, count in counted.items() if name != table]
    sample.notes["table"] = f"The table with times that has most rows, {counted[table]:,}" + (
        f"; others: {', '.join(others)}" if others else ""
    )
    return sample


def _has_time(connection: sqlite3.Connection, table: str) -> bool:
    described = connection.execute(f"SELECT * FROM {_quoted(table)} LIMIT 0").description
    return any(part in column[0].lower() for column in described for part in _TIMES)


def _of_table(connection: sqlite3.Connection, table: str) -> list[Column]:
    cursor = connection.execute(f"SELECT * FROM {_quoted(table)} LIMIT {ROWS}")
    names, rows = [column[0] for column in cursor.description], cursor.fetchall()
    kinds = {int: "int", float: "float", str: "text", bytes: "nested"}
    columns = []
    for at, name in enumerate(names):
        values = [row[at] for row in rows]
        seen = frozenset(kinds[type(v)] for v in values if v is not None)
        texts = [None if v is None else repr(v) if isinstance(v, float) else str(v) for v in values]
        columns.append(Column(name, texts, seen or frozenset({"text"})))
    return columns


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
