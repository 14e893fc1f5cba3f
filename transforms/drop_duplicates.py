"""Dedup as a Beam step: shards of batches in; landed rows, conflicts and superseded rows out.

    pane 1  [a b a]   -> a b        state: a b
    pane 2  [b c]     ->   c        state: a b c      a copy never passes, also across panes

Each shard's batches are grouped by the trigger that the caller sets (one group a bounded slice); what earlier panes
of this run brought is Beam state under GlobalWindows, dropped once the watermark has passed the time up to which a
copy could still be on time. State in a fixed window would be lost at the window's end on some runners.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.trigger import AccumulationMode, DefaultTrigger
from apache_beam.transforms.userstate import BagStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindows, TimestampCombiner
from apache_beam.utils.timestamp import Timestamp

from data_sources.contract import Contract
from data_sources.durations import micros
from transforms.arrow import as_batch, as_table
from transforms.batches import RecordBatchCoder
from transforms.dedup import ORDER, Deduped, dedup
from transforms.given import check_times, rows_given
from transforms.judge import event_micros
from transforms.manifest import Manifest, ShardUnique, read_committed
from transforms.read import SPLIT_BITS
from transforms.seen import conform, read_counted, read_seen
from transforms.step import Step


class Unique(NamedTuple):
    """Collections: (shard, batch) of landed rows; ("conflicts" or "superseded", batch); manifests of what was found."""

    rows: beam.PCollection
    aside: beam.PCollection
    manifests: beam.PCollection


@dataclass
class DropDuplicates(beam.PTransform):
    """(shard, batch) of on-time rows to Unique.

    In: the contract's columns (`contract.schema`; event time not null), as ReadAndJudge's on_time or KeyByShard gives them;
    all copies of a key under one shard. Made where they are missing or null in a row: the lineage (null) and `_order` (int64), a row's
    arrival (split's number << 40 | running number): then rows arrive in the order in which the runner hands them over,
    which matters to keep = "first" and copies that differ. Other columns are left out. Raises ValueError, within the
    first batch, where a column of the contract is missing or does not fit.
    index: JSON file of a manifest.Committed, root: the folder its paths are relative to; without one nothing is
    committed yet.
    trigger: when a shard's batches are judged together; the default is once, at the end.
    """

    contract: Contract
    index: str | None = None
    root: str = ""
    trigger: Any = field(default_factory=DefaultTrigger)

    @property
    def _timestamps(self):
        """Those of the rows where panes fire before the end, else rows on their way to a window hold no watermark back."""
        once = self.trigger == DefaultTrigger()
        return TimestampCombiner.OUTPUT_AT_EOW if once else TimestampCombiner.OUTPUT_AT_EARLIEST

    def expand(self, batches):
        groups = (
            batches
            | "OneWindow"
            >> beam.WindowInto(
                GlobalWindows(),
                trigger=self.trigger,
                accumulation_mode=AccumulationMode.DISCARDING,
                timestamp_combiner=self._timestamps,
            )
            | "GroupByShard" >> beam.GroupByKey()
        )
        unique = groups | "DropCopies" >> beam.ParDo(
            _DropCopies(self.contract, self.index, self.root)
        ).with_output_types(tuple[int, pa.RecordBatch]).with_outputs("aside", "manifests", main="rows")
        unique.aside.element_type = beam.typehints.Tuple[str, pa.RecordBatch]
        unique.manifests.element_type = str
        return Unique(unique.rows, unique.aside, unique.manifests)


class _DropCopies(Step):
    LANDED = BagStateSpec("landed", RecordBatchCoder(tickets=False))
    COUNTED = BagStateSpec("counted", RecordBatchCoder(tickets=False))
    EXPIRY = TimerSpec("expiry", TimeDomain.WATERMARK)

    def __init__(self, contract: Contract, index: str | None, root: str):
        self.contract, self.index, self.root = contract, index, root

    def process(
        self,
        element,
        pane=beam.DoFn.PaneInfoParam,
        landed=beam.DoFn.StateParam(LANDED),
        counted=beam.DoFn.StateParam(COUNTED),
        expiry=beam.DoFn.TimerParam(EXPIRY),
    ):
        shard, batches = element
        batches = list(batches)
        if not batches:  # an on-time pane may be empty
            return
        rows = _in_order([rows_given(batch, self.contract, "DropDuplicates") for batch in batches], self.contract)
        alone = pane.is_first and pane.is_last
        found = self._dedup(shard, rows, [] if alone else list(landed.read()), [] if alone else list(counted.read()))
        if not pane.is_last:
            if found.rows.num_rows:
                landed.add(as_batch(conform(found.rows, self.contract)))
                self._remind(expiry, found.rows)
            if found.conflicts.num_rows:
                counted.add(as_batch(found.conflicts.select(self.contract.dedup.key)))
        yield from _outputs(shard, found)

    def _dedup(self, shard: int, rows: pa.Table, landed: list[Any], counted: list[Any]) -> Deduped:
        seen, known = list(map(as_one, landed)), list(map(as_one, counted))
        if self.index is not None:
            committed, root = read_committed(Path(self.index).read_bytes()), Path(self.root)
            files = [file for file in committed.rows if file.shard == shard]
            if (old := read_seen(files, root, rows, self.contract)) is not None:
                seen.append(old)
            if (old := read_counted(committed.conflicts, root, rows, self.contract)) is not None:
                known.append(old)
        return dedup(
            pa.concat_tables(seen) if seen else None, rows, self.contract, pa.concat_tables(known) if known else None
        )

    @on_timer(EXPIRY)
    def expire(
        self,
        time=beam.DoFn.TimestampParam,
        landed=beam.DoFn.StateParam(LANDED),
        expiry=beam.DoFn.TimerParam(EXPIRY),
    ):
        """Forget rows no copy of which can still be on time; come back for the rest."""
        until = retention(self.contract)
        kept = []
        for batch in landed.read():
            alive = event_micros(as_one(batch), self.contract) + (until or 0) >= time.micros
            if alive.any():
                kept.append(as_batch(as_one(batch).filter(pa.array(alive))))
        landed.clear()
        for batch in kept:
            landed.add(batch)
        if kept:
            self._remind(expiry, pa.Table.from_batches(kept))

    def _remind(self, expiry: Any, rows: pa.Table) -> None:
        """Set the timer to when the newest of the rows can go: a millisecond, a timer's grain, after its last copy."""
        if (until := retention(self.contract)) is not None:
            newest = int(event_micros(rows, self.contract).max())
            expiry.set(Timestamp(micros=newest + until + 1000))


def _in_order(batches: list[pa.RecordBatch], contract: Contract) -> pa.Table:
    """One table with `_order`, numbered as the batches come unless each row has its own."""
    if any(ORDER not in batch.schema.names or batch[ORDER].null_count for batch in batches):
        batches = [batch.drop_columns([ORDER]) if ORDER in batch.schema.names else batch for batch in batches]
        rows = as_table(batches)
        rows = rows.append_column(ORDER, pa.array(np.arange(rows.num_rows, dtype=np.int64)))
    else:
        rows = as_table(batches)
    check_times(rows, contract, "DropDuplicates")
    return rows


def as_one(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def retention(contract: Contract) -> int | None:
    """Microseconds of event time after which a landed row can have no copy that is on time; None where never.

    Changes and master rows are never late, so of them never. The watermark is M - out_of_orderness; a copy on time is at least M - out_of_orderness - allowed_lateness.
    """
    if contract.lake.load != "append":
        return None
    if contract.event_time in contract.dedup.key:
        return micros(contract.allowed_lateness)
    if contract.dedup.horizon is not None:
        return micros(contract.allowed_lateness + contract.dedup.horizon)
    return None


def _outputs(shard: int, found: Deduped) -> Any:
    if found.rows.num_rows:
        yield shard, as_batch(found.rows)
    if found.conflicts.num_rows:
        yield beam.pvalue.TaggedOutput("aside", ("conflicts", as_batch(found.conflicts)))
    if found.superseded.num_rows:
        yield beam.pvalue.TaggedOutput("aside", ("superseded", as_batch(found.superseded)))
    splits = np.asarray(found.duplicates, np.int64) >> SPLIT_BITS
    counts = ShardUnique(
        shard=shard,
        landed=found.rows.num_rows,
        duplicates=len(found.duplicates),
        duplicates_of=dict(zip(*(n.tolist() for n in np.unique(splits, return_counts=True)), strict=True)),
        superseded=found.superseded.num_rows,
        conflicts=int(pc.sum(found.conflicts["_counted"]).as_py() or 0) if found.conflicts.num_rows else 0,
    )
    yield beam.pvalue.TaggedOutput("manifests", Manifest(shards=(counts,)).text())
