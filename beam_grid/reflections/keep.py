"""Reflections brought up to the tables of a version set that is about to be published, so that both are in one set.

    source   version 7 ── rows added ──► 8                 their partial aggregates: one small file more
             version 8 ── rows went or changed ──► 9       the groups they are of: made anew from the source's rows
             another table id, declaration or type, a log that no longer tells: all of it made anew

Late rows, reinjected ones and new commits add rows; superseded rows, CDC and rewritten windows take some away. A partial
aggregate cannot give a row back, so nothing is ever subtracted. Lines of a group add up over files; small runs are
merged where there are many (`runs.py`). Not guaranteed: that a reflection is there, or current. Readers ask (`match.py`), and read
the table itself otherwise; so nothing here keeps tables from being published.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
from msgspec.structs import replace

from beam_grid.lakehouse import data_files, delta_log, guard, scan
from beam_grid.lakehouse.duck import batches, connect_again
from beam_grid.lakehouse.live import Live, LiveFile, live
from beam_grid.lakehouse.spans import instant_of
from beam_grid.lakehouse.table_set import KeptReflection, PublishedTable, Reflection
from beam_grid.lakehouse.tables import Table
from beam_grid.lakehouse.versions import Content, published
from beam_grid.landing import Lake
from beam_grid.reflections import declared, runs
from beam_grid.reflections.shapes import Misfit, Shape, shape_of
from data_sources.identifiers import double_quoted

if TYPE_CHECKING:
    import duckdb

_HOUR = 3_600_000_000


def is_due(lake: Lake, content: Content, wanted: dict[str, Reflection]) -> bool:
    """Whether `keep` may have something to do; tables that somebody deleted are found by file names alone."""
    if any(table.reflection and name not in wanted for name, table in content.tables.items()):
        return True
    return any(
        one.table in content.tables and not _is_current(lake, content.tables.get(name), one, content.tables[one.table])
        for name, one in wanted.items()
    )


def _is_current(lake: Lake, before: PublishedTable | None, one: Reflection, source: PublishedTable) -> bool:
    if before is None or before.reflection is None or before.reflection.declared != one:
        return False
    if not (lake.path / before.path / "_delta_log" / f"{before.version:020d}.json").exists():
        return False
    return before.read_at.get(one.table) == source.at


def keep(
    lake: Lake, content: Content, wanted: dict[str, Reflection], scratch: Path, say: Callable[[str], None]
) -> list[str]:
    """Bring the reflections up to `content`, enter them there, and return the names of those that were written.

    One that does not fit its table, or cannot be written, is left out and said.
    """
    written = []
    for name in [name for name, table in content.tables.items() if table.reflection and name not in wanted]:
        del content.tables[name]
    for name, one in wanted.items():
        source, before = content.tables.get(one.table), content.tables.get(name)
        if source is None or source.reflection is not None:
            content.tables.pop(name, None)
            continue
        began = time.monotonic()
        try:
            found = _brought_up(lake, one, source, before, scratch)
        except Ahead:
            continue
        except Misfit as cause:
            content.tables.pop(name, None)
            say(f"{name}: left out, {lake.path / declared.FILE} does not fit the table: {cause}")
            continue
        except Exception as cause:
            content.tables.pop(name, None)
            say(
                f"{name}: left out, it could not be brought up ({type(cause).__name__}: {' '.join(str(cause).split())})"
            )
            continue
        if found is not before:
            written.append(name)
            content.tables[name] = found
            content.seconds[name] = time.monotonic() - began
    return written


def _brought_up(
    lake: Lake, one: Reflection, source: PublishedTable, before: PublishedTable | None, scratch: Path
) -> PublishedTable:
    """Its entry in the set; `before` itself where there was nothing to do."""
    table, began, now = Table(lake, f"{declared.SCHEMA}.{one.name}"), time.monotonic(), datetime.now(UTC)
    at = live(lake.path / source.path, source.version)
    columns = _columns(at, one)
    definition = _definition(one, source.id, columns)
    kept = before.reflection if before is not None else None
    application = f"{lake.id}/{table.name}/{definition}"
    is_ours = (
        kept is not None
        and before is not None
        and before.definition == definition
        and _stands(table, before, application)
        and (kept.since or 0) <= _most()  # an older version went by a clock that was far ahead
    )
    if is_ours and before is not None and kept is not None:
        is_early = now - kept.refreshed_at < declared.pause(one)
        if before.read_at.get(one.table) == source.at or is_early:
            return before if kept.declared == one else replace(before, reflection=replace(kept, declared=one))
    since = _since(one, at, kept.since if is_ours and kept is not None else None)
    shape = shape_of(one, columns, since)
    seen = (before.version, before.read_at[one.table].version) if is_ours and before is not None else None
    properties = {"delta.dataSkippingStatsColumns": ",".join(f"`{name}`" for name in _measured(shape))}
    delta_log.create(table.path, shape.schema, name=table.name, properties=properties)
    work = _Work(lake.path / source.path, at, table, shape, seen, (application, at.version))
    delta_log.again_on_conflict(table.path, lambda kept_at: work.do(kept_at, scratch / table.name))
    return published(
        table,
        dataclasses.replace(table.state(), version=work.version),  # another may have brought it further by now
        definition=definition,
        inputs={one.table: source.signature},
        read_at={one.table: source.at},
        reflection=KeptReflection(
            declared=one,
            types={field["name"]: _said(field["type"]) for field in json.loads(at.schema)["fields"]},
            refreshed_at=now,
            seconds=round(time.monotonic() - began, 3),
            since=since,
        ),
    )


class Ahead(Exception):
    """Another run has brought the reflection further than this set's table: its own set says so, or is about to."""


class _Work:
    """One refresh: from the source as the reflection has seen it (None: not at all) to the source as it is in the set."""

    def __init__(
        self,
        source: Path,
        at: Live,
        named: Table,
        shape: Shape,
        seen: tuple[int, int] | None,
        application: tuple[str, int],
    ) -> None:
        """seen: the version of the reflection that the set names, and that of the source which is in it."""
        self.source, self.at, self.shape, self.application = source, at, shape, application
        self.named, self.table = named, named.path
        self._seen = seen
        self.version: int | None = None
        """Of the reflection, when it is done."""

    def do(self, kept: Live, scratch: Path) -> None:
        """Raises delta_log.Conflict where somebody else wrote to the reflection meanwhile, Ahead where that brought it
        further than the set's source."""
        self.seen = self._seen_in(kept)
        self.version = kept.version
        with connect_again(scratch) as engine:
            self.shape.prepare(engine)
            added = None if self.seen is None else scan.added(self.source, self.seen, self.at.version)
            if added is not None:
                lines, gone = self._of_added(engine, kept, added)
            else:
                changed = None if self.seen is None else scan.changes(engine, self.source, self.seen, self.at.version)
                lines, gone = self._anew(engine, kept) if changed is None else self._of_changed(engine, kept, changed)
            columns = delta_log.with_columns(kept, self.shape.schema, self.table.name)
            rows = batches(engine, self.shape.merged(f"({lines})"), rows=runs.FILE_ROWS) if lines else iter(())
            tags = runs.tags()
            put = [
                action
                for part in self.shape.parts(_cast(rows, self.shape.schema))
                for action in data_files.write(
                    self.table, part, self.shape.schema, runs.FILE_ROWS, _measured(self.shape),
                    row_group=data_files.SORTED_GROUP, tags=tags,
                )
            ]  # fmt: skip
        if columns or put or gone:
            actions = [*columns, *map(delta_log.removed, gone), *put]
            self.version = delta_log.put(
                self.table,
                kept,
                actions,
                "MERGE" if gone else "WRITE",
                self.application,
                rows=sum(map(delta_log.rows_of, put)),
            )
            self._seen_in(live(self.table, self.version))  # where another's commit came first, that one stands
            delta_log.checkpoint(self.table, kept)

    def _seen_in(self, kept: Live) -> int | None:
        """How far the source is in the reflection as it is; None: not at all, or not that anybody could tell."""
        name, target = self.application
        brought = kept.transactions.get(name)
        if brought is not None and brought > target:
            raise Ahead
        if self._seen is None:
            return None
        version, seen = self._seen
        if kept.version != version:
            # another of our runs, or one that was cut off, brought it on; where a raw one begins only its set says
            if brought is None or self.shape.since is not None:
                return None
            if guard.changed_since(self.named, version, kept.version, but_by=name):
                return None
            seen = brought
        return seen if seen <= target else None

    def _of_added(
        self, engine: duckdb.DuckDBPyConnection, kept: Live, added: list[LiveFile]
    ) -> tuple[str, list[LiveFile]]:
        """Lines of the rows that came; with them small runs, where there are many."""
        old = [file for file in kept.files if self._is_old(file)]
        if not added:
            return "", old
        lines = self.shape.made(scan.selected(engine, self.source, self.at, added))
        small = runs.to_merge(file for file in kept.files if file not in old)
        if not small:
            return lines, old
        return self._beside(lines, f"SELECT * FROM {scan.selected(engine, self.table, kept, small)}"), small + old

    def _of_changed(self, engine: duckdb.DuckDBPyConnection, kept: Live, changed: str) -> tuple[str, list[LiveFile]]:
        """Lines of the groups that the changed rows are of, and of others in the same files."""
        shape = self.shape
        groups = ", ".join(f"{sql} AS {double_quoted(name)}" for name, sql in shape.groups.items()) or "0 AS g"
        engine.execute(f"CREATE TEMP TABLE touched AS SELECT DISTINCT {groups} FROM {changed}")
        same = " AND ".join(f"t.{double_quoted(name)} IS NOT DISTINCT FROM r.{double_quoted('__' + name)}" for name in shape.groups) or "true"  # fmt: skip
        told = ", ".join(f"{sql} AS {double_quoted('__' + name)}" for name, sql in shape.groups.items())
        now = scan.selected(engine, self.source, self.at, self._touched_files(engine))
        rows = f"(SELECT r.* FROM (SELECT *{', ' if told else ''}{told} FROM {now}) r SEMI JOIN touched t ON {same})"
        files = [file for file in kept.files if self._may_be_touched(engine, file)]
        lines = shape.made(rows)
        told = ", ".join(f"{sql} AS {double_quoted('__' + name)}" for name, sql in shape.kept_groups.items())
        names = ", ".join(f"r.{double_quoted(name)}" for name in shape.schema.names)
        if files and shape.groups:
            old = scan.selected(engine, self.table, kept, files)
            lines = self._beside(
                lines, f"SELECT {names} FROM (SELECT *, {told} FROM {old}) r ANTI JOIN touched t ON {same}"
            )
        return lines, files + [file for file in kept.files if self._is_old(file) and file not in files]

    def _touched_files(self, engine: duckdb.DuckDBPyConnection) -> list[LiveFile]:
        """The source's files that may hold rows of touched groups, by the bounds of their times."""
        if self.shape.source_time is None:
            return self.at.files
        field, group, reach = self.shape.source_time
        time = f"epoch_us({double_quoted(group)})"
        low, high, nulls = engine.execute(
            f"SELECT min({time}), max({time}), count(*) - count({time}) FROM touched"
        ).fetchall()[0]
        if low is None or nulls:
            return self.at.files

        def may_hold(file: LiveFile) -> bool:
            least, greatest = file.least.get(field), file.greatest.get(field)
            if least is None or greatest is None:
                return True
            return instant_of(least) <= high + reach and low <= instant_of(greatest) + 1000

        return [file for file in self.at.files if may_hold(file)]

    def _anew(self, engine: duckdb.DuckDBPyConnection, kept: Live) -> tuple[str, list[LiveFile]]:
        return self.shape.made(scan.selected(engine, self.source, self.at, self.at.files)), kept.files

    def _beside(self, lines: str, others: str) -> str:
        names = ", ".join(map(double_quoted, self.shape.schema.names))
        return f"SELECT {names} FROM ({lines}) UNION ALL SELECT {names} FROM ({others})"

    def _may_be_touched(self, engine: duckdb.DuckDBPyConnection, file: LiveFile) -> bool:
        """By the bounds of its times, which are cut to milliseconds, and of what it is in order of."""
        name, wheres, bounds = self.shape.time, list[str](), list[object]()
        if self.shape.source_time is not None and name in file.least and name in file.greatest:
            group = self.shape.source_time[1]
            low, high = instant_of(file.least[name]), instant_of(file.greatest[name])
            low -= low % _HOUR if group == "hour" else 0
            column = f"epoch_us({double_quoted(group)})"
            wheres.append(f"({column} BETWEEN {low} AND {high + 1000} OR {column} IS NULL)")
        if self.shape.first is not None and self.shape.first[1] in file.least and self.shape.first[1] in file.greatest:
            group, name = self.shape.first
            wheres.append(f"({double_quoted(group)} BETWEEN ? AND ? OR {double_quoted(group)} IS NULL)")
            bounds += [file.least[name], file.greatest[name]]
        return bool(
            engine.execute(f"SELECT 1 FROM touched WHERE {' AND '.join(wheres) or 'true'} LIMIT 1", bounds).fetchall()
        )

    def _is_old(self, file: LiveFile) -> bool:
        """Of a raw reflection: all rows are older than it reaches."""
        since = self.shape.since
        bound = file.greatest.get(self.shape.time or "")
        return since is not None and bound is not None and instant_of(bound) < since


def _cast(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterable[pa.RecordBatch]:
    for batch in batches:
        yield batch.select(schema.names).cast(schema)


def _columns(at: Live, one: Reflection) -> pa.Schema:
    """The source's columns, those a reflection can hold. Raises Misfit where a raw one would lose some."""
    found = []
    for field in json.loads(at.schema)["fields"]:
        try:
            found.append((field["name"], delta_log.arrow_type(field["type"])))
        except KeyError as cause:
            if one.raw is not None:
                raise Misfit(f"{field['name']!r} is of a type that is not kept") from cause
    return pa.schema(found)


def _definition(one: Reflection, source_id: str, columns: pa.Schema) -> str:
    """Identifies what the reflection holds: another one is made anew."""
    names = columns.names if one.raw is not None else [n for n in declared.fields(one) if n in columns.names]
    types = [(name, str(columns.field(name).type)) for name in names]
    said = {**msgspec.to_builtins(one), "refresh": None}
    return hashlib.sha256(json.dumps([said, source_id, types], sort_keys=True).encode()).hexdigest()[:16]


def _stands(table: Table, before: PublishedTable, application: str) -> bool:
    """Whether the table is there as the set says, or as another run of ours left it: one that publishes beside, or was cut
    off; touched by nobody else."""
    state = table.state()
    if state.version is None or state.id != before.id or state.version < before.version:
        return False
    return not guard.changed_since(table, before.version, state.version, but_by=application)


def _since(one: Reflection, at: Live, before: int | None) -> int | None:
    """Where a raw reflection begins: a whole hour, never before where it began already, and not by a clock that is far ahead."""
    if one.raw is None:
        return None
    bounds = [instant_of(file.greatest[one.raw.time]) for file in at.files if one.raw.time in file.greatest]
    if not bounds:
        return before if before is not None else -(1 << 62)
    newest = min(max(bounds), _most())
    return max(newest - newest % _HOUR - one.raw.days * 24 * _HOUR, before if before is not None else -(1 << 62))


def _most() -> int:
    """What a row's time is taken for at most, where it says what is new: tomorrow, microseconds since 1970."""
    return int((time.time() + 86_400) * 1e6)


def _measured(shape: Shape) -> list[str]:
    """The columns whose bounds files tell: those that tell groups apart, or decide the order."""
    names = [*([shape.time] if shape.time else []), *(n for n in shape.kept_groups if n in shape.schema.names)]
    more = [] if "_rows" in shape.schema.names else shape.schema.names
    listed = list(dict.fromkeys([*names, *more]))[:32]
    return listed or ["_rows"]


def _said(kind: object) -> str:
    return kind if isinstance(kind, str) else "nested"
