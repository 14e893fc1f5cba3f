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
from data_sources.snapshots import as_of_name
from data_sources.splits import FileEnd
from data_sources.typed_json import encode

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from data_sources.contract import Contract

_PART = "array<struct<__commit: bigint, __files: array<string>, __name: string, __snapshot: int>>"
_PERIOD = "array<struct<__snapshot: int, __from: bigint, __to: bigint, __name: string>>"


_FIRST = "array<struct<__snapshot: int, __commit: bigint, __name: string>>"
_NAMED = "array<struct<__name: string, __day: bigint>>"
_IN_COMMIT = "array<struct<__file: string, __commit: bigint>>"


class _First(Struct, kw_only=True, frozen=True):
    """The commit that first read of a snapshot."""

    snapshot: int = column(name="__snapshot")
    commit: int = column(name="__commit")
    name: str = column(name="__name")


class _Named(Struct, kw_only=True, frozen=True):
    """A change file and the day in its name, microseconds."""

    name: str = column(name="__name")
    day: int = column(name="__day")


class _InCommit(Struct, kw_only=True, frozen=True):
    """The commit of a landed file."""

    file: str = column(name="__file")
    commit: int = column(name="__commit")


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
        for commit in batch.of_files:
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


def files_frame(spark: SparkSession, batch: Batch, dates: DataFrame | None) -> DataFrame:
    """One row: `__files`, a map of snapshot to (day, commit that first read of it, name), and `__named`, a map of change
    file to the day in its name."""
    first: dict[int, Part] = {}
    for part in Snapshots.of(batch).parts:
        first.setdefault(part.snapshot, part)
    kind = date_kind(batch.contract)
    begun = _small(spark, [_First(snapshot=n, commit=p.commit, name=p.name) for n, p in first.items()], _FIRST)
    if dates is None:
        begun = begun.selectExpr("*", f"CAST(NULL AS {kind}) AS __day")
    else:
        begun = begun.join(dates, "__snapshot", "left")
    entry = "struct(__snapshot, struct(__day AS day, __commit AS commit, __name AS name))"
    named = [_Named(name=name, day=day) for name, day in _dated_names(batch).items()]
    days = f"map_from_entries(collect_list(struct(__name, CAST(timestamp_micros(__day) AS {kind}))))"
    return begun.selectExpr(f"map_from_entries(collect_list({entry})) AS __files").crossJoin(
        _small(spark, named, _NAMED).selectExpr(f"{days} AS __named")
    )


def _dated_names(batch: Batch) -> dict[str, int]:
    """The dates that change files' names hold, as lake.as_of has them; of those without one, and of streams, none."""
    found: dict[str, int] = {}
    for commit in batch.of_files:
        for end in (end for partition in commit.partitions for end in partition.ends):
            if isinstance(end, FileEnd) and end.role == "delta":
                try:
                    day = as_of_name(end.name, batch.contract.lake)
                except ValueError:
                    continue
                if day is not None:
                    found[end.lineage] = day
    return found


def entries(spark: SparkSession, batch: Batch, snapshots: Snapshots) -> DataFrame | None:
    """One row a record that a snapshot held: the key, `__hash`, `__as_of`, `__snapshot`; None where none ever landed."""
    if not batch.files("snapshot", new_only=False):
        return None
    keys = [batch.contract.schema.field(name) for name in batch.contract.lake.key]
    told = [("_hash", pa.int64()), ("_as_of", pa.timestamp("us", "UTC")), ("_position", pa.int64())]
    schema = pa.schema([*keys, *(pa.field(name, kind) for name, kind in told)])
    names = [quoted(name) for name in batch.contract.lake.key]
    return records(spark, batch, snapshots, schema).selectExpr(
        *names, "_hash AS __hash", "_as_of AS __as_of", "__snapshot", "_position AS __position"
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
    """One row a record of change files and streams: the key, `__hash`, and where it was: `__commit`, `__name`,
    `__position`; None where they held none."""
    from pyspark.sql.functions import broadcast, expr

    held = [_InCommit(file=one.file.name, commit=one.last) for one in batch.held("changes", new_only=new_only)]
    if not held:
        return None
    keys = [batch.contract.schema.field(name) for name in batch.contract.lake.key]
    told = [("_hash", pa.int64()), ("_source", pa.string()), ("_position", pa.int64())]
    rows = read(spark, batch.files("changes", new_only=new_only), pa.schema([*keys, *(pa.field(*one) for one in told)]))
    return (
        rows.withColumn("__file", expr("_metadata.file_name"))
        .join(broadcast(_small(spark, held, _IN_COMMIT)), "__file")
        .selectExpr(
            *(quoted(key.name) for key in keys),
            "_hash AS __hash",
            "__commit",
            "_source AS __name",
            "_position AS __position",
        )
    )


def date_kind(contract: Contract) -> str:
    """The Spark type of validity: dates where `effective_from` is a date, else timestamps."""
    named = contract.lake.effective_from
    return "DATE" if named is not None and contract.field(named).type == "date" else "TIMESTAMP"


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


def by_key(
    found: DataFrame | None, dates: DataFrame | None, changes: DataFrame | None, keys: list[str], kind: str
) -> DataFrame:
    """One row a key that any file held: `__entries`, an array of (hash, snapshot, day, commit, name, position); of a change
    without snapshot and day, of a snapshot without commit and name, which `files_frame` tells."""
    from pyspark.sql.functions import broadcast, expr

    names = [*map(quoted, keys), "__hash", "__snapshot", "__day", "__commit", "__name", "__position"]
    parts = []
    if found is not None and dates is not None:
        none = "CAST(NULL AS BIGINT) AS __commit", "CAST(NULL AS STRING) AS __name"
        parts.append(found.join(broadcast(dates), "__snapshot").selectExpr("*", *none).select(*names))
    if changes is not None:
        none = "CAST(NULL AS INT) AS __snapshot", f"CAST(NULL AS {kind}) AS __day"
        parts.append(changes.selectExpr("*", *none).select(*names))
    every = parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])
    entry = (
        "collect_set(struct(__hash AS hash, __snapshot AS snapshot, __day AS day, __commit AS commit, __name AS name, "
        "__position AS position)) AS __entries"
    )
    return every.groupBy(*map(quoted, keys)).agg(expr(entry))
