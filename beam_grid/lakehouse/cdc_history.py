"""silver.FEED_history (`_transactions` falls off FEED): each version of each row, and when we learnt of it.

    the log      insert 1 at 09:00     update 4 at 11:00, learnt on Tuesday     update 2 at 10:00, learnt on Friday

    valid time          09    10    11    open        known from   known to
    learnt on Monday    [insert ─────────────         Monday       Tuesday
    learnt on Tuesday   [insert ────[update 4 ──      Tuesday      insert: Friday    update 4: open
    learnt on Friday    [insert [up 2                 Friday       open

    what was so at V, as known at K:  valid_from <= V AND V < valid_to AND known_from <= K AND K < known_to
    what is known now of all time:    is_current_knowledge      (DataFusion cannot compare with a literal of year 9999)

Guarantees: the answer is at most one version a key: the last, in the order of the log, of the changes known at K whose
event time is not after V; none if that is a delete, or a truncate, which is a change of every key. Intervals are half-open; an end that is open is 9999-12-31. A
version ends with the next change of its key, or where event times run against the log, with the earliest of all later
changes; a version that never was valid (two changes at one instant) has valid_to = valid_from. What is known now
depends only on which changes arrived. A thing is known from the clock (`now`) of the commit that landed it, or where
clocks went back, from the latest clock before it; so the table depends on the commits and not on how refine batched
them.

Not guaranteed: equal past knowledge where the same changes arrived in other commits; that *is* what differs.

Each batch computes anew the knowledge of the keys it touches from all their landed changes, one snapshot a commit that
touched the key, and writes the difference in one MERGE: ends to what was open, and new rows. That costs, a key, its
changes times the new commits that touch it. A truncate touches every key, and so does a full snapshot (resync.py).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid.lakehouse import cdc_moves, resync
from beam_grid.lakehouse.cdc_changes import has_news, is_recounted, touched_bounds, touched_changes
from beam_grid.lakehouse.sequence import (
    fill,
    keys_sql,
    make,
    newest_first,
    same_key,
    table_schema,
    within_sql,
)
from beam_grid.lakehouse.tables import Batch, State, Table, arranged, quoted, transaction
from data_sources.cdc import AFTER, INSERT
from data_sources.lake_tables import HISTORY_COLUMNS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OPEN = "TIMESTAMP '9999-12-31 00:00:00Z'"

_TIME = pa.timestamp("us", "UTC")
_OWN = [
    *(pa.field(name, _TIME) for name in HISTORY_COLUMNS[:4]),
    pa.field(HISTORY_COLUMNS[4], pa.bool_()),
]


def prepare(spark: SparkSession, table: Table, state: State, batch: Batch) -> None:
    """Make the table, or bring its columns up to the contract."""
    contract = batch.contract
    # The history is a feed of changes itself; Delta's own would double what a batch adds to it.
    unfed = {"delta.enableChangeDataFeed": "false"}
    make(spark, table, state, contract, table_schema(contract, *_OWN), contract.lake.key[:4], **unfed)


def apply(spark: SparkSession, table: Table, batch: Batch) -> None:
    """Bring the knowledge to the batch's last commit in one Delta transaction."""
    if has_news(batch):
        with cdc_moves.known(spark, table, batch) as known:
            _apply(spark, table, known)


def _apply(spark: SparkSession, table: Table, batch: Batch) -> None:
    contract, application = batch.contract, table.application(batch.contract.name)
    known = resync.known if is_recounted(batch) else touched_changes
    known(spark, batch).createOrReplaceTempView("cdc_known")
    names = table_schema(contract, *_OWN).names
    statement = _knowledge_sql(batch)
    rows = resync.computed(spark, statement) if is_recounted(batch) else spark.sql(statement)
    if not batch.applied:
        rows = rows.select(*map(quoted, names))
        fill(arranged(rows, contract.lake.key, batch.bytes("rows")), table, batch)
        return
    if is_recounted(batch) and rows.isEmpty():  # a snapshot touches every key, and most for nothing
        return
    rows.createOrReplaceTempView("cdc_source")
    within = within_sql(touched_bounds(spark, batch), contract, "t")
    columns = ", ".join(map(quoted, names))
    values = ", ".join(f"s.{quoted(name)}" for name in names)
    with transaction(spark, application, batch.target):
        spark.sql(
            f"MERGE INTO {table.sql} t USING cdc_source s ON s.__ends AND {same_key(contract, 't', 's')} "
            f"AND t._sequence = s._sequence AND t.is_current_knowledge{within} "
            f"WHEN MATCHED THEN UPDATE SET t.known_to = s.known_to, t.is_current_knowledge = false "
            f"WHEN NOT MATCHED AND NOT s.__ends THEN INSERT ({columns}) VALUES ({values})"
        )


def _knowledge_sql(batch: Batch) -> str:
    """New rows, and (`__ends`) rows that were open after `applied` and are not any more.

    `__step` is the commit a change became known in (of an image that ends a key, both sides of its update), all up to `applied` being one; `__dead` the one that brought
    another image for the same sequence that counts more; `__at` runs over the steps of a key, at each of which
    `__counts` says whether the change did, and `__shown` how long a version was valid then, null for none.
    """
    contract, applied = batch.contract, batch.applied
    keys, last_first = keys_sql(contract), newest_first(contract, "c")
    known_at = f"PARTITION BY {keys}, __at ORDER BY __place"
    image = f"min(__step) OVER (PARTITION BY {keys}, _sequence ORDER BY {{}} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    of_key = f"OVER (PARTITION BY {keys})"
    steps, dead, commit = f"collect_set(__step) {of_key}", image.format(last_first), "_commit"
    own, counts = "SELECT * FROM snapshots", "true"
    if is_recounted(batch):
        last_first, commit = resync.newest_first(contract, "c"), "__since"
        own = resync.own_changes(batch, "snapshots", known_at, "__at")
        counts = resync.counts_sql(batch, known_at, "__at")
        dead = f"least(__gone, IF(__absent, NULL, {image.format(last_first)}))"
        steps = resync.steps_sql(of_key, applied)
    alive = "step >= __step AND (__dead IS NULL OR step < __dead)"
    time = f"CAST({quoted(contract.event_time)} AS TIMESTAMP)"
    later = f"min(IF(__counts, {time}, NULL)) OVER ({known_at} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    of_version = f"OVER (PARTITION BY {keys}, __place ORDER BY __at)"
    columns = ", ".join(map(quoted, table_schema(contract).names))
    return f"""
        WITH steps AS (SELECT *, greatest({commit}, {applied}L) AS __step FROM cdc_known),
        ranked AS (
            SELECT *, row_number() OVER (PARTITION BY {keys} ORDER BY {last_first}) AS __place, {dead} AS __dead,
                {steps} AS __steps
            FROM steps c),
        snapshots AS (SELECT *, explode(filter(__steps, step -> {alive})) AS __at FROM ranked),
        own AS ({own}),
        judged AS (SELECT *, {counts} AS __counts FROM own),
        dated AS (SELECT *, {time} AS valid_from, greatest({time}, coalesce({later}, {OPEN})) AS valid_to FROM judged),
        shown AS (
            SELECT *, IF(__counts, valid_to, NULL) AS __shown FROM dated
            WHERE {quoted(str(contract.lake.operation))} IN ({INSERT}, {AFTER})),
        versions AS (SELECT *, lag(__shown) {of_version} AS __before FROM shown),
        turns AS (
            SELECT *, coalesce(lead(__at) {of_version}, __dead) AS __until
            FROM versions WHERE NOT __before <=> __shown)
        SELECT {columns}, valid_from, valid_to, {_clock_sql(batch, "__at")} AS known_from,
            coalesce({_clock_sql(batch, "__until")}, {OPEN}) AS known_to,
            __until IS NULL AS is_current_knowledge, __at = {applied} AS __ends
        FROM turns WHERE __shown IS NOT NULL AND (__at > {applied} OR __until IS NOT NULL)"""


def _clock_sql(batch: Batch, commit: str) -> str:
    """When a new commit's changes became known; null for one before, which the table knows."""
    clocks = itertools.accumulate((line.now for line in batch.lines), max)
    new = ", ".join(f"{clock}L" for clock in itertools.islice(clocks, batch.applied, None))
    return f"timestamp_micros(get(array({new}), CAST({commit} - {batch.applied + 1} AS INT)))"
