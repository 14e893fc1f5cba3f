"""Reading and judging on many workers: pieces in, unique rows out. What transforms/read.py and drop_duplicates.py do in
one process, for runners that shuffle.

    pieces -> DecodePieces -> GroupByShard -> JudgeAndDrop -> rows     (rows travel as files: transforms/shuffled.py)
                  |  |  +--- summaries ----------^  |  |              M before each block, as a side input
                  |  +------ rejected, held -------- late, conflicts, superseded -> aside
                  +--------- what was read -------- what came of it -------------> manifests

Equal to the other way, commit by commit: see transforms/pieces.py for why judging can wait until after the shuffle.
"""

from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.decode.rejects import REJECT_SCHEMA
from data_sources.durations import micros
from data_sources.splits import FileEnd, KafkaEnd, PartitionPlan
from data_sources.typed_json import encode
from transforms.arrow import as_batch, as_table
from transforms.blocks import Decided, Slice, Twice, blocks, folder_of
from transforms.dedup import ORDER
from transforms.drop_duplicates import Unique, _DropCopies, _outputs
from transforms.judge import NO_TIME, event_micros
from transforms.manifest import DELAY_BOUNDS_S
from transforms.pieces import (  # fmt: skip
    BLOCK_BITS,
    Piece,
    Starts,
    Summary,
    behind,
    behind_within,
    is_ordered,
    read_piece,
    read_summary,
    starts,
)
from transforms.read import SPLIT_BITS, Tally, _rejected_with_lineage, _with_lineage, held_of, told
from transforms.shard import split_by_shard
from transforms.shuffled import Out, read_places
from transforms.step import Step

PIECE_BITS = 27
"""Bits of `_order` that number the records of a piece; above them stand the piece's place in its split, then the split."""

BEHIND, BLOCK = "_behind", "_block"


@dataclass
class ReadInPieces(beam.PTransform):
    """Pieces (JSON text of a pieces.Piece) to Unique. index: see DropDuplicates."""

    slice: Slice
    index: str | None

    def expand(self, pieces):
        decoded = pieces | "DecodePieces" >> beam.ParDo(_DecodePiece(self.slice)).with_output_types(
            tuple[int, str]
        ).with_outputs("aside", "manifests", "summaries", main="rows")
        decoded.aside.element_type = beam.typehints.Tuple[str, pa.RecordBatch]
        decoded.manifests.element_type = decoded.summaries.element_type = str
        groups = decoded.rows | "GroupByShard" >> beam.GroupByKey()
        unique = groups | "JudgeAndDrop" >> beam.ParDo(
            _JudgeAndDrop(self.slice, self.index), beam.pvalue.AsList(decoded.summaries)
        ).with_output_types(tuple[int, pa.RecordBatch]).with_outputs("aside", "manifests", main="rows")
        unique.aside.element_type = beam.typehints.Tuple[str, pa.RecordBatch]
        unique.manifests.element_type = str
        return Unique(
            unique.rows,
            (decoded.aside, unique.aside) | "Aside" >> beam.Flatten(),
            (decoded.manifests, unique.manifests) | "Manifests" >> beam.Flatten(),
        )


class _DecodePiece(Step):
    def __init__(self, slice: Slice):
        self.slice = slice

    def process(self, element):
        piece, slice = read_piece(element), self.slice
        tally = _tally(piece)
        twice, current, out = Twice(slice.contract), None, Out(folder_of(slice))
        greatest: list[int] = []
        for found in blocks(piece.splits, slice):
            if isinstance(found, FileEnd | KafkaEnd):
                tally.ends.append(twice.end(found))
                continue
            split, block = found
            if split is not current:
                twice.begin(split)
                current = split
            decided = twice.decided(block)
            rows = decided.ruled.rows
            within, most = behind_within(event_micros(rows, slice.contract))
            number = (piece.number << BLOCK_BITS) + len(greatest)
            greatest.append(most)
            tally.max_event_time = max(tally.max_event_time, most)
            yield from _block(decided, split, within, number, piece, tally, slice, out)
        yield from out.flush()
        yield told(tally.counts())
        ordered = is_ordered(piece.splits[0], slice.contract)
        summary = Summary(
            number=piece.number, partition=piece.partition, max_event_time=piece.max_event_time, ordered=ordered,
            greatest=tuple(greatest),
        )  # fmt: skip
        yield beam.pvalue.TaggedOutput("summaries", encode(summary).decode())


def _tally(piece: Piece) -> Tally:
    return Tally(
        PartitionPlan(
            key=piece.partition, max_event_time=piece.max_event_time, newest_arrival=piece.newest_arrival,
            splits=piece.splits,
        )
    )  # fmt: skip


def _block(
    decided: Decided, split: Any, within: np.ndarray, number: int, piece: Piece, tally: Tally, slice: Slice, out: Out
) -> Any:
    """Outputs of one block; counts what of it is known already."""
    contract = slice.contract
    ruled, arrivals, source, partition, _ = decided
    if not isinstance(arrivals, int) and len(arrivals):
        tally.newest_arrival = max(tally.newest_arrival or NO_TIME, int(arrivals.max()))
    none = ruled.rows.slice(0, 0)
    tally.add(none, none, ruled.rejected, np.zeros_like(tally.delays), split.number)
    tally.read += ruled.rows.num_rows
    count = ruled.rows.num_rows
    if count:
        lined = _with_lineage(ruled.rows, source, partition, slice)
        start = (split.number << SPLIT_BITS) + (piece.place << PIECE_BITS) + tally.running
        tally.running += count
        lined = lined.append_column(ORDER, pa.array(np.arange(start, start + count)))
        lined = lined.append_column(BEHIND, pa.array(within))
        lined = lined.append_column(BLOCK, pa.repeat(pa.scalar(number, pa.int64()), count))
        for shard, rows in split_by_shard(lined, contract.dedup.key, slice.shards):
            yield from out.add(shard, as_batch(rows))
        for kind, held in held_of(ruled.rows, source, split, contract):  # of changes and masters nothing is late
            yield beam.pvalue.TaggedOutput("aside", (kind, as_batch(held)))
    if ruled.rejected.num_rows:
        rejects = _rejected_with_lineage(ruled.rejected, source, partition, slice)
        yield beam.pvalue.TaggedOutput("aside", ("rejected", as_batch(rejects)))


class _JudgeAndDrop(Step):
    """Judges the rows of a shard, all of a slice's, and drops copies. Without state: a slice fires once."""

    def __init__(self, slice: Slice, index: str | None):
        self.slice = slice
        self.drop = _DropCopies(slice.contract, index, slice.root)

    def process(self, element, summaries):
        shard, places = element
        contract = self.slice.contract
        known = starts(map(read_summary, summaries))
        tables = read_places(folder_of(self.slice), places)
        rows = as_table([as_batch(table) for table in tables])
        how_far, partitions = behind(
            rows[BEHIND].to_numpy(), event_micros(rows, contract), rows[BLOCK].to_numpy(), known
        )
        late = how_far > micros(contract.lateness) if known.ordered else np.zeros(len(how_far), bool)
        rows = rows.drop_columns([BEHIND, BLOCK])
        for place in np.unique(partitions).tolist():
            yield told(_counts(known, place, rows, how_far, late, partitions))
        if late.any():
            aside = rows.drop_columns([ORDER]).append_column(BEHIND, pa.array(how_far)).filter(pa.array(late))
            yield beam.pvalue.TaggedOutput("aside", ("late", as_batch(aside)))
            rows = rows.filter(pa.array(~late))
        if rows.num_rows:
            yield from _outputs(shard, self.drop._dedup(shard, rows, [], []))


def _counts(known: Starts, place: int, rows: pa.Table, how_far: Any, late: Any, partitions: Any) -> Any:
    """What came of a partition's rows in a shard; that they were read is counted where they were."""
    mine = partitions == place
    tally = Tally(PartitionPlan(key=known.keys[place], splits=()))
    bounds = np.asarray(DELAY_BOUNDS_S, np.int64) * 1_000_000
    delays = np.bincount(np.searchsorted(bounds, how_far[mine], side="left"), minlength=len(tally.delays))
    on_time, none = rows.filter(pa.array(mine & ~late)), REJECT_SCHEMA.empty_table()
    tally.add(on_time, rows.filter(pa.array(mine & late)), none, delays, 0)
    splits = pc.shift_right(on_time[ORDER], SPLIT_BITS).to_numpy()
    tally.on_time = dict(zip(*(n.tolist() for n in np.unique(splits, return_counts=True)), strict=True))
    tally.read = 0
    return tally.counts()
