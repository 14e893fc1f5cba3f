"""Spark 4.2 answering the mix of questions from the lake's Delta tables, in this process: a warm session, as many
threads as there are clients. The SQL is the same, put into Spark's dialect by sqlglot; views are the version set's.

The report of the query log is left out: its functions are DuckDB's.
"""

import sqlglot

from beam_grid.lakehouse.table_set import TableSet
from beam_grid.landing import Lake
from benchmarks.questions import LOG, QUESTIONS, Asks, Filled
from benchmarks.sensors import FEED
from runners import delta

NAMES = [name for name in QUESTIONS if name != LOG]


def by_spark(lake: Lake, found: TableSet, count: int) -> list[Asks]:
    """`count` askers that share a session, which sees the tables as they are in the version set. An answer is an Arrow
    table, as the others'."""
    spark = delta.session()
    names = {}
    for name in (f"silver.{FEED}", "gold.sensor_now_hourly", "gold.sensor_now_usual"):
        table = found.tables[name]
        frame = (
            spark.read.format("delta").option("versionAsOf", table.version).load(str(lake.path.absolute() / table.path))
        )
        names[name] = name.replace(".", "_")
        frame.createOrReplaceTempView(names[name])

    def spoken(sql: str) -> str:
        tree = sqlglot.parse_one(sql, read="duckdb")
        for table in tree.find_all(sqlglot.exp.Table):
            if (name := f"{table.db}.{table.name}") in names:
                table.replace(sqlglot.to_table(names[name], alias=table.alias or None))
        return tree.sql(dialect="spark")

    view = "gold.sensor_now"
    names[view] = view.replace(".", "_")
    spark.sql(spoken(found.views[view].sql)).createOrReplaceTempView(names[view])

    def ask(name: str, question: Filled):
        return spark.sql(spoken(question.text)).toArrow()

    return [ask] * count
