"""Tables of version sets in one DuckDB: a set's tables in a catalog of its own, made when a statement first names them.

    set 12 ─► catalog set_0: silver.meters (files of version 40), gold.meter_15min (version 17)
    set 13 ─► catalog set_1: ...
    set 16 ─► catalog set_0, where set 12 was: a view whose SELECT is the same stays, its files are others

A statement sees one set from its first to its last byte, whatever is published meanwhile; the sets last asked for stay
warm. The engine may read files under the lake's `tables` and the query log, nothing else, and its configuration is fixed.
"""

from __future__ import annotations

import difflib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from beam_grid.errors import GridError
from beam_grid.lakehouse import query_log
from beam_grid.lakehouse.bounds import Parameter
from beam_grid.lakehouse.duck import READS_ITSELF, batches, literal, pattern
from beam_grid.lakehouse.live import live, newest_version
from beam_grid.lakehouse.table_set import MadeAnew, TableSet
from beam_grid.lakehouse.versions import at_number, newest
from beam_grid.landing import Lake
from beam_grid.server.conditions import Reference
from beam_grid.server.guard import Guard, NoTable, Refused
from beam_grid.server.made import SAFE_TYPES, Made
from beam_grid.server.scanned import Layouts, Scanned
from data_sources.identifiers import double_quoted, folded
from transforms import sketches

if TYPE_CHECKING:
    import pyarrow as pa

KEPT_SETS = 4
"""Version sets whose tables stay defined."""

_FEW_BYTES = 128 << 20
"""A statement over files of so many in all has one thread: two take a quarter more CPU, which others wait for."""

OF_THE_LOG = {query_log.TABLE, *query_log.VIEWS}
"""Tables that change between the sets."""


@dataclass
class _Open:
    """A version set that statements may name tables of."""

    found: TableSet
    catalog: str
    defined: set[str] = field(default_factory=set)
    scanned: dict[str, Scanned] = field(default_factory=dict)
    """By table; of the query log's the newest."""
    from_files: set[str] = field(default_factory=set)
    """Views that are read from the file made of them."""
    log: tuple[int | None, int] | None = None
    """How the query log stood when its tables were defined."""


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
    """At most; a small one has one."""


class Engine:
    """Not to be shared by threads, but for `interrupt`."""

    def __init__(self, lake: Lake, scratch: Path, limits: Limits, made: Path | None = None) -> None:
        """scratch: for what does not fit into memory. made: where views made once per set are, for all who have one."""
        import duckdb

        self._lake, self._made = lake, Made(made or scratch / "made")
        self._duck = duckdb.connect(config={"threads": limits.threads, **READS_ITSELF})
        folders = [str((lake.path / name).resolve()) + "/" for name in ("tables", query_log.FOLDER)]
        folders.append(f"{self._made.folder.resolve()}/")
        # files in a folder with signs of patterns in its name are asked for by a pattern
        folders += [folder for named in folders if (folder := pattern(named)) != named]
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
            ("allowed_configs", "['threads']"),  # of the engine's own; the guard lets no caller's SET through
            ("parquet_metadata_cache", "true"),
            ("validate_external_file_cache", "'NO_VALIDATION'"),  # a file never changes under its name
            ("enable_external_access", "false"),
            ("lock_configuration", "true"),
        ):
            self._duck.execute(f"SET {name} = {value}")
        self._most_threads = self._threads = limits.threads
        sketches.prepare(self._duck)
        self.guard = Guard(self._duck)
        self._layouts = Layouts(self._duck)
        self._sets: OrderedDict[int, _Open] = OrderedDict()
        self._views: dict[str, dict[str, str]] = {}
        """By catalog and name, folded as DuckDB does it, the SELECT of its view."""
        self._free: list[str] = []
        """Catalogs that no set has."""
        self._in_use = ""
        """The catalog whose tables statements name."""
        self._numbers: dict[str, int] = {}
        """By table, for names of variables."""

    def interrupt(self) -> None:
        """End the statement under way, from another thread."""
        self._duck.interrupt()

    def set_of(self, number: int | None) -> TableSet:
        """The version set with this number, the newest without one. Raises Gone, or GridError before the first."""
        if number is not None and number in self._sets:
            return self._sets[number].found
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
        *,
        recurs: bool = False,
    ) -> None:
        """Have these tables at hand, and have statements see this set. Raises NoTable, Gone.

        seen: every place where the next statement names one of them: it then reads only files with rows that it can see
        there. All files without it. recurs: it has a WITH RECURSIVE, which on one thread that reads files itself may never end.
        """
        opened = self._use(found)
        self._define_all(opened, names)
        places: dict[str, list[Reference]] = {}
        if seen is not None:
            known = {folded(name): name for name in names_of(found)}
            for one in self._seen_through(opened, seen, known):
                places.setdefault(folded(one.table), []).append(one)
        reads = 0
        for name, table in opened.scanned.items():
            table.show([one.conditions for one in places.get(folded(name), ())], parameters)
            reads += table.shown_bytes if folded(name) in places else 0
        is_small = seen is not None and reads <= _FEW_BYTES
        self._run_on(max(2, self._most_threads) if recurs else 1 if is_small else self._most_threads)

    def _run_on(self, threads: int) -> None:
        if threads != self._threads:
            self._threads = 0  # interrupted, it may have been done all the same
            self._duck.execute(f"SET threads = {threads}")
            self._threads = threads

    def _use(self, found: TableSet) -> _Open:
        opened = self._sets.get(found.number)
        if opened is not None and opened.found.created_at != found.created_at:  # a lake made anew counts from 1 again
            self._close(found.number)
            opened = None
        if opened is None:
            opened = self._sets[found.number] = _Open(found, self._catalog())
        self._sets.move_to_end(found.number)
        if self._in_use != opened.catalog:
            self._in_use = ""  # interrupted, it may have been done all the same
            self._duck.execute(f"USE {opened.catalog}")
            self._in_use = opened.catalog
        return opened

    def _catalog(self) -> str:
        """One that no set has."""
        if len(self._sets) >= KEPT_SETS:
            self._close(next(iter(self._sets)))
        if self._free:
            return self._free.pop()
        catalog = f"set_{len(self._views)}"
        self._duck.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {catalog}")
        for schema in ("silver", "gold", "bronze", "reflection"):
            self._duck.execute(f"CREATE SCHEMA IF NOT EXISTS {catalog}.{schema}")
        self._views[catalog] = {}
        return catalog

    def _close(self, number: int) -> None:
        old = self._sets.pop(number)
        self._free.append(old.catalog)
        for table in old.scanned.values():
            table.forget()

    def _define_all(self, opened: _Open, names: list[str]) -> None:
        if OF_THE_LOG & {*names} and opened.log != (stands := self._log_stands()):
            opened.defined -= OF_THE_LOG  # it grows between the sets
            opened.log = stands
        for name in names:
            is_made = name in opened.found.views and self._made.file(opened.found, name).exists()
            if not is_made:
                self._define_all(opened, _reads(opened.found, name))
            if name not in opened.defined or is_made != (name in opened.from_files):
                opened.defined.discard(name)
                self._define(opened, name, is_made)
                (opened.from_files.add if is_made else opened.from_files.discard)(name)
                opened.defined.add(name)

    def _seen_through(self, opened: _Open, asked: Sequence[Reference], known: dict[str, str]) -> Iterator[Reference]:
        """The places, and of a view those in its SELECT."""
        found = opened.found
        for one in asked:
            name = known.get(folded(one.table), "")
            view = query_log.VIEWS.get(name) or (found.views[name].sql if name in found.views else None)
            if view is None:
                yield one
            elif name not in opened.from_files:
                try:
                    yield from self._seen_through(opened, self.guard.reading(view, is_ours=True).references, known)
                except Refused:  # a view that only DuckDB understands: all of what it reads
                    reads = (query_log.TABLE,) if name in query_log.VIEWS else found.views[name].reads
                    yield from map(Reference, reads)

    def resolved(self, found: TableSet, asked: list[str], may: Callable[[str], bool] = lambda name: True) -> list[str]:
        """The tables as the set spells them, each once; DuckDB takes names in any case. Raises NoTable. may: whether the
        asker may be told of a table."""
        known = {folded(name): name for name in names_of(found)}
        for name in asked:
            if folded(name) not in known:
                raise NoTable(f"there is no table {name[:100]}; {_known(name, filter(may, names_of(found)))}")
        return list(dict.fromkeys(known[folded(name)] for name in asked))

    def make(self, found: TableSet, name: str) -> bool:
        """Make a view's file for all who read it; False where it is not to be had so."""
        file = self._made.file(found, name)
        if name not in found.views or file.exists():
            return name in found.views
        self.define(found, [name], [Reference(name)])
        self._run_on(self._most_threads)  # a set is not told before
        kinds = [str(row[1]) for row in self._described(name)]
        if not all(kind in SAFE_TYPES or kind.startswith("DECIMAL(") for kind in kinds):
            return False
        schema, _, table = name.partition(".")
        rows = batches(self._duck, f"FROM {double_quoted(schema)}.{double_quoted(table)}").read_all()
        return self._made.write(file, rows)

    def columns(self, name: str) -> list[str]:
        """Of a table that is defined in the set in use."""
        return [str(row[0]) for row in self._described(name)]

    def _described(self, name: str) -> list[tuple[object, ...]]:
        schema, _, table = name.partition(".")
        return self._duck.execute(f"DESCRIBE {double_quoted(schema)}.{double_quoted(table)}").fetchall()

    def keeps_order(self, found: TableSet, name: str) -> bool:
        """Whether a plain SELECT of it has the same order each time: files scanned one after another, nothing joined."""
        return name in found.tables and not self._sets[found.number].scanned[name].is_joined

    def batches(self, sql: str, parameters: Sequence[object] = ()) -> pa.RecordBatchReader:
        """Run a statement that `guard` has judged and whose tables are defined. parameters: bound to $1, $2 and so on."""
        return batches(self._duck, sql, parameters)

    def _define(self, opened: _Open, name: str, is_made: bool) -> None:
        found = opened.found
        if name in query_log.VIEWS:
            select = query_log.VIEWS[name]
        elif name == query_log.TABLE:
            exists = query_log.exists(self._lake)
            select = self._relation(opened, name, query_log.FOLDER, None) if exists else query_log.EMPTY
        elif is_made:
            file = literal(pattern(str(self._made.file(found, name))))
            select = f"SELECT * FROM read_parquet({file}, hive_partitioning = false)"
        elif name in found.views:
            select = found.views[name].sql
        elif name in found.tables:
            table = found.tables[name]
            select = self._relation(opened, name, table.path, table.version)
        else:
            raise NoTable(f"there is no table {name}; {_known(name, names_of(found))}")
        views, key = self._views[opened.catalog], folded(name)
        if views.get(key) == select:  # DuckDB binds a view anew with each statement
            return
        views.pop(key, None)
        schema, _, table_name = name.partition(".")
        self._duck.execute(f"CREATE OR REPLACE VIEW {opened.catalog}.{schema}.{double_quoted(table_name)} AS {select}")
        views[key] = select

    def _log_stands(self) -> tuple[int | None, int]:
        """Its newest version and when that was written: a log that was made anew counts from 0."""
        folder = self._lake.path / query_log.FOLDER
        if (version := newest_version(folder)) is None:
            return None, 0
        try:
            return version, os.stat(folder / "_delta_log" / f"{version:020d}.json").st_mtime_ns
        except OSError:  # a checkpoint has taken its place
            return version, 0

    def _relation(self, opened: _Open, name: str, path: str, version: int | None) -> str:
        variables = f"{opened.catalog}_files_{self._numbers.setdefault(name, len(self._numbers))}"
        folder = (self._lake.path / path).resolve()
        try:
            there = live(folder, version)
            if version is not None:
                opened.found.check_is(name, there.id)
            table = Scanned(self._duck, folder, there, self._layouts, variables)
        except MadeAnew as cause:
            raise Gone(str(cause)) from cause
        except (GridError, OSError) as cause:
            at = "" if version is None else f" version {version}"
            raise Gone(f"table {name}:{at} can no longer be read; a refine makes deleted tables again") from cause
        if (before := opened.scanned.pop(name, None)) is not None:
            before.forget()
        opened.scanned[name] = table
        return table.sql


def names_of(found: TableSet) -> list[str]:
    """Tables and views that can be asked, the query log's among them."""
    return sorted({*found.tables, *found.views, query_log.TABLE, *query_log.VIEWS})


def _reads(found: TableSet, name: str) -> list[str]:
    """What a view reads; nothing, of a table."""
    if name in query_log.VIEWS:
        return [query_log.TABLE]
    return list(found.views[name].reads) if name in found.views else []


def _known(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else "GET /api/v1/tables lists those that are"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
