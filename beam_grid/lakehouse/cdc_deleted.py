"""silver.FEED_deleted: the last delete of each key that ever was deleted, with the row as the delete had it; and truncates.

    arrives   delete 5, then update 4      the row stays deleted: 4 is before 5
    arrives   delete 5, then insert 7      the row is back; its tombstone stays and stands in nobody's way
    arrives   a full snapshot without it   a delete at the snapshot's place, its columns null, `_source` the snapshot
    arrives   an update of the key itself  its image before it (operation 3), as a delete of the old key
    arrives   truncate 6                   one row without a key: what stands before 6 is deleted, whichever its key
    arrives   truncate 6 again             the same row, of the two the one with the greater values

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
    greatest_first,
    key_bounds,
    last_changes,
    make,
    news,
    table_schema,
    truncates,
    within_sql,
)
from beam_grid.lakehouse.tables import Batch, State, Table, arranged, differing, put, quoted, transaction
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
    """Truncates of places in the log that the table has none of, one a place; of the others it is given the greatest.

    A run that was cut off may have left some in the table.
    """
    known = truncates(spark, batch, new_only=False)
    if known is None or truncates(spark, batch, new_only=True) is None:
        return None
    contract, names = batch.contract, known.columns
    columns, of_all = ", ".join(map(quoted, names)), f"{quoted(contract.lake.key[0])} IS NULL"
    known.createOrReplaceTempView("cdc_truncates")
    image = f"row_number() OVER (PARTITION BY _sequence ORDER BY {greatest_first(contract, 'c')})"
    wanted = spark.sql(f"SELECT {columns} FROM (SELECT *, {image} AS __image FROM cdc_truncates c) WHERE __image = 1")
    if not batch.applied:
        return wanted
    shown = spark.sql(f"SELECT {columns} FROM {table.sql} WHERE {of_all}")
    found = differing(wanted, shown, names, ["_sequence"]).localCheckpoint()
    greater = found.where("NOT __is_new")
    if not greater.isEmpty():
        greater.createOrReplaceTempView("cdc_truncates")
        with transaction(spark, table.application(contract.name, "truncates"), batch.target):
            spark.sql(
                f"MERGE INTO {table.sql} t USING cdc_truncates s ON t.{of_all} AND t._sequence = s._sequence "
                f"WHEN MATCHED THEN UPDATE SET {', '.join(f't.{n} = s.{n}' for n in map(quoted, names))}"
            )
    return found.where("__is_new").select(*map(quoted, names))
