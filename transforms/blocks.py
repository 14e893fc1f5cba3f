"""What a partition's splits decode to, block by block: reading, decoding, rules. Nothing here needs Beam or a lake.

What a block decodes to depends on the contract and the run's clock, not on what was read or landed before it.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from data_sources import files, kafka
from data_sources.contract import Contract
from data_sources.decode.columns import headerless_names
from data_sources.decode.csv_lines import decode_csv
from data_sources.decode.json_lines import decode_json
from data_sources.decode.parquet_rows import decode_parquet
from data_sources.records import Records
from data_sources.splits import FileEnd, FileSplit, KafkaEnd, KafkaSplit, Split
from data_sources.typed_json import encode
from transforms import read_ahead
from transforms.judge import Ruled, apply_rules
from transforms.read_ahead import Blocks


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


class Current:
    """Stands in for a Slice in a graph that is built once and run, in this process, slice after slice: what differs from
    one to the next is looked up when a step needs it. It travels by reference, so it is for in-process runners only."""

    def __init__(self) -> None:
        self.slice: Slice | None = None
        self.partitions: list[str] = []
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


def begin(splits: Sequence[Split], slice: Slice) -> None:
    """Start reading and decoding what a coming slice, alike but for its commit, will ask for."""
    read_ahead.begin(key_of(splits, slice), blocks(splits, slice))


def key_of(splits: Sequence[Split], slice: Slice) -> str:
    """What a slice asks for blocks by; not its commit, which is not known yet when they are begun."""
    return encode([slice.root, slice.contract.hash, slice.now, splits]).decode()


def blocks(splits: Sequence[Split], slice: Slice) -> Blocks:
    """Per block (split, what decode_block makes of it); between them, where a split ended."""
    return Blocks(_read(splits, slice), lambda found: (found[0], decode_block(found[1], found[0], slice)))


def _read(splits: Sequence[Split], slice: Slice) -> Iterator[tuple[Any, bool]]:
    for split in splits:
        match split:
            case KafkaSplit():
                for block in kafka.read_partition(split, slice.kafka_config, slice.now):
                    yield (split, block), True
                yield KafkaEnd(topic=split.topic, partition=split.partition, offset=split.end), False
            case FileSplit():
                for found in files.read_file(split, slice.contract):
                    yield (found, False) if isinstance(found, FileEnd) else ((split, found), True)
            case _:
                raise TypeError(f"{split} is not read by blocks")


def decode_block(block: Any, split: FileSplit | KafkaSplit, slice: Slice) -> tuple[Ruled, Any, str, int | None]:
    contract = slice.contract
    number = split.partition if isinstance(split, KafkaSplit) else None
    arrivals: Any = slice.now
    if not isinstance(block, Records):
        table, first = block
        decoded = decode_parquet(table, first, contract)
    else:
        arrivals = slice.now if block.arrivals is None else block.arrivals
        if contract.format == "csv":
            decoded = decode_csv(block, contract, _header(split) or headerless_names(contract))
        else:
            decoded = decode_json(block, contract)
    return apply_rules(decoded, arrivals, contract), arrivals, split.lineage, number


def _header(split: FileSplit | KafkaSplit) -> list[str]:
    return list(split.header or ()) if isinstance(split, FileSplit) else []
