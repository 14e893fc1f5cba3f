"""A table of a version set in the server's engine: a SELECT over files that are chosen anew for each statement.

    SELECT meter::VARCHAR AS meter, ... FROM read_parquet(getvariable('set_1_files_7'))
    statement asks for one meter ─► set_1_files_7 = those whose bounds have it

Files of one layout are one `read_parquet`: DuckDB then opens those it reads rows of, not all to learn their columns.
A SELECT that is left one file too many is as right: its rows are judged as all are.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from beam_grid.lakehouse import scan
from beam_grid.lakehouse.bounds import Parameter, Span, may_meet, span
from beam_grid.lakehouse.duck import FILE, literal, pattern
from beam_grid.lakehouse.live import Live, LiveFile
from beam_grid.lakehouse.vectors import deleted
from beam_grid.server.conditions import Asked, within
from data_sources.identifiers import double_quoted, folded

if TYPE_CHECKING:
    import duckdb

_MOST_KNOWN = 50_000


class Layouts:
    """What is known of files: their columns, as DuckDB sees them, and bounds. A file never changes under its name."""

    def __init__(self, duck: duckdb.DuckDBPyConnection) -> None:
        self._duck = duck
        self._of_file: OrderedDict[str, str] = OrderedDict()
        self._columns: dict[str, frozenset[str]] = {}
        self._spans: dict[tuple[Path, str, str], dict[str, tuple[LiveFile, Span | None]]] = {}

    def by_layout(self, files: Iterable[str]) -> dict[str, list[str]]:
        """The files, those with the same columns and types together. Raises duckdb.IOException where one is gone."""
        files = list(files)
        if unknown := [file for file in files if file not in self._of_file]:
            for file, rows in itertools.groupby(self._told(unknown), key=lambda row: row[0]):
                self._of_file[str(file)] = sys.intern(repr([row[1:] for row in rows]))  # one text for all alike
        found: dict[str, list[str]] = {}
        for file in files:
            self._of_file.move_to_end(file)
            found.setdefault(self._of_file[file], []).append(file)
        while len(self._of_file) > max(_MOST_KNOWN, len(files)):
            self._of_file.popitem(last=False)
        return found

    def _told(self, files: list[str]) -> Iterator[tuple[object, ...]]:
        told = self._duck.execute(
            "SELECT file_name, name, type, type_length, repetition_type, num_children, converted_type, scale, precision, "
            "logical_type FROM parquet_schema(?)",
            [[pattern(file) for file in files]],
        )
        while rows := told.fetchmany(10_000):
            yield from rows

    def columns(self, layout: str, file: str) -> frozenset[str]:
        """Names of the layout's columns, folded; `file` is one that has it."""
        if layout not in self._columns:
            told = self._duck.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(pattern(file))}, hive_partitioning = false)")  # fmt: skip
            self._columns[layout] = frozenset(folded(str(row[0])) for row in told.fetchall())
        return self._columns[layout]

    def spans(self, table: Path, files: dict[str, LiveFile], column: str, kind: str) -> dict[str, Span | None]:
        """Of the column's values, by file; the log's text is read once for each file, not with each version."""
        known = self._spans.get((table, column, kind), {})
        found = {
            name: told
            if (told := known.get(name)) is not None and told[0] is file
            else (file, span(file, column, kind))
            for name, file in files.items()
        }
        self._spans[table, column, kind] = found
        return {name: told[1] for name, told in found.items()}


@dataclass
class _Part:
    """Files of one layout, without deletion vectors or all with one."""

    variable: str
    files: list[str]
    shown: list[str]


class Scanned:
    """A version of a table. Its SELECT reads what `show` was told last."""

    def __init__(self, duck: duckdb.DuckDBPyConnection, path: Path, at: Live, layouts: Layouts, name: str) -> None:
        """name: what its variables are called by. Another version under the same name takes its place, and has the same
        SELECT where its files have the same columns.

        Raises GridError for a vector that cannot be read, duckdb.IOException for a file that is gone.
        """
        self._duck, self._path, self._layouts, self._name = duck, path, layouts, name
        self._kinds = scan.delta_types(at)
        listed = sorted(at.files, key=lambda file: file.path)  # the log and its checkpoints have them in other orders
        self._files: dict[str, LiveFile] = {_at(path, file.path): file for file in listed}
        gone = {named: deleted(path, file.vector) for named, file in self._files.items() if file.vector is not None}
        cut = {named: rows for named, rows in gone.items() if len(rows)}
        self._parts: list[_Part] = []
        self._rows: str | None = None
        self._spans: dict[str, dict[str, Span | None]] = {}
        kinds = scan.columns(at)
        empty = ", ".join(f"NULL::{kind} AS {double_quoted(column)}" for column, kind in kinds.items())
        whole = [named for named in self._files if named not in cut]
        selects = [self._select(layout, files, kinds) for layout, files in layouts.by_layout(whole).items()]
        if cut:
            self._rows = f"rows_{uuid4().hex}"
            selects += [self._select(layout, files, kinds, self._rows) for layout, files in layouts.by_layout(cut).items()]  # fmt: skip
            duck.register(self._rows, _positions(cut))  # last: what fails before leaves nothing in the engine
        self.sql = " UNION ALL ".join(selects) if selects else f"SELECT {empty} WHERE false"
        self.is_joined = self._rows is not None

    @property
    def shown(self) -> list[str]:
        """The files that its SELECT reads now."""
        return [name for part in self._parts for name in part.shown]

    @property
    def shown_bytes(self) -> int:
        """Of those files."""
        return sum(self._files[name].bytes for part in self._parts for name in part.shown)

    def show(self, places: Sequence[Sequence[Asked]], parameters: Sequence[Parameter]) -> None:
        """Show only files with rows that meet all conditions of one of the places; all files without a place, or where
        one of them has no condition."""
        keep = self._files.keys() if not places or not all(places) else self._chosen(places, parameters)
        for part in self._parts:
            if len(keep) == len(self._files):
                self._show(part, part.files)
            else:  # a read_parquet wants one
                chosen = [name for name in part.files if name in keep]
                self._show(part, chosen or [min(part.files, key=lambda name: self._files[name].bytes)])

    def _chosen(self, places: Sequence[Sequence[Asked]], parameters: Sequence[Parameter]) -> set[str]:
        keep: set[str] = set()
        for place in places:
            conditions = [found for one in place if (found := within(one, self._kinds, parameters)) is not None]
            met = list(self._files)
            for condition, kind in conditions:
                spans = self._spans_of(condition.column, kind)
                met = [name for name in met if may_meet(spans[name], condition)]
            keep.update(met)
        return keep

    def _spans_of(self, column: str, kind: str) -> dict[str, Span | None]:
        if (found := self._spans.get(column)) is None:
            found = self._spans[column] = self._layouts.spans(self._path, self._files, column, kind)
        return found

    def forget(self) -> None:
        """Give back what the engine keeps for it, but for its variables, which another version may have by now."""
        if self._rows is not None:
            self._duck.unregister(self._rows)

    def _select(self, layout: str, files: list[str], kinds: dict[str, str], rows: str | None = None) -> str:
        part = _Part(f"{self._name}_{len(self._parts)}", files, [])
        self._parts.append(part)
        self._show(part, files[:1])  # whose columns the SELECT has; `show` says which are read
        there = self._layouts.columns(layout, files[0])
        source = "" if rows is None else "f."
        told = ", ".join(
            f"{source + double_quoted(column) if folded(column) in there else 'NULL'}::{kind} AS {double_quoted(column)}"
            for column, kind in kinds.items()
        )
        read = f"read_parquet(getvariable('{part.variable}'), hive_partitioning = false"
        if rows is None:
            return f"SELECT {told} FROM {read})"
        return (
            f"SELECT {told} FROM {read}, filename = {literal(FILE)}, file_row_number = true) f "
            f"ANTI JOIN {rows} v ON f.{FILE} = v.path AND f.file_row_number = v.row"
        )

    def _show(self, part: _Part, files: list[str]) -> None:
        if part.shown != files:
            part.shown = []  # interrupted, it may have been done all the same
            self._duck.execute(f"SET VARIABLE {part.variable} = ?", [[pattern(file) for file in files]])
            part.shown = files


def _at(table: Path, file: str) -> str:
    """The file's path, plain as DuckDB tells it; of a name alone without `pathlib`, which takes ten times as long."""
    return os.path.join(table, file) if "/" not in file else str(table / file)


def _positions(gone: dict[str, np.ndarray]) -> Any:
    """Rows that vectors name, by file."""
    paths = list(gone)
    counts = [len(rows) for rows in gone.values()]
    return pa.table(
        {
            "path": pa.DictionaryArray.from_arrays(np.repeat(np.arange(len(paths), dtype=np.int32), counts), paths),
            "row": pa.array(np.concatenate(list(gone.values())).astype(np.int64)),
        }
    )
