"""Tables of version sets in one DuckDB: a set's tables under its own catalog, made when a statement first names them.

    set 12 ─► catalog set_12: silver.meters (files of version 40), gold.meter_15min (version 17)
    set 13 ─► catalog set_13: ...

A statement sees one set from its first to its last byte, whatever is published meanwhile; the sets last asked for stay
warm. The engine may read files under the lake's `tables` and the query log, nothing else, and its configuration is fixed.
"""

from __future__ import annotations

import difflib
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beam_grid.errors import GridError
from beam_grid.lakehouse import query_log
from beam_grid.lakehouse.bounds import Parameter
from beam_grid.lakehouse.duck import literal, pattern
from beam_grid.lakehouse.live import newest_version
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.lakehouse.versions import at_number, newest
from beam_grid.landing import Lake
from beam_grid.server.conditions import Reference
from beam_grid.server.guard import Guard, NoTable, Refused
from beam_grid.server.made import SAFE_TYPES, Made
from beam_grid.server.scanned import Layouts, Scanned
from data_sources.identifiers import double_quoted
from transforms import sketches

if TYPE_CHECKING:
    import pyarrow as pa

KEPT_SETS = 4
"""Version sets whose tables stay defined."""

OF_THE_LOG = {query_log.TABLE, *query_log.VIEWS}
"""Tables that change between the sets."""


class Gone(GridError):
    """The version set, or a file of it, is no longer there; the newest set is."""


class TooMuch(GridError):
    """The answer passes a limit."""


@dataclass(frozen=True)
class Limits:
    """Of one statement."""

    memory_mib: int = 512
    spill_mib: int = 2048
    threads: int = 2


class Engine:
    """Not to be shared by threads, but for `interrupt`."""

    def __init__(self, lake: Lake, scratch: Path, limits: Limits, made: Path | None = None) -> None:
        """scratch: for what does not fit into memory. made: where views made once per set are, for all who have one."""
        import duckdb

        self._lake, self._made = lake, Made(made or scratch / "made")
        self._duck = duckdb.connect(config={"threads": limits.threads})
        folders = [str((lake.path / name).resolve()) + "/" for name in ("tables", query_log.FOLDER)]
        folders.append(f"{self._made.folder.resolve()}/")
        for name, value in (
            ("TimeZone", "'UTC'"),
            ("enable_progress_bar", "false"),  # a forked process has no __main__ file, which DuckDB takes for a prompt
            ("temp_directory", _text(str(scratch))),
            ("memory_limit", f"'{limits.memory_mib}MiB'"),
            ("max_temp_directory_size", f"'{limits.spill_mib}MiB'"),
            ("max_expression_depth", "250"),
            ("allowed_directories", f"[{', '.join(map(_text, folders))}]"),
            ("python_enable_replacements", "false"),
            ("autoinstall_known_extensions", "false"),
            ("autoload_known_extensions", "false"),
            ("parquet_metadata_cache", "true"),
            ("validate_external_file_cache", "'NO_VALIDATION'"),  # a file never changes under its name
            ("enable_external_access", "false"),
            ("lock_configuration", "true"),
        ):
            self._duck.execute(f"SET {name} = {value}")
        sketches.prepare(self._duck)
        self.guard = Guard(self._duck)
        self._layouts = Layouts(self._duck)
        self._scanned: dict[tuple[int, str], Scanned] = {}
        """By set and table; of the query log's the newest."""
        self._sets: OrderedDict[int, tuple[TableSet, set[str]]] = OrderedDict()
        self._from_files: set[tuple[int, str]] = set()
        """By set the views that are read from the file made of them."""
        self._logs: dict[int, tuple[int | None, int]] = {}
        """By set how the query log stood when its tables were defined."""

    def interrupt(self) -> None:
        """End the statement under way, from another thread."""
        self._duck.interrupt()

    def set_of(self, number: int | None) -> TableSet:
        """The version set with this number, the newest without one. Raises Gone, or GridError before the first."""
        if number is not None and number in self._sets:
            return self._sets[number][0]
        found = newest(self._lake) if number is None else at_number(self._lake, number)
        if found is None and number is not None:
            raise Gone(f"version set {number} is no longer kept; ask again, without the cursor")
        if found is None:
            raise GridError(
                f"lake {self._lake.path}: has no tables yet; run `beam-grid refine --lake {self._lake.path}` first"
            )
        return found

    def define(
        self,
        found: TableSet,
        names: list[str],
        seen: Sequence[Reference] | None = None,
        parameters: Sequence[Parameter] = (),
    ) -> None:
        """Have these tables at hand, and have statements see this set. Raises NoTable, Gone.

        seen: every place where the next statement names one of them: it then reads only files with rows that it can see
        there. All files without it.
        """
        self._use(found)
        self._define_all(found, names)
        places: dict[str, list[Reference]] = {}
        if seen is not None:
            known = {name.lower(): name for name in names_of(found)}
            for one in self._seen_through(found, seen, known):
                places.setdefault(one.table.lower(), []).append(one)
        for (number, name), table in self._scanned.items():
            if number == found.number:
                table.show([one.conditions for one in places.get(name.lower(), ())], parameters)

    def _use(self, found: TableSet) -> None:
        catalog = f"set_{found.number}"
        if found.number not in self._sets:
            self._duck.execute("USE memory")
            while len(self._sets) >= KEPT_SETS:
                old, _ = self._sets.popitem(last=False)
                self._logs.pop(old, None)
                self._from_files -= {key for key in self._from_files if key[0] == old}
                self._duck.execute(f"DETACH set_{old}")
                for key in [key for key in self._scanned if key[0] == old]:
                    self._scanned.pop(key).forget()
            self._duck.execute(f"ATTACH ':memory:' AS {catalog}")
            for schema in ("silver", "gold", "bronze", "reflection"):
                self._duck.execute(f"CREATE SCHEMA {catalog}.{schema}")
            self._sets[found.number] = (found, set())
        self._sets.move_to_end(found.number)
        self._duck.execute(f"USE {catalog}")

    def _define_all(self, found: TableSet, names: list[str]) -> None:
        catalog, defined = f"set_{found.number}", self._sets[found.number][1]
        if OF_THE_LOG & {*names} and self._logs.get(found.number) != (stands := self._log_stands()):
            defined -= OF_THE_LOG  # it grows between the sets
            self._logs[found.number] = stands
        for name in names:
            if name in found.views and self._made.file(found, name).exists() != (
                (found.number, name) in self._from_files
            ):
                defined.discard(name)
            if name not in defined:
                self._define(found, name, catalog)
                defined.add(name)

    def _seen_through(self, found: TableSet, asked: Sequence[Reference], known: dict[str, str]) -> Iterator[Reference]:
        """The places, and of a view those in its SELECT."""
        for one in asked:
            name = known.get(one.table.lower(), "")
            view = query_log.VIEWS.get(name) or (found.views[name].sql if name in found.views else None)
            if view is None:
                yield one
            elif (found.number, name) not in self._from_files:
                try:
                    yield from self._seen_through(found, self.guard.reading(view, is_ours=True).references, known)
                except Refused:  # a view that only DuckDB understands: all of what it reads
                    reads = (query_log.TABLE,) if name in query_log.VIEWS else found.views[name].reads
                    yield from map(Reference, reads)

    def resolved(self, found: TableSet, asked: list[str]) -> list[str]:
        """The tables as the set spells them, each once; DuckDB takes names in any case. Raises NoTable."""
        known = {name.lower(): name for name in names_of(found)}
        for name in asked:
            if name.lower() not in known:
                raise NoTable(f"there is no table {name[:100]}; {_known(name, found)}")
        return list(dict.fromkeys(known[name.lower()] for name in asked))

    def make(self, found: TableSet, name: str) -> bool:
        """Make a view's file for all who read it; False where it is not to be had so."""
        file = self._made.file(found, name)
        if name not in found.views or file.exists():
            return name in found.views
        self.define(found, [name], [Reference(name)])
        kinds = [str(row[1]) for row in self._described(name)]
        if not all(kind in SAFE_TYPES or kind.startswith("DECIMAL(") for kind in kinds):
            return False
        schema, _, table = name.partition(".")
        rows = self._duck.sql(f"FROM {double_quoted(schema)}.{double_quoted(table)}").to_arrow_table()
        return self._made.write(file, rows)

    def columns(self, name: str) -> list[str]:
        """Of a table that is defined in the set in use."""
        return [str(row[0]) for row in self._described(name)]

    def _described(self, name: str) -> list[tuple[object, ...]]:
        schema, _, table = name.partition(".")
        return self._duck.execute(f"DESCRIBE {double_quoted(schema)}.{double_quoted(table)}").fetchall()

    def keeps_order(self, found: TableSet, name: str) -> bool:
        """Whether a plain SELECT of it has the same order each time: files scanned one after another, nothing joined."""
        return name in found.tables and not self._scanned[found.number, name].is_joined

    def batches(self, sql: str, parameters: Sequence[object] = ()) -> pa.RecordBatchReader:
        """Run a statement that `guard` has judged and whose tables are defined. parameters: bound to $1, $2 and so on."""
        return self._duck.sql(sql, params=list(parameters) or None).to_arrow_reader(16_384)

    def _define(self, found: TableSet, name: str, catalog: str) -> None:
        if name in query_log.VIEWS:
            self._define_all(found, [query_log.TABLE])
            select = query_log.VIEWS[name]
        elif name == query_log.TABLE:
            exists = query_log.exists(self._lake)
            select = self._relation(found, name, query_log.FOLDER, None) if exists else query_log.EMPTY
        elif name in found.views and (file := self._made.file(found, name)).exists():
            self._from_files.add((found.number, name))
            select = f"SELECT * FROM read_parquet({literal(pattern(str(file)))}, hive_partitioning = false)"
        elif name in found.views:
            self._from_files.discard((found.number, name))
            view = found.views[name]
            self._define_all(found, list(view.reads))
            select = view.sql
        elif name in found.tables:
            table = found.tables[name]
            select = self._relation(found, name, table.path, table.version)
        else:
            raise NoTable(f"there is no table {name}; {_known(name, found)}")
        schema, _, table_name = name.partition(".")
        self._duck.execute(f"CREATE OR REPLACE VIEW {catalog}.{schema}.{double_quoted(table_name)} AS {select}")

    def _log_stands(self) -> tuple[int | None, int]:
        """Its newest version and when that was written: a log that was made anew counts from 0."""
        folder = self._lake.path / query_log.FOLDER
        if (version := newest_version(folder)) is None:
            return None, 0
        try:
            return version, os.stat(folder / "_delta_log" / f"{version:020d}.json").st_mtime_ns
        except OSError:  # a checkpoint has taken its place
            return version, 0

    def _relation(self, found: TableSet, name: str, path: str, version: int | None) -> str:
        try:
            table = Scanned(self._duck, (self._lake.path / path).resolve(), version, self._layouts)
            if (before := self._scanned.pop((found.number, name), None)) is not None:
                before.forget()
            self._scanned[found.number, name] = table
            return table.sql
        except (GridError, OSError) as cause:
            at = "" if version is None else f" version {version}"
            raise Gone(f"table {name}:{at} can no longer be read; a refine makes deleted tables again") from cause


def names_of(found: TableSet) -> list[str]:
    """Tables and views that can be asked, the query log's among them."""
    return sorted({*found.tables, *found.views, query_log.TABLE, *query_log.VIEWS})


def _known(name: str, found: TableSet) -> str:
    close = difflib.get_close_matches(name.lower(), names_of(found), n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else "GET /api/v1/tables lists those that are"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
