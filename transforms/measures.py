"""Measures: per function of a contract one class that says how it starts, merges and ends.

    rows ── start ──► tiles ── merge ──► tiles ── end ──► values        DuckDB
                      tiles ────────── spark ───────────► values        Spark

Columns of a measure m in a tile
    count, count_if   m: int64
    sum               m: float64; decimal(38,0) of whole numbers, decimal(38,s) of decimals; NULL of no values
    min, max          m: the field's type
    avg               m__n: int64, m__sum: as sum
    stddev            m__n: int64, m__mean, m__m2: float64 (Chan, Golub, LeVeque 1979: merges without cancellation)
    first, last       m: the field's type, m__time: event time, m__key: struct of the dedup key; of values not null
    quantile          m: binary, a KLL sketch of doubles; NULL of no values (`transforms.sketches`)
    distinct          m: binary, an HLL sketch; NULL of no values

Guaranteed: merging is associative and commutative, up to rounding of floats (1e-9 relative), and of quantile and distinct
within the bounds that `transforms.sketches` says. Rules are SQL's:
aggregates of no values are NULL (counts are 0), stddev is the sample's and NULL of fewer than two values, ties of
first and last go by the dedup key. Not guaranteed: that values can be taken out of a tile again.

A new measure is a class here, a line in FUNCTIONS, and its name in `data_sources.contract.MEASURES` (and in
MEASURE_PARTS those of its tile columns), whose parser refuses what it does not know.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from data_sources.contract import Contract, Measure, WindowSpec
from data_sources.faces import spark_type
from data_sources.identifiers import backticked, double_quoted
from transforms import sketches

if TYPE_CHECKING:
    import duckdb

TIME = pa.timestamp("us", "UTC")

ROW, ORDER = "__row", "__order"
"""Beside rows that `start` is asked of: a row's number, and its place by (event time, key)."""


@dataclass(frozen=True)
class Aggregate(ABC):
    """One measure of a window. What it says is SQL: aggregates in `start`, `merge` and `spark`, a scalar in `end`."""

    contract: Contract
    measure: Measure

    @property
    @abstractmethod
    def columns(self) -> dict[str, pa.DataType]:
        """A tile's columns."""

    @property
    @abstractmethod
    def start(self) -> dict[str, str]:
        """DuckDB: a tile's columns as aggregates over rows, or what `started` makes them of."""

    def started(self, found: pa.Table, rows: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
        """A tile's columns, from those of `start` and the rows they are aggregates over."""
        return {name: found[name] for name in self.start}

    @property
    @abstractmethod
    def merge(self) -> dict[str, str]:
        """DuckDB: a tile's columns as aggregates over tiles, and over `pivots`."""

    @property
    def pivots(self) -> dict[str, str]:
        """DuckDB: aggregates over tiles that `merge` needs beside each tile, by the name it calls them."""
        return {}

    @property
    def end(self) -> str:
        """DuckDB: the value, as a scalar over one tile's columns."""
        return self.column()

    @property
    @abstractmethod
    def type(self) -> pa.DataType:
        """The value's type."""

    @property
    @abstractmethod
    def spark(self) -> str:
        """Spark: the value, as one aggregate over tiles."""

    def prepare(self, engine: duckdb.DuckDBPyConnection) -> None:
        """Teach the engine what `start`, `merge` and `end` call."""
        return

    @property
    def kind(self) -> pa.DataType:
        """The argument's type."""
        return self.contract.field(self.measure.argument or "").arrow

    @property
    def argument(self) -> str:
        """The argument, a field, as DuckDB writes it."""
        return double_quoted(self.measure.argument or "")

    def part(self, part: str = "") -> str:
        """The name of one of the tile's columns."""
        return f"{self.measure.name}__{part}" if part else self.measure.name

    def column(self, part: str = "") -> str:
        """That name as DuckDB writes it."""
        return double_quoted(self.part(part))

    def spark_column(self, part: str = "") -> str:
        """That name as Spark writes it."""
        return backticked(self.part(part))


class Count(Aggregate):
    """count(): rows; count(x): values of x that are not NULL."""

    @property
    def columns(self) -> dict[str, pa.DataType]:
        return {self.part(): pa.int64()}

    @property
    def start(self) -> dict[str, str]:
        return {self.part(): "count(*)" if self.measure.argument is None else f"count({self.argument})"}

    @property
    def merge(self) -> dict[str, str]:
        return {self.part(): _whole(self.column())}

    @property
    def end(self) -> str:
        return f"coalesce({self.column()}, 0)"

    @property
    def type(self) -> pa.DataType:
        return pa.int64()

    @property
    def spark(self) -> str:
        return f"coalesce(sum({self.spark_column()}), 0L)"


class CountIf(Count):
    """count_if(condition): rows of which the condition is true; not one for which it fails to compute."""

    @property
    def start(self) -> dict[str, str]:
        return {self.part(): f"count(*) FILTER (WHERE TRY(({self.measure.argument}\n)))"}


class Sum(Aggregate):
    """sum(x): exact of whole numbers and decimals; of floats summed by Kahan's way."""

    @property
    def columns(self) -> dict[str, pa.DataType]:
        return {self.part(): self.type}

    @property
    def start(self) -> dict[str, str]:
        return {self.part(): _sum(self.argument, self.type)}

    @property
    def merge(self) -> dict[str, str]:
        return {self.part(): _sum(self.column(), self.type)}

    @property
    def type(self) -> pa.DataType:
        return _sum_type(self.kind)

    @property
    def spark(self) -> str:
        return f"CAST(sum({self.spark_column()}) AS {spark_type(self.type)})"


class Extreme(Aggregate):
    """min(x), max(x): functions that are called the same wherever they stand."""

    @property
    def columns(self) -> dict[str, pa.DataType]:
        return {self.part(): self.kind}

    @property
    def start(self) -> dict[str, str]:
        return {self.part(): f"{self.measure.function}({self.argument})"}

    @property
    def merge(self) -> dict[str, str]:
        return {self.part(): f"{self.measure.function}({self.column()})"}

    @property
    def type(self) -> pa.DataType:
        return self.kind

    @property
    def spark(self) -> str:
        return f"{self.measure.function}({self.spark_column()})"


class Average(Aggregate):
    """avg(x): a float64, from how many values there are and their sum."""

    @property
    def columns(self) -> dict[str, pa.DataType]:
        return {self.part("n"): pa.int64(), self.part("sum"): _sum_type(self.kind)}

    @property
    def start(self) -> dict[str, str]:
        return {
            self.part("n"): f"count({self.argument})",
            self.part("sum"): _sum(self.argument, _sum_type(self.kind)),
        }

    @property
    def merge(self) -> dict[str, str]:
        return {
            self.part("n"): _whole(self.column("n")),
            self.part("sum"): _sum(self.column("sum"), _sum_type(self.kind)),
        }

    @property
    def end(self) -> str:
        n = self.column("n")
        return f"CASE WHEN {n} > 0 THEN CAST({self.column('sum')} AS DOUBLE) / {n} END"

    @property
    def type(self) -> pa.DataType:
        return pa.float64()

    @property
    def spark(self) -> str:
        n = f"sum({self.spark_column('n')})"
        return f"CASE WHEN {n} > 0 THEN CAST(sum({self.spark_column('sum')}) AS DOUBLE) / {n} END"


class StandardDeviation(Aggregate):
    """stddev(x): the sample's, a float64; Chan, Golub and LeVeque (1979), means taken from one tile's.

    M2 = sum(m2) + sum(n d^2) - sum(n d)^2 / sum(n), d = mean - pivot, where the pivot is the least of the tiles'
    means: a register's variance lies far behind its mean's digits. A running mean was seven times less exact.
    """

    @property
    def columns(self) -> dict[str, pa.DataType]:
        return {self.part("n"): pa.int64(), self.part("mean"): pa.float64(), self.part("m2"): pa.float64()}

    @property
    def start(self) -> dict[str, str]:
        number = f"CAST({self.argument} AS DOUBLE)"
        return {
            self.part("n"): f"count({self.argument})",
            self.part("mean"): f"avg({number})",
            self.part("m2"): f"var_pop({number}) * count({self.argument})",
        }

    @property
    def pivots(self) -> dict[str, str]:
        return {self.part("pivot"): f"min({self.column('mean')})"}

    @property
    def merge(self) -> dict[str, str]:
        n, pivot = self.column("n"), self.column("pivot")
        apart = f"({self.column('mean')} - {pivot})"
        shift = f"fsum({n} * {apart})"
        within = f"fsum({self.column('m2')} + {n} * {apart} * {apart})"
        return {
            self.part("n"): _whole(n),
            self.part("mean"): f"min({pivot}) + {shift} / sum({n})",
            self.part("m2"): f"greatest({within} - {shift} * {shift} / sum({n}), 0)",
        }

    @property
    def end(self) -> str:
        n = self.column("n")
        return f"CASE WHEN {n} > 1 THEN sqrt({self.column('m2')} / ({n} - 1)) END"

    @property
    def type(self) -> pa.DataType:
        return pa.float64()

    @property
    def spark(self) -> str:
        n, mean, m2 = self.spark_column("n"), self.spark_column("mean"), self.spark_column("m2")
        tiles = f"array_sort(collect_list(struct({n} AS n, {mean} AS mean, {m2} AS m2)) FILTER (WHERE {n} > 0))"
        none = f"named_struct('p', get({tiles}, 0).mean, 'n', 0L, 's', 0D, 'q', 0D)"
        step = (
            "named_struct('p', a.p, 'n', a.n + t.n, 's', a.s + t.n * (t.mean - a.p), "
            "'q', a.q + t.m2 + t.n * (t.mean - a.p) * (t.mean - a.p))"
        )
        end = "CASE WHEN a.n > 1 THEN sqrt(greatest(a.q - a.s * a.s / a.n, 0D) / (a.n - 1)) END"
        return f"aggregate({tiles}, {none}, (a, t) -> {step}, a -> {end})"


@dataclass(frozen=True)
class Chosen(Aggregate):
    """One value, chosen by (event time, key), with which it stays together until the end.

    Of rows it is chosen by number, and taken out afterwards: an aggregate over texts and structs has a state in pieces.
    """

    duckdb_choice: ClassVar[str]
    spark_choice: ClassVar[str]

    @property
    def columns(self) -> dict[str, pa.DataType]:
        fields = self.contract.dedup.key
        key = pa.struct([(f"k{n}", self.contract.field(name).arrow) for n, name in enumerate(fields)])
        return {self.part(): self.kind, self.part("time"): TIME, self.part("key"): key}

    @property
    def start(self) -> dict[str, str]:
        return {self.part(): f"{self.duckdb_choice}({ROW}, {ORDER}) FILTER (WHERE {self.argument} IS NOT NULL)"}

    def started(self, found: pa.Table, rows: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
        at = found[self.part()].combine_chunks()

        def taken(name: str, kind: pa.DataType) -> pa.Array:
            return rows[name].combine_chunks().take(at).cast(kind)

        kinds = self.columns
        parts = [taken(n, f.type) for n, f in zip(self.contract.dedup.key, kinds[self.part("key")], strict=True)]
        key = pa.StructArray.from_arrays(parts, fields=list(kinds[self.part("key")]), mask=at.is_null())
        value = taken(self.measure.argument or "", self.kind)
        return {self.part(): value, self.part("time"): taken(self.contract.event_time, TIME), self.part("key"): key}

    @property
    def merge(self) -> dict[str, str]:
        time, key = self.column("time"), self.column("key")
        by = f"struct_pack(t := {time}, k := {key})"
        parts = {self.part(): self.column(), self.part("time"): time, self.part("key"): key}
        return {
            name: f"{self.duckdb_choice}({part}, {by}) FILTER (WHERE {time} IS NOT NULL)"
            for name, part in parts.items()
        }

    @property
    def type(self) -> pa.DataType:
        return self.kind

    @property
    def spark(self) -> str:
        time = self.spark_column("time")
        by = f"struct({time} AS t, {self.spark_column('key')} AS k)"
        return f"{self.spark_choice}({self.spark_column()}, {by}) FILTER (WHERE {time} IS NOT NULL)"


class First(Chosen):
    """first(x): the value, not NULL, of the earliest event."""

    duckdb_choice, spark_choice = "arg_min", "min_by"


class Last(Chosen):
    """last(x): the value, not NULL, of the latest event."""

    duckdb_choice, spark_choice = "arg_max", "max_by"


class Sketch(Aggregate):
    """A value told by a sketch, which is a tile's only column."""

    @property
    def columns(self) -> dict[str, pa.DataType]:
        return {self.part(): pa.binary()}

    def prepare(self, engine: duckdb.DuckDBPyConnection) -> None:
        sketches.prepare(engine)


class Quantile(Sketch):
    """quantile(x, 0.95): the value of that rank, as percentile_disc; a float64, of a KLL sketch."""

    @property
    def start(self) -> dict[str, str]:
        values = f"list(CAST({self.argument} AS DOUBLE)) FILTER (WHERE {self.argument} IS NOT NULL)"
        return {self.part(): f"kll_of({values})"}

    @property
    def merge(self) -> dict[str, str]:
        return {self.part(): f"kll_merged({_listed(self.column())})"}

    @property
    def end(self) -> str:
        return f"kll_quantile({self.column()}, CAST({self.measure.rank} AS DOUBLE))"

    @property
    def type(self) -> pa.DataType:
        return pa.float64()

    @property
    def spark(self) -> str:
        whole = f"kll_merge_agg_double({self.spark_column()})"
        value = f"kll_sketch_get_quantile_double({whole}, CAST({self.measure.rank} AS DOUBLE))"
        return f"CASE WHEN count({self.spark_column()}) > 0 THEN {value} END"


class Distinct(Sketch):
    """distinct(x): how many values, NULL not counted; a whole number, of an HLL sketch."""

    @property
    def start(self) -> dict[str, str]:
        if pa.types.is_int64(self.kind):
            return {
                self.part(): f"hll_of_whole(list(DISTINCT {self.argument}) FILTER (WHERE {self.argument} IS NOT NULL))"
            }
        value = f"({self.argument} + 0.0)" if pa.types.is_floating(self.kind) else self.argument  # -0 is 0
        text = f"coalesce(nullif(CAST({value} AS VARCHAR), ''), chr(0))"  # the library passes empty texts over
        return {self.part(): f"hll_of_text(list(DISTINCT {text}) FILTER (WHERE {self.argument} IS NOT NULL))"}

    @property
    def merge(self) -> dict[str, str]:
        return {self.part(): f"hll_merged({_listed(self.column())})"}

    @property
    def end(self) -> str:
        return f"hll_count({self.column()})"

    @property
    def type(self) -> pa.DataType:
        return pa.int64()

    @property
    def spark(self) -> str:
        return f"coalesce(hll_sketch_estimate(hll_union_agg({self.spark_column()}, true)), 0L)"


FUNCTIONS: dict[str, type[Aggregate]] = {
    "count": Count,
    "count_if": CountIf,
    "sum": Sum,
    "min": Extreme,
    "max": Extreme,
    "avg": Average,
    "stddev": StandardDeviation,
    "first": First,
    "last": Last,
    "quantile": Quantile,
    "distinct": Distinct,
}


def aggregates(contract: Contract, window: WindowSpec) -> list[Aggregate]:
    """The window's measures, in the contract's order."""
    return [FUNCTIONS[m.function](contract, m) for m in window.parsed]


def prepare(engine: duckdb.DuckDBPyConnection, contract: Contract, window: WindowSpec) -> None:
    """Teach the engine what the window's measures call."""
    for aggregate in aggregates(contract, window):
        aggregate.prepare(engine)


def numbered(rows: pa.Table, measures: list[Aggregate]) -> pa.Table:
    """The rows with what `start` of these measures needs beside them."""
    return rows.append_column(ROW, pa.array(np.arange(len(rows)))) if _chosen(measures) else rows


def started_from(rows: str, contract: Contract, measures: list[Aggregate]) -> str:
    """DuckDB: the relation that `start` of these measures is asked of; rows: the numbered ones."""
    if not _chosen(measures):
        return rows
    order = ", ".join(f"{double_quoted(name)} NULLS LAST" for name in [contract.event_time, *contract.dedup.key])
    return f"(SELECT *, row_number() OVER (ORDER BY {order}) AS {ORDER} FROM {rows})"


def _chosen(measures: list[Aggregate]) -> bool:
    return any(isinstance(measure, Chosen) for measure in measures)


def merged_sql(tiles: str, keys: Iterable[str], measures: list[Aggregate], beside: Iterable[str] = ()) -> str:
    """DuckDB: the tiles (a relation) merged by keys: the keys, each measure's tile columns, and `beside`, aggregates too."""
    listed = ", ".join(keys)
    pivots = [
        f"{sql} OVER (PARTITION BY {listed}) AS {double_quoted(n)}" for m in measures for n, sql in m.pivots.items()
    ]
    source = f"(SELECT *, {', '.join(pivots)} FROM {tiles})" if pivots else tiles
    columns = [f"{sql} AS {double_quoted(n)}" for m in measures for n, sql in m.merge.items()]
    return f"SELECT {', '.join([listed, *columns, *beside])} FROM {source} GROUP BY {listed}"


def _listed(sketch: str) -> str:
    return f"list(CAST({sketch} AS BLOB)) FILTER (WHERE {sketch} IS NOT NULL)"


def _whole(column: str) -> str:
    return f"CAST(sum({column}) AS BIGINT)"


def _sum(number: str, kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return f"fsum({number})"
    exact = f"DECIMAL(38,{kind.scale})"
    return f"CAST(sum(CAST({number} AS {exact})) AS {exact})"


def _sum_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_integer(kind):
        return pa.decimal128(38, 0)
    return pa.decimal128(38, kind.scale) if pa.types.is_decimal(kind) else pa.float64()
