"""What ReadAndJudge reads, found out beforehand: the partitions of files or of a topic, from their beginning."""

from __future__ import annotations

import time
from typing import NamedTuple

from data_sources.contract import Contract
from data_sources.sources import source_at
from data_sources.splits import PartitionPlan
from data_sources.typed_json import encode
from transforms.blocks import Slice
from transforms.shard import DEFAULT_SHARDS


class Found(NamedTuple):
    """partitions: JSON text of each, the elements of ReadAndJudge; problems: what is left out, and why."""

    partitions: list[str]
    problems: list[str]


def partitions_of(
    source: str, contract: Contract, *, own_globs: bool = False, kafka_config: str | None = None, rows: int = 1 << 40
) -> Found:
    """At most `rows` records of a file, folder, glob or kafka://host:port/topic; own_globs: only files that the contract's
    `files` name. Raises SourceError (data_sources.sources) for a source that cannot be read at all."""
    place = source_at(source, own_globs=own_globs, kafka_config=kafka_config)
    listing = place.plan(contract, {}, rows)
    plans = [PartitionPlan(key=key, splits=tuple(splits)) for key, splits in place.partitions(listing, contract)]
    return Found([encode(plan).decode() for plan in plans], [*listing.problems, *listing.waiting])


def slice_of(
    contract: Contract, *, now: int | None = None, shards: int = DEFAULT_SHARDS, kafka_config: str | None = None
) -> Slice:
    """What ReadAndJudge must know, of a pipeline that writes no lake. now: the clock that the future is judged by,
    microseconds since the epoch; that of this machine unless given."""
    clock = time.time_ns() // 1000 if now is None else now
    return Slice(contract, root="", attempt="", commit=0, now=clock, shards=shards, kafka_config=kafka_config)
