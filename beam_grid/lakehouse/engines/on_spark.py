"""Derived tables by Spark: read, computed and written by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from beam_grid.lakehouse import scan
from beam_grid.lakehouse.engines import DoesNotFit
from beam_grid.lakehouse.live import live
from beam_grid.lakehouse.tables import arranged
from data_sources.identifiers import backticked

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

    from beam_grid.analyses.detections import Batches
    from beam_grid.lakehouse.bounds import Condition
    from beam_grid.lakehouse.tables import Table


class OnSpark:
    """The engine of a run on a session of Spark's."""

    dialect: Any = "spark"
    goes_on = False
    part_rows: int | None = None
    at_once = 4
    """Small tables cost Spark's driver more than its cores."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark

    def rows(self, table: Table, version: int, where: Condition | None = None) -> str:
        return f"delta.{backticked(f'{table.path}@v{version}')}"

    def changes(self, table: Table, after: int, upto: int) -> str | None:
        is_recorded = live(table.path, upto).properties.get("delta.enableChangeDataFeed") == "true"
        if not is_recorded or not scan.is_told(table.path, after, upto):  # of derived tables Spark records none
            return None
        changed = (
            self._spark.read.format("delta")
            .option("readChangeFeed", "true")
            .option("startingVersion", after + 1)
            .option("endingVersion", upto)
            .load(str(table.path))
        )
        view = f"changes_of_{table.name.replace('.', '_')}"
        changed.createOrReplaceTempView(view)
        return view

    def came(self, table: Table, after: int, upto: int) -> str | None:
        return None

    def difference(self, table: Table, after: int, upto: int, columns: Sequence[str], where: str) -> str | None:
        changed = self.changes(table, after, upto)
        named = ", ".join(map(backticked, columns))
        return None if changed is None else f"(SELECT {named} FROM {changed} WHERE {where})"

    def define(self, view: str, sql: str, *, once: bool = False) -> None:
        from pyspark.errors import AnalysisException

        try:
            self._spark.sql(sql).createOrReplaceTempView(view)
        except AnalysisException as cause:
            raise DoesNotFit(" ".join(str(cause).split())[:200]) from cause

    def gather(self, view: str, selects: Sequence[str]) -> None:
        raise NotImplementedError("Spark parts the rows itself")

    def give(self, view: str, rows: pa.Table) -> None:
        raise NotImplementedError("whole series are taken")

    def apply(self, view: str, source: str, order: Sequence[str], function: Batches, schema: pa.Schema) -> None:
        """As DataFrame.mapInArrow does, which asks for pandas first and then makes no use of it."""
        from pyspark.sql import DataFrame
        from pyspark.sql.pandas.types import from_arrow_schema
        from pyspark.sql.udf import UserDefinedFunction
        from pyspark.util import PythonEvalType

        by = [backticked(name) for name in order]
        rows = self._spark.table(source).repartition(by[0]).sortWithinPartitions(*by)
        udf = UserDefinedFunction(
            function, returnType=from_arrow_schema(schema), evalType=PythonEvalType.SQL_MAP_ARROW_ITER_UDF
        )
        made: Any = udf(*(rows[backticked(name)] for name in rows.columns))
        DataFrame(rows._jdf.mapInArrow(made._jc, False, None), self._spark).createOrReplaceTempView(view)

    def schema(self, view: str) -> pa.Schema:
        from pyspark.sql.pandas.types import to_arrow_schema

        return to_arrow_schema(self._spark.sql(f"SELECT * FROM {view}").schema, timezone="UTC")

    def ask(self, sql: str) -> pa.Table:
        return self._spark.sql(sql).toArrow()

    def write(self, table: Table, view: str, order: Sequence[str], weight: int) -> None:
        rows = arranged(self._spark.table(view), order, weight)
        rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(str(table.path))

    def replace(
        self,
        table: Table,
        view: str,
        is_in: str,
        key: Sequence[str],
        order: Sequence[str],
        where: Condition | None = None,
    ) -> None:
        """Rows that differ are changed where they lie; those of the groups that are no longer computed are deleted."""
        names = self._spark.table(view).columns
        same = " AND ".join(f"t.{backticked(name)} <=> s.{backticked(name)}" for name in key)
        differ = " OR ".join(f"NOT t.{backticked(name)} <=> s.{backticked(name)}" for name in names)
        self._spark.sql(
            f"MERGE INTO {table.sql} t USING (SELECT *, false AS __gone FROM {view} UNION ALL SELECT "
            f"{', '.join(f't.{backticked(name)}' for name in names)}, true FROM {table.sql} t "
            f"LEFT ANTI JOIN {view} s ON {same} WHERE {is_in}) s ON {same} "
            f"WHEN MATCHED AND s.__gone THEN DELETE WHEN MATCHED AND ({differ}) THEN UPDATE SET "
            f"{', '.join(f't.{backticked(name)} = s.{backticked(name)}' for name in names)} "
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(map(backticked, names))}) VALUES ({', '.join(f's.{backticked(n)}' for n in names)})"
        )

    def reason(self, cause: Exception) -> str:
        from runners.delta import reason

        return reason(cause)
