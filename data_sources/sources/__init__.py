"""Where records come from: files, a Kafka topic, rows a feed kept aside. A new kind of source is one class and one reader.

discover   which feeds a place holds               holds
plan       what is new since the commits           plan, partitions      in the driver
read       a split's blocks, and where it ended    read                  in the workers, by the split's type
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from data_sources.contract import Contract
from data_sources.formats import Block
from data_sources.sources.errors import SourceError
from data_sources.splits import End, FileSplit, KafkaSplit, Split

__all__ = ["Listing", "Source", "SourceError", "read", "source_at"]


@dataclass
class Listing:
    """What a plan is made of: splits to read; what is left out, and why; which files end in a record that may not be
    whole yet; and how many records are left behind the splits, by partition of a topic."""

    splits: list[Split] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    lag: dict[str, int] = field(default_factory=dict)


class Source(Protocol):
    """A place that holds records of one or more feeds. Its methods raise SourceError where it cannot be read at all."""

    @property
    def plans_ahead(self) -> bool:
        """Whether a plan may be made before the commit before it stands: its records do not come meanwhile."""

    @property
    def address(self) -> str:
        """As the user wrote it."""

    def holds(self, contract: Contract) -> bool:
        """Whether anything there is the feed's, by the contract's `files` or topic."""

    def plan(self, contract: Contract, ends: Mapping[str, End], rows: int) -> Listing:
        """At most `rows` new records. ends: by key, where the commits stand."""

    def partitions(self, listing: Listing, contract: Contract) -> Sequence[tuple[str, Sequence[Split]]]:
        """(key, splits) of each partition: what one worker reads, in this order."""


def source_at(
    address: str, *, own_globs: bool = False, kafka_config: str | None = None, patience_s: float | None = None
) -> Source:
    """The source a user names: kafka://..., else files. patience_s: how long a plan waits for a broker's answer."""
    from data_sources.sources import kafka
    from data_sources.sources.files import Files

    if kafka.is_kafka(address):
        return kafka.Topic(address, kafka_config, patience_s or kafka.TIMEOUT_S)
    return Files(address, own_globs)


def read(split: Split, contract: Contract, now: int, kafka_config: str | None) -> Iterator[Block | End]:
    """The split's blocks, and last where it ended. now: microseconds, the arrival of what has none of its own."""
    match split:
        case KafkaSplit():
            from data_sources.sources import kafka

            yield from kafka.read_partition(split, contract, kafka_config, now)
        case FileSplit():
            from data_sources.sources.files import read_file

            yield from read_file(split, contract)
        case _:
            raise TypeError(f"{split} is not read by blocks")
