"""gold.WINDOW on Spark: what gold.py does in process, for rebuilds that a cluster is for.

One union, one aggregation and one MERGE: the touched windows put in place of what was there, empty ones taken out,
`final` brought up to date in windows no commit touched. Equal tables, whichever engine made them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid.lakehouse import recompute
from beam_grid.lakehouse.gold import application, cell_span, forget_all, marks_columns, marks_of, touched_span
from beam_grid.lakehouse.spans import Span, timestamp_sql
from beam_grid.lakehouse.tables import (
    Batch,
    Table,
    arranged,
    nothing,
    quoted,
    read,
    replace,
    spark_type,
    transaction,
)
from beam_grid.lakehouse.windows import expanded_sql, final_sql, merged_sql
from data_sources.durations import micros
from transforms.cells import cells_of
from transforms.tiles import tile_schema
from transforms.windows import window_schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from data_sources.contract import WindowSpec


def apply(spark: SparkSession, table: Table, batch: Batch, window: WindowSpec, scratch: Path) -> None:
    """Take in the batch's commits in one Delta transaction."""
    contract = batch.contract
    by = [quoted(name) for name in window.by]
    end = cells_of(contract, window).end
    names = window_schema(contract, window).names
    flips, flip_span = _flips(table, batch, window)
    _source(spark, batch, window, scratch, flips).createOrReplaceTempView("gold_merged")
    rows = spark.sql(
        f"SELECT timestamp_micros(__start) AS window_start, timestamp_micros({end}) AS window_end, "
        f"{''.join(f'{b}, ' for b in by)}{''.join(f'{quoted(m)}, ' for m in window.measures)}"
        f"{final_sql(contract, batch.watermark, end)} AS final, revision, "
        f"CASE WHEN __newest <= {batch.applied} THEN 'final' WHEN __rows > 0 THEN 'put' ELSE 'drop' END AS __do FROM gold_merged"
    )
    marked = application(table, contract, window)
    if not batch.applied:
        rows = rows.where("__do = 'put'").select(*map(quoted, names))
        rows = arranged(rows, ["window_start", *window.by], batch.bytes("tiles"))
        forget_all(table)
        replace(rows, table, marked, batch.target)
        return
    rows.createOrReplaceTempView("gold_source")
    span = touched_span(batch, window)
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
    span = cell_span(batch, window)
    marks, new = marks_of(batch, window, scratch, span)
    _view(spark, marks, schema, "gold_tiles", span)
    parts = "gold_tiles"
    if batch.was_superseded:
        current = recompute.current(batch, window, scratch, span, new)
        _view(spark, current, schema, "gold_current", span)
        parts = f"({_without_values('gold_tiles', schema, marks_columns(contract, window))} UNION ALL SELECT * FROM gold_current)"
    expanded = expanded_sql(parts, contract, window)
    flipped = "false"
    if flips is not None:
        known = {name: quoted(name) for name in window.by}
        known |= dict.fromkeys(cells_of(contract, window).columns, "window_end")
        kept = ", ".join(known.get(f.name) or f"CAST(NULL AS {spark_type(f.type)})" for f in schema)
        expanded = f"SELECT *, false AS __flip FROM ({expanded}) UNION ALL SELECT {kept}, unix_micros(window_start), true FROM ({flips})"
        flipped = "__flips"
    merged = merged_sql(f"({expanded})", contract, window, "bool_or(__flip)" if flips is not None else "false")
    return spark.sql(f"SELECT * FROM ({merged}) WHERE __newest > {batch.applied} OR {flipped}")


def _without_values(tiles: str, schema: pa.Schema, kept: set[str]) -> str:
    """The tiles as marks: which windows they touch in which commit, nothing of what they measured."""
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


def _flips(table: Table, batch: Batch, window: WindowSpec) -> tuple[str | None, Span | None]:
    """Windows whose `final` the watermark changed, as SQL, and the span of their starts, None where it is open.

    After every batch `final` is right for that batch's watermark, so only windows between the two can change.
    """
    empty = (1 << 62, -(1 << 62))
    if not batch.applied:
        return None, empty
    contract = batch.contract
    longest, lateness = cells_of(contract, window).longest, micros(contract.allowed_lateness)
    last = batch.commits[batch.applied - 1]
    before, now = last.watermark, batch.watermark
    same_contract = last.contract == batch.commits[-1].contract
    if before == now and same_contract:
        return None, empty
    wanted = final_sql(contract, now, "unix_micros(window_end)")
    changed = f"SELECT * FROM {table.sql} WHERE final <> {wanted}"
    if before is None or now is None or not same_contract:
        return changed, None
    span = (min(before, now) - lateness - longest, max(before, now) - lateness)
    return f"{changed} AND window_start >= {timestamp_sql(span[0])} AND window_start <= {timestamp_sql(span[1])}", span
