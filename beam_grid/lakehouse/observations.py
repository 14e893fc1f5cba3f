"""What was seen of each key and when: the rows of a master with their dates, and the dates it was absent.

    landed rows ──────────────┬► touched keys ──► rows ──┐
    what snapshots held ──────┘                          ├► key, __date, __row, __absent
    what files held, by key ─────────────────────────────┘

A row of a change file is dated by `effective_from` (the event time where the contract names none). A row of a
snapshot is dated by `effective_from` too, or by the snapshot's date where the contract names none or a snapshot
between the two lacked the key: then it is a key that came back. A row may so be seen at several dates.

Everything that landed is an observation for ever, also what made no version when it came. So the observations of a
key are a function of the commits, and nothing here depends on how refine batched them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid.lakehouse import held
from beam_grid.lakehouse.tables import Batch, literal, nothing, quoted, read
from transforms.shard import row_hashes

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from data_sources.contract import Contract


def date_type(contract: Contract) -> pa.DataType:
    """The Arrow type of validity: dates where `effective_from` is a date, else timestamps."""
    named = contract.lake.effective_from
    is_date = named is not None and contract.field(named).type == "date"
    return pa.date32() if is_date else pa.timestamp("us", "UTC")


def date_sql(contract: Contract) -> str:
    return "DATE" if pa.types.is_date(date_type(contract)) else "TIMESTAMP"


class Observations:
    """The observations behind a batch's keys. A context: what it caches is let go at the end.

    touched: keys whose history the batch can change, None for all of them. rows: see the module.
    `afresh` takes in every key, as for a first batch.
    """

    def __init__(self, spark: SparkSession, batch: Batch, *, afresh: bool) -> None:
        self.spark, self.batch, self.contract = spark, batch, batch.contract
        self.keys = batch.contract.lake.key
        self.snapshots = held.Snapshots.of(batch)
        self._cached: list[DataFrame] = []
        self._entries = held.entries(spark, batch, self.snapshots)
        self._telling: DataFrame | None = None
        self._held: DataFrame | None = None
        whole = afresh or self.snapshots.reopened or (self.snapshots.moved and not self._is_dated_by_rows)
        self._bounds = None if whole or self.snapshots.moved else _bounds(batch)
        if self._entries is not None:
            self._dates = self._kept(held.dated(self._entries, date_sql(self.contract)))
            self._telling = self._kept(held.telling(spark, batch, self.snapshots, self._dates))
        self.touched = None if whole else self._kept(self._touched())
        if self._entries is not None:
            changes = held.changed(spark, batch, new_only=False)
            self._held = held.by_key(
                self._only_touched(self._entries.where(self.within())),
                self._dates,
                None if changes is None else self._only_touched(changes.where(self.within())),
                self.keys,
            )

    def __enter__(self) -> Observations:
        return self

    def __exit__(self, *cause: object) -> None:
        for frame in self._cached:
            frame.unpersist()

    def rows(self) -> DataFrame:
        """One row an observation: `__row` (the landed row: contract, then lineage), `__date`, `__absent` (dates)."""
        contract, kind = self.contract, date_sql(self.contract)
        named = contract.lake.effective_from
        effective = f"CAST({quoted(named)} AS {kind})" if named else f"CAST(NULL AS {kind})"
        happened = f"coalesce({effective}, CAST({quoted(contract.event_time)} AS {kind}))"
        landed = self._only_touched(self._landed(new_only=False).where(self.within()))
        row = f"struct({', '.join(map(quoted, contract.landed_schema.names))}) AS __row"
        keys = [quoted(name) for name in self.keys]
        if self._held is None or self._telling is None:
            return landed.selectExpr(*keys, row, f"{happened} AS __date", f"CAST(array() AS ARRAY<{kind}>) AS __absent")
        seen = self._hashed(landed).join(self._held, self.keys, "left").crossJoin(self._telling)
        absent = (
            "array_distinct(transform(filter(__telling, t -> "
            "NOT exists(coalesce(__entries, array()), e -> e.day <=> t.day)), t -> t.day))"
        )
        own = "filter(coalesce(__entries, array()), e -> e.hash = __hash AND e.snapshot IS NOT NULL)"
        is_change = "__is_change OR exists(coalesce(__entries, array()), e -> e.hash = __hash AND e.snapshot IS NULL)"
        came_back = "exists(__absent, a -> __effective < a AND a < e.day)"
        day = f"if(__effective IS NULL OR {came_back}, coalesce(e.day, __happened), __effective)"
        dates = f"transform(__own, e -> {day})"
        change = "if(__is_change OR size(__own) = 0, array(__happened), array())"
        return (
            seen.selectExpr(
                *keys, row, f"{effective} AS __effective", f"{happened} AS __happened",
                f"{is_change} AS __is_change", f"{absent} AS __absent", f"{own} AS __own",
            )
            .selectExpr(*keys, "__row", "__absent", f"array_distinct(concat({change}, {dates})) AS __dates")
            .selectExpr(*keys, "__row", "__absent", "explode(__dates) AS __date")
        )  # fmt: skip

    def within(self, table: str = "") -> str:
        """SQL that holds for every touched key, by the first key column of `table` (as in "t.")."""
        if self._bounds is None:
            return "true"
        name = table + quoted(self.keys[0])
        return f"{name} >= {self._bounds[0]} AND {name} <= {self._bounds[1]}"

    @property
    def _is_dated_by_rows(self) -> bool:
        """Whether a snapshot's row that is a copy can be news only for a key that some snapshot lacked."""
        return self.contract.lake.effective_from in self.contract.required

    def _landed(self, *, new_only: bool) -> DataFrame:
        files = self.batch.files("rows", new_only=new_only)
        schema = self.contract.landed_schema
        return read(self.spark, files, schema) if files else nothing(self.spark, schema)

    def _touched(self) -> DataFrame:
        """Keys with new rows or copies in change files and, where a snapshot came, those that any snapshot ever lacked:
        a superset of the changed.

        A key that every snapshot held, without a new row, is dated as before by its rows.
        """
        touched = self._landed(new_only=True).select(*map(quoted, self.keys))
        changes = None if self._entries is None else held.changed(self.spark, self.batch, new_only=True)
        if changes is not None:
            touched = touched.unionByName(changes.select(*map(quoted, self.keys)))
        if self.snapshots.moved and self._entries is not None and self._telling is not None:
            held_by = held.times_held(self._entries, self._telling, self.keys)
            known = self._landed(new_only=False).select(*map(quoted, self.keys)).distinct()
            lacked = known.join(held_by, self.keys, "left").crossJoin(self._telling)
            lacked = lacked.where("coalesce(__times, 0) < size(__telling)")
            touched = touched.unionByName(lacked.select(*map(quoted, self.keys)))
        return touched.distinct()

    def _only_touched(self, rows: DataFrame) -> DataFrame:
        return rows if self.touched is None else rows.join(self.touched, self.keys, "left_semi")

    def only_touched(self, rows: DataFrame) -> DataFrame:
        """Those of the table's rows whose keys the batch touches."""
        return self._only_touched(rows.where(self.within()))

    def _hashed(self, landed: DataFrame) -> DataFrame:
        """With `__hash` and `__is_change`: whether the row landed from a change file or a stream, not from a snapshot."""
        from pyspark.sql.functions import arrow_udf, col, expr, struct

        parts = self.snapshots.frame(self.spark).selectExpr("__commit", "__name", "false AS __is_change")
        same = (landed["_commit"] == parts["__commit"]) & (landed["_source"] == parts["__name"])
        fields = struct(*(col(quoted(name)) for name in self.contract.schema.names))
        rows = (
            landed.join(parts, same, "left")
            .withColumn("__is_change", expr("__is_change IS NULL"))
            .drop("__commit", "__name")
        )
        return rows.withColumn("__hash", arrow_udf(_hashes, "bigint")(fields))

    def _kept(self, frame: DataFrame) -> DataFrame:
        """Computed once, now, so that Spark knows how small it is when it plans the joins with it."""
        frame = frame.persist()
        self._cached.append(frame)
        frame.count()
        return frame


def _hashes(rows: pa.Array) -> pa.Array:
    """Hashes of landed rows (their contract's fields as a struct) as snapshots' entries have them; runs in Spark's workers."""
    table = pa.Table.from_batches([pa.RecordBatch.from_struct_array(rows)])
    return pa.array(row_hashes(table, table.column_names).view("int64"))


def _bounds(batch: Batch) -> tuple[str, str] | None:
    """Least and greatest first key column of new rows and copies, by the manifests, as SQL; None where they do not say."""
    name = batch.contract.lake.key[0]
    files = batch.landed("rows", "changes")
    least, greatest = [file.min.get(name) for file in files], [file.max.get(name) for file in files]
    if not files or None in [*least, *greatest]:
        return None
    match batch.contract.field(name).type:
        case "string":
            return literal(min(map(str, least))), literal(max(map(str, greatest)))
        case "int64":
            return f"{min(map(int, least))}L", f"{max(map(int, greatest))}L"  # type: ignore[arg-type]
        case _:
            return None
