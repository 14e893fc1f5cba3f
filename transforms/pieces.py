"""A partition in pieces: decoded and ruled anywhere, in any order; only M, carried from block to block, is put in order.

    partition      [ piece 0          )[ piece 1     )[ piece 2          )        cut by the driver, at record ends
    blocks         |  b0  |  b1  | b2 ||  b0  |  b1  ||  b0  |  b1  | b2 |        decoded on any worker
    each says        max    max    max    max    max     max   max    max         eight bytes a block
    M before it      M0 ────►──────►──────►──────►──────►──────►─────►            a running maximum: one small step
    a row is         M - time = max(M before its block, greatest before it in the block) - time    behind M

Within a block a row knows how far behind the rows before it is; with M before the block that is all that lateness and
delays ask. So rows are shuffled to their shards once, and judged there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from data_sources.contract import Contract
from data_sources.formats import format_of
from data_sources.splits import End, FileEnd, FileSplit, KafkaSplit, PartitionPlan, Segment
from data_sources.typed_json import decoder
from transforms.judge import NO_TIME, may_be_late
from transforms.manifest import Manifest, PartitionRead

K = TypeVar("K")

PIECE_ROWS = 1_000_000
"""Records of a piece: a few seconds of decoding."""

BLOCK_BITS = 24
"""Bits of a block's number within its piece; the piece's number stands above them."""

_CONTINUES = Segment(0, 0, "")
"""Stands for what the pieces before read, so that a reader begins its own segment where it begins to read."""


class Piece(Struct, frozen=True, kw_only=True):
    """What one worker reads at a time."""

    number: int
    """Unique in the slice; those of a partition in its order."""
    place: int
    """Among the pieces of its split."""
    partition: str
    """Key of the partition."""
    splits: tuple[FileSplit | KafkaSplit, ...]
    max_event_time: int | None
    """M of the partition before the slice."""
    newest_arrival: int | None


class Summary(Struct, frozen=True, kw_only=True):
    """Of a piece's blocks, in their order, the greatest event times of the rows that are no rejects."""

    number: int
    partition: str
    max_event_time: int | None
    ordered: bool
    """Whether a row of it may be late."""
    greatest: tuple[int, ...]


class Starts(NamedTuple):
    """What is known of each block of a slice, by place: its number, M before it, its partition's place in `keys`."""

    blocks: np.ndarray
    max_event_times: np.ndarray
    partitions: np.ndarray
    keys: list[str]
    ordered: bool


read_piece = decoder(Piece)
read_summary = decoder(Summary)


def can_cut(partitions: Sequence[PartitionPlan]) -> bool:
    """Whether all of it is read from sources: late rows and rejects that are taken again are not cut."""
    return all(isinstance(split, FileSplit | KafkaSplit) for plan in partitions for split in plan.splits)


def cut(partitions: Sequence[PartitionPlan], contract: Contract, rows: int | None = None) -> list[Piece]:
    """The pieces of a slice, each of about so many records, PIECE_ROWS unless given; a partition whose blocks must be ruled in order
    (`on_dst = "in_order"`, "elapsed") is one."""
    pieces: list[Piece] = []
    rows = rows or PIECE_ROWS
    whole = any(field.on_dst in ("in_order", "elapsed") for field in contract.fields)
    for plan in partitions:
        splits = [split for split in plan.splits if isinstance(split, FileSplit | KafkaSplit)]
        parts = [(0, tuple(splits))] if whole else []
        for split in [] if whole else splits:
            parts += [(place, (part,)) for place, part in enumerate(_cut(split, contract, rows))]
        for place, part in parts:
            pieces.append(
                Piece(
                    number=len(pieces), place=place, partition=plan.key, splits=part, max_event_time=plan.max_event_time,
                    newest_arrival=plan.newest_arrival,
                )
            )  # fmt: skip
    return pieces


def _cut(split: FileSplit | KafkaSplit, contract: Contract, rows: int) -> Sequence[FileSplit | KafkaSplit]:
    if isinstance(split, KafkaSplit):
        edges = [*range(split.start, split.end, rows), split.end]
        return [replace(split, start=a, end=b) for a, b in itertools.pairwise(edges)] or [split]
    if split.rows <= rows:
        return [split]
    first, *others = format_of(contract).cut(split, rows)
    return [first, *(replace(other, segments=(_CONTINUES,)) for other in others)]


def starts(summaries: Iterable[Summary]) -> Starts:
    """M before each block of a slice, from what all its pieces say."""
    ordered = sorted(summaries, key=lambda one: one.number)
    keys = {key: place for place, key in enumerate(dict.fromkeys(one.partition for one in ordered))}
    so_far: dict[str, int] = {}
    blocks, before, places = [], [], []
    for one in ordered:
        base = NO_TIME if one.max_event_time is None else one.max_event_time
        greatest = np.asarray([so_far.get(one.partition, base), *one.greatest], np.int64)
        running = np.maximum.accumulate(greatest)
        so_far[one.partition] = int(running[-1])
        blocks.append((one.number << BLOCK_BITS) + np.arange(len(one.greatest)))
        before.append(running[:-1])
        places.append(np.full(len(one.greatest), keys[one.partition]))
    none = np.empty(0, np.int64)
    return Starts(
        np.concatenate([none, *blocks]), np.concatenate([none, *before]), np.concatenate([none, *places]), list(keys),
        any(one.ordered for one in ordered),
    )  # fmt: skip


def behind_within(times: np.ndarray) -> tuple[np.ndarray, int]:
    """Of a block's event times, microseconds: how far each is behind the greatest before it, 0 where it is not; and the
    greatest of all."""
    if not len(times):
        return np.zeros(0, np.int64), int(NO_TIME)
    before = np.maximum.accumulate(np.concatenate([[NO_TIME], times[:-1]]))
    behind = np.zeros(len(times), np.int64)
    known = (before != NO_TIME) & (times != NO_TIME)
    behind[known] = np.maximum(before[known] - times[known], 0)
    return behind, int(max(before[-1], times[-1]))


def behind(within: np.ndarray, times: np.ndarray, blocks: np.ndarray, of: Starts) -> tuple[np.ndarray, np.ndarray]:
    """How far each row is behind M; and the place of its partition in `of.keys`."""
    at = np.searchsorted(of.blocks, blocks)
    start = of.max_event_times[at]
    total = within.copy()
    known = (start != NO_TIME) & (times != NO_TIME)
    total[known] = np.maximum(within[known], start[known] - times[known])
    return total, of.partitions[at]


def is_ordered(split: FileSplit | KafkaSplit, contract: Contract) -> bool:
    """Whether a row of the split may be late."""
    return may_be_late(contract, split.is_log)


def joined(manifest: Manifest) -> Manifest:
    """The manifest with one entry a partition, of those that its pieces and shards made."""
    by_key: dict[str, list[PartitionRead]] = {}
    for part in manifest.partitions:
        by_key.setdefault(part.key, []).append(part)
    return replace(manifest, partitions=tuple(map(_one, by_key.values())))


def _one(parts: list[PartitionRead]) -> PartitionRead:
    if len(parts) == 1:
        return parts[0]
    times = [p.max_event_time for p in parts if p.max_event_time is not None]
    arrivals = [p.newest_arrival for p in parts if p.newest_arrival is not None]
    return PartitionRead(
        key=parts[0].key,
        read=sum(p.read for p in parts),
        late=sum(p.late for p in parts),
        rejected=sum(p.rejected for p in parts),
        extra=sum(p.extra for p in parts),
        on_time=_sum([p.on_time for p in parts]),
        rejected_by=_sum([p.rejected_by for p in parts]),
        warned_by=_sum([p.warned_by for p in parts]),
        delays=tuple(map(sum, zip(*(p.delays for p in parts), strict=True))),
        max_event_time=max(times, default=None),
        newest_arrival=max(arrivals, default=None),
        ends=_ends([end for p in parts for end in p.ends]),
    )


def _sum(counts: list[dict[K, int]]) -> dict[K, int]:
    total: dict[K, int] = {}
    for one in counts:
        for key, n in one.items():
            total[key] = total.get(key, 0) + n
    return total


def _ends(ends: list[End]) -> tuple[End, ...]:
    """One end a split, in the order of their keys: the last piece's, with the segments that all have read."""
    last: dict[str, End] = {}
    for end in sorted(ends, key=lambda end: (end.key, end.offset)):
        before = last.get(end.key)
        if isinstance(end, FileEnd) and isinstance(before, FileEnd):
            read = tuple(segment for segment in end.segments if segment != _CONTINUES)
            end = replace(end, segments=before.segments + read)
        last[end.key] = end
    return tuple(last.values())
