"""Queries that were answered, one row each: gold.query_log, and its report by hour, gold.query_report.

    server ─► rows in memory ─► append, a batch each few seconds ─► LAKE/query_log, a Delta table
                                                                     └─► trim: days, rows; small files put together

It belongs to no version set: it grows between them. `query` and the server see its newest version. Not guaranteed: the
batch in memory when the process is killed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import asdict

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_grid.landing import Lake

FOLDER = "query_log"
TABLE = "gold.query_log"

KEPT_DAYS, KEPT_ROWS = 30, 1_000_000

_SMALL_FILES = 50
"""So many batches are put together to one file."""


class Asked(Struct, frozen=True, kw_only=True):
    """A row of gold.query_log."""

    started_at: datetime
    kind: str
    """sql, table, features, ledger or lineage."""
    statement: str
    """The SQL, cut at 4,000 characters; of a table its name and what was asked of it."""
    tables: tuple[str, ...] = ()
    set_number: int | None = None
    caller: str = "local"
    """Name of the API key; `local` where none was needed."""
    status: str = "ok"
    """ok, refused, failed, timeout, cancelled, too_much."""
    waited_ms: float = 0.0
    """For a free worker; part of execution_time_ms."""
    execution_time_ms: float = 0.0
    """From the request to the whole answer, without the sending."""
    answer_rows: int | None = None
    answer_bytes: int | None = None
    answered_by: str | None = None
    """The reflection that answered in place of the tables named, if one did."""


REPORT = """
SELECT date_trunc('hour', started_at) AS hour, count(*) AS total_queries,
       percentile_cont(0.50) WITHIN GROUP (ORDER BY execution_time_ms) AS p50_latency_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY execution_time_ms) AS p95_latency_ms,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY execution_time_ms) AS p99_latency_ms,
       count(*) / 3600.0 AS queries_per_second,
       (count(*) / 3600.0) * (avg(execution_time_ms) / 1000.0) AS avg_concurrent_queries,
       sum(CASE WHEN status = 'ok' AND execution_time_ms <= 1000 THEN 1.0 ELSE 0.0 END) / count(*) AS sla_compliance_rate,
       CAST(sum(CASE WHEN status = 'ok' THEN 0 ELSE 1 END) AS BIGINT) AS not_answered
FROM gold.query_log GROUP BY date_trunc('hour', started_at)
"""
"""avg_concurrent_queries by Little's law, L = lambda * W; of an hour that is not over, both are of what it has so far,
spread over the whole hour. sla_compliance_rate: the share answered within a second."""

VIEWS = {"gold.query_report": REPORT}

EMPTY = (
    "SELECT NULL::TIMESTAMPTZ AS started_at, NULL::VARCHAR AS kind, NULL::VARCHAR AS statement, NULL::VARCHAR[] AS tables, "
    "NULL::BIGINT AS set_number, NULL::VARCHAR AS caller, NULL::VARCHAR AS status, NULL::DOUBLE AS waited_ms, "
    "NULL::DOUBLE AS execution_time_ms, NULL::BIGINT AS answer_rows, NULL::BIGINT AS answer_bytes, "
    "NULL::VARCHAR AS answered_by WHERE false"
)
"""The table before its first row, in DuckDB's SQL."""


def exists(lake: Lake) -> bool:
    """Whether a query of this lake was ever logged."""
    return (lake.path / FOLDER / "_delta_log").is_dir()


def schema() -> pa.Schema:
    """The columns."""
    import pyarrow as pa

    text, count, milliseconds = pa.string(), pa.int64(), pa.float64()
    return pa.schema(
        [("started_at", pa.timestamp("us", "UTC")), ("kind", text), ("statement", text), ("tables", pa.list_(text)),
         ("set_number", count), ("caller", text), ("status", text), ("waited_ms", milliseconds),
         ("execution_time_ms", milliseconds), ("answer_rows", count), ("answer_bytes", count), ("answered_by", text)]
    )  # fmt: skip


def append(lake: Lake, rows: Iterable[Asked]) -> int:
    """Add rows in one commit; returns the table's version. Raises OSError or what delta-rs says."""
    import pyarrow as pa
    from deltalake import DeltaTable, write_deltalake

    batch = pa.Table.from_pylist([{**asdict(row), "tables": list(row.tables)} for row in rows], schema=schema())
    where = str((lake.path / FOLDER).resolve())
    write_deltalake(where, batch, mode="append", configuration={"delta.logRetentionDuration": "interval 1 hours"})
    return DeltaTable(where).version()


def trim(lake: Lake, days: int = KEPT_DAYS, rows: int = KEPT_ROWS) -> None:
    """Forget rows older than so many days, and the oldest beyond so many rows; put small files together."""
    import pyarrow.compute as pc
    from deltalake import DeltaTable

    if not exists(lake):
        return
    table = DeltaTable(str((lake.path / FOLDER).resolve()))
    limit = datetime.now(UTC) - timedelta(days=days)
    if sum(table.get_add_actions(flatten=True)["num_records"].to_pylist()) > rows:
        times = pc.array_sort_indices(
            moments := table.to_pyarrow_table(columns=["started_at"])["started_at"].combine_chunks()
        )
        limit = max(limit, moments[times[len(times) - rows].as_py()].as_py())
    table.delete(f"started_at < arrow_cast('{limit.isoformat()}', 'Timestamp(Microsecond, Some(\"UTC\"))')")
    if len(table.file_uris()) > _SMALL_FILES:
        table.optimize.compact()
    table.vacuum(retention_hours=1, enforce_retention_duration=False, dry_run=False)
    table.create_checkpoint()
    table.cleanup_metadata()
