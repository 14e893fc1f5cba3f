"""Reading and judging: one element a partition in, shards of on-time rows, late rows, rejects and manifests out.

A partition is read by one worker, in order, and never split within a slice: only M is sequential, so coming
blocks are decoded and ruled in threads while this one is judged (see transforms/read_ahead.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec.structs import replace

from data_sources.contract import Contract
from data_sources.decode.rejects import REJECT_SCHEMA
from data_sources.snapshots import as_of_rows
from data_sources.splits import End, FileEnd, FileSplit, KafkaEnd, KafkaSplit, LateSplit, PartitionPlan, RejectedSplit
from data_sources.typed_json import decoder
from transforms.arrow import as_batch
from transforms.blocks import Decided, Slice, Twice, blocks, key_of
from transforms.dedup import ORDER
from transforms.judge import NO_TIME, judge, may_be_late
from transforms.manifest import DELAY_BOUNDS_S, Manifest, PartitionRead
from transforms.seen import conform
from transforms.shard import row_hashes, split_by_shard
from transforms.step import Step

SPLIT_BITS = 40
"""Bits of `_order` that number the records of a split; the split's number stands above them."""

UTC = pa.timestamp("us", "UTC")


class Read(NamedTuple):
    """Collections: (shard, batch) of rows on time; ("late", "rejected", "snapshot" or "changes", batch); manifests of what was read."""

    on_time: beam.PCollection
    aside: beam.PCollection
    manifests: beam.PCollection


@dataclass
class ReadAndJudge(beam.PTransform):
    """Partitions (JSON text of a PartitionPlan, as `partitions_of` finds them) to Read; slice: `slice_of(contract)`, where
    no lake is written. Rows on time have the contract's columns, the lineage and `_order`."""

    slice: Slice

    def expand(self, partitions):
        read = partitions | "ReadPartitions" >> beam.ParDo(_ReadAndJudge(self.slice)).with_output_types(
            tuple[int, pa.RecordBatch]
        ).with_outputs("aside", "manifests", main="on_time")
        read.aside.element_type = beam.typehints.Tuple[str, pa.RecordBatch]
        read.manifests.element_type = str
        return Read(read.on_time, read.aside, read.manifests)


_partition = decoder(PartitionPlan)


class _ReadAndJudge(Step):
    def __init__(self, slice: Slice):
        self.slice = slice

    def process(self, element):
        partition = _partition(element)
        tally, current, twice = Tally(partition), None, Twice(self.slice.contract)
        splits = partition.splits
        if isinstance(splits[0], LateSplit):
            yield from late_again(partition, self.slice)
            return
        if isinstance(splits[0], RejectedSplit):
            from transforms.rejected_again import rejected_again

            yield from rejected_again(partition, self.slice)
            return
        ahead = self.slice.ahead
        begun = ahead.take(key_of(splits, self.slice)) if ahead is not None else None
        for found in begun or blocks(splits, self.slice):
            if isinstance(found, FileEnd | KafkaEnd):
                tally.ends.append(twice.end(found))
                continue
            split, block = found
            if split is not current and self.slice.contract.file_order == "none" and not split.is_log:
                tally.max_event_time = NO_TIME
            if split is not current:
                twice.begin(split)
            current = split
            yield from judged_block(twice.decided(block), split, tally, self.slice)
        if ahead is not None:
            ahead.has_read(self.slice.attempt, tally.ends)
        yield told(tally.counts())


def told(counts: PartitionRead) -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput("manifests", Manifest(partitions=(counts,)).text())


def judged_block(decided: Decided, split: FileSplit | KafkaSplit, tally: "Tally", slice: Slice) -> Any:
    """Outputs of one block."""
    contract = slice.contract
    ruled, arrivals, source, number, is_log = decided
    ordered = may_be_late(contract, is_log)
    on_time, late, tally.max_event_time, delays = judge(ruled.rows, tally.max_event_time, contract, ordered)
    rejected = ruled.rejected
    tally.add(on_time, late, rejected, delays, split.number)
    if not isinstance(arrivals, int) and len(arrivals):
        tally.newest_arrival = max(tally.newest_arrival or NO_TIME, int(arrivals.max()))
    if on_time.num_rows:
        lined = _with_lineage(on_time, source, number, slice)
        start = (split.number << SPLIT_BITS) + tally.running
        tally.running += lined.num_rows
        lined = lined.append_column(ORDER, pa.array(np.arange(start, start + lined.num_rows)))
        for shard, rows in split_by_shard(lined, contract.dedup.key, slice.shards):
            yield shard, as_batch(rows)
    for kind, held in held_of(on_time, source, split, contract):
        yield beam.pvalue.TaggedOutput("aside", (kind, as_batch(held)))
    if late.num_rows:
        behind = late["_behind"]
        rows = _with_lineage(late, source, number, slice).append_column("_behind", behind)
        yield beam.pvalue.TaggedOutput("aside", ("late", as_batch(rows)))
    if rejected.num_rows:
        rows = _rejected_with_lineage(rejected, source, number, slice)
        yield beam.pvalue.TaggedOutput("aside", ("rejected", as_batch(rows)))


def late_again(partition: PartitionPlan, slice: Slice) -> Any:
    """Outputs of late rows that earlier commits kept whole: on time now, with the place they came from.

    They were decoded, ruled and read before, and are not again: `read` is 0, and as many are late no more.
    """
    tally = Tally(partition)
    for split in partition.splits:
        assert isinstance(split, LateSplit)
        rows = conform(pq.read_table(Path(slice.root) / split.path), slice.contract)
        count = rows.num_rows
        for name, value in (("_ingested_at", slice.now), ("_commit", slice.commit)):
            column = pa.repeat(pa.scalar(value, pa.int64()), count).cast(rows.schema.field(name).type)
            rows = rows.set_column(rows.column_names.index(name), name, column)
        tally.add(rows, rows.slice(0, 0), REJECT_SCHEMA.empty_table(), np.zeros_like(tally.delays), split.number)
        start = split.number << SPLIT_BITS
        ordered = rows.append_column(ORDER, pa.array(np.arange(start, start + count)))
        for shard, some in split_by_shard(ordered, slice.contract.dedup.key, slice.shards):
            yield shard, as_batch(some)
    yield told(replace(tally.counts(), read=0, late=-tally.read))


def _with_lineage(rows: pa.Table, source: str, number: int | None, slice: Slice) -> pa.Table:
    n = rows.num_rows
    partitions = pa.nulls(n, pa.int32()) if number is None else pa.repeat(pa.scalar(number, pa.int32()), n)
    return with_lineage(rows, _constant(source, n), partitions, slice)


def with_lineage(rows: pa.Table, sources: pa.Array, partitions: pa.Array, slice: Slice) -> pa.Table:
    """Rows in the landed schema (text may be dictionaries)."""
    n = rows.num_rows
    lineage = {
        "_source": sources,
        "_partition": partitions,
        "_position": rows["_position"],
        "_ingested_at": pa.repeat(pa.scalar(slice.now, pa.int64()), n).cast(UTC),
        "_commit": pa.repeat(pa.scalar(slice.commit, pa.int64()), n),
        "_extra": rows["_extra"],
        "_warnings": rows["_warnings"],
    }
    columns = {f.name: rows[f.name] for f in slice.contract.fields}
    return pa.table({**columns, **lineage})


def held_of(
    rows: pa.Table, source: str, split: FileSplit | KafkaSplit, contract: Contract
) -> Iterator[tuple[str, pa.Table]]:
    """What rows on time of a snapshot, or of changes of masters, are kept as beside, by kind."""
    if rows.num_rows and split.role == "snapshot":
        as_of = pa.array(as_of_rows(rows, contract, split.name)).cast(UTC)
        yield "snapshot", held_rows(rows, source, contract).append_column("_as_of", as_of)
    elif rows.num_rows and contract.lake.load == "scd2":  # a copy of an older row may be the newest that was said
        yield "changes", held_rows(rows, source, contract)


def held_rows(rows: pa.Table, source: str, contract: Contract) -> pa.Table:
    """What a file held, copies too: table key, hash of all fields, and where; of changes their place in the log, too."""
    lake = contract.lake
    place = [*lake.sequence_by, str(lake.operation), contract.event_time] if lake.load == "cdc" else []
    held = rows.select([*dict.fromkeys([*lake.key, *place]), "_position"])
    hashes = pa.array(row_hashes(rows, contract.schema.names).view(np.int64))
    return held.append_column("_hash", hashes).append_column("_source", _constant(source, rows.num_rows))


def _rejected_with_lineage(rejected: pa.Table, source: str, number: int | None, slice: Slice) -> pa.Table:
    n = rejected.num_rows
    return pa.table(
        {
            **{name: rejected[name] for name in ("cause", "rule", "reason")},
            "_source": pa.repeat(source, n),
            "_partition": pa.nulls(n, pa.int32()) if number is None else pa.repeat(pa.scalar(number, pa.int32()), n),
            "_position": rejected["_position"],
            "raw": rejected["raw"],
            "_ingested_at": pa.repeat(pa.scalar(slice.now, pa.int64()), n).cast(UTC),
            "_commit": pa.repeat(pa.scalar(slice.commit, pa.int64()), n),
            "_arrival": rejected["_arrival"] if "_arrival" in rejected.column_names else pa.nulls(n, UTC),
            "_judged": pa.nulls(n, pa.int64()),
            "_half": rejected["_half"],
        }
    )


def _constant(text: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), pa.array([text]))


class Tally:
    """Running counts of one partition. max_event_time: M, NO_TIME before the first record."""

    def __init__(self, partition: PartitionPlan) -> None:
        self.key = partition.key
        self.max_event_time = NO_TIME if partition.max_event_time is None else partition.max_event_time
        self.newest_arrival = partition.newest_arrival
        self.running = 0
        self.read = self.late = self.rejected = self.extra = 0
        self.rejected_by: dict[str, int] = {}
        self.warned_by: dict[str, int] = {}
        self.on_time: dict[int, int] = {}
        self.delays = np.zeros(len(DELAY_BOUNDS_S) + 1, np.int64)
        self.ends: list[End] = []

    def add(self, on_time: pa.Table, late: pa.Table, rejected: pa.Table, delays: np.ndarray, split: int) -> None:
        self.read += on_time.num_rows + late.num_rows + rejected.num_rows
        self.late += late.num_rows
        self.rejected += rejected.num_rows
        self.on_time[split] = self.on_time.get(split, 0) + on_time.num_rows
        self.delays += delays
        for cause, rule in zip(rejected["cause"].to_pylist(), rejected["rule"].to_pylist(), strict=True):
            self.rejected_by[f"{cause}/{rule}"] = self.rejected_by.get(f"{cause}/{rule}", 0) + 1
        self.extra += on_time.num_rows - on_time["_extra"].null_count
        warned = on_time["_warnings"]
        if warned.null_count < len(warned):
            counts = pc.value_counts(
                pc.list_flatten(pc.split_pattern(warned.drop_null().combine_chunks(), ","))
            ).to_pylist()
            for row in counts:
                self.warned_by[row["values"]] = self.warned_by.get(row["values"], 0) + row["counts"]

    def counts(self) -> PartitionRead:
        return PartitionRead(
            key=self.key,
            read=self.read,
            late=self.late,
            rejected=self.rejected,
            extra=self.extra,
            on_time=self.on_time,
            rejected_by=self.rejected_by,
            warned_by=self.warned_by,
            delays=tuple(self.delays.tolist()),
            max_event_time=None if self.max_event_time == NO_TIME else int(self.max_event_time),
            newest_arrival=self.newest_arrival,
            ends=tuple(self.ends),
        )
