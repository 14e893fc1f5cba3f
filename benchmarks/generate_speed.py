"""`python -m benchmarks.generate_speed`: how fast streams are made, and how well a rate is held.

1. The S0 spec beside dbldatagen on the same columns, in one run: rows a second, made, and made and written as Parquet.
   dbldatagen is installed, with the pyspark this project pins, into bench-data/dbldatagen-venv.
2. Rates of 100, 2,000, 5,000 and 50,000 rows/s over `--seconds` (20) into JSON files: how far off.
Prints both and writes bench-data/generate-speed.json. Imports stand in the functions: `--peer` runs in the other venv.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "bench-data"
RATES = (100, 2_000, 5_000, 50_000)
S0 = ROOT / "data_sources" / "energy_readings" / "spec.toml"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", choices=["speed", "rates"])
    given = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    results: dict[str, object] = {}
    if given.only != "rates":
        results["speed"] = speed(given.rows, given.runs)
    if given.only != "speed":
        results["rates"] = rates(given.seconds)
    (FOLDER / "generate-speed.json").write_text(json.dumps(results, indent=1) + "\n")


def speed(rows: int, runs: int) -> dict[str, float]:
    """Rows a second of either, the best of `runs`, taken in turns so that both see the same machine."""
    peer = dbldatagen()
    best: dict[str, float] = {}
    for _ in range(runs):
        for name, found in {**ours(rows), **theirs(peer, rows)}.items():
            best[name] = max(best.get(name, 0.0), found)
    for name, found in best.items():
        print(f"{name:<28}{found:>12,.0f} rows/s")
    for what in ("made", "parquet"):
        ratio = best[f"beam_grid {what}"] / best[f"dbldatagen {what}"]
        best[f"ratio {what}"] = ratio
        print(f"{what}: {ratio:.1f} x dbldatagen")
    return best


def ours(rows: int) -> dict[str, float]:
    """Making all batches, then making and writing them."""
    from data_sources.generators.streams.emit import emit
    from data_sources.generators.streams.load import load_spec
    from data_sources.generators.streams.sinks import JsonFiles, ParquetFiles
    from data_sources.generators.streams.stream import Stream

    spec = load_spec(S0)
    Stream(spec, 1).batch(0)  # what is set up once
    stream = Stream(spec, 1, total=rows)
    found = {}
    started = time.perf_counter()
    made = sum(batch.height for batch in stream.batches())
    found["beam_grid made"] = made / (time.perf_counter() - started)
    for name, sink in (("parquet", ParquetFiles), ("json", JsonFiles)):
        out = FOLDER / "generate-out"
        shutil.rmtree(out, ignore_errors=True)
        done = emit(Stream(spec, 1, total=rows), sink(out, "s0", 500_000))
        found[f"beam_grid {name}"] = done.rate
    return found


def theirs(python: Path, rows: int) -> dict[str, float]:
    """The peer in a process of its own; Spark's start and first job do not count."""
    env = {**os.environ, "PYSPARK_PYTHON": str(python), "PYTHONPATH": ""}
    found = subprocess.run(
        [str(python), __file__, "--peer", str(rows), str(FOLDER / "dbldatagen-out")],
        env=env,
        capture_output=True,
        text=True,
    )
    if found.returncode:
        raise RuntimeError(f"dbldatagen failed:\n{found.stderr[-3000:]}")
    return {f"dbldatagen {name}": rate for name, rate in json.loads(found.stdout.splitlines()[-1]).items()}


def dbldatagen() -> Path:
    """The Python of a venv with dbldatagen, made when it is not there."""
    home = FOLDER / "dbldatagen-venv"
    python = home / "bin" / "python"
    wanted = ["dbldatagen", f"pyspark=={version('pyspark')}", "pandas<3", "numpy", "pyarrow", "pyparsing", "jmespath"]
    ready = home / "ready"
    if not ready.exists() or ready.read_text() != " ".join(wanted):
        print(f"installing dbldatagen into {home}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
        ready.write_text(" ".join(wanted))
    return python


def rates(seconds: float) -> dict[str, float]:
    """How far each rate is off, in percent, over `seconds`."""
    from data_sources.generators.streams.emit import emit
    from data_sources.generators.streams.load import load_spec
    from data_sources.generators.streams.sinks import JsonFiles
    from data_sources.generators.streams.stream import Stream

    spec = load_spec(ROOT / "data_sources" / "iot_events" / "spec.toml")
    found = {}
    for rate in RATES:
        out = FOLDER / "generate-out"
        shutil.rmtree(out, ignore_errors=True)
        started = time.perf_counter()
        done = emit(Stream(spec, 1), JsonFiles(out, "iot", spec.records_per_file), rate=rate, seconds=seconds)
        took = time.perf_counter() - started
        off = (done.rate / rate - 1) * 100
        found[str(rate)] = off
        print(f"{rate:>7,} rows/s: {done.records:>9,} in {done.seconds:.3f} s ({took:.1f} with closing): {off:+.2f} %")
    shutil.rmtree(FOLDER / "generate-out", ignore_errors=True)
    return found


ODD = "meter_num IN (42, 123, 456, 789, 999, 1500, 1750)"
BASE = (
    "element_at(array(15D, 25D, 180D, -8D, 150D, 80D, 450D, -75D, 500D, 200D, 1200D, -250D, 12D, 20D, 160D, -12D,"
    " 180D, 95D, 380D, -95D), cast(id % 5 * 4 + id % 4 + 1 as int))"
)


def peer_frame(spark: Any, rows: int) -> Any:
    """The columns of data_sources/energy_readings/spec.toml by dbldatagen, as a lazy DataFrame."""
    import dbldatagen as dg

    return (
        dg.DataGenerator(spark, name="s0", rows=rows, partitions=4, randomSeed=1)
        .withColumn("meter_num", "long", expr="id % 2000 + 1", omit=True)
        .withColumn(
            "meter_id", "string", expr="concat('MTR', lpad(cast(meter_num as string), 6, '0'))", baseColumn="meter_num"
        )
        .withColumn("reading_date", "timestamp", expr="timestamp_micros(1705320000000000 + id * 100000)")
        .withColumn("odd", "boolean", expr=ODD, baseColumn="meter_num", omit=True)
        .withColumn(
            "energy_type",
            "string",
            expr="element_at(array('Electricity', 'Natural Gas', 'Water', 'Solar'), cast(id % 4 + 1 as int))",
        )
        .withColumn("base", "double", expr=BASE, omit=True)
        .withColumn(
            "hour_factor",
            "double",
            expr="case when hour(reading_date) in (6,7,8,17,18,19) then 2.5 when hour(reading_date) in (2,3,4,5) then 0.4 else 1.0 end",
            baseColumn="reading_date",
            omit=True,
        )
        .withColumn(
            "season",
            "double",
            expr="case when month(reading_date) in (12,1,2) then 1.4 when month(reading_date) in (6,7,8) then 1.3 else 1.0 end",
            baseColumn="reading_date",
            omit=True,
        )
        .withColumn(
            "consumption",
            "decimal(10,3)",
            expr="round(base * hour_factor * season * case when odd then rand() * 3.0 else 0.8 + rand() * 0.4 end, 3)",
            baseColumn=["base", "hour_factor", "season", "odd"],
        )
        .withColumn(
            "location",
            "string",
            expr="element_at(array('Residential_NYC', 'Commercial_CHI', 'Industrial_HOU', 'Residential_LAX', 'Commercial_SFO'), cast(id % 5 + 1 as int))",
        )
        .withColumn(
            "peak_demand",
            "decimal(8,2)",
            expr="round(abs(consumption) * case when odd then 1.2 + rand() else 1.1 + rand() * 0.4 end, 2)",
            baseColumn=["consumption", "odd"],
        )
        .withColumn(
            "efficiency_rating",
            "integer",
            expr=(
                "cast(case when odd then element_at(array(45, 50, 48, 35), cast(id % 4 + 1 as int)) + cast(rand() * 20 as int)"
                " else element_at(array(85, 90, 88, 78), cast(id % 4 + 1 as int)) + cast(rand() * 8 - 4 as int) end as int)"
            ),
            baseColumn="odd",
        )
        .build()
    )


def peer_main(rows: int, out: str) -> None:
    """What runs in the peer's venv: warm up, then measure both; prints rows a second as JSON."""
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "1g")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "2")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    peer_frame(spark, 100_000).write.format("noop").mode("overwrite").save()
    found = {}
    started = time.perf_counter()
    peer_frame(spark, rows).write.format("noop").mode("overwrite").save()
    found["made"] = rows / (time.perf_counter() - started)
    started = time.perf_counter()
    peer_frame(spark, rows).write.mode("overwrite").parquet(out)
    found["parquet"] = rows / (time.perf_counter() - started)
    spark.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        peer_main(int(sys.argv[2]), sys.argv[3])
    else:
        main()
