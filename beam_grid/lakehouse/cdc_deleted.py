"""silver.FEED_deleted: the last delete of each key that ever was deleted, with the row as the delete had it; and truncates.

    arrives   delete 5, then update 4      the row stays deleted: 4 is before 5
    arrives   delete 5, then insert 7      the row is back; its tombstone stays and stands in nobody's way
    arrives   a full snapshot without it   a delete at the snapshot's place, its columns null, `_source` the snapshot
    arrives   an update of the key itself  its image before it (operation 3), as a delete of the old key
    arrives   truncate 6                   one row without a key: what stands before 6 is deleted, whichever its key

Tombstones are kept for ever: a change may arrive however late (nothing of a CDC feed is late), and one that came
after its tombstone had gone would bring a deleted row back. They cost a row a deleted key.

Written before silver.FEED, which asks it; a run cut off between the two leaves it ahead, never behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_grid.lakehouse import cdc_moves, resync
from beam_grid.lakehouse.cdc_changes import has_news, is_recounted
from beam_grid.lakehouse.sequence import (
    fill,
    key_bounds,
    last_changes,
    make,
    news,
    table_schema,
    truncates,
    within_sql,
)
from beam_grid.lakehouse.tables import Batch, State, Table, arranged, put, quoted
from data_sources.cdc import BEFORE, DELETE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def prepare(spark: SparkSession, table: Table, state: State, batch: Batch) -> None:
    """Make the table, or bring its columns up to the contract."""
    contract = batch.contract
    make(spark, table, state, contract, table_schema(contract), contract.lake.key[:4])


def apply(spark: SparkSession, table: Table, batch: Batch) -> None:
    """Take in the batch's deletes."""
    if has_news(batch):
        with cdc_moves.known(spark, table, batch) as known:
            _apply(spark, table, known)


def _apply(spark: SparkSession, table: Table, batch: Batch) -> None:
    contract, key = batch.contract, batch.contract.lake.key
    is_delete = f"{quoted(str(contract.lake.operation))} IN ({DELETE}, {BEFORE})"
    of_all = _new_truncates(spark, table, batch)
    if is_recounted(batch):
        rows = resync.last_changes(spark, batch, is_delete)
        if batch.applied:
            resync.put_right(spark, table, batch, rows, of_all)
            return
    else:
        rows = last_changes(spark, batch, is_delete)
    if not batch.applied:
        rows = rows if of_all is None else rows.unionByName(of_all)
        fill(arranged(rows, key, batch.bytes("rows")), table, batch)
        return
    bounds = key_bounds(batch.landed("rows"), contract)
    found = news(spark, table, rows, contract, bounds).selectExpr("*", "false AS __gone")
    if of_all is not None:
        found = found.unionByName(of_all.selectExpr("*", "true AS __is_new", "false AS __gone"))
    put(spark, table, found, key, batch, key, within_sql(bounds, contract, "t"))


def _new_truncates(spark: SparkSession, table: Table, batch: Batch) -> DataFrame | None:
    """The batch's truncates less those in the table, where a run that was cut off left them."""
    found = truncates(spark, batch, new_only=True)
    if found is None or not batch.applied:
        return found
    shown = spark.sql(f"SELECT _sequence FROM {table.sql} WHERE {quoted(batch.contract.lake.key[0])} IS NULL")
    return found.join(shown, "_sequence", "left_anti").select(*map(quoted, found.columns))
