"""The next slice: which splits of which partitions to read. Small, plain data, decided before reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from beam_grid.errors import GridError
from beam_grid.state import FeedState
from data_sources.contract import Contract
from data_sources.sources import Listing, Source, SourceError
from data_sources.splits import PartitionPlan, Split


@dataclass
class Plan:
    """partitions: what to read; rows: at most that many records; problems: what was left out, and why; waiting: files that
    end in a record that may not be whole yet."""

    partitions: list[PartitionPlan] = field(default_factory=list)
    rows: int = 0
    problems: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


def next_slice(source: Source, contract: Contract, state: FeedState, rows: int, listing: Listing | None = None) -> Plan:
    """At most `rows` new records of the source; listing: what of it is new, where that was found out before.

    Raises GridError where the source cannot be read at all.
    """
    try:
        listing = listing or source.plan(contract, state.ends, rows)
    except SourceError as cause:
        raise GridError(str(cause)) from cause
    partitions = [_partition(key, splits, state) for key, splits in source.partitions(listing, contract)]
    return Plan(partitions, sum(split.rows for split in listing.splits), listing.problems, listing.waiting)


def _partition(key: str, splits: Sequence[Split], state: FeedState) -> PartitionPlan:
    return PartitionPlan(
        key=key,
        max_event_time=state.max_event_times.get(key),
        newest_arrival=state.arrivals.get(key),
        splits=tuple(splits),
    )
