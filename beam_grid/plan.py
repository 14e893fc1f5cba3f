"""The next slice: which splits of which partitions to read. Small, plain data, decided before reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from beam_grid.errors import GridError
from beam_grid.state import FeedState
from data_sources.contract import Contract
from data_sources.sources import Listing, Source, SourceError
from data_sources.splits import FileSplit, KafkaSplit, PartitionPlan, Split


@dataclass
class Plan:
    """partitions: what to read; rows: at most that many records; problems: what was left out, and why; waiting: files that
    end in a record that may not be whole yet; lag: records left behind the plan, by partition of a topic."""

    partitions: list[PartitionPlan] = field(default_factory=list)
    rows: int = 0
    problems: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    lag: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Poison:
    """The first split of a partition, whose records are put aside undecoded. why: KIND: TEXT of what landing it ends with."""

    partition: str
    split: str
    start: int
    why: str

    def of(self, partition: PartitionPlan) -> bool:
        """Whether the partition begins with that split."""
        first = partition.splits[0]
        return partition.key == self.partition and isinstance(first, FileSplit | KafkaSplit) and (
            (first.key, first.start) == (self.split, self.start)
        )  # fmt: skip


@dataclass(frozen=True)
class Narrow:
    """A smaller slice than usual, on the way to a record that cannot be landed."""

    rows: int
    """At most so many; of a topic at least one of each partition."""
    after: str | None = None
    """Only the first split of the partition whose key comes next behind this one; None: of all."""
    poison: Poison | None = None

    def of(self, plan: Plan) -> Plan:
        """The part of the plan that this leaves."""
        found = plan.partitions
        if self.poison is not None:
            found = [replace(p, splits=(_first(p.splits[0], self.poison.why),)) for p in found if self.poison.of(p)]
        elif self.after is not None:
            in_turn = sorted(found, key=lambda p: (p.key <= (self.after or ""), p.key))
            found = [replace(p, splits=(_first(p.splits[0]),)) for p in in_turn[:1]]
        rows = sum(split.rows for partition in found for split in partition.splits)
        return Plan(found, rows, plan.problems, plan.waiting, plan.lag)


def _first(split: Split, poison: str | None = None) -> Split:
    assert isinstance(split, FileSplit | KafkaSplit)
    return replace(split, number=0, poison=poison)


def next_slice(source: Source, contract: Contract, state: FeedState, rows: int, listing: Listing | None = None) -> Plan:
    """At most `rows` new records of the source; listing: what of it is new, where that was found out before.

    Raises GridError where the source cannot be read at all.
    """
    try:
        listing = listing or source.plan(contract, state.ends, rows)
    except SourceError as cause:
        raise GridError(str(cause)) from cause
    partitions = [_partition(key, splits, state) for key, splits in source.partitions(listing, contract)]
    rows = sum(split.rows for split in listing.splits)
    return Plan(partitions, rows, listing.problems, listing.waiting, listing.lag)


def _partition(key: str, splits: Sequence[Split], state: FeedState) -> PartitionPlan:
    return PartitionPlan(
        key=key,
        max_event_time=state.max_event_times.get(key),
        newest_arrival=state.arrivals.get(key),
        splits=tuple(splits),
    )
