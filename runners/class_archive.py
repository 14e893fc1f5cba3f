"""The JVM's archive of the classes that Spark and Delta load: with it a session starts in half the time.

    python -m runners.class_archive      once an installation, by `make setup`: half a minute, 200 MB

A run of `refine` loads some twenty thousand classes out of 250 jars, and unpacking and verifying them is much of what a
short run does. Java's class data sharing (JEP 350) keeps them as the JVM has them in memory. The archive lies in the
Python environment, beside the jars it was made of; a JVM whose version or class path is another ignores it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from runners import delta

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_PATIENCE_SECONDS = 300


def make() -> Path:
    """Make the archive and return its path. Raises delta.SparkUnavailable where Spark does not start, OSError where the
    environment cannot be written to."""
    archive = delta.class_archive()
    archive.parent.mkdir(parents=True, exist_ok=True)
    draft = archive.with_name(f"{archive.name}.draft")
    spark = delta.session(brief=True, java=[f"-XX:ArchiveClassesAtExit={draft}"])
    gateway = spark.sparkContext._gateway
    assert gateway is not None
    with tempfile.TemporaryDirectory(prefix="beam-grid-classes-") as folder:
        _work(spark, Path(folder))
    delta.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(_PATIENCE_SECONDS)
    return draft.replace(archive)


def _work(spark: SparkSession, folder: Path) -> None:
    """Load what refine loads, by doing in small what it does: the statements of the tables' modules, over few rows."""
    table, files = f"delta.`{folder / 'table'}`", str(folder / "landed")
    rows = spark.sql(
        "SELECT CAST(id AS STRING) AS key, timestamp_micros(id * 1000000L) AS time, CAST(id AS DOUBLE) AS value, "
        "CAST(id AS DECIMAL(12,2)) AS amount, DATE '2026-01-01' AS day, id % 2 = 0 AS flag, id AS place FROM range(2000)"
    )
    rows.write.parquet(files)
    landed = spark.read.schema(rows.schema).parquet(files)
    columns = "key STRING, time TIMESTAMP, value DOUBLE, amount DECIMAL(12,2), day DATE, flag BOOLEAN, place BIGINT"
    spark.sql(
        f"CREATE TABLE IF NOT EXISTS {table} ({columns}) USING delta CLUSTER BY (key, time) TBLPROPERTIES "
        "('delta.enableChangeDataFeed' = 'true', 'delta.enableDeletionVectors' = 'true')"
    )
    spark.sql(f"DESCRIBE DETAIL {table}").collect()
    landed.repartitionByRange(2, "key").sortWithinPartitions("key").write.format("delta").mode("append").option(
        "txnAppId", "a"
    ).option("txnVersion", "1").save(str(folder / "table"))
    landed.where("place < 1000").createOrReplaceTempView("landed")
    spark.sql(
        "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY key ORDER BY time DESC, struct(value, amount)) AS n, "
        "lag(value) OVER (PARTITION BY key ORDER BY time) AS before FROM landed) WHERE n = 1"
    ).drop("n", "before").localCheckpoint().createOrReplaceTempView("last")
    merge = (
        f"MERGE INTO {table} t USING last s ON t.key = s.key AND t.time >= TIMESTAMP '1970-01-01 00:00:00Z' "
        "WHEN MATCHED AND s.flag THEN DELETE WHEN MATCHED AND s.value >= t.value THEN UPDATE SET *"
    )
    spark.sql(merge + " WHEN NOT MATCHED THEN INSERT *")
    spark.sql(merge)
    spark.sql(
        f"MERGE INTO {table} t USING (SELECT window_start AS time, key, sum(value) AS value, stddev(value) AS spread, "
        "min_by(value, time) AS first, bool_or(flag) AS flag FROM (SELECT *, explode(array(time, time + INTERVAL 1 HOUR)) "
        "AS window_start FROM landed) GROUP BY window_start, key) s ON t.key = s.key AND t.time = s.time "
        "WHEN MATCHED THEN UPDATE SET t.value = s.value WHEN NOT MATCHED THEN INSERT (key, time, value) VALUES (s.key, s.time, s.value)"
    )
    changes = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", 1)
    changes.load(str(folder / "table")).select("key").distinct().createOrReplaceTempView("touched")
    spark.sql(
        f"SELECT 'rule', count(*), min(CASE WHEN value > 3 THEN to_json(struct(*)) END) FROM {table} UNION ALL "
        f"SELECT 'key', sum(n), min(key) FROM (SELECT t.key, count(*) AS n FROM {table} t LEFT JOIN touched g "
        "ON t.key = g.key WHERE g.key IS NULL GROUP BY t.key)"
    ).toArrow()
    spark.sql(
        f"SELECT key, avg(value) AS mean FROM {table} WHERE (key) IN (SELECT key FROM touched) GROUP BY key"
    ).coalesce(1).write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(
        str(folder / "derived")
    )
    spark.sql(f"ALTER TABLE {table} ADD COLUMNS (late STRING AFTER key)")
    spark.sql(f"OPTIMIZE {table}")


if __name__ == "__main__":
    try:
        made = make()
    except (OSError, subprocess.TimeoutExpired, delta.SparkUnavailable) as cause:
        print(f"no class archive, Spark will start slower: {cause}", file=sys.stderr)
    else:
        print(f"class archive: {made}, {made.stat().st_size >> 20} MB")
