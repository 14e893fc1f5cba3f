"""Beam as it is usually written: one dict an element, dedup by key, fixed windows, a combine per key."""

import json
import sys
from datetime import datetime
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.window import FixedWindows, TimestampedValue

source, out = sys.argv[1], Path(sys.argv[2])
out.mkdir(parents=True)


def lines(path):
    for file in sorted(Path(path).glob("*.json")):
        with file.open() as text:
            yield from text


class Stats(beam.CombineFn):
    def create_accumulator(self):
        return 0, 0.0, float("-inf"), 0.0

    def add_input(self, a, row):
        return a[0] + 1, a[1] + row["reading_kwh"], max(a[2], row["reading_kwh"]), a[3] + row["voltage_v"]

    def merge_accumulators(self, parts):
        parts = list(parts)
        return sum(p[0] for p in parts), sum(p[1] for p in parts), max(p[2] for p in parts), sum(p[3] for p in parts)

    def extract_output(self, a):
        return {"readings": a[0], "kwh": a[1], "peak_kwh": a[2], "mean_voltage_v": a[3] / a[0]}


class WithCell(beam.DoFn):
    def process(self, element, window=beam.DoFn.WindowParam):
        meter, stats = element
        yield {"meter_id": meter, "cell": int(window.start.micros) // 900_000_000, **stats}


def write(rows):
    pq.write_table(pa.Table.from_pylist(list(rows)), out / "meter_15min.parquet", compression="zstd")


with beam.Pipeline(runner=FnApiRunner()) as pipeline:
    (
        pipeline
        | "Source" >> beam.Create([source])
        | "Lines" >> beam.FlatMap(lines)
        | "Parse" >> beam.Map(json.loads)
        | "Rule" >> beam.Filter(lambda row: 0 <= row["reading_kwh"] <= 1000)
        | "Key" >> beam.Map(lambda row: ((row["event_id"], row["timestamp"]), row))
        | "Group" >> beam.GroupByKey()
        | "First" >> beam.Map(lambda kv: next(iter(kv[1])))
        | "Stamp" >> beam.Map(lambda row: TimestampedValue(row, datetime.fromisoformat(row["timestamp"]).timestamp()))
        | "Window" >> beam.WindowInto(FixedWindows(900))
        | "ByMeter" >> beam.Map(lambda row: (row["meter_id"], row))
        | "Combine" >> beam.CombinePerKey(Stats())
        | "Cell" >> beam.ParDo(WithCell())
        | "Global" >> beam.WindowInto(beam.window.GlobalWindows())
        | "List" >> beam.combiners.ToList()
        | "Write" >> beam.Map(write)
    )
