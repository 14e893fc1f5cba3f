"""Spark 4.2 making the meter readings' tables as the textbooks do: batch|stream SOURCE OUT.

`batch` reads, drops duplicates, caches, and writes OUT/silver (sorted), OUT/meter_15min and OUT/energy_hourly as Delta.
`stream` is Structured Streaming: one query with a watermark and dropDuplicates appends to silver, then one a window
reads silver's table and appends the windows its watermark has passed; each takes what is there (availableNow) and ends.

The session is the product's own, with Delta's jars and the archive of classes, and thrice its memory.
"""

import os
import sys

os.environ.setdefault("BEAM_GRID_SPARK_MEMORY", "6g")

from pyspark.sql import functions as F

from beam_grid.feeds import built_in
from data_sources.faces import spark_type
from runners import delta

mode, source, out = sys.argv[1:4]
spark = delta.session()
contract = built_in()["smart_meter_readings"]
schema = ", ".join(f"`{field.name}` {spark_type(field.type)}" for field in contract.schema)
key = ["event_id", "timestamp"]
good = F.col("reading_kwh").between(0, 1000)


def meter_15min(rows):
    return rows.groupBy("meter_id", F.window("timestamp", "15 minutes").alias("time")).agg(
        F.count("*").alias("readings"),
        F.sum("reading_kwh").alias("kwh"),
        F.max("reading_kwh").alias("peak_kwh"),
        F.avg("voltage_v").alias("mean_voltage_v"),
    )


def energy_hourly(rows):
    return rows.groupBy("region", "grid_zone", F.window("timestamp", "1 hour").alias("time")).agg(
        F.count("*").alias("readings"),
        F.sum("reading_kwh").alias("kwh"),
        F.avg("reading_kwh").alias("mean_kwh"),
        F.stddev("reading_kwh").alias("stddev_kwh"),
        F.max("reading_kwh").alias("peak_kwh"),
        F.min("frequency_hz").alias("min_frequency_hz"),
        F.max("frequency_hz").alias("max_frequency_hz"),
        F.count_if("is_anomaly_flag").alias("suspicious"),
    )


def flat(windows):
    return windows.withColumns({"window_start": "time.start", "window_end": "time.end"}).drop("time")


def append(frame, name):
    return (
        frame.writeStream.format("delta")
        .option("checkpointLocation", f"{out}/checkpoints/{name}")
        .outputMode("append")
        .trigger(availableNow=True)
        .start(f"{out}/{name}")
    )


if mode == "batch":
    rows = spark.read.schema(schema).json(source).where(good).dropDuplicates(key).cache()
    rows.sort("meter_id", "timestamp").write.format("delta").save(f"{out}/silver")
    for make in (meter_15min, energy_hourly):
        flat(make(rows)).write.format("delta").save(f"{out}/{make.__name__}")
else:
    read = spark.readStream.schema(schema).json(source).where(good).withWatermark("timestamp", "10 minutes")
    append(read.dropDuplicates(key), "silver").awaitTermination()
    queries = []
    for make in (meter_15min, energy_hourly):
        silver = spark.readStream.format("delta").load(f"{out}/silver").withWatermark("timestamp", "10 minutes")
        queries.append(append(flat(make(silver)), make.__name__))
    for query in queries:
        query.awaitTermination()
delta.stop()
