"""A version of one of our Delta tables as a relation of DuckDB, and what changed between two versions. Without Spark,
and without DuckDB's delta extension, which is a download of its own.

    log ─► live files ─► read_parquet(files without a vector)                                    ─┐
                     └─► read_parquet(files with one) less the rows their vectors name          ─┴─► the schema's columns

Guarantees: the rows, columns and types are those of the version's schema: a file that lacks a later column gives NULL
there, what a file has beyond the schema is not seen, times are TIMESTAMP WITH TIME ZONE however the file has them
(INT96 of Spark too). Names are quoted: a user's field may be called anything.
Not guaranteed: tables with partitions or mapped columns (we make none; they are refused), and the files of a version
that a VACUUM took away: DuckDB then says which it misses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from beam_grid.errors import GridError
from beam_grid.lakehouse.duck import FILE, literal, parquet
from beam_grid.lakehouse.live import Live, LiveFile, commit, live
from beam_grid.lakehouse.vectors import deleted
from data_sources.identifiers import double_quoted

if TYPE_CHECKING:
    import duckdb

    from beam_grid.lakehouse.table_set import TableSet

_TYPES = {
    "string": "VARCHAR", "long": "BIGINT", "integer": "INTEGER", "short": "SMALLINT", "byte": "TINYINT",
    "double": "DOUBLE", "float": "FLOAT", "boolean": "BOOLEAN", "date": "DATE", "binary": "BLOB",
    "timestamp": "TIMESTAMPTZ", "timestamp_ntz": "TIMESTAMP",
}  # fmt: skip


def relation(engine: duckdb.DuckDBPyConnection, table_path: Path, version: int | None = None) -> str:
    """SQL, in brackets, for the table's rows at a version, the newest if none is given; to be asked of `engine`, whose
    time zone is UTC (duck.connect).

    Raises GridError for a log or a deletion vector that cannot be read.
    """
    table = live(table_path, version)
    return selected(engine, table_path, table, table.files)


def of_set(engine: duckdb.DuckDBPyConnection, lake: Path, found: TableSet, name: str) -> str:
    """The same for a table as a version set has it. lake: its folder. Raises MadeAnew, too."""
    at = found.tables[name]
    table = live(lake / at.path, at.version)
    found.check_is(name, table.id)
    return selected(engine, lake / at.path, table, table.files)


def selected(engine: duckdb.DuckDBPyConnection, table_path: Path, table: Live, files: Iterable[LiveFile]) -> str:
    """The same for the rows of some of its files."""
    places = [(table_path / file.path, deleted(table_path, file.vector)) for file in files]
    return _in_columns(table, _rows_of(engine, places))


def changes(engine: duckdb.DuckDBPyConnection, table_path: Path, after: int, upto: int) -> str | None:
    """SQL, in brackets, for the rows that came, went or changed (as before and as after) in the versions after
    `after` up to `upto`; a row that a commit only moved to another file is not among them,
    one that changed more than once may be there more than once.

    None where the log or a file that tells it is no longer there: then all rows may have changed.
    """
    if (found := _changed(table_path, after, upto)) is None:
        return None
    whole, parts = found
    rows = [*_rows_of(engine, list(whole.items())), *_rows_at(engine, parts, "SEMI")]
    return _in_columns(live(table_path, upto), rows)


def added(table_path: Path, after: int, upto: int) -> list[LiveFile] | None:
    """The files that came in the versions after `after` up to `upto`, where rows were added and nothing else was done.

    None where rows went or changed, or the log or a file that tells it is no longer there.
    """
    found: list[LiveFile] = []
    for version in range(after + 1, upto + 1):
        if not (table_path / "_delta_log" / f"{version:020d}.json").exists():
            return None
        actions = list(commit(table_path, version))
        if any("cdc" in action for action in actions) or _changing(actions, "remove"):
            return None
        found += _changing(actions, "add").values()
    return found if all((table_path / file.path).exists() for file in found) else None


def difference(
    engine: duckdb.DuckDBPyConnection, table_path: Path, after: int, upto: int, named: Iterable[str], where: str
) -> str | None:
    """SQL, in brackets, for the rows that meet `where` and stand in one of the two versions only, by these columns; a row
    that moved to another file, or came and went in between, is not among them. Only files that differ are read.

    None where the log or a file that tells it is no longer there.
    """
    try:
        versions = [live(table_path, after), live(table_path, upto)]
        before, now = ({(file.path, repr(file.vector)): file for file in one.files} for one in versions)
        lists = ([f for key, f in a.items() if key not in b] for a, b in ((before, now), (now, before)))
        sides = [(version, files) for version, files in zip(versions, lists, strict=True)]
        if not all((table_path / file.path).exists() for _, files in sides for file in files):
            return None
        columns = ", ".join(map(double_quoted, named))
        gone, came = (
            f"SELECT {columns} FROM {selected(engine, table_path, version, files)} WHERE {where}"
            for version, files in sides
        )
    except (GridError, OSError):
        return None
    return f"(({gone} EXCEPT ALL {came}) UNION ALL ({came} EXCEPT ALL {gone}))"


def is_told(table_path: Path, after: int, upto: int) -> bool:
    """Whether `changes`, or Spark's change data feed, can still say what changed."""
    return _changed(table_path, after, upto) is not None


_Places = list[tuple[Path, np.ndarray]]
"""Files, each with positions of rows in it."""


def _changed(table_path: Path, after: int, upto: int) -> tuple[dict[Path, np.ndarray], _Places] | None:
    """Files whose rows changed, but for those at the positions; and files of which only those at the positions did."""
    whole: dict[Path, np.ndarray] = {}
    parts: _Places = []
    for version in range(after + 1, upto + 1):
        if not (table_path / "_delta_log" / f"{version:020d}.json").exists():
            return None
        actions = list(commit(table_path, version))
        if told := [LiveFile.of(a["cdc"]) for a in actions if "cdc" in a]:
            whole |= {table_path / file.path: np.array([], np.uint64) for file in told}
            continue
        gone, came = (_changing(actions, kind) for kind in ("remove", "add"))
        for path in gone.keys() | came.keys():
            try:
                vectors = [deleted(table_path, side[path].vector) for side in (gone, came) if path in side]
            except GridError:  # a VACUUM took the vector; one that is damaged shows where the table is read
                return None
            if len(vectors) == 2:
                parts.append((table_path / path, np.setxor1d(vectors[0], vectors[1])))
            else:  # a file that came and went: what either commit changed
                before = whole.get(table_path / path, vectors[0])
                whole[table_path / path] = np.intersect1d(before, vectors[0])
    if not all(path.exists() for path in [*whole, *(path for path, _ in parts)]):
        return None
    return whole, parts


def _changing(actions: list[dict[str, Any]], kind: str) -> dict[str, LiveFile]:
    """The files that a commit adds, or removes, for the sake of their rows."""
    files = (LiveFile.of({"size": 0, **a[kind]}) for a in actions if kind in a and a[kind].get("dataChange"))
    return {file.path: file for file in files}


def columns(table: Live) -> dict[str, str]:
    """The version's columns and their types in DuckDB."""
    if table.features & {"columnMapping"} and table.properties.get("delta.columnMapping.mode", "none") != "none":
        raise GridError("a table with mapped columns is not read in process; make it anew: move it away and run refine")
    return {field["name"]: _type(field["type"]) for field in json.loads(table.schema)["fields"]}


def delta_types(table: Live) -> dict[str, str]:
    """The version's columns of plain types, as Delta calls them."""
    return {f["name"]: f["type"] for f in json.loads(table.schema)["fields"] if isinstance(f["type"], str)}


def _type(said: Any) -> str:
    if isinstance(said, str):
        return "DECIMAL" + said.removeprefix("decimal") if said.startswith("decimal") else _TYPES[said]
    if said["type"] == "array":
        return f"{_type(said['elementType'])}[]"
    if said["type"] == "map":
        return f"MAP({_type(said['keyType'])}, {_type(said['valueType'])})"
    return (
        "STRUCT("
        + ", ".join(f"{double_quoted(field['name'])} {_type(field['type'])}" for field in said["fields"])
        + ")"
    )


def _in_columns(table: Live, rows: list[str]) -> str:
    """The schema's columns of the rows. An empty relation with all of them gives those that no file has."""
    kinds = {double_quoted(column): kind for column, kind in columns(table).items()}
    empty = ", ".join(f"NULL::{kind} AS {column}" for column, kind in kinds.items())
    told = ", ".join(f"{column}::{kind} AS {column}" for column, kind in kinds.items())
    return f"(SELECT {told} FROM (" + " UNION ALL BY NAME ".join([f"SELECT {empty} WHERE false", *rows]) + "))"


def _rows_of(engine: duckdb.DuckDBPyConnection, files: _Places) -> list[str]:
    """SQL for the rows of files, each without those at the positions beside it."""
    plain = [path for path, rows in files if not len(rows)]
    whole = [f"SELECT * FROM {parquet(dict.fromkeys(map(str, plain)))}"] if plain else []
    return whole + _rows_at(engine, [(path, rows) for path, rows in files if len(rows)], "ANTI")


def _rows_at(engine: duckdb.DuckDBPyConnection, places: _Places, how: str) -> list[str]:
    """SQL for the files' rows at these positions (SEMI) or at all others (ANTI)."""
    if not places:
        return []
    import pyarrow as pa

    paths = [str(path) for path, _ in places]
    listed = pa.table(
        {
            "path": pa.DictionaryArray.from_arrays(
                np.repeat(np.arange(len(paths), dtype=np.int32), [len(rows) for _, rows in places]), paths
            ),
            "row": pa.array(np.concatenate([rows for _, rows in places]).astype(np.int64)),
        }
    )
    view = f"rows_{uuid4().hex}"
    engine.register(view, listed)
    options = f", filename = {literal(FILE)}, file_row_number = true"
    return [
        f"SELECT f.* FROM {parquet(dict.fromkeys(paths), options)} f "
        f"{how} JOIN {view} v ON f.{FILE} = v.path AND f.file_row_number = v.row"
    ]
