"""Judging a stream: what ReadAndJudge does with a slice, done with records that come as elements, pane after pane.

    partition 3   [12:00 12:04] ... [12:01 11:02] ...        M is Beam state, one a partition; only M is sequential
                        M = 12:04    |     ^ late: before M - out_of_orderness - allowed_lateness

Guarantees: a record's fate is the one a slice would give it, for the fates are `judge`'s, and a partition's elements
meet its M one after the other. Not guaranteed: an order that the runner does not keep. Elements of a partition must
reach this step in the partition's order, as they do from a source that reads a partition in one place.

State is kept under GlobalWindows and has no end: it is one number a partition, and a partition may speak again.
"""

from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import StrUtf8Coder
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec
from apache_beam.transforms.window import GlobalWindows

from data_sources.records import messages
from data_sources.splits import KafkaSplit, PartitionPlan
from transforms.blocks import Slice, Twice, decode_block
from transforms.judge import NO_TIME
from transforms.read import Read, Tally, judged_block, told

RECORDS = pa.schema([("raw", pa.binary()), ("_position", pa.int64()), ("_arrival", pa.timestamp("us", "UTC"))])
"""Columns of a batch of records as they arrive: the bytes, their offset in the partition, when they arrived."""


@dataclass
class JudgeStream(beam.PTransform):
    """(partition number, batch of RECORDS) to Read; manifests are those of the element, not of the partition.

    topic: what the rows' `_source` says.
    """

    slice: Slice
    topic: str

    def expand(self, records):
        judged = (
            records
            | "OneWindow" >> beam.WindowInto(GlobalWindows())
            | "JudgeRecords"
            >> beam.ParDo(_JudgeRecords(self.slice, self.topic))
            .with_output_types(tuple[int, pa.RecordBatch])
            .with_outputs("aside", "manifests", main="on_time")
        )
        judged.aside.element_type = beam.typehints.Tuple[str, pa.RecordBatch]
        judged.manifests.element_type = str
        return Read(judged.on_time, judged.aside, judged.manifests)


class _JudgeRecords(beam.DoFn):
    MEMORY = ReadModifyWriteStateSpec("memory", StrUtf8Coder())
    """M in microseconds and how many records were on time, as text: "1750000000000000 12"."""

    def __init__(self, slice: Slice, topic: str):
        self.slice, self.topic = slice, topic

    def process(self, element: tuple[int, pa.RecordBatch], memory: Any = beam.DoFn.StateParam(MEMORY)) -> Any:
        number, batch = element
        max_event_time, running = (int(word) for word in (memory.read() or f"{NO_TIME} 0").split())
        offsets = batch.column("_position").to_pylist()
        split = KafkaSplit(
            topic=self.topic, bootstrap="", partition=number, start=offsets[0], end=offsets[-1] + 1, number=number
        )
        tally = Tally(PartitionPlan(key=split.key, max_event_time=max_event_time, splits=(split,)))
        tally.running = running
        arrivals = batch.column("_arrival").cast(pa.int64()).to_pylist()
        records = messages(batch.column("raw").to_pylist(), offsets, arrivals)
        twice = Twice(self.slice.contract)
        yield from judged_block(twice.decided(decode_block(records, split, self.slice)), split, tally, self.slice)
        memory.write(f"{tally.max_event_time} {tally.running}")
        yield told(tally.counts())
