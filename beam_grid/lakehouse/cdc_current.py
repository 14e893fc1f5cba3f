"""silver.FEED for load = "cdc": the rows that live in the source, each as its last change left it.

    key k, in the order of the log     insert 1   update 4   delete 5   insert 7
    state after any of these arrived   the last of them by `_sequence`: a delete is no row, else the row it left
    truncate 6                         the same, once more with a delete 6 of every key

Guarantees: the source's state for the changes that arrived, whatever their order, copies and slicing. A change that
is older than what the row shows does nothing; one older than the key's tombstone (cdc_deleted) does not bring the row
back. A change of a row whose insert never came makes the row. Copies and images before an update do nothing, but where
the update gave the row another key: the old one is then gone (cdc_moves.py). What full snapshots do, resync.py says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_grid.lakehouse import cdc_moves, resync
from beam_grid.lakehouse.cdc_changes import has_news, is_recounted
from beam_grid.lakehouse.sequence import (
    fill,
    key_bounds,
    last_changes,
    last_truncate,
    make,
    news,
    same_key,
    table_schema,
    truncates,
    within_sql,
)
from beam_grid.lakehouse.tables import (
    Batch,
    State,
    Table,
    arranged,
    literal,
    put,
    quoted,
    sent_if_few,
    transaction,
)
from data_sources.cdc import AFTER, INSERT

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from data_sources.contract import Contract
    from transforms.manifest import Ranges


def prepare(spark: SparkSession, table: Table, state: State, batch: Batch) -> None:
    """Make the table, or bring its columns up to the contract."""
    contract = batch.contract
    make(spark, table, state, contract, table_schema(contract), contract.lake.cluster_by or contract.lake.key[:4])


def apply(spark: SparkSession, table: Table, batch: Batch) -> None:
    """Bring the rows to the batch's last commit."""
    if has_news(batch):
        with cdc_moves.known(spark, table, batch) as known:
            _apply(spark, table, known)


def _apply(spark: SparkSession, table: Table, batch: Batch) -> None:
    contract = batch.contract
    operation = quoted(str(contract.lake.operation))
    is_row = f"{operation} IN ({INSERT}, {AFTER})"
    if is_recounted(batch):
        rows = resync.last_changes(spark, batch, "true").where(is_row)
        if batch.applied:
            resync.put_right(spark, table, batch, rows)
            return
    else:
        rows = last_changes(spark, batch, "true")
        if truncate := last_truncate(spark, batch):
            rows = rows.where(f"_sequence > {literal(truncate)}")
            _empty(spark, table, batch, truncate)
    if not batch.applied:  # all that is known is in the batch
        rows = arranged(rows.where(is_row), contract.sort_by, batch.bytes("rows"))
        fill(rows, table, batch)
        return
    bounds = key_bounds(batch.landed("rows"), contract)
    found = news(spark, table, rows, contract, bounds)
    living = _not_buried(spark, found.where(f"__is_new AND {is_row}"), table, contract, bounds)
    found = found.where("NOT __is_new").unionByName(living).selectExpr("*", f"NOT {is_row} AS __gone")
    put(spark, table, found, contract.lake.key, batch, contract.sort_by, within_sql(bounds, contract, "t"))


def _empty(spark: SparkSession, table: Table, batch: Batch, truncate: str) -> None:
    """Take out what stands before a truncate that the batch brings."""
    if batch.applied and truncates(spark, batch, new_only=True) is not None:
        with transaction(spark, table.application(batch.contract.name, "truncates"), batch.target):
            spark.sql(f"DELETE FROM {table.sql} WHERE _sequence < {literal(truncate)}")


def _not_buried(spark: SparkSession, rows: DataFrame, table: Table, contract: Contract, bounds: Ranges) -> DataFrame:
    """The rows, of keys the table does not show, less those a tombstone stands after."""
    sent_if_few(rows).createOrReplaceTempView("cdc_unknown")
    buried = Table(table.lake, f"{table.name}_deleted").sql
    dead = spark.sql(
        f"SELECT d.* FROM {buried} d LEFT SEMI JOIN cdc_unknown s ON {same_key(contract, 'd', 's')} "
        f"AND d._sequence > s._sequence{within_sql(bounds, contract, 'd')}"
    )
    return rows.join(dead, contract.lake.key, "left_anti").localCheckpoint()
