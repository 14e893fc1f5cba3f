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

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
from msgspec import Struct
from msgspec import field as column

from beam_grid.lakehouse.tables import Batch, literal, quoted, read
from data_sources.splits import FileEnd
from data_sources.typed_json import encode

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PART = "array<struct<__commit: bigint, __files: array<string>, __name: string, __snapshot: int>>"
_PERIOD = "array<struct<__snapshot: int, __from: bigint, __to: bigint, __name: string>>"


class Part(Struct, kw_only=True, frozen=True):
    """What one commit read of a snapshot."""

    commit: int = column(name="__commit")
    files: tuple[str, ...] = column(name="__files")
    """Those of the commit that say what its snapshots held."""
    name: str = column(name="__name")
    """Of the snapshot, as its records have it."""
    snapshot: int = column(name="__snapshot")


class Period(Struct, kw_only=True):
    """When a snapshot was complete: from commit `begin` on, before commit `end` read more of it; None where none did."""

    snapshot: int = column(name="__snapshot")
    begin: int = column(name="__from")
    end: int | None = column(name="__to", default=None)
    name: str = column(name="__name")


@dataclass(frozen=True)
class Snapshots:
    """The snapshots that a feed's commits read from; each has a number."""

    parts: list[Part] = field(default_factory=list)
    complete: set[int] = field(default_factory=set)
    periods: list[Period] = field(default_factory=list)
    moved: bool = False
    """Whether the batch read from any."""
    reopened: bool = False
    """Whether the batch read from one that had been complete before: what it told may have been wrong."""

    @classmethod
    def of(cls, batch: Batch) -> Snapshots:
        numbers: dict[str, int] = {}
        parts, done, before, moved = [], {}, set(), set()
        periods: list[Period] = []
        last: dict[int, Period] = {}
        for commit in batch.commits:
            files = tuple(file.name for file in commit.listed("snapshot"))
            ends = [end for p in commit.partitions for end in p.ends if isinstance(end, FileEnd)]
            for end in (end for end in ends if end.role == "snapshot"):
                number, name = numbers.setdefault(end.path, len(numbers)), end.lineage
                if commit.number <= batch.applied:
                    before |= {number} if end.done else set()
                else:
                    moved.add(number)
                done[number] = end.done
                parts.append(Part(commit=commit.number, files=files, name=name, snapshot=number))
                if number in last:
                    last.pop(number).end = commit.number
                if end.done:
                    last[number] = Period(snapshot=number, begin=commit.number, name=name)
                    periods.append(last[number])
        complete = {number for number, is_done in done.items() if is_done}
        return cls(parts, complete, periods, bool(moved), bool(moved & before))

    def frame(self, spark: SparkSession) -> DataFrame:
        """The parts as a small table."""
        return _small(spark, self.parts, _PART)

    def period_frame(self, spark: SparkSession) -> DataFrame:
        """The periods as a small table."""
        return _small(spark, self.periods, _PERIOD)


def _small(spark: SparkSession, rows: Sequence[Struct], kind: str) -> DataFrame:
    from pyspark.sql.functions import broadcast

    return broadcast(spark.sql(f"SELECT inline(from_json({literal(encode(rows).decode())}, '{kind}'))"))


def entries(spark: SparkSession, batch: Batch, snapshots: Snapshots) -> DataFrame | None:
    """One row a record that a snapshot held: the key, `__hash`, `__as_of`, `__snapshot`; None where none ever landed."""
    if not batch.files("snapshot", new_only=False):
        return None
    keys = [batch.contract.schema.field(name) for name in batch.contract.lake.key]
    schema = pa.schema([*keys, pa.field("_hash", pa.int64()), pa.field("_as_of", pa.timestamp("us", "UTC"))])
    names = [quoted(name) for name in batch.contract.lake.key]
    return records(spark, batch, snapshots, schema).selectExpr(
        *names, "_hash AS __hash", "_as_of AS __as_of", "__snapshot"
    )


def records(spark: SparkSession, batch: Batch, snapshots: Snapshots, schema: pa.Schema) -> DataFrame:
    """What snapshots held of these columns, with `__snapshot` and `__commit`; there is a file of it."""
    from pyspark.sql.functions import broadcast, expr

    files = batch.files("snapshot", new_only=False)
    rows = read(spark, files, schema.append(pa.field("_source", pa.string())))
    parts = snapshots.frame(spark).selectExpr(
        "explode(__files) AS __file", "__name AS _source", "__snapshot", "__commit"
    )
    return rows.withColumn("__file", expr("_metadata.file_name")).join(broadcast(parts), ["__file", "_source"])


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
    if complete and (bad := rejects(spark, batch, snapshots)) is not None:
        told = told.join(bad, "__snapshot", "left_anti")
    return told.selectExpr("coalesce(collect_list(struct(__snapshot AS snapshot, __day AS day)), array()) AS __telling")


def rejects(spark: SparkSession, batch: Batch, snapshots: Snapshots) -> DataFrame | None:
    """One row a snapshot in which a record was rejected: `__snapshot`, and `__bad`, the first commit that met one."""
    files = batch.files("rejected", new_only=False)
    if not files:
        return None
    bad = read(spark, files, pa.schema([("_source", pa.string()), ("_commit", pa.int64())]))
    parts = snapshots.frame(spark).selectExpr("__commit AS _commit", "__name AS _source", "__snapshot")
    found = bad.join(parts, ["_commit", "_source"]).groupBy("__snapshot").agg({"_commit": "min"})
    return found.withColumnRenamed("min(_commit)", "__bad")


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
