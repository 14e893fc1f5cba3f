"""The next slice: which splits of which partitions to read. Small, plain data, decided before reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from beam_grid.errors import GridError
from beam_grid.state import FeedState
from data_sources import files, kafka
from data_sources.contract import Contract
from data_sources.splits import FileEnd, FileSplit, PartitionPlan, Split

LOG = "files"
"""Key of the one partition that files in the order of their names form."""


@dataclass
class Plan:
    """partitions: what to read; rows: at most that many records; problems: what was left out, and why."""

    partitions: list[PartitionPlan] = field(default_factory=list)
    rows: int = 0
    problems: list[str] = field(default_factory=list)


def next_slice(
    source: str,
    contract: Contract,
    state: FeedState,
    rows: int,
    own_globs: bool,
    kafka_config: str | None,
    listing: files.Listing | None = None,
) -> Plan:
    """At most `rows` new records of the source; listing: what `list_new` found, where it was called before.

    Raises GridError where the source cannot be read at all.
    """
    try:
        if kafka.is_kafka(source):
            return _kafka_slice(source, contract, state, rows, kafka_config)
        listing = listing or list_new(source, contract, state.files, rows, own_globs)
    except files.SourceError as cause:
        raise GridError(str(cause)) from cause
    partitions = [_partition(key, splits, state) for key, splits in by_partition(listing, contract)]
    return Plan(partitions, sum(split.rows for split in listing.splits), listing.problems)


def list_new(
    source: str, contract: Contract, known: Mapping[str, FileEnd], rows: int, own_globs: bool
) -> files.Listing:
    """What of the files at the source is new; raises SourceError."""
    return files.plan_files(files.find_files(source, contract, own_globs), known, contract, rows)


def by_partition(listing: files.Listing, contract: Contract) -> list[tuple[str, list[FileSplit]]]:
    """(key, splits): files in the order of their names form one log, else each is a partition."""
    if contract.file_order == "name":
        return [(LOG, listing.splits)] if listing.splits else []
    return [(split.path, [split]) for split in listing.splits]


def _kafka_slice(source: str, contract: Contract, state: FeedState, rows: int, kafka_config: str | None) -> Plan:
    if contract.format != "json":
        raise GridError(f"feed {contract.name}: Kafka messages are read as JSON, the contract says {contract.format!r}")
    _, topic = kafka.parse_source(source)
    splits, gaps = kafka.plan_topic(source, state.offsets.get(topic, {}), kafka_config, rows)
    partitions = [_partition(split.key, [split], state) for split in splits]
    return Plan(partitions, sum(split.rows for split in splits), gaps)


def _partition(key: str, splits: Sequence[Split], state: FeedState) -> PartitionPlan:
    return PartitionPlan(
        key=key,
        max_event_time=state.max_event_times.get(key),
        newest_arrival=state.arrivals.get(key),
        splits=tuple(splits),
    )
