"""A process that answers one question after another, with an engine of its own, and may be killed at any time.

    jobs     ─► Job ─► guard ─► engine ─► Told, Arrow stream ─►
    control  ─► its number ─► interrupts the statement under way, if it still is this one

A process, because some of SQL neither counts against DuckDB's memory limit nor hears an interrupt: `len(range(1e9))`
takes eight gigabytes and half a minute. The operating system refuses it the memory, and the pool kills what does not
end. Kept free of Beam, Spark and Java.
"""

from __future__ import annotations

import resource
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb
import psutil
import pyarrow as pa

from beam_grid.errors import GridError
from beam_grid.lakehouse import query_log
from beam_grid.lakehouse.live import live
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.landing import Lake
from beam_grid.server.engine import OF_THE_LOG, Engine, Gone, Limits, TooMuch, names_of
from beam_grid.server.guard import NoTable, Reading, Refused
from beam_grid.server.jobs import Again, Job, Told, encode, to_job
from beam_grid.server.reach import may_see
from beam_grid.server.rewriting import FromReflections, Rewriter
from beam_grid.service.memory import give_back
from data_sources.identifiers import double_quoted, folded

_BESIDE_DUCKDB = 512 << 20
"""Memory that a worker may take beside what DuckDB counts: single values, Arrow, libraries."""


READY = b"ready"
"""Sent once, before the first job is taken."""

_KEEPS = 128 << 20
"""Memory that a worker may keep beside what DuckDB may: footers of a large lake's files among it. With more it ends: what a
large answer took is not always given back."""


_ROOM = 128 << 20
"""Memory that the system must still let a worker have, or it ends: a statement that was refused some has not always given
back what it had, and the next, small as it is, would be refused too."""


class Forbidden(GridError):
    """The caller's key does not reach the table."""


def main(jobs: Connection, control: Connection, lake_path: str, scratch: str, made: str, limits: Limits) -> None:
    """Answer until `jobs` is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all; the server decides
    worker = Answering(Lake.open(lake_path, create=False), Path(scratch), limits, made=Path(made))
    refused_at = _limit_memory((limits.memory_mib << 20) + _BESIDE_DUCKDB)
    give_back()
    threading.Thread(target=_hear, args=(control, worker), daemon=True).start()
    me = psutil.Process()
    retires_at = me.memory_info().rss + (limits.memory_mib << 20) + _KEEPS
    jobs.send_bytes(READY)
    while True:
        try:
            job = to_job(jobs.recv_bytes())
        except (EOFError, OSError):
            return
        told, rows = worker.cancellable(job)
        taken = me.memory_info()
        told.retires = taken.rss > retires_at or taken.data > refused_at - _ROOM
        try:
            jobs.send_bytes(encode(told))
            if told.status == "ok":
                jobs.send_bytes(rows)
        except OSError:
            return
        if told.retires:
            return


def _hear(control: Connection, worker: Answering) -> None:
    while True:
        try:
            number = int(control.recv_bytes())
        except (EOFError, OSError):
            return
        worker.cancel(number)


def _limit_memory(more: int) -> int:
    """So much beyond what is taken now; an allocation that passes it fails, which DuckDB tells as out of memory. Returns how
    much that is in all."""
    taken = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            taken = int(line.split()[1]) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (taken + more, taken + more))
    return taken + more


class Answering:
    """Questions over one lake."""

    def __init__(
        self,
        lake: Lake,
        scratch: Path,
        limits: Limits,
        rewriters: tuple[Rewriter, ...] | None = None,
        made: Path | None = None,
    ) -> None:
        """rewriters: asked in turn, of each SELECT; the lake's reflections unless given. scratch, made: as of Engine."""
        self._lake = lake
        self._rewriters = (FromReflections(lake),) if rewriters is None else rewriters
        self._engine = Engine(lake, scratch, limits, made)
        self._guard, self._under_way = threading.Lock(), 0

    def cancellable(self, job: Job) -> tuple[Told, bytes]:
        """As `answer`, while another thread may `cancel` it."""
        with self._guard:
            self._under_way = job.number
        try:
            return self.answer(job)
        finally:
            with self._guard:
                self._under_way = 0

    def cancel(self, number: int) -> None:
        """Interrupt the job of this number; one that came after it is left alone."""
        with self._guard:
            if self._under_way == number:
                self._engine.interrupt()

    def answer(self, job: Job) -> tuple[Told, bytes]:
        """How it went, and the rows as an Arrow stream where it went well. Raises nothing."""
        try:
            return getattr(self, f"_{job.kind}")(job)
        except Forbidden as cause:
            return Told(status="forbidden", message=str(cause)), b""
        except NoTable as cause:
            return Told(status="not_there", message=str(cause)), b""
        except Gone as cause:
            return Told(status="gone", message=str(cause)), b""
        except TooMuch as cause:
            return Told(status="too_much", message=str(cause)), b""
        except duckdb.InterruptException:
            return Told(status="cancelled", message="it was ended"), b""
        except (duckdb.OutOfMemoryException, MemoryError):
            return Told(
                status="too_much", message="it needs more memory than a statement may take; ask for less at once"
            ), b""
        except duckdb.IOException as cause:  # a VACUUM, or a refine that makes a table anew, took a file
            return Told(status="gone", message=f"a file of the table is gone ({_short(cause, self._lake)})"), b""
        except (Refused, duckdb.Error) as cause:
            return Told(status="refused", message=_short(cause, self._lake)), b""
        except GridError as cause:
            return Told(status="refused", message=_short(cause, self._lake)), b""
        except Exception as cause:
            return Told(status="failed", message=f"{type(cause).__name__}: {_short(cause, self._lake)}"), b""

    def _sql(self, job: Job) -> tuple[Told, bytes]:
        found = self._engine.set_of(job.set_number)
        reading = self._engine.guard.reading(job.sql)
        tables = self._allowed(found, reading.tables, job)
        again = _again(reading, tables)
        for rewriter in self._rewriters:
            if (instead := rewriter(job.sql, tables, found, job.parameters)) is not None:
                try:
                    other = self._engine.guard.reading(instead.sql, is_ours=True)
                    reads = self._engine.resolved(found, other.tables)
                    self._engine.define(found, reads, other.references, job.parameters)
                    rows, body = self._run(f"EXPLAIN {instead.sql}" if job.explain else instead.sql, job)
                except (duckdb.InterruptException, duckdb.OutOfMemoryException):
                    raise
                except (Gone, Refused, duckdb.Error):  # the table can answer, or say what is wrong
                    break
                by = instead.answered_by
                return Told(set_number=found.number, tables=tuple(tables), rows=rows, answered_by=by, again=again), body
        self._engine.define(found, tables, reading.references, job.parameters, recurs=reading.recurs)
        rows, body = self._run(f"EXPLAIN {job.sql}" if job.explain else job.sql, job)
        return Told(set_number=found.number, tables=tuple(tables), rows=rows, again=again), body

    def _table(self, job: Job) -> tuple[Told, bytes]:
        found = self._engine.set_of(job.set_number)
        (name,) = self._allowed(found, [job.table], job)
        select = f"SELECT * FROM {quoted_table(name)}"
        if job.where:
            select += f" WHERE {self._engine.guard.condition(job.where)}"
        reading = self._engine.guard.reading(select)
        reads = self._allowed(found, reading.tables, job)
        self._engine.define(found, reads, reading.references, recurs=reading.recurs)
        if job.order:
            select += f" ORDER BY {', '.join(self._order(name, job.order))}"
        elif not self._engine.keeps_order(found, name):
            select += " ORDER BY ALL"
        rows, body = self._run(f"{select} LIMIT {job.limit} OFFSET {job.offset}", job)
        return Told(set_number=found.number, tables=(name,), rows=rows, again=_again(reading, reads)), body

    def _order(self, name: str, asked: tuple[str, ...]) -> list[str]:
        """Terms of an ORDER BY that leave no two different rows in doubt, so that pages fit together."""
        known = {folded(column): column for column in self._engine.columns(name)}
        terms, rest = [], dict.fromkeys(known.values())
        for word in asked:
            column = known.get(folded(word.removeprefix("-")))
            if column is None:
                raise Refused(
                    f"order: {name} has no column {word.removeprefix('-')!r}; it has {', '.join(known.values())}"
                )
            terms.append(f"{double_quoted(column)} {'DESC' if word.startswith('-') else 'ASC'} NULLS LAST")
            rest.pop(column, None)
        return terms + [double_quoted(column) for column in rest]

    def _warm(self, job: Job) -> tuple[Told, bytes]:
        """Whether a version set can be opened."""
        found = self._engine.set_of(None)
        self._engine.define(found, [])
        return Told(set_number=found.number), _stream(pa.table({"set": [found.number]}))

    def _make(self, job: Job) -> tuple[Told, bytes]:
        """Make the views among these tables; told are those that were made."""
        found = self._engine.set_of(job.set_number)
        made = tuple(name for name in job.views if self._engine.make(found, name))
        return Told(set_number=found.number, tables=made), _stream(pa.table({"set": [found.number]}))

    def _tables(self, job: Job) -> tuple[Told, bytes]:
        found = self._engine.set_of(job.set_number)
        rows = [self._described(found, name) for name in names_of(found) if may_see(name, job.allowed)]
        return Told(set_number=found.number, rows=len(rows)), _stream(pa.Table.from_pylist(rows, schema=_TABLES))

    def _described(self, found: TableSet, name: str) -> dict[str, str | int | None]:
        row: dict[str, str | int | None] = {"table": name, "kind": "table" if name in found.tables else "view"}
        if name in found.views:
            return row | {"description": found.views[name].description}
        if name == query_log.TABLE or name in query_log.VIEWS:
            is_log = name == query_log.TABLE
            return row | {"kind": "table" if is_log else "view", "description": "Queries this server answered" + ("." if is_log else ", by hour.")}  # fmt: skip
        table = found.tables[name]
        try:
            at = live(self._lake.path / table.path, table.version)
            found.check_is(name, at.id)
        except (GridError, OSError):
            return row | {"version": table.version, "description": "its files are gone; run refine"}
        counted = [file.rows for file in at.files]
        rows = None if None in counted else sum(filter(None, counted)) - sum(file.deleted for file in at.files)
        return row | {"version": table.version, "rows": rows, "bytes": at.bytes}

    def _ledger(self, job: Job) -> tuple[Told, bytes]:
        from beam_grid.ledger import ledger

        book = ledger(self._lake)
        shown = book.filter(
            pa.array([may_see(f"silver.{feed}", job.allowed) for feed in book["feed"].to_pylist()], pa.bool_())
        )
        return Told(rows=shown.num_rows), _stream(shown)

    def _lineage(self, job: Job) -> tuple[Told, bytes]:
        from beam_grid.inspect import inspect
        from beam_grid.lakehouse.trace import trace

        found = self._engine.set_of(None)
        if job.table:
            (name,) = self._allowed(found, [job.table], job)
            where = self._engine.guard.condition(job.where or "true")
            self._allowed(found, self._engine.guard.reading(f"SELECT 1 WHERE {where}").tables, job)
            answer = trace(self._lake, name, job.where or "true")
        else:
            feeds = [feed for feed in self._lake.feeds if may_see(f"silver.{feed}", job.allowed)]
            if job.feed and job.feed not in feeds:
                raise NoTable(f"there is no feed {job.feed}; landed: {', '.join(feeds) or 'none yet'}")
            tables = [inspect(self._lake, "lineage", feed) for feed in ([job.feed] if job.feed else feeds)]
            answer = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({"feed": []})
        if answer.num_rows > job.max_rows or answer.nbytes > job.max_bytes:
            raise TooMuch(f"the answer has {answer.num_rows:,} rows; ask for fewer, with a condition")
        return Told(set_number=found.number, tables=(job.table,) if job.table else (), rows=answer.num_rows), _stream(
            answer
        )

    def _allowed(self, found: TableSet, asked: list[str], job: Job) -> list[str]:
        """The tables as the lake spells them. Raises NoTable, or Forbidden for one that the caller may not see."""
        tables = self._engine.resolved(found, asked, lambda name: may_see(name, job.allowed))
        for name in tables:
            if not may_see(name, job.allowed):
                raise Forbidden(f"this key does not reach {name}; it reaches {', '.join(job.allowed or ())}")
        return tables

    def _run(self, sql: str, job: Job) -> tuple[int, bytes]:
        reader = self._engine.batches(sql, job.parameters)
        sink, rows, size = pa.BufferOutputStream(), 0, 0
        with pa.ipc.new_stream(sink, reader.schema) as out:
            for batch in reader:
                rows, size = rows + batch.num_rows, size + batch.nbytes
                if rows > job.max_rows or size > job.max_bytes:
                    self._engine.interrupt()
                    raise TooMuch(
                        f"the answer has more than {job.max_rows:,} rows or {job.max_bytes >> 20} MiB; "
                        "aggregate, add a WHERE or a LIMIT"
                    )
                out.write_batch(batch)
        return rows, sink.getvalue().to_pybytes()


def _again(reading: Reading, tables: list[str]) -> Again:
    if not reading.repeats:
        return "anew"
    return "same_till_logged" if OF_THE_LOG & {*tables} else "same"


_TABLES = pa.schema(
    [("table", pa.string()), ("kind", pa.string()), ("version", pa.int64()), ("rows", pa.int64()), ("bytes", pa.int64()),
     ("description", pa.string())]
)  # fmt: skip


def quoted_table(name: str) -> str:
    """SCHEMA.NAME as SQL writes it."""
    schema, _, table = name.partition(".")
    return f"{double_quoted(schema)}.{double_quoted(table)}"


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    return sink.getvalue().to_pybytes()


def _short(cause: Exception, lake: Lake) -> str:
    """In a line, and without where the lake is: callers may be anywhere."""
    text = " ".join(str(cause).split())
    return text.replace(str(lake.path.resolve()), "LAKE").replace(str(lake.path), "LAKE")[:600]
