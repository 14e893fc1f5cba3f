"""silver.FEED for load = "cdc": the rows that live in the source, each as its last change left it.

    key k, in the order of the log     insert 1   update 4   delete 5   insert 7
    state after any of these arrived   the last of them by `_sequence`: a delete is no row, else the row it left
    truncate 6                         the same, once more with a delete 6 of every key

Guarantees: the source's state for the changes that arrived, whatever their order, copies and slicing. A change that
is older than what the row shows does nothing; one older than the key's tombstone (cdc_deleted) does not bring the row
back. A change of a row whose insert never came makes the row. Copies and images before an update do nothing. What full
snapshots do, resync.py says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_grid.lakehouse import resync
from beam_grid.lakehouse.cdc_changes import has_news, has_snapshots
from beam_grid.lakehouse.sequence import (
    arranged,
    key_bounds,
    last_changes,
    last_truncate,
    make,
    merge_sql,
    row_entries,
    same_key,
    table_schema,
    truncates,
    within_sql,
)
from beam_grid.lakehouse.tables import Batch, State, Table, append, literal, quoted, transaction
from data_sources.cdc import DELETE, TRUNCATE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def prepare(spark: SparkSession, table: Table, state: State, batch: Batch) -> None:
    """Make the table, or bring its columns up to the contract."""
    contract = batch.contract
    make(spark, table, state, contract, table_schema(contract), contract.lake.cluster_by or contract.lake.key[:4])


def apply(spark: SparkSession, table: Table, batch: Batch) -> None:
    """Bring the rows to the batch's last commit in one Delta transaction."""
    if not has_news(batch):
        return
    if has_snapshots(batch):
        _resync(spark, table, batch)
        return
    contract = batch.contract
    gone = f"{quoted(str(contract.lake.operation))} = {DELETE}"
    application = table.application(contract.name)
    rows = last_changes(spark, batch, "true")
    if truncate := last_truncate(spark, batch):
        rows = rows.where(f"_sequence > {literal(truncate)}")
    if not batch.applied:  # all that is known is in the batch
        append(arranged(rows.where(f"NOT {gone}"), batch, contract.sort_by), table, application, batch.target)
        return
    rows.createOrReplaceTempView("cdc_last")
    bounds = key_bounds(row_entries(batch.new), contract)
    buried = Table(table.lake, f"{table.name}_deleted").sql
    spark.sql(
        f"SELECT s.* FROM cdc_last s LEFT ANTI JOIN {buried} d ON {same_key(contract, 's', 'd')} "
        f"AND d._sequence > s._sequence{within_sql(bounds, contract, 'd')}"
    ).createOrReplaceTempView("cdc_source")
    merge = merge_sql(table, contract, bounds, delete=f"s.{gone}", insert=f"NOT s.{gone}")
    if truncate and truncates(spark, batch, new_only=True) is not None:
        merge += f" WHEN NOT MATCHED BY SOURCE AND t._sequence < {literal(truncate)} THEN DELETE"
    with transaction(spark, application, batch.target):
        spark.sql(merge)


def _resync(spark: SparkSession, table: Table, batch: Batch) -> None:
    """The same for a feed of full snapshots: each touched key's row is made anew from all its changes."""
    contract = batch.contract
    rows = resync.last_changes(spark, batch, "true")
    rows = rows.where(f"{quoted(str(contract.lake.operation))} NOT IN ({DELETE}, {TRUNCATE})")
    if batch.applied:
        resync.merge(spark, table, batch, rows)
    else:
        append(arranged(rows, batch, contract.sort_by), table, table.application(contract.name), batch.target)
