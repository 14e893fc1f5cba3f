"""What a partition's splits decode to, block by block: reading, decoding, rules. Nothing here needs Beam or a lake.

What a block decodes to depends on the contract and the run's clock, not on what was read or landed before it.
"""

from __future__ import annotations

import base64
import itertools
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from data_sources import sources
from data_sources.contract import Contract
from data_sources.decode.casting import UTC_MICROS
from data_sources.decode.poison import set_aside
from data_sources.decode.rejects import Decoded
from data_sources.decode.twice import in_order
from data_sources.formats import Block, format_of
from data_sources.records import Records
from data_sources.splits import End, FileEnd, FileSplit, KafkaEnd, KafkaSplit, Split
from data_sources.typed_json import encode
from transforms.judge import Ruled, apply_rules
from transforms.read_ahead import Blocks, ReadAhead


class Decided(NamedTuple):
    """A block's rows and rejects; when its records arrived (microseconds each, or one for all); `_source` and `_partition` of them; and
    whether they stand in a log, whose order tells what is late."""

    ruled: Ruled
    arrivals: np.ndarray | int
    source: str
    partition: int | None
    is_log: bool


class Undecided(NamedTuple):
    """A block that cannot be ruled before those ahead of it, as their order tells which of two hours a time is in."""

    decoded: Decoded
    arrivals: np.ndarray | int
    split: FileSplit | KafkaSplit


@dataclass(frozen=True)
class Slice:
    """What every step of a slice's graph must know. now: the run's clock, microseconds since the epoch."""

    contract: Contract
    root: str
    attempt: str
    commit: int
    now: int
    shards: int
    kafka_config: str | None = None
    ahead: ClassVar[ReadAhead | None] = None


def folder_of(slice: Slice) -> Path:
    """Where the slice's files are written."""
    return Path(slice.root) / "data" / slice.attempt


class Current:
    """Stands in for a Slice in a graph that is built once and run, in this process, slice after slice: what differs from
    one to the next is looked up when a step needs it. It travels by reference, so it is for in-process runners only; each
    run has its own, found by its number.

    ahead: what was begun to be read of slices to come, None where nothing is read ahead.
    """

    def __init__(self, ahead: ReadAhead | None = None) -> None:
        self.slice: Slice | None = None
        self.partitions: list[str] = []
        self.ahead = ahead
        self._token = next(_TOKENS)
        _CURRENT[self._token] = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.slice, name)

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return _current, (self._token,)


_TOKENS = itertools.count()
_CURRENT: weakref.WeakValueDictionary[int, Current] = weakref.WeakValueDictionary()


def _current(token: int) -> Current:
    return _CURRENT[token]


def begin(splits: Sequence[Split], slice: Slice, ahead: ReadAhead) -> None:
    """Start reading and decoding what a coming slice, alike but for its commit, will ask for."""
    ahead.begin(key_of(splits, slice), blocks(splits, slice))


def key_of(splits: Sequence[Split], slice: Slice) -> str:
    """What a slice asks for blocks by; not its commit, which is not known yet when they are begun."""
    return encode([slice.root, slice.contract.hash, slice.now, splits]).decode()


def blocks(splits: Sequence[Split], slice: Slice) -> Blocks:
    """Per block (split, what decode_block makes of it); between them, where a split ended."""
    return Blocks(_read(splits, slice), lambda found: (found[0], decode_block(found[1], found[0], slice)))


def _read(splits: Sequence[Split], slice: Slice) -> Iterator[tuple[Any, bool]]:
    for split in splits:
        for found in sources.read(split, slice.contract, slice.now, slice.kafka_config):
            yield (found, False) if isinstance(found, FileEnd | KafkaEnd) else ((split, found), True)


def decode_block(block: Block, split: FileSplit | KafkaSplit, slice: Slice) -> Decided | Undecided:
    contract = slice.contract
    if split.poison is None:
        decoded = format_of(contract).decode(block, split.header, dict(split.constants))
    else:
        is_message = isinstance(split, KafkaSplit)
        decoded = set_aside(block, contract, split.poison, split.header, dict(split.constants), is_message)
    arrivals: np.ndarray | int = slice.now
    if isinstance(block, Records) and block.arrivals is not None:
        arrivals = block.arrivals
    if decoded.twice is not None:
        return Undecided(decoded, arrivals, split)
    return _decide(decoded, arrivals, split, contract)


def _decide(decoded: Decoded, arrivals: np.ndarray | int, split: FileSplit | KafkaSplit, contract: Contract) -> Decided:
    ruled = apply_rules(decoded, arrivals, contract)
    if not isinstance(arrivals, int) and ruled.rejected.num_rows:
        at = decoded.rejecting.indices
        arrived = pa.array(arrivals[at if decoded.parents is None else decoded.parents[at]]).cast(UTC_MICROS)
        ruled = ruled._replace(rejected=ruled.rejected.append_column("_arrival", arrived))
    return Decided(ruled, arrivals, split.lineage, split.partition, split.is_log)


class Twice:
    """Rules blocks of a file in their order, where `on_dst = "in_order"` makes that matter."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._seen: set[int] = set()
        self._key: str | None = None

    def begin(self, split: FileSplit | KafkaSplit) -> None:
        """Go on where the slice before this one stopped in the file."""
        self._key = split.key
        self._seen = _unpacked(split.twice) if isinstance(split, FileSplit) else set()

    def decided(self, block: Decided | Undecided) -> Decided:
        """The block, ruled with what the blocks before it have told."""
        if isinstance(block, Decided):
            return block
        decoded, self._seen = in_order(block.decoded, self._seen)
        return _decide(decoded, block.arrivals, block.split, self._contract)

    def end(self, found: End) -> End:
        """Where the file ended, with what is to be known of it there."""
        is_mine = isinstance(found, FileEnd) and found.key == self._key and self._seen
        return replace(found, twice=_packed(self._seen)) if is_mine else found


def _packed(seen: set[int]) -> str:
    return base64.b64encode(np.sort(np.fromiter(seen, np.uint64, len(seen))).astype("<u8").tobytes()).decode()


def _unpacked(text: str) -> set[int]:
    return set(np.frombuffer(base64.b64decode(text), "<u8").tolist())
