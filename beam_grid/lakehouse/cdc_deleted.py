"""silver.FEED_deleted: the last delete of each key that ever was deleted, with the row as the delete had it; and truncates.

    arrives   delete 5, then update 4      the row stays deleted: 4 is before 5
    arrives   delete 5, then insert 7      the row is back; its tombstone stays and stands in nobody's way
    arrives   a full snapshot without it   a delete at the snapshot's place, its columns null, `_source` the snapshot
    arrives   truncate 6                   one row without a key: what stands before 6 is deleted, whichever its key

Tombstones are kept for ever: a change may arrive however late (nothing of a CDC feed is late), and one that came
after its tombstone had gone would bring a deleted row back. They cost a row a deleted key.

Written before silver.FEED, which asks it; a run cut off between the two leaves it ahead, never behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_grid.lakehouse import resync
from beam_grid.lakehouse.cdc_changes import has_news, has_snapshots
from beam_grid.lakehouse.sequence import (
    arranged,
    key_bounds,
    last_changes,
    make,
    merge_sql,
    row_entries,
    table_schema,
    truncates,
)
from beam_grid.lakehouse.tables import Batch, State, Table, append, quoted, transaction
from data_sources.cdc import DELETE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def prepare(spark: SparkSession, table: Table, state: State, batch: Batch) -> None:
    """Make the table, or bring its columns up to the contract."""
    contract = batch.contract
    make(spark, table, state, contract, table_schema(contract), contract.lake.key[:4])


def apply(spark: SparkSession, table: Table, batch: Batch) -> None:
    """Take in the batch's deletes in one Delta transaction."""
    if not has_news(batch):
        return
    contract, application = batch.contract, table.application(batch.contract.name)
    is_delete = f"{quoted(str(contract.lake.operation))} = {DELETE}"
    everything = truncates(spark, batch, new_only=True)
    if has_snapshots(batch):
        rows = resync.last_changes(spark, batch, is_delete)
        if batch.applied:
            resync.merge(spark, table, batch, rows, everything)
            return
    else:
        rows = last_changes(spark, batch, is_delete)
    if everything is not None:
        rows = rows.unionByName(everything)
    if not batch.applied:
        append(arranged(rows, batch, contract.lake.key), table, application, batch.target)
        return
    rows.createOrReplaceTempView("cdc_source")
    bounds = key_bounds(row_entries(batch.new), contract)
    with transaction(spark, application, batch.target):
        spark.sql(merge_sql(table, contract, bounds, delete="false", insert="true"))
