"""What full snapshots held, key by key, from what landed: the evidence for deletes and for keys that came back.
And what change files held: a row of theirs may have come in a snapshot first, and its copy did not land.

    snapshot    date   complete, no reject      __entries of key a       absent, said of a
    full_1      1      yes                      (hash, 1)                [3]
    full_2      3      yes                      -
    full_3      5      no: half of it landed    (hash, 5)                (full_3 tells of no absence yet)

A snapshot is one file at one path, maybe read in several slices; its date is the greatest of its rows. One in which
a record was rejected tells of no absence: the rejected record may be the missing key. Nor does one whose date is
unknown. Two snapshots of one date are read as one: a key that either held was there.
Not guaranteed: that a snapshot without records is noticed. Such files do not land.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_grid.lakehouse.tables import Batch, listed, literal, quoted, read

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from data_sources.contract import Contract

_PART = "array<struct<__commit: bigint, __files: array<string>, __name: string, __snapshot: int>>"


@dataclass(frozen=True)
class Snapshots:
    """The snapshots that a feed's commits read from; each has a number."""

    parts: list[dict[str, Any]] = field(default_factory=list)
    """Which commit read from which snapshot: __commit, __name, __snapshot, and __files, what the commit says they held."""
    complete: set[int] = field(default_factory=set)
    moved: bool = False
    """Whether the batch read from any."""
    reopened: bool = False
    """Whether the batch read from one that had been complete before: what it told may have been wrong."""

    @classmethod
    def of(cls, batch: Batch) -> Snapshots:
        numbers: dict[str, int] = {}
        parts, done, before, moved = [], {}, set(), set()
        for commit in batch.commits:
            files = [entry["path"].rsplit("/", 1)[1] for entry in listed(commit, "snapshot")]
            ends = [end for p in commit["partitions"] for end in p["ends"] if end.get("role") == "snapshot"]
            for end in ends:
                number = numbers.setdefault(end["path"], len(numbers))
                if commit["commit"] <= batch.applied:
                    before |= {number} if end["done"] else set()
                else:
                    moved.add(number)
                done[number] = end["done"]
                part = {"__commit": commit["commit"], "__files": files, "__name": end["name"], "__snapshot": number}
                parts.append(part)
        complete = {number for number, is_done in done.items() if is_done}
        return cls(parts, complete, bool(moved), bool(moved & before))

    def frame(self, spark: SparkSession) -> DataFrame:
        """The parts as a small table."""
        from pyspark.sql.functions import broadcast

        said = literal(json.dumps(self.parts))
        return broadcast(spark.sql(f"SELECT inline(from_json({said}, '{_PART}'))"))


def entries(spark: SparkSession, batch: Batch, snapshots: Snapshots) -> DataFrame | None:
    """One row a record that a snapshot held: the key, `__hash`, `__as_of`, `__snapshot`; None where none ever landed."""
    from pyspark.sql.functions import broadcast, expr

    files = batch.files("snapshot", new_only=False)
    if not files:
        return None
    keys = [quoted(name) for name in batch.contract.lake.key]
    rows = read(spark, files, _schema(batch.contract)).withColumn("__file", expr("_metadata.file_name"))
    parts = snapshots.frame(spark).selectExpr("explode(__files) AS __file", "__name AS _source", "__snapshot")
    return rows.join(broadcast(parts), ["__file", "_source"]).selectExpr(
        *keys, "_hash AS __hash", "_as_of AS __as_of", "__snapshot"
    )


def changed(spark: SparkSession, batch: Batch, *, new_only: bool) -> DataFrame | None:
    """One row a record of change files: the key and `__hash`; None where they held none."""
    files = batch.files("changes", new_only=new_only)
    if not files:
        return None
    keys = [batch.contract.schema.field(name) for name in batch.contract.lake.key]
    rows = read(spark, files, pa.schema([*keys, pa.field("_hash", pa.int64())]))
    return rows.withColumnRenamed("_hash", "__hash")


def dated(found: DataFrame, kind: str) -> DataFrame:
    """One row a snapshot: `__snapshot` and its date `__day` of the Spark type `kind`, null where no row tells one."""
    return found.groupBy("__snapshot").agg({"__as_of": "max"}).selectExpr(
        "__snapshot",
        f"CASE WHEN `max(__as_of)` >= TIMESTAMP '0001-01-01' THEN CAST(`max(__as_of)` AS {kind}) END AS __day",
    )  # fmt: skip


def telling(spark: SparkSession, batch: Batch, snapshots: Snapshots, dates: DataFrame) -> DataFrame:
    """One row: `__telling`, the (snapshot, day) of those whose lack of a key says that it was not there."""
    complete = ", ".join(map(str, sorted(snapshots.complete)))
    told = dates.where(f"__day IS NOT NULL AND __snapshot IN ({complete})" if complete else "false")
    files = batch.files("rejected", new_only=False)
    if files and complete:
        parts = snapshots.frame(spark)
        bad = read(spark, files, pa.schema([("_source", pa.string()), ("_commit", pa.int64())]))
        bad = bad.join(
            parts.selectExpr("__commit AS _commit", "__name AS _source", "__snapshot"), ["_commit", "_source"]
        )
        told = told.join(bad.select("__snapshot").distinct(), "__snapshot", "left_anti")
    return told.selectExpr("coalesce(collect_list(struct(__snapshot AS snapshot, __day AS day)), array()) AS __telling")


def times_held(found: DataFrame, telling: DataFrame, keys: list[str]) -> DataFrame:
    """One row a key: `__times`, how many of the telling snapshots held it. Cheaper by far than `by_key` for all keys."""
    from pyspark.sql.functions import broadcast, expr

    told = telling.selectExpr("explode(__telling.snapshot) AS __snapshot")
    once = found.join(broadcast(told), "__snapshot").select(*map(quoted, keys), "__snapshot").distinct()
    return once.groupBy(*map(quoted, keys)).agg(expr("count(*) AS __times"))


def by_key(found: DataFrame, dates: DataFrame, changes: DataFrame | None, keys: list[str]) -> DataFrame:
    """One row a key that any file held: `__entries`, an array of (hash, snapshot, day); of a change without the last two."""
    from pyspark.sql.functions import broadcast, expr

    found = found.join(broadcast(dates), "__snapshot").select(*map(quoted, keys), "__hash", "__snapshot", "__day")
    if changes is not None:
        found = found.unionByName(changes, allowMissingColumns=True)
    entry = expr("collect_set(struct(__hash AS hash, __snapshot AS snapshot, __day AS day)) AS __entries")
    return found.groupBy(*map(quoted, keys)).agg(entry)


def _schema(contract: Contract) -> pa.Schema:
    keys = [contract.schema.field(name) for name in contract.lake.key]
    facts = [("_hash", pa.int64()), ("_as_of", pa.timestamp("us", "UTC")), ("_source", pa.string())]
    return pa.schema([*keys, *(pa.field(name, kind) for name, kind in facts)])
