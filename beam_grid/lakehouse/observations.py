"""What was seen of each key and when: the rows of a master with their dates, and the dates it was absent.

    landed rows ──────────────┬► touched keys ──► rows ──┐
    what snapshots held ──────┘                          ├► key, __date, __row, __rank, __absent
    what files held, by key ─────────────────────────────┘

A row of a change file is dated by `effective_from` (the event time where the contract names none). A row of a
snapshot is dated by `effective_from` too, or by the snapshot's date where the contract names none or a snapshot
between the two lacked the key: then it is a key that came back. A row may so be seen at several dates.

How new an observation is, `__rank`, greatest last:

    as of       a snapshot: its date. A change file: the date in its name, or the row's value, as `as_of` has it; where
                that is `effective_from`, which a correction in place does not move, or says nothing: the date of the newest
                snapshot before it
    arrival     commit (of a snapshot the first that read of it), then the file's name or the topic, then the position

Everything that landed is an observation for ever, also what made no version when it came. So the observations of a
key are a function of the commits, and nothing here depends on how refine batched them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid.lakehouse import held
from beam_grid.lakehouse.tables import Batch, literal, nothing, quoted, read
from data_sources.snapshots import parse_as_of
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
    return held.date_kind(contract)


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
        self._dates: DataFrame | None = None
        self._held: DataFrame | None = None
        whole = afresh or self.snapshots.reopened or (self.snapshots.moved and not self._is_dated_by_rows)
        self._bounds = None if whole or self.snapshots.moved else _bounds(batch)
        if self._entries is not None:
            self._dates = self._kept(held.dated(self._entries, date_sql(self.contract)))
            self._telling = self._kept(held.telling(spark, batch, self.snapshots, self._dates))
        self.touched = None if whole else self._kept(self._touched())
        changes = held.changed(spark, batch, new_only=False) if self._entries is not None or has_copies(batch) else None
        if self._entries is not None or changes is not None:
            self._held = held.by_key(
                None if self._entries is None else self._only_touched(self._entries.where(self.within())),
                self._dates,
                None if changes is None else self._only_touched(changes.where(self.within())),
                self.keys,
                date_sql(self.contract),
            )

    def __enter__(self) -> Observations:
        return self

    def __exit__(self, *cause: object) -> None:
        for frame in self._cached:
            frame.unpersist()

    def rows(self) -> DataFrame:
        """One row a landed row and date it was seen at: `__row` (contract, then lineage), `__date`, `__rank` of the newest such
        observation, `__absent` (dates)."""
        contract, kind = self.contract, date_sql(self.contract)
        named = contract.lake.effective_from
        effective = f"CAST({quoted(named)} AS {kind})" if named else f"CAST(NULL AS {kind})"
        happened = f"coalesce({effective}, CAST({quoted(contract.event_time)} AS {kind}))"
        landed = self._only_touched(self._landed(new_only=False).where(self.within()))
        row = f"struct({', '.join(map(quoted, contract.landed_schema.names))}) AS __row"
        keys = [quoted(name) for name in self.keys]
        seen = landed.crossJoin(held.files_frame(self.spark, self.batch, self._dates))
        of_row = _rank(self._as_of("_commit", "_source"), "_commit", "_source", "_position")
        if self._held is None:
            none = f"CAST(array() AS ARRAY<{kind}>) AS __absent"
            return seen.selectExpr(*keys, row, f"{happened} AS __date", f"{of_row} AS __rank", none)
        seen = self._hashed(seen).join(self._held, self.keys, "left")
        if self._telling is None:
            seen = seen.selectExpr("*", f"CAST(array() AS ARRAY<STRUCT<snapshot: INT, day: {kind}>>) AS __telling")
        else:
            seen = seen.crossJoin(self._telling)
        absent = (
            "array_distinct(transform(filter(__telling, t -> "
            "NOT exists(coalesce(__entries, array()), e -> e.day <=> t.day)), t -> t.day))"
        )
        own = "filter(coalesce(__entries, array()), e -> e.hash = __hash AND e.snapshot IS NOT NULL)"
        said = "filter(coalesce(__entries, array()), e -> e.hash = __hash AND e.snapshot IS NULL)"
        came_back = "exists(__absent, a -> __effective < a AND a < e.day)"
        day = f"if(__effective IS NULL OR {came_back}, coalesce(e.day, __happened), __effective)"
        of_entry = _rank(self._as_of("e.commit", "e.name"), "e.commit", "e.name", "e.position")
        file = "__files[e.snapshot]"
        of_snapshot = _rank(f"{file}.day", f"{file}.commit", f"{file}.name", "e.position")
        seen_at = f"transform(__own, e -> struct({day} AS day, {of_snapshot} AS rank))"
        changed_at = f"transform(__said, e -> struct(__happened AS day, {of_entry} AS rank))"
        landed_at = f"if(__is_change OR size(__own) = 0, array(struct(__happened AS day, {of_row} AS rank)), array())"
        newest = "transform(array_distinct(__seen.day), d -> array_max(filter(__seen, s -> s.day <=> d)))"
        return (
            seen.selectExpr(
                "*", row, f"{effective} AS __effective", f"{happened} AS __happened",
                f"{absent} AS __absent", f"{own} AS __own", f"{said} AS __said",
            )
            .selectExpr(*keys, "__row", "__absent", f"concat({landed_at}, {changed_at}, {seen_at}) AS __seen")
            .selectExpr(*keys, "__row", "__absent", f"explode({newest}) AS __at")
            .selectExpr(*keys, "__row", "__absent", "__at.day AS __date", "__at.rank AS __rank")
        )  # fmt: skip

    def _as_of(self, commit: str, name: str) -> str:
        """SQL of the date that a change file's or a stream's record speaks of."""
        lake, kind = self.contract.lake, date_sql(self.contract)
        before = (
            f"array_max(transform(filter(map_values(__files), f -> struct(f.commit AS c, f.name AS n) < struct({commit} AS c, {name} AS n)), "
            "f -> f.day))"
        )
        if lake.as_of is None:
            return before
        how, column, _ = parse_as_of(lake.as_of)
        if how == "name":
            return f"coalesce(__named[{name}], {before})"
        return before if column == lake.effective_from else f"coalesce(CAST({quoted(column)} AS {kind}), {before})"

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

        A key that every snapshot held, without a new row, is dated as before by its rows; which row of a date counts is
        decided anew where there are several.
        """
        touched = self._landed(new_only=True).select(*map(quoted, self.keys))
        changes = (
            held.changed(self.spark, self.batch, new_only=True)
            if self._entries is not None or has_copies(self.batch)
            else None
        )
        if changes is not None:
            touched = touched.unionByName(changes.select(*map(quoted, self.keys)))
        if self.snapshots.moved and self._entries is not None and self._telling is not None:
            held_by = held.times_held(self._entries, self._telling, self.keys)
            known = self._landed(new_only=False).select(*map(quoted, self.keys)).distinct()
            lacked = known.join(held_by, self.keys, "left").crossJoin(self._telling)
            lacked = lacked.where("coalesce(__times, 0) < size(__telling)")
            touched = touched.unionByName(lacked.select(*map(quoted, self.keys))).unionByName(self._contested())
        return touched.distinct()

    def _contested(self) -> DataFrame:
        """Keys of which two rows or more of one date landed: which of them counts, a snapshot's copy may decide."""
        named = self.contract.lake.effective_from or self.contract.event_time
        place = [*self.keys, *([named] if named not in self.keys else [])]
        rows = self._landed(new_only=False).groupBy(*map(quoted, place)).count().where("count > 1")
        return rows.select(*map(quoted, self.keys))

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


def _rank(as_of: str, commit: str, name: str, position: str) -> str:
    """How new an observation is, as SQL: null, of a snapshot without a date, is oldest."""
    return f"struct({as_of} AS as_of, {commit} AS commit, {name} AS name, {position} AS position)"


def has_copies(batch: Batch) -> bool:
    """Whether any record of the feed was a copy of one that had landed: what it said may be the newest all the same."""
    return any(line.fates.duplicates for line in batch.lines)


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
