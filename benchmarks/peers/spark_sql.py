"""Spark 4.2 on the same input: `stream` is Structured Streaming (availableNow, a watermark of 10 minutes,
dropDuplicates, the window), `batch` the same as a batch that also writes the deduplicated rows, sorted."""

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.columns import SPARK_DDL

mode, source, out = sys.argv[1:4]
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.driver.memory", "6g")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.log.level", "ERROR")
    .getOrCreate()
)


def windows(rows):
    return rows.groupBy(F.window("timestamp", "15 minutes"), "meter_id").agg(
        F.count("*").alias("readings"),
        F.sum("reading_kwh").alias("kwh"),
        F.max("reading_kwh").alias("peak_kwh"),
        F.avg("voltage_v").alias("mean_voltage_v"),
    )


def flat(found):
    cell = (F.unix_micros(F.col("window.start")) / 900_000_000).cast("bigint").alias("cell")
    return found.select("meter_id", cell, "readings", "kwh", "peak_kwh", "mean_voltage_v")


key = ["event_id", "timestamp"]
good = F.col("reading_kwh").between(0, 1000)
if mode == "batch":
    unique = spark.read.schema(SPARK_DDL).json(source).where(good).dropDuplicates(key).cache()
    unique.sort("meter_id", "timestamp").write.option("compression", "zstd").parquet(f"{out}/rows")
    flat(windows(unique)).write.option("compression", "zstd").parquet(f"{out}/windows.parquet")
else:
    stream = spark.readStream.schema(SPARK_DDL).json(source).where(good).withWatermark("timestamp", "10 minutes")
    query = (
        flat(windows(stream.dropDuplicates(key)))
        .writeStream.format("parquet")
        .option("path", f"{out}/windows.parquet")
        .option("checkpointLocation", f"{out}/checkpoint")
        .outputMode("append")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
spark.stop()
