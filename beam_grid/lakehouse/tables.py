"""Delta tables as refine sees them: where they are, what they hold already, how they are made and written to.

What a table holds is asked of delta-rs, without Spark. Every write goes through `transaction`, or `append`, and
carries `LAKE/FEED/TABLE` as Delta's transaction id and the batch's last commit as its version: Delta itself then
skips a write that was done before. Names are quoted everywhere; a user's field may be called `order`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid import history
from beam_grid.commits import Commits
from beam_grid.errors import GridError
from beam_grid.history import Line
from beam_grid.lakehouse.live import Live, live, newest_version
from beam_grid.landing import FeedLog, Lake
from beam_grid.segments import Held, LandedIndex, Unit
from data_sources.identifiers import backticked as quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameWriter, SparkSession

    from beam_grid.commit import Commit
    from data_sources.contract import Contract
    from transforms.manifest import Kind, LandedFile

_FEW_ROWS = 200_000
_FILE_BYTES = 32 << 20
_SMALL_BYTES = 4 << 20

STATISTICS_COLUMNS = 32
"""As many columns get min/max statistics; a column without cannot be clustered by nor skip files."""


@dataclass(frozen=True)
class Table:
    """One Delta table of a lake and, read once, what it holds."""

    lake: Lake
    name: str

    @property
    def path(self) -> Path:
        return self.lake.path.resolve() / self.relative

    @property
    def relative(self) -> str:
        return "tables/" + self.name.replace(".", "/", 1)

    @property
    def sql(self) -> str:
        """The table's name in Spark SQL."""
        return f"delta.{quoted(str(self.path))}"

    def state(self) -> State:
        """What the table holds now; an empty State where there is no table."""
        if newest_version(self.path) is None:
            return State()
        try:
            return State.of(live(self.path))
        except (GridError, OSError, ValueError, KeyError) as cause:
            raise GridError(
                f"table {self.name}: {self.path} cannot be read ({cause}); remove the folder and run refine, which makes it anew"
            ) from cause

    def application(self, feed: str, step: str = "") -> str:
        """Delta's transaction id of what `feed` writes here."""
        return "/".join(filter(None, [self.lake.id, feed, self.name, step]))


@dataclass(frozen=True)
class State:
    """A table's version, id, properties and columns; `version` is None where there is none."""

    version: int | None = None
    id: str | None = None
    properties: dict[str, str] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    transactions: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, at: Live) -> State:
        """The state of a table whose log was read."""
        names = [column["name"] for column in json.loads(at.schema)["fields"]]
        return cls(at.version, at.id, at.properties, names, at.transactions)

    def applied(self, application: str) -> int:
        """The last commit that this transaction id brought, 0 for none."""
        return self.transactions.get(application, 0)


@dataclass(frozen=True)
class Batch:
    """What a table has to take in: the commits of a feed after `applied`, in the light of all before.

    `commits` holds every commit of the feed from the first to the batch's last; reading all of them costs what they are
    many, so what is asked of every batch is asked of `index`, which knows their files.
    """

    log: FeedLog
    contract: Contract
    commits: Sequence[Commit]
    applied: int
    moves: str | None = None
    """Of changes, a Parquet file of the images of rows that changed their key; None where none ever did."""

    @property
    def target(self) -> int:
        return len(self.commits)

    def at(self, table: Live, application: str) -> Batch:
        """What is left of it where the table holds more, by its transaction, than it did when the batch was made."""
        return dataclasses.replace(self, applied=max(self.applied, table.transactions.get(application, 0)))

    @property
    def new(self) -> Sequence[Commit]:
        return self.commits[self.applied :]

    @cached_property
    def index(self) -> LandedIndex:
        """The files of all its commits."""
        if isinstance(self.commits, Commits):
            return self.commits.reader.landed
        return LandedIndex(None, [Unit.of(commit) for commit in self.commits])

    @cached_property
    def lines(self) -> list[Line]:
        """What each of its commits did; of many commits this is read where reading them would take seconds."""
        if isinstance(self.commits, Commits):
            return history.read(self.log)[: self.target]
        return [Line.of(commit, self.contract.event_time) for commit in self.commits]

    @property
    def of_files(self) -> Iterator[Commit]:
        """The commits that read from files."""
        return (self.commits[line.number - 1] for line in self.lines if line.reads_files)

    @property
    def watermark(self) -> int | None:
        """The feed's watermark after the batch, in microseconds since the epoch; None for a feed of whole files."""
        return self.commits[-1].watermark

    @property
    def was_superseded(self) -> bool:
        """Whether a row of the feed ever was superseded."""
        return any(True for _ in self.held("superseded", new_only=False))

    def held(self, *kinds: Kind, new_only: bool = True) -> list[Held]:
        """Landed files of these kinds that hold rows, with whose commits' they are.

        A first batch takes what small files were put together to, later ones the commits' own."""
        if new_only and self.applied:
            return [held for commit in self.new for held in Unit.of(commit).held if held.file.kind in kinds]
        return list(self.index.held(*kinds))

    def before(self, *kinds: Kind) -> list[Held]:
        """The same of what was taken in before; a file may hold rows of new commits, too."""
        return [held for held in self.index.held(*kinds) if held.first <= self.applied]

    def landed(self, *kinds: Kind, new_only: bool = True) -> list[LandedFile]:
        """Landed files of these kinds that hold rows."""
        return [held.file for held in self.held(*kinds, new_only=new_only)]

    def files(self, kind: Kind, *, new_only: bool = True) -> list[str]:
        """Absolute paths of the landed files of one kind."""
        return [self.path(file) for file in self.landed(kind, new_only=new_only)]

    def bytes(self, *kinds: Kind) -> int:
        return sum(file.bytes for file in self.landed(*kinds))

    def path(self, file: LandedFile) -> str:
        return str(self.log.path.resolve() / file.path)


def literal(text: str) -> str:
    """A string in Spark SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def spark_type(kind: pa.DataType) -> str:
    """The Spark SQL name of an Arrow type, of those a contract can have."""
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP"
    if pa.types.is_struct(kind):
        inner = (kind.field(i) for i in range(kind.num_fields))
        return "STRUCT<" + ", ".join(f"{quoted(f.name)}: {spark_type(f.type)}" for f in inner) + ">"
    return {
        pa.string(): "STRING",
        pa.int32(): "INT",
        pa.int64(): "BIGINT",
        pa.float64(): "DOUBLE",
        pa.bool_(): "BOOLEAN",
        pa.date32(): "DATE",
        pa.binary(): "BINARY",
    }[kind]


def columns_ddl(schema: pa.Schema) -> str:
    return ", ".join(f"{quoted(f.name)} {spark_type(f.type)}" for f in schema)


def read(spark: SparkSession, files: Sequence[str], schema: pa.Schema) -> DataFrame:
    """The files' rows in the schema's columns; a column that a file lacks is null."""
    named = (re.sub(r"([\\{}\[\]*?])", r"\\\1", file) for file in files)  # Spark takes paths for patterns
    return spark.read.schema(columns_ddl(schema)).parquet(*named)


def nothing(spark: SparkSession, schema: pa.Schema) -> DataFrame:
    """No rows in the schema's columns. `createDataFrame` would ask for a Python on every executor."""
    return spark.range(0).selectExpr(*(f"CAST(NULL AS {spark_type(f.type)}) AS {quoted(f.name)}" for f in schema))


def clustering(schema: pa.Schema, cluster_by: Sequence[str]) -> list[str]:
    """The columns to cluster by: Delta takes no booleans."""
    return [name for name in cluster_by if not pa.types.is_boolean(schema.field(name).type)]


def properties(schema: pa.Schema, keys: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    """The properties of a clustered table, with statistics of its cluster columns above all, and its `own` ones."""
    head = [*keys, *(f.name for f in schema if f.name not in keys)]
    measured = [name for name in head if not pa.types.is_boolean(schema.field(name).type)][:STATISTICS_COLUMNS]
    if "_commit" in schema.names and "_commit" not in measured:
        measured[-1] = "_commit"
    return {
        "delta.enableChangeDataFeed": "true",
        "delta.enableDeletionVectors": "true",
        "delta.dataSkippingStatsColumns": ",".join(quoted(name) for name in measured),
        **own,
    }


def create(
    spark: SparkSession, table: Table, schema: pa.Schema, cluster_by: Sequence[str], own: dict[str, str]
) -> None:
    """Make an empty table with liquid clustering, and see that Delta took it: its writers' `clusterBy` does not."""
    keys = clustering(schema, cluster_by)
    chosen = properties(schema, keys, own)
    clause = f"CLUSTER BY ({', '.join(map(quoted, keys))})" if keys else ""
    spark.sql(
        f"CREATE TABLE IF NOT EXISTS {table.sql} ({columns_ddl(schema)}) USING delta {clause} "
        f"TBLPROPERTIES ({', '.join(f'{literal(k)} = {literal(v)}' for k, v in chosen.items())})"
    )
    seen = spark.sql(f"DESCRIBE DETAIL {table.sql}").select("clusteringColumns").collect()[0][0]
    if [name.strip("`") for name in seen] != keys:
        raise GridError(
            f"table {table.name}: should be clustered by {keys}, Delta says {seen}; this version of Delta does not fit"
        )


def add_columns(spark: SparkSession, table: Table, state: State, schema: pa.Schema) -> None:
    """Bring in the fields a newer contract has; older rows have null there."""
    have = {name.lower() for name in state.columns}
    missing, before = [], None
    for item in schema:
        if item.name.lower() not in have:
            missing.append(
                f"{quoted(item.name)} {spark_type(item.type)} " + (f"AFTER {quoted(before)}" if before else "FIRST")
            )
        before = item.name
    for column in missing:  # one by one: a column may stand after one that is new itself
        spark.sql(f"ALTER TABLE {table.sql} ADD COLUMNS ({column})")


def sent_if_few(rows: DataFrame) -> DataFrame:
    """The rows, which are counted, to be sent to every task of a join where they are few: nothing else is then sorted.

    Spark's own estimate of a computed source is far too high for it to do so by itself.
    """
    from pyspark.sql.functions import broadcast

    return broadcast(rows) if rows.count() < _FEW_ROWS else rows


def differing(wanted: DataFrame, have: DataFrame, names: Sequence[str], place: Sequence[str]) -> DataFrame:
    """Rows to add (`__is_new`), to change and to take out (`__gone`), one a `place`; equal ones are left out.

    names: all columns of both. place: those that name a row of either, never null.
    """
    at, columns = [quoted(name) for name in place], ", ".join(map(quoted, names))
    new = wanted.selectExpr(*at, f"struct({columns}) AS __new")
    old = have.selectExpr(*at, f"struct({columns}) AS __old")
    joined = new.join(old, list(place), "full_outer").where("NOT __new <=> __old")
    rest = [f"__new.{quoted(name)} AS {quoted(name)}" for name in names if name not in place]
    return joined.selectExpr(*at, *rest, "__new IS NULL AS __gone", "__old IS NULL AS __is_new")


def put(
    spark: SparkSession,
    table: Table,
    found: DataFrame,
    place: Sequence[str],
    batch: Batch,
    order: Sequence[str],
    within: str = "",
) -> None:
    """Bring into the table what `differing`, or the like, found and was computed: `order` and `within` make it cheaper.

    What is new is appended, then the rest is merged: two transactions. A MERGE that also inserts must sort the table to
    find what is not in it; one that only changes rows streams it past them, and an append is its own change data. A run
    cut off between the two leaves rows which no version set shows, and which the next finds in the table.
    """
    application = table.application(batch.contract.name)
    columns = [quoted(name) for name in found.columns if name not in ("__gone", "__is_new")]
    new, others = found.where("__is_new").select(*columns), found.where("NOT __is_new")
    if not new.isEmpty():
        append(arranged(new, order, batch.bytes("rows")), table, f"{application}/inserts", batch.target)
    if others.isEmpty():
        return
    sent_if_few(others).createOrReplaceTempView("put_source")
    with transaction(spark, application, batch.target):
        spark.sql(
            f"MERGE INTO {table.sql} t USING put_source s ON {' AND '.join(f't.{quoted(p)} = s.{quoted(p)}' for p in place)}"
            f"{within} WHEN MATCHED AND s.__gone THEN DELETE "
            f"WHEN MATCHED THEN UPDATE SET {', '.join(f't.{n} = s.{n}' for n in columns)}"
        )
    spark.catalog.dropTempView("put_source")


def arranged(rows: DataFrame, order: Sequence[str], weight: int) -> DataFrame:
    """Sorted in each file; of much data, `weight` bytes as they landed, each file is a range of its own."""
    columns = [quoted(name) for name in order]
    if weight < _SMALL_BYTES:
        rows = rows.coalesce(1)
    elif columns:
        rows = rows.repartitionByRange(max(1, -(-weight // _FILE_BYTES)), *columns)
    return rows.sortWithinPartitions(*columns) if columns else rows


def append(rows: DataFrame, table: Table, application: str, commit: int) -> None:
    """Append once; Delta skips what this transaction id brought before."""
    _writer(rows, application, commit).mode("append").save(str(table.path))


def overwrite(rows: DataFrame, table: Table, application: str, commit: int) -> None:
    """Put these rows in place of all there were, once; the columns stay."""
    _writer(rows, application, commit).mode("overwrite").save(str(table.path))


def replace(rows: DataFrame, table: Table, application: str, commit: int) -> None:
    """Put these rows, and their columns, in place of all there were, once. (Delta has no CREATE OR REPLACE by path.)"""
    _writer(rows, application, commit).mode("overwrite").option("overwriteSchema", "true").save(str(table.path))


def _writer(rows: DataFrame, application: str, commit: int) -> DataFrameWriter:
    return rows.write.format("delta").option("txnAppId", application).option("txnVersion", str(commit))


@contextmanager
def transaction(spark: SparkSession, application: str, commit: int) -> Iterator[None]:
    """The same for one MERGE or UPDATE, the only write inside: a second one would be skipped."""
    names = {
        "spark.databricks.delta.write.txnAppId": application,
        "spark.databricks.delta.write.txnVersion": str(commit),
    }
    try:
        for name, value in names.items():
            spark.conf.set(name, value)
        yield
    finally:
        for name in names:
            spark.conf.unset(name)
