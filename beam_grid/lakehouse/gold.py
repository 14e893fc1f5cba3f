"""gold.WINDOW: one row per group and window, the merge of the tiles of all commits.

The method keeps no state beside the landing zone. For the windows that new commits touch, the tiles of *all* commits
are read (only files whose span of cells overlaps), merged, and put in place of what was there in one MERGE:

    new commits' tiles ──► touched windows ──┐
    all commits' tiles, overlapping files ───┴► merge ──► MERGE INTO gold
    rows now current (if a row ever was superseded) ──► tiles ──┘ in place of the commits' tiles

Once a row of the feed was superseded, its tiles cannot tell which part of an extreme or a sum is still current. So
the touched windows (the old row's group and the new one's) are computed from the rows that landed and were not
superseded; a window left empty goes. The same MERGE brings `final` up to date in windows no commit touched.
`revision` counts commits, so it is the same however refine batched them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid.errors import GridError
from beam_grid.lakehouse import recompute
from beam_grid.lakehouse.spans import Span, event_span, may_meet, timestamp_sql
from beam_grid.lakehouse.tables import (
    Batch,
    State,
    Table,
    arranged,
    create,
    keep_clustered,
    nothing,
    quoted,
    read,
    replace,
    spark_type,
    transaction,
)
from beam_grid.lakehouse.windows import definition, expanded_sql, final_sql, gold_schema, merged_sql
from data_sources.durations import micros
from transforms.tiles import tile_schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from beam_grid.commit import Commit
    from data_sources.contract import Contract, WindowSpec

_CLUSTER_BY = ["window_start"]


def application(table: Table, contract: Contract, window: WindowSpec) -> str:
    """Delta's transaction id; the definition is part of it, so a window that means something else starts from commit 0."""
    return table.application(contract.name, definition(contract, window))


def prepare(spark: SparkSession, table: Table, state: State, contract: Contract, window: WindowSpec) -> None:
    """Make the table where it is missing; raises GridError where another feed's window has its name."""
    owner = state.properties.get("beam_grid.feed", contract.name)
    if owner != contract.name:
        raise GridError(
            f"window {window.name!r}: {table.name} belongs to feed {owner}; rename the window in the contract of {contract.name}"
        )
    if state.version is None:
        create(spark, table, gold_schema(contract, window), _CLUSTER_BY, {"beam_grid.feed": contract.name})
    else:
        keep_clustered(spark, table, _CLUSTER_BY)


def has_work(batch: Batch) -> bool:
    """Whether the new commits can change the table: the first time; rows, superseded rows, or a watermark that moved."""
    if not batch.applied:
        return True
    return (
        bool(batch.files("rows") or batch.files("superseded"))
        or batch.commits[batch.applied - 1].watermark != batch.watermark
    )


def apply(spark: SparkSession, table: Table, batch: Batch, window: WindowSpec, scratch: Path) -> None:
    """Take in the batch's commits in one Delta transaction."""
    contract = batch.contract
    by = [quoted(name) for name in window.by]
    size = micros(window.size)
    names = gold_schema(contract, window).names
    flips, flip_span = _flips(table, batch, window)
    _source(spark, batch, window, scratch, flips).createOrReplaceTempView("gold_merged")
    rows = spark.sql(
        f"SELECT timestamp_micros(__start) AS window_start, timestamp_micros(__start + {size}L) AS window_end, "
        f"{''.join(f'{b}, ' for b in by)}{''.join(f'{quoted(m)}, ' for m in window.measures)}"
        f"{final_sql(contract, batch.watermark, f'(__start + {size}L)')} AS final, revision, "
        f"CASE WHEN __newest <= {batch.applied} THEN 'final' WHEN __rows > 0 THEN 'put' ELSE 'drop' END AS __do FROM gold_merged"
    )
    marked = application(table, contract, window)
    if not batch.applied:
        rows = rows.where("__do = 'put'").select(*map(quoted, names))
        rows = arranged(rows, ["window_start", *window.by], batch.bytes("tiles"))
        replace(rows, table, marked, batch.target, _CLUSTER_BY)
        return
    rows.createOrReplaceTempView("gold_source")
    span = _touched_span(batch, window)
    within = ""
    if span is not None and flip_span is not None:
        low, high = min(span[0], flip_span[0]), max(span[1], flip_span[1])
        within = f" AND t.window_start >= {timestamp_sql(low)} AND t.window_start <= {timestamp_sql(high)}"
    same = "".join(f" AND t.{b} <=> s.{b}" for b in by)
    columns = ", ".join(map(quoted, names))
    values = ", ".join(f"s.{quoted(name)}" for name in names)
    put = ", ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in names)
    with transaction(spark, marked, batch.target):
        spark.sql(
            f"MERGE INTO {table.sql} t USING gold_source s ON t.window_start = s.window_start{same}{within} "
            f"WHEN MATCHED AND s.__do = 'drop' THEN DELETE "
            f"WHEN MATCHED AND s.__do = 'final' THEN UPDATE SET t.final = s.final "
            f"WHEN MATCHED AND s.__do = 'put' THEN UPDATE SET {put} "
            f"WHEN NOT MATCHED AND s.__do = 'put' THEN INSERT ({columns}) VALUES ({values})"
        )


def _source(spark: SparkSession, batch: Batch, window: WindowSpec, scratch: Path, flips: str | None) -> DataFrame:
    """The windows to write: group, `__start`, measures, `__rows`, `__newest`, `revision`.

    One union, one aggregation, no join: a window is touched when its newest tile is of a new commit, and a window
    whose `final` alone changes joins the union as a row without values.
    """
    contract, schema = batch.contract, tile_schema(batch.contract, window)
    span = _cell_span(batch, window)
    marks: list[str] = []
    new: list[str] = []
    for commit in batch.commits:
        fresh = commit.number > batch.applied
        tiles = _tiles_of(commit, batch, window, scratch, span, fresh)
        voids = recompute.superseded(commit, batch, window, scratch, None if fresh else span)
        marks += tiles + voids
        new += tiles + voids if fresh else []
    _view(spark, marks, schema, "gold_tiles", span)
    parts = "gold_tiles"
    if any(commit.fates.superseded for commit in batch.commits):
        current = recompute.current(batch, window, scratch, span, new)
        _view(spark, current, schema, "gold_current", span)
        parts = f"({_without_values('gold_tiles', schema, window)} UNION ALL SELECT * FROM gold_current)"
    expanded = expanded_sql(parts, window)
    flipped = "false"
    if flips is not None:
        kept = ", ".join(
            quoted(f.name) if f.name in window.by else f"CAST(NULL AS {spark_type(f.type)})" for f in schema
        )
        expanded = f"SELECT *, false AS __flip FROM ({expanded}) UNION ALL SELECT {kept}, unix_micros(window_start), true FROM ({flips})"
        flipped = "__flips"
    merged = merged_sql(f"({expanded})", contract, window, "bool_or(__flip)" if flips is not None else "false")
    return spark.sql(f"SELECT * FROM ({merged}) WHERE __newest > {batch.applied} OR {flipped}")


def _without_values(tiles: str, schema: pa.Schema, window: WindowSpec) -> str:
    """The tiles as marks: which windows they touch in which commit, nothing of what they measured."""
    kept = {*window.by, "_cell", "_commit"}
    columns = (
        quoted(f.name) if f.name in kept else f"CAST(NULL AS {spark_type(f.type)}) AS {quoted(f.name)}" for f in schema
    )
    return f"SELECT {', '.join(columns)} FROM {tiles}"


def _view(spark: SparkSession, files: list[str], schema: pa.Schema, name: str, span: Span | None) -> None:
    """The tiles in these files, those of the span's cells, under a name; an empty one for no files."""
    frame = read(spark, files, schema) if files else nothing(spark, schema)
    if span is not None:
        frame = frame.where(f"_cell >= {timestamp_sql(span[0])} AND _cell <= {timestamp_sql(span[1])}")
    frame.createOrReplaceTempView(name)


def _tiles_of(
    commit: Commit, batch: Batch, window: WindowSpec, scratch: Path, span: Span | None, fresh: bool
) -> list[str]:
    """The commit's tiles of this window; made from its rows where it landed under a contract that had no such window."""
    known = batch.log.contract(commit.contract) if commit.contract != batch.commits[-1].contract else batch.contract
    if any(w.name == window.name and definition(known, w) == definition(batch.contract, window) for w in known.windows):
        files = [file for file in commit.listed("tiles") if file.window == window.name]
        return [batch.path(file) for file in files if fresh or may_meet(file, batch.contract, span)]
    return recompute.landed(commit, batch, window, scratch, None if fresh else span)


def _new_span(batch: Batch, window: WindowSpec) -> Span | None:
    """From the first touched instant to the last, by the manifests of the new commits; None where they do not say."""
    span = event_span(batch.landed("rows", "superseded"), batch.contract)
    if span is None:
        return None
    cell = micros(window.cell)
    return span[0] - span[0] % cell, span[1]


def _cell_span(batch: Batch, window: WindowSpec) -> Span | None:
    """The cells that the touched windows are made of."""
    span = _new_span(batch, window) if batch.applied else None
    return None if span is None else (span[0] - micros(window.size), span[1] + micros(window.size))


def _touched_span(batch: Batch, window: WindowSpec) -> Span | None:
    """First and last start a touched window can have. Nothing touched is an empty span, not an unknown one."""
    if not batch.files("rows") and not batch.files("superseded"):
        return (1 << 62, -(1 << 62))
    span = _new_span(batch, window)
    return None if span is None else (span[0] - micros(window.size), span[1])


def _flips(table: Table, batch: Batch, window: WindowSpec) -> tuple[str | None, Span | None]:
    """Windows whose `final` the watermark changed, as SQL, and the span of their starts, None where it is open.

    After every batch `final` is right for that batch's watermark, so only windows between the two can change.
    """
    empty = (1 << 62, -(1 << 62))
    if not batch.applied:
        return None, empty
    contract = batch.contract
    size, lateness = micros(window.size), micros(contract.allowed_lateness)
    last = batch.commits[batch.applied - 1]
    before, now = last.watermark, batch.watermark
    same_contract = last.contract == batch.commits[-1].contract
    if before == now and same_contract:
        return None, empty
    wanted = final_sql(contract, now, "unix_micros(window_end)")
    changed = f"SELECT * FROM {table.sql} WHERE final <> {wanted}"
    if before is None or now is None or not same_contract:
        return changed, None
    span = (min(before, now) - lateness - size, max(before, now) - lateness - size)
    return f"{changed} AND window_start >= {timestamp_sql(span[0])} AND window_start <= {timestamp_sql(span[1])}", span
