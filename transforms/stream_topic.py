"""A topic that does not end as a Beam source: (partition number, batch of RECORDS), and the watermark of the feed.

    restriction   offsets, M and newest arrival of each partition: what has been read; it never ends
    process       read for a moment, output, tell the watermark, come back

All partitions are read in one place, because the watermark of a feed is that of its partitions together: one that is idle
does not hold it back, by the rule that commits follow (transforms/watermark.py). A partition that has more to read is
never idle, and until each has been heard there is no watermark.

Guarantees: a partition's batches leave in its order, each stamped later than the one before, none later than the
watermark that follows it but for a millisecond a batch. Not guaranteed: that a runner which begins a bundle anew gives
each batch once; there dedup drops the copies.
"""

from __future__ import annotations

import time
from typing import Any

import apache_beam as beam
import msgspec
import pyarrow as pa
from apache_beam.coders import StrUtf8Coder
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider, WatermarkEstimatorProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Duration, Timestamp

from data_sources.records import messages
from data_sources.sources.kafka_stream import Arrived, TopicStream
from data_sources.splits import KafkaSplit
from data_sources.typed_json import decoder, encode
from transforms.blocks import Slice, Twice, decode_block
from transforms.judge import NO_TIME, event_micros
from transforms.judge_stream import RECORDS
from transforms.watermark import watermark_of

BATCH = 20_000
"""Messages read at a time, all partitions together."""


class PartitionAt(msgspec.Struct, frozen=True, kw_only=True):
    """How far a partition has been read. max_event_time (M) and newest_arrival: microseconds, None before the first."""

    number: int
    offset: int
    max_event_time: int | None = None
    newest_arrival: int | None = None
    is_behind: bool = True
    """Whether there may be more to read now."""


class TopicAt(msgspec.Struct, frozen=True, kw_only=True):
    """How far a topic has been read. watermark: microseconds, None before there is one; stamp: of the last batch."""

    partitions: tuple[PartitionAt, ...]
    watermark: int | None = None
    stamp: int = MIN_TIMESTAMP.micros
    is_done: bool = False


def beginning(offsets: dict[int, int]) -> str:
    """The element to give to StreamTopic: partitions and where to begin."""
    return encode(TopicAt(partitions=tuple(PartitionAt(number=n, offset=at) for n, at in offsets.items()))).decode()


_at = decoder(TopicAt)


class _Tracker(RestrictionTracker):
    def __init__(self, restriction: str) -> None:
        self._restriction = restriction

    def current_restriction(self) -> str:
        return self._restriction

    def current_progress(self) -> RestrictionProgress:
        return RestrictionProgress(completed=0.0, remaining=1.0)

    def try_claim(self, position: str) -> bool:
        if _at(self._restriction).is_done:
            return False
        self._restriction = position
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[str, str] | None:
        at = _at(self._restriction)
        if at.is_done or fraction_of_remainder != 0:
            return None
        residual, self._restriction = self._restriction, encode(msgspec.structs.replace(at, is_done=True)).decode()
        return self._restriction, residual

    def check_done(self) -> bool:
        if not _at(self._restriction).is_done:
            raise ValueError("a topic does not end: its reading is to be deferred")
        return True

    def is_bounded(self) -> bool:
        return False


class _Provider(RestrictionProvider):
    def initial_restriction(self, element: str) -> str:
        return element

    def create_tracker(self, restriction: str) -> _Tracker:
        return _Tracker(restriction)

    def restriction_size(self, element: str, restriction: str) -> int:
        return 1

    def restriction_coder(self) -> StrUtf8Coder:
        return StrUtf8Coder()


class _Told(WatermarkEstimatorProvider):
    """The watermark that was told last, from the beginning of time on."""

    def initial_estimator_state(self, element: str, restriction: str) -> Timestamp:
        return MIN_TIMESTAMP

    def create_watermark_estimator(self, estimator_state: Timestamp) -> ManualWatermarkEstimator:
        return ManualWatermarkEstimator(estimator_state)


class StreamTopic(beam.DoFn):
    """`beginning` of a topic to (partition number, batch of RECORDS). every_s: how long it gathers before it hands on."""

    def __init__(self, slice: Slice, source: str, every_s: float = 1.0) -> None:
        self.slice, self.source, self.every_s = slice, source, every_s
        self.stream: TopicStream | None = None

    def teardown(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None

    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        element: str,
        tracker: Any = beam.DoFn.RestrictionParam(_Provider()),
        estimator: Any = beam.DoFn.WatermarkEstimatorParam(_Told()),
    ) -> Any:
        at = _at(tracker.current_restriction())
        stream = self._standing_at(at)
        deadline = time.monotonic() + self.every_s
        while (left := deadline - time.monotonic()) > 0:
            arrived = stream.read(BATCH, min(left, self.every_s / 4))
            was, at = at, _after(at, arrived, stream, self)
            if not tracker.try_claim(encode(at).decode()):
                return
            for n, some in enumerate(arrived):
                yield TimestampedValue((some.partition, _batch(some)), Timestamp(micros=_stamp(was) + 1000 * n))
            if at.watermark is not None:
                estimator.set_watermark(Timestamp(micros=at.watermark))
        tracker.defer_remainder(Duration(0))

    def _standing_at(self, at: TopicAt) -> TopicStream:
        """The client, which goes on where it stands unless the restriction stands elsewhere."""
        wanted = {partition.number: partition.offset for partition in at.partitions}
        if self.stream is None or self.stream.offsets != wanted:
            self.teardown()
            self.stream = TopicStream(self.source, wanted, self.slice.kafka_config)
        return self.stream

    def newest(self, some: Arrived) -> int | None:
        """The greatest event time among the messages that are no rejects, microseconds."""
        from data_sources.sources.kafka import parse_source

        split = KafkaSplit(
            topic=parse_source(self.source)[1], bootstrap="", partition=some.partition, start=some.offsets[0],
            end=some.offsets[-1] + 1, number=some.partition,
        )  # fmt: skip
        records = messages(some.values, some.offsets, some.arrivals)
        decided = Twice(self.slice.contract).decided(decode_block(records, split, self.slice))
        times = event_micros(decided.ruled.rows, self.slice.contract)
        return int(times.max()) if len(times) and times.max() != NO_TIME else None


def _stamp(at: TopicAt) -> int:
    """When the next batch is: not before the last one, nor before the watermark that has been told."""
    return max(at.stamp + 1000, at.watermark if at.watermark is not None else at.stamp)


def _after(at: TopicAt, arrived: list[Arrived], stream: TopicStream, step: StreamTopic) -> TopicAt:
    """Where the topic stands once these have been read."""
    read = {some.partition: some for some in arrived}
    partitions = []
    for p in at.partitions:
        some, newest = read.get(p.number), None
        if some is not None:
            newest = step.newest(some)
        partitions.append(
            PartitionAt(
                number=p.number,
                offset=stream.offsets[p.number],
                max_event_time=max((t for t in (p.max_event_time, newest) if t is not None), default=None),
                newest_arrival=max((p.newest_arrival or 0, *(some.arrivals if some else ()))) or None,
                is_behind=p.number not in stream.ended,
            )
        )
    found = None
    if not any(p.is_behind and p.max_event_time is None for p in partitions):
        found = watermark_of(
            {str(p.number): p.max_event_time for p in partitions if p.max_event_time is not None},
            {str(p.number): p.newest_arrival for p in partitions if p.newest_arrival is not None},
            step.slice.contract,
            {str(p.number) for p in partitions if p.is_behind},
        )
    told = [w for w in (at.watermark, found // 1000 * 1000 if found is not None else None) if w is not None]
    stamp = _stamp(at) + 1000 * (len(arrived) - 1) if arrived else at.stamp
    return TopicAt(partitions=tuple(partitions), watermark=max(told, default=None), stamp=stamp)


def _batch(some: Arrived) -> pa.RecordBatch:
    raw = pa.array([value or b"" for value in some.values], pa.binary())
    arrivals = pa.array(some.arrivals, pa.int64()).cast(RECORDS.field("_arrival").type)
    return pa.RecordBatch.from_arrays([raw, pa.array(some.offsets, pa.int64()), arrivals], schema=RECORDS)
