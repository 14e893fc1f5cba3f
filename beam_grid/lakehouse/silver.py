"""silver.FEED for load = "append": the rows that landed and were not superseded since.

    commits      1: a b      2: c, supersedes a      3: d, supersedes c
    silver       a b         b c                     b d              (one batch 2..3: MERGE removes a, adds d; never c)

A commit names the rows it supersedes by identity, and the batch removes exactly those and adds the new ones in one
MERGE; where nothing is superseded it appends. Range-partitioned by the cluster columns when large, so that a query
finds narrow files before the first OPTIMIZE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid.lakehouse.tables import (
    Batch,
    State,
    Table,
    add_columns,
    append,
    arranged,
    create,
    nothing,
    quoted,
    read,
    transaction,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

IDENTITY = ("_commit", "_source", "_partition", "_position")
"""What tells a landed row from every other."""


def prepare(spark: SparkSession, table: Table, state: State, batch: Batch) -> None:
    """Make the table, or bring its columns up to the contract."""
    contract = batch.contract
    schema = pa.schema([f.with_nullable(True) for f in contract.landed_schema])
    if state.version is None:
        create(spark, table, schema, contract.lake.cluster_by, {"beam_grid.feed": contract.name})
    else:
        add_columns(spark, table, state, schema)


def apply(spark: SparkSession, table: Table, batch: Batch) -> None:
    """Take in the batch's commits in one Delta transaction."""
    schema = batch.contract.landed_schema
    rows, gone = batch.files("rows"), batch.files("superseded")
    if not rows and not gone:
        return
    fresh = read(spark, rows, schema) if rows else nothing(spark, schema)
    application = table.application(batch.contract.name)
    if not gone:
        append(arranged(fresh, batch.contract.sort_by, batch.bytes("rows")), table, application, batch.target)
        return
    superseded = read(spark, gone, schema)
    names = superseded.select(*IDENTITY).distinct()
    fresh = fresh.alias("r").join(names.alias("g"), _same_row("r", "g"), "left_anti")
    if not batch.applied:
        append(arranged(fresh, batch.contract.sort_by, batch.bytes("rows")), table, application, batch.target)
        return
    fresh.selectExpr(*map(quoted, schema.names), "false AS __gone").unionByName(
        names.where(f"_commit <= {batch.applied}").selectExpr(*IDENTITY, "true AS __gone"), allowMissingColumns=True
    ).createOrReplaceTempView("silver_source")
    columns = ", ".join(map(quoted, schema.names))
    values = ", ".join(f"s.{quoted(name)}" for name in schema.names)
    with transaction(spark, application, batch.target):
        spark.sql(
            f"MERGE INTO {table.sql} t USING silver_source s ON s.__gone AND {_same_sql('t', 's')}{_within(batch)} "
            f"WHEN MATCHED THEN DELETE WHEN NOT MATCHED AND NOT s.__gone THEN INSERT ({columns}) VALUES ({values})"
        )
    spark.catalog.dropTempView("silver_source")


def _same_sql(left: str, right: str) -> str:
    return " AND ".join(f"{left}.{name} <=> {right}.{name}" for name in IDENTITY)


def _same_row(left: str, right: str):
    from pyspark.sql.functions import expr

    return expr(_same_sql(left, right))


def _within(batch: Batch) -> str:
    """The target's part of the MERGE that can hold a superseded row, by the manifest's least and greatest event time."""
    from beam_grid.lakehouse.spans import event_span, spark_instant

    span = event_span(batch.landed("superseded"), batch.contract)
    if span is None:
        return ""
    field = quoted(batch.contract.event_time)
    low, high = (spark_instant(edge, batch.contract) for edge in span)
    return f" AND t.{field} >= {low} AND t.{field} <= {high} AND t._commit <= {batch.applied}"
