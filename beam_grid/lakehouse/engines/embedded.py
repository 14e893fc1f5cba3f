"""Derived tables in this process: read and computed by DuckDB, committed by `delta_log`.

A table is plain, without clustering; its rows are sorted by `cluster_by`, or `order_by`, in files of half a million, so
that a query by the leading column reads few of them. Rows stream through: memory is DuckDB's limit and one such file.

    replace   files of the table   |── 1 ──|── 2 ──|── 3 ──|     rows of touched groups are in 2 and 3
              rewritten            |── 1 ──|── 4 ──|── 5 ──|     their other rows and the new ones, sorted, in one commit

Small files are rewritten with those that are touched, so they do not gather.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_grid.lakehouse import data_files, delta_log, duck, scan
from beam_grid.lakehouse.bounds import Condition, may_hold
from beam_grid.lakehouse.engines import DoesNotFit
from beam_grid.lakehouse.live import live
from beam_grid.lakehouse.tables import STATISTICS_COLUMNS
from data_sources.identifiers import double_quoted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from beam_grid.analyses.detections import Batches
    from beam_grid.lakehouse.live import Live, LiveFile
    from beam_grid.lakehouse.tables import Table

FILE_ROWS = 1 << 19
"""One file is in memory, and is rewritten where a row of it changes."""


IN_MEMORY = 64 << 20
"""Bytes of rows that a function made which are kept without a file."""

PART_ROWS = 4_000_000
"""Windows over so many rows, and the sort that takes what they give, are in memory together."""


class Embedded:
    """The engine of a run on a connection of DuckDB; not to be shared by threads."""

    dialect: Any = "duckdb"
    at_once = 1
    goes_on = True
    part_rows: int | None = PART_ROWS

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._engine, self._scratch = connection, scratch

    def rows(self, table: Table, version: int, where: Condition | None = None) -> str:
        view = double_quoted(f"{table.name}@{version}" + (f" {where}" if where else ""))
        at = live(table.path, version)
        rows = scan.selected(self._engine, table.path, at, [file for file in at.files if _may_hold(file, where)])
        self._engine.execute(f"CREATE TEMP VIEW IF NOT EXISTS {view} AS FROM {rows}")
        return view

    def changes(self, table: Table, after: int, upto: int) -> str | None:
        return scan.changes(self._engine, table.path, after, upto)

    def came(self, table: Table, after: int, upto: int) -> str | None:
        before, at = live(table.path, after), live(table.path, upto)
        known = {(file.path, repr(file.vector)) for file in before.files}
        files = [file for file in at.files if (file.path, repr(file.vector)) not in known]
        return scan.selected(self._engine, table.path, at, files)

    def difference(self, table: Table, after: int, upto: int, columns: Sequence[str], where: str) -> str | None:
        return scan.difference(self._engine, table.path, after, upto, columns, where)

    def define(self, view: str, sql: str, *, once: bool = False) -> None:
        self._fitting(f"CREATE OR REPLACE TEMP {'TABLE' if once else 'VIEW'} {double_quoted(view)} AS {sql}")

    def _fitting(self, sql: str) -> None:
        import duckdb

        try:
            self._engine.execute(sql)
        except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as cause:
            raise DoesNotFit(self.reason(cause)) from cause

    def gather(self, view: str, selects: Sequence[str]) -> None:
        files = []
        for number, sql in enumerate(selects):
            files.append(str(self._scratch / f"{view}-{number}.parquet"))
            self._fitting(f"COPY ({sql}) TO {duck.literal(files[-1])} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")  # fmt: skip
        self.define(view, f"FROM {duck.parquet(files)}")

    def give(self, view: str, rows: pa.Table) -> None:
        self._engine.register("__given", rows)
        self.define(view, "FROM __given", once=True)
        self._engine.unregister("__given")

    def apply(self, view: str, source: str, order: Sequence[str], function: Batches, schema: pa.Schema) -> None:
        """By way of a file in the scratch where the rows are many; a connection has one statement at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self._scratch / f"{view}.parquet"
        by = ", ".join(map(double_quoted, order))
        rows = self._engine.sql(f"FROM {double_quoted(source)} ORDER BY {by}").to_arrow_reader(data_files.ROW_GROUP)
        made, first, size = iter(function(rows)), [], 0
        for batch in made:
            first.append(batch)
            if (size := size + batch.nbytes) > IN_MEMORY:
                break
        else:
            self._engine.register(f"{view}_made", pa.Table.from_batches(first, schema))
            self.define(view, f"FROM {double_quoted(f'{view}_made')}")
            return
        with pq.ParquetWriter(file, schema, compression="zstd", compression_level=1) as out:
            for batch in itertools.chain(first, made):
                out.write_batch(batch)
        self.define(view, f"FROM {duck.parquet([str(file)])}")

    def schema(self, view: str) -> pa.Schema:
        return self.ask(f"FROM {view} LIMIT 0").schema

    def ask(self, sql: str) -> pa.Table:
        return self._engine.sql(sql).to_arrow_table()

    def write(self, table: Table, view: str, order: Sequence[str], weight: int) -> None:
        delta_log.create(table.path, self.schema(double_quoted(view)), name=table.name)
        at = delta_log.read(table.path)
        assert at is not None
        self._rewrite(table, at, at.files, f"FROM {double_quoted(view)}", order, "WRITE")

    def replace(
        self,
        table: Table,
        view: str,
        is_in: str,
        key: Sequence[str],
        order: Sequence[str],
        where: Condition | None = None,
    ) -> None:
        at = delta_log.read(table.path)
        assert at is not None
        touched = [
            file
            for file in at.files
            if (file.rows or 0) < FILE_ROWS // 8 or (_may_hold(file, where) and self._holds(table, at, file, is_in))
        ]
        kept = scan.selected(self._engine, table.path, at, touched)
        rows = f"FROM (FROM {kept} WHERE NOT ({is_in}) UNION ALL BY NAME FROM {double_quoted(view)})"
        self._rewrite(table, at, touched, rows, order, "MERGE")

    def reason(self, cause: Exception) -> str:
        return " ".join(str(cause).split())[:200]

    def _holds(self, table: Table, at: Live, file: LiveFile, is_in: str) -> bool:
        rows = scan.selected(self._engine, table.path, at, [file])
        return bool(self._engine.sql(f"FROM {rows} WHERE {is_in} LIMIT 1").fetchall())

    def _rewrite(
        self, table: Table, at: Live, files: list[LiveFile], rows: str, order: Sequence[str], operation: str
    ) -> None:
        """Put the rows in place of those in the files, in one commit."""
        by = f" ORDER BY {', '.join(map(double_quoted, order))}" if order else ""
        batches = self._engine.sql(rows + by).to_arrow_reader(data_files.ROW_GROUP)
        columns = delta_log.with_columns(at, batches.schema, table.name)
        measured = batches.schema.names[:STATISTICS_COLUMNS]
        group = data_files.SORTED_GROUP if order else data_files.ROW_GROUP
        added = data_files.write(table.path, batches, batches.schema, FILE_ROWS, measured, row_group=group)
        count = sum(map(delta_log.rows_of, added))
        delta_log.put(table.path, at, [*columns, *map(delta_log.removed, files), *added], operation, rows=count)
        delta_log.checkpoint(table.path, at)


def _may_hold(file: LiveFile, where: Condition | None) -> bool:
    return where is None or may_hold(file, where, "timestamp")
