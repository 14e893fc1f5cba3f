"""What computes derived tables and asks expectations: Spark, or DuckDB in this process. Both make equal tables.

    derived.py   what is due, from what, in which order        no engine's name
    expected.py  the questions                                 Spark's SQL, translated for the engine that is asked
    engines/     a table's rows, views, changes, writing       one class per engine

`engine_for` chooses. In process nothing has to be started, and the tables are there in a second; Spark is for what one
machine's memory and disk do not carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from beam_grid.lakehouse import duck

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

    from beam_grid.analyses.detections import Batches
    from beam_grid.analyses.sql import Dialect
    from beam_grid.lakehouse.bounds import Condition
    from beam_grid.lakehouse.tables import Table

Choice = Literal["auto", "embedded", "spark"]

EMBEDDED_BYTES = 4 << 30
"""Parquet that the analyses of a lake may read for `auto` to stay in process: about 60 M readings. DuckDB spills what
its memory does not hold, at some ten times the Parquet's size for a sort with windows over it; beyond this a laptop's
disk is the limit, and Spark's start no longer weighs."""


class DoesNotFit(Exception):
    """The SQL asks for what the lake's tables do not have; the message says what."""


class Engine(Protocol):
    """Names of views are the caller's, plain words; `sql` is in the engine's dialect."""

    dialect: Dialect
    at_once: int
    """How many tables are worth making side by side."""
    goes_on: bool
    """Whether tables of features are made from a time on, and not whole series of them."""
    part_rows: int | None
    """So many rows a SELECT may read at once; those of a larger table are gathered part by part. None: any number."""

    def rows(self, table: Table, version: int, where: Condition | None = None) -> str:
        """The table at a version, as it stands in a FROM. where: of an instant; rows that do not meet it may be left out."""

    def changes(self, table: Table, after: int, upto: int) -> str | None:
        """The rows that came, went or changed between two versions, as they stand in a FROM; None if unknown."""

    def came(self, table: Table, after: int, upto: int) -> str | None:
        """Rows as they stand in a FROM, among which are all that came or changed between two versions; rows that only moved
        may be, too. None where the engine cannot tell."""

    def difference(self, table: Table, after: int, upto: int, columns: Sequence[str], where: str) -> str | None:
        """The same of the rows that meet `where`, a condition in the engine's dialect, and differ in `columns`; with fewer
        rows that only moved among them, where the engine can tell."""

    def define(self, view: str, sql: str, *, once: bool = False) -> None:
        """Give a SELECT a name; `once` says that it is read more than once and small. Raises DoesNotFit."""

    def gather(self, view: str, selects: Sequence[str]) -> None:
        """Give a name to the rows of all of these, made one after the other; only of an engine with `part_rows`. Raises
        DoesNotFit."""

    def give(self, view: str, rows: pa.Table) -> None:
        """Give a name to a few rows; only of an engine that `goes_on`."""

    def apply(self, view: str, source: str, order: Sequence[str], function: Batches, schema: pa.Schema) -> None:
        """Give a name to what `function` makes, of `schema`, of the rows of a view in their order. It may be given the rows
        in several parts: those that are equal in the first column of `order` are in one."""

    def schema(self, view: str) -> pa.Schema:
        """The columns of a view, or of what `rows` gave."""

    def ask(self, sql: str) -> pa.Table:
        """The answer of a SELECT with few rows."""

    def write(self, table: Table, view: str, order: Sequence[str], weight: int) -> None:
        """Put the view's rows in place of all there were, sorted. weight: bytes that were read for them; 0 for a table
        that is small by nature."""

    def replace(
        self,
        table: Table,
        view: str,
        is_in: str,
        key: Sequence[str],
        order: Sequence[str],
        where: Condition | None = None,
    ) -> None:
        """Put the view's rows in place of those that meet `is_in`, a condition in the engine's dialect. `key` names a
        row. where: of an instant; rows that meet `is_in` meet it."""

    def reason(self, cause: Exception) -> str:
        """What went wrong, in a line."""


@contextmanager
def engine_for(
    choice: Choice, spark_master: str | None, bytes_read: int, scratch: Path, start: Callable[[], SparkSession]
) -> Iterator[Engine]:
    """The engine for a run that reads `bytes_read` of Parquet. In process it spills to `scratch`; a Spark session is
    had of `start`, and stays.

    auto is in process unless a master is named, or the tables pass EMBEDDED_BYTES and there is a Java to start Spark.
    """
    from beam_grid.lakehouse.engines.embedded import Embedded
    from beam_grid.lakehouse.engines.on_spark import OnSpark

    if choice == "spark" or (choice == "auto" and (spark_master or (bytes_read > EMBEDDED_BYTES and _has_java()))):
        yield OnSpark(start())
        return
    with duck.connect(scratch) as connection:
        yield Embedded(connection, scratch)


def _has_java() -> bool:
    from runners import delta

    try:
        delta.check_java()
    except delta.SparkUnavailable:
        return False
    return True
