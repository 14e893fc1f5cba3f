"""silver.FEED for load = "append": the rows that landed and were not superseded since, without Spark.

    landing/FEED/data/ATTEMPT/rows-0-….parquet ──link──► tables/silver/FEED/0000000003-rows-0-….parquet
                                                                │
    commits      1: a b      2: c, supersedes a      3: d, supersedes c
    silver       a b         b c                     b d       a, c: gone by deletion vectors

A landed file has silver's columns, is sorted by the cluster columns and carries statistics, so it becomes a file of the
table as it is: no row is read or written. One Delta commit per batch. A commit names the rows it supersedes by identity
(commit, file, row); the files that hold them get deletion vectors in the same Delta commit, for which their identity
columns are read, those of files alone whose commits and event times can hold one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_grid import durable
from beam_grid.crash import point
from beam_grid.lakehouse import delta_log, vectors
from beam_grid.lakehouse.delta_log import Action
from beam_grid.lakehouse.live import Live, LiveFile
from beam_grid.lakehouse.spans import Span, event_span, instant_of
from beam_grid.lakehouse.statistics import statistics
from beam_grid.lakehouse.tables import Batch, Table, clustering, properties

if TYPE_CHECKING:
    import polars as pl

    from data_sources.contract import Contract

IDENTITY = ("_commit", "_source", "_partition", "_position")
"""What tells a landed row from every other."""

_NO_ROWS = np.array([], np.uint32)


def columns(contract: Contract) -> pa.Schema:
    """The table's columns."""
    return pa.schema([f.with_nullable(True) for f in contract.landed_schema])


def prepare(table: Table, contract: Contract) -> None:
    """Make the table where it is missing."""
    schema = columns(contract)
    keys = clustering(schema, contract.lake.cluster_by)
    chosen = properties(schema, keys, {"beam_grid.feed": contract.name})
    delta_log.create(table.path, schema, name=table.name, cluster_by=keys, properties=chosen)


def publish(table: Table, batch: Batch) -> None:
    """Take in the batch's commits in one Delta commit, with its columns brought up to the contract."""
    prepare(table, batch.contract)
    delta_log.again_on_conflict(table.path, lambda at: _publish(table, at, batch))


def _publish(table: Table, at: Live, batch: Batch) -> None:
    application = (table.application(batch.contract.name), batch.target)
    batch = batch.at(at, application[0])
    if batch.applied >= batch.target:
        return
    schema = delta_log.with_columns(at, columns(batch.contract), table.name)
    gone = _superseded(batch)
    actions: list[Action] = []
    found = 0
    measured = delta_log.statistics_columns(at)
    for held in batch.held("rows"):
        names = [gone[n] for n in range(held.first, held.last + 1) if n in gone]
        source = Path(batch.path(held.file))
        name = f"{held.last:010d}-{source.name}"
        durable.place(source, table.path / name)
        positions = positions_of(table.path / name, _distinct(pa.concat_tables(names))) if names else _NO_ROWS
        vector = vectors.write(table.path, positions) if len(positions) else None
        stats = statistics(source, measured, tight=vector is None)
        actions.append(delta_log.added(name, held.file.bytes, stats, vector=vector))
        found += len(positions)
    point(f"publish:linked-{table.name}")
    taken_out, more = _taken_out(table.path, at, batch, gone)
    actions += taken_out
    wanted = sum(_distinct(rows).height for rows in gone.values())
    if found + more != wanted:
        raise ValueError(f"{found + more} of {wanted} superseded rows are in the table")
    if not actions and not schema:
        return
    durable.sync_folder(table.path)
    point(f"publish:written-{table.name}")
    rows = sum(file.rows for file in batch.landed("rows"))
    delta_log.put(table.path, at, [*schema, *actions], "WRITE" if not gone else "MERGE", application, rows=rows)
    delta_log.checkpoint(table.path, at)


def _superseded(batch: Batch) -> dict[int, pa.Table]:
    """Identities of the rows that the batch's commits supersede, by the commit that landed them."""
    files = batch.files("superseded")
    if not files:
        return {}
    names = pa.concat_tables([pq.read_table(file, columns=list(IDENTITY)) for file in files])
    commits = names["_commit"].to_numpy()
    return {int(n): names.filter(pa.array(commits == n)) for n in np.unique(commits)}


def _taken_out(table: Path, at: Live, batch: Batch, gone: dict[int, pa.Table]) -> tuple[list[Action], int]:
    """New vectors for the table's files that hold rows landed before this batch and superseded by it; how many rows."""
    old = [number for number in gone if number <= batch.applied]
    if not old:
        return [], 0
    span = event_span(batch.landed("superseded"), batch.contract)
    names = _distinct(pa.concat_tables([gone[number] for number in old]))
    actions: list[Action] = []
    found = 0
    for file in at.files:
        if not _may_hold(file, old, span, batch.contract.event_time):
            continue
        positions = positions_of(table / file.path, names)
        if len(positions):
            found += len(positions)
            gone_now = np.union1d(vectors.deleted(table, file.vector), positions)
            actions += delta_log.revectored(file, vectors.write(table, gone_now))
    return actions, found


def _may_hold(file: LiveFile, commits: Iterable[int], span: Span | None, event_time: str) -> bool:
    """Whether one of the commits' rows, with an event time in the span, may be in the file."""
    low, high = file.least.get("_commit"), file.greatest.get("_commit")
    if low is not None and high is not None and not any(low <= number <= high for number in commits):
        return False
    least, greatest = file.least.get(event_time), file.greatest.get(event_time)
    if span is None or least is None or greatest is None:
        return True
    return instant_of(least) <= span[1] and span[0] - 1000 <= instant_of(greatest)


def positions_of(file: Path, names: pl.DataFrame) -> np.ndarray:
    """Positions in the file of the rows with these identities."""
    rows = _frame(pq.read_table(file, columns=list(IDENTITY))).with_row_index("__row")
    return rows.join(names, on=list(IDENTITY), how="semi", nulls_equal=True)["__row"].to_numpy()


def _distinct(names: pa.Table) -> pl.DataFrame:
    return _frame(names).unique()


def _frame(rows: pa.Table) -> pl.DataFrame:
    plain = {name: rows[name].cast(pa.string()) if name == "_source" else rows[name] for name in IDENTITY}
    import polars as pl  # loading it takes longer than most batches, which supersede nothing

    found = pl.from_arrow(pa.table(plain))
    assert isinstance(found, pl.DataFrame)
    return found
