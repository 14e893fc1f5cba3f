"""Snapshot re-sync of a CDC feed: a full snapshot replaces what a key's changes left, without churn in unchanged rows.

    the log    insert b 3    insert a 5    update a 50    snapshot 100 of a and c (complete)

    key a      A@5    B@50    B@100        B@100 says what B@50 had said and does not count: the row is as it was
    key b      B@3    absent@100           counts, as a delete: the snapshot lacks the key
    key c      C@100                       counts: there was no row
    a late     A@5    B@50    C@70  B@100  now B@100 counts: it is judged against what landed, not what a table shows

A key that a telling snapshot lacks has an *absence*: a delete at the snapshot's place in the log, the least `_sequence`
of what it held, and at its time, the greatest; the columns but these and the key are null. A snapshot tells while it
is complete and no record of it was rejected, from the commit that completed it until one that reads more of it.

    what counts, of a key's changes in order    a row a snapshot held: unless the row before it has equal content
                                                an absence: if a row is before it
                                                every other change: always
    what is none of the key's changes           a delete, or an image before an update that ends the key, of a row that
                                                had the key before (own_changes)

Guarantees: what counts is a function of the changes and snapshots that landed, whatever their order, copies and
slicing; so a key's state is, and at each step what was known then. Content is `Contract.content`.

Not guaranteed: that a snapshot taken over a stretch of the log is exact within it: a key it lacks goes at the least
place, and a change after that stands. Nor that an empty snapshot deletes all: a file without records does not land.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid.lakehouse import held
from beam_grid.lakehouse.cdc_changes import has_snapshots, touched_bounds, touched_changes, touched_keys, touches_all
from beam_grid.lakehouse.sequence import (
    greatest_first,
    has_effect_sql,
    keys_sql,
    sequence_sql,
    table_schema,
    within_sql,
)
from beam_grid.lakehouse.tables import Batch, Table, differing, put, quoted, spark_type
from data_sources.cdc import AFTER, BEFORE, DELETE, INSERT

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from data_sources.contract import Contract


def known(spark: SparkSession, batch: Batch) -> DataFrame:
    """All changes of the keys the batch touches, and their absences, which have `__absent`.

    `__since` is the commit from which on a change is known, `__held` the one by which a snapshot had held the key at this place in the log; `__gone` the one from which on
    an absence is told no more.
    """
    contract, keys = batch.contract, batch.contract.lake.key
    found, snapshots = _in_time(touched_changes(spark, batch), batch), held.Snapshots.of(batch)
    if not has_snapshots(batch):
        never = "CAST(NULL AS BIGINT) AS __held"
        return found.selectExpr("*", never, "false AS __absent")
    records = _records(spark, batch, snapshots)
    telling = _telling(spark, batch, snapshots, records)
    if batch.applied and not touches_all(spark, batch):
        records = records.join(touched_keys(spark, batch), keys, "left_semi")
    entries = _by_key(records, keys)
    at_place = "filter(__entries, e -> e.sequence = _sequence)"
    rows = found.join(entries, keys, "left").selectExpr(
        *map(quoted, table_schema(contract).names),
        *_TIMES,
        f"array_min(transform({at_place}, e -> e.commit)) AS __held",
        "false AS __absent",
    )
    return rows.unionByName(_absences(found, entries, telling, contract))


_TIMES = ("__since", "__gone", "__moved", "__own")
_UNMOVED = ("CAST(NULL AS BIGINT) AS __moved", "CAST(NULL AS BIGINT) AS __own")


def _in_time(found: DataFrame, batch: Batch) -> DataFrame:
    """With `_TIMES`: an image before an update ends its key from when its row had moved until it had not."""
    if batch.moves is None:
        return found.selectExpr("*", "_commit AS __since", *(f"CAST(NULL AS BIGINT) AS {name}" for name in _TIMES[1:]))
    is_before = f"{quoted(str(batch.contract.lake.operation))} = {BEFORE}"
    since, gone = f"IF({is_before}, __moved, _commit) AS __since", f"IF({is_before}, __own, NULL) AS __gone"
    return found.selectExpr("*", since, gone)


def newest_first(contract: Contract, alias: str) -> str:
    """Total order of a key's changes and absences, the last first; a change at a snapshot's very place is after it."""
    return f"{alias}._sequence DESC, {alias}.__absent, {greatest_first(contract, alias)}"


def own_changes(batch: Batch, changes: str, window: str, commit: str) -> str:
    """SQL of the changes without ends of rows that had the key before; `window` has a key's changes known at the commit,
    the last first."""
    if batch.moves is None:
        return f"SELECT * FROM {changes}"
    others = _of_another_row(batch.contract, window, commit)
    return f"SELECT * FROM (SELECT *, {others} AS __of_another FROM {changes} c) WHERE NOT __of_another"


def counts_sql(batch: Batch, window: str, commit: str) -> str:
    """Whether a change counts as known at the commit; `window` has a key's own changes known then, the last first."""
    contract = batch.contract
    content = f"struct({', '.join(map(quoted, contract.content))})"
    is_row = f"{quoted(str(contract.lake.operation))} IN ({INSERT}, {AFTER})"
    was_row = f"coalesce(lead({is_row}) OVER ({window}), false)"
    is_same = f"{was_row} AND {content} <=> lead({content}) OVER ({window})"
    return f"CASE WHEN __absent THEN {was_row} WHEN {is_row} AND __held <= {commit} THEN NOT ({is_same}) ELSE true END"


def _of_another_row(contract: Contract, window: str, commit: str) -> str:
    """Whether a key's end is that of a row which had the key before: its successor came within the same transaction.

        two rows swap their keys a and b      1 a -> b      2 b -> a      2 ends b of the second row, not of the first

    Told by the change before it: one that gave the key to a row, at the same event time, with other content. (An image
    may lack columns.)
    """
    operation, time = quoted(str(contract.lake.operation)), quoted(contract.event_time)
    came = f"{operation} = {AFTER} AND __moved <= {commit} AND coalesce(__own > {commit}, true)"
    before = f"lead(struct({', '.join(map(quoted, contract.content))})) OVER ({window})"
    same = " AND ".join(f"({quoted(n)} IS NULL OR {quoted(n)} <=> {before}.{quoted(n)})" for n in contract.content)
    return (
        f"{operation} IN ({DELETE}, {BEFORE}) AND coalesce(lead({came}) OVER ({window}), false) "
        f"AND {time} <=> lead({time}) OVER ({window}) AND NOT ({same})"
    )


def steps_sql(of_key: str, applied: int) -> str:
    """The commits at which a key's history may turn, all up to `applied` being one."""
    commits = f"flatten(collect_set(array(__since, __held, __gone, __moved, __own)) {of_key})"
    return f"array_distinct(transform(filter({commits}, c -> c IS NOT NULL), c -> greatest(c, {applied}L)))"


def last_changes(spark: SparkSession, batch: Batch, condition: str) -> DataFrame:
    """Of each key the batch touches the last change that counts, as known now, among those that meet the condition."""
    contract = batch.contract
    keys, order = keys_sql(contract), newest_first(contract, "c")
    of_key = f"PARTITION BY {keys} ORDER BY {order}"
    known(spark, batch).createOrReplaceTempView("cdc_known")
    return computed(
        spark,
        f"""
        WITH images AS (
            SELECT *, row_number() OVER (PARTITION BY {keys}, _sequence ORDER BY {order}) AS __image
            FROM cdc_known c WHERE __gone IS NULL),
        last_images AS (SELECT * FROM images WHERE __absent OR __image = 1),
        own AS ({own_changes(batch, "last_images", of_key, str(batch.target))}),
        judged AS (SELECT *, {counts_sql(batch, of_key, str(batch.target))} AS __counts FROM own c),
        placed AS (SELECT *, row_number() OVER ({of_key}) AS __place FROM judged c WHERE __counts AND {condition})
        SELECT {", ".join(map(quoted, table_schema(contract).names))} FROM placed WHERE __place = 1""",
    )


def computed(spark: SparkSession, statement: str) -> DataFrame:
    """What the statement says of `known` changes, computed now.

    Spark's propagation of constraints takes exponential time and memory over what counts: SPARK-33152. Let go of this
    setting where that is closed.
    """
    spark.conf.set("spark.sql.constraintPropagation.enabled", "false")
    try:
        return spark.sql(statement).localCheckpoint()
    finally:
        spark.conf.unset("spark.sql.constraintPropagation.enabled")


def put_right(
    spark: SparkSession, table: Table, batch: Batch, wanted: DataFrame, more: DataFrame | None = None
) -> None:
    """Make the touched keys' rows in the table the wanted ones, one a key, and add `more`; equal rows are not written."""
    contract, names = batch.contract, table_schema(batch.contract).names
    keys, columns = contract.lake.key, ", ".join(map(quoted, names))
    within = within_sql(touched_bounds(spark, batch), contract, "t")
    have = spark.sql(f"SELECT {columns} FROM {table.sql} t WHERE {quoted(keys[0])} IS NOT NULL{within}")
    if not touches_all(spark, batch):
        have = have.join(touched_keys(spark, batch), keys, "left_semi")
    found = differing(wanted, have, names, keys)
    if more is not None:
        found = found.unionByName(more.selectExpr("*", "false AS __gone", "true AS __is_new"))
    put(spark, table, found.localCheckpoint(), keys, batch, keys, within)


def _records(spark: SparkSession, batch: Batch, snapshots: held.Snapshots) -> DataFrame:
    """One row a change that a snapshot held: the key, `_sequence`, `__time`, `__snapshot` and `__commit`."""
    contract, lake = batch.contract, batch.contract.lake
    names = dict.fromkeys([*lake.key, *lake.sequence_by, str(lake.operation), contract.event_time])
    schema = pa.schema([contract.schema.field(name) for name in names])
    return (
        held.records(spark, batch, snapshots, schema)
        .where(has_effect_sql(contract))
        .selectExpr(
            *map(quoted, lake.key),
            f"{sequence_sql(contract)} AS _sequence",
            f"{quoted(contract.event_time)} AS __time",
            "__snapshot",
            "__commit",
        )
    )


def _by_key(records: DataFrame, keys: list[str]) -> DataFrame:
    """One row a key that a snapshot held: `__entries`, an array of (snapshot, commit, sequence)."""
    from pyspark.sql.functions import expr

    entry = "struct(__snapshot AS snapshot, __commit AS commit, _sequence AS sequence)"
    return records.groupBy(*map(quoted, keys)).agg(expr(f"collect_set({entry}) AS __entries"))


def _telling(spark: SparkSession, batch: Batch, snapshots: held.Snapshots, records: DataFrame) -> DataFrame:
    """One row: `__telling`, per snapshot and span in which it tells (snapshot, name, begin, gone, sequence, time)."""
    from pyspark.sql.functions import broadcast, expr

    spans = snapshots.period_frame(spark)
    if (bad := held.rejects(spark, batch, snapshots)) is not None:
        spans = spans.join(bad, "__snapshot", "left").where("__bad IS NULL OR __bad > __from").drop("__bad")
    placed = (
        records.join(broadcast(spans), "__snapshot")
        .where("__commit <= __from")
        .groupBy("__snapshot", "__name", "__from", "__to")
        .agg(expr("min(_sequence) AS __place"), expr("max(__time) AS __time"))
    )
    span = (
        "struct(__snapshot AS snapshot, __name AS name, __from AS begin, __to AS gone, __place AS sequence, "
        "__time AS time)"
    )
    return broadcast(placed.agg(expr(f"collect_list({span}) AS __telling")))


def _absences(found: DataFrame, entries: DataFrame, telling: DataFrame, contract: Contract) -> DataFrame:
    """Per key of the changes and telling span one absence, where no record of the key had landed by its begin."""
    keys = [quoted(name) for name in contract.lake.key]
    held_by_then = "exists(coalesce(__entries, array()), e -> e.snapshot = s.snapshot AND e.commit <= s.begin)"
    lacking = (
        found.select(*keys)
        .distinct()
        .join(entries, contract.lake.key, "left")
        .crossJoin(telling)
        .selectExpr(*keys, f"explode(filter(__telling, s -> NOT {held_by_then})) AS __span")
    )
    said = {
        str(contract.lake.operation): f"CAST({DELETE} AS BIGINT)",
        contract.event_time: "__span.time",
        "_source": "__span.name",
        "_commit": "__span.begin",
        "_sequence": "__span.sequence",
        **{name: quoted(name) for name in contract.lake.key},
    }
    columns = (
        f"{said.get(f.name, f'CAST(NULL AS {spark_type(f.type)})')} AS {quoted(f.name)}" for f in table_schema(contract)
    )
    return lacking.selectExpr(
        *columns,
        "__span.begin AS __since",
        "__span.gone AS __gone",
        *_UNMOVED,
        "CAST(NULL AS BIGINT) AS __held",
        "true AS __absent",
    )
