"""Kafka as a source that does not end: batches of messages as they come, all partitions by one client.

    partition 0   [a b]      [c]  .                 . all that is there has been read: it may be idle
    partition 1        [x y z] . . . . .

Guarantees: a partition's messages come in its order, from the offset that was asked for, each once; those of aborted
transactions do not. Not guaranteed: an order between partitions. Partitions added later are not read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from data_sources.sources.errors import SourceAway, SourceDenied, SourceError, SourceRefused
from data_sources.sources.kafka import TIMEOUT_S, connected, is_away, is_unknown, open_consumer, parse_source, refusals


class Arrived(NamedTuple):
    """Messages of one partition, in its order. arrivals: microseconds since the epoch."""

    partition: int
    values: list[bytes | None]
    offsets: list[int]
    arrivals: list[int]


def first_offsets(source: str, config_file: str | None, patience_s: float = TIMEOUT_S) -> dict[int, int]:
    """By partition the first offset there is. Raises SourceError where the topic is not to be had."""
    from confluent_kafka import TopicPartition

    bootstrap, topic = parse_source(source)
    with connected(source, bootstrap, config_file, patience_s) as link:
        found = link.topics(topic)[topic]
        if found.error is not None:
            kind: type[SourceError] = SourceDenied if found.error.code() in refusals() else SourceRefused
            if is_away(found.error) and not is_unknown(found.error):
                kind = SourceAway
            raise kind(f"source {source}: topic {topic!r}: {found.error.str()}; check the name")
        return {
            number: link.consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=patience_s)[0]
            for number in sorted(found.partitions)
        }


class TopicStream:
    """A client at some offsets of a topic; close it."""

    def __init__(self, source: str, offsets: Mapping[int, int], config_file: str | None) -> None:
        from confluent_kafka import TopicPartition

        bootstrap, self._topic = parse_source(source)
        self.offsets = dict(offsets)
        """By partition the offset to go on at."""
        self.ended: set[int] = set()
        """Partitions of which all that is there has been read."""
        self._consumer = open_consumer(bootstrap, config_file)
        self._consumer.assign([TopicPartition(self._topic, number, at) for number, at in self.offsets.items()])

    def read(self, most: int, within_s: float) -> list[Arrived]:
        """What has come, an element a partition; empty where nothing did in the time. Raises SourceError."""
        from confluent_kafka import KafkaError, KafkaException

        found: dict[int, Arrived] = {}
        try:
            batch = self._consumer.consume(most, timeout=within_s)
        except KafkaException as cause:
            raise SourceError(f"kafka {self._topic}: {cause.args[0].str()}") from cause
        for message in batch:
            number, error = message.partition(), message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    self.ended.add(number)
                elif not error.retriable():
                    kind = SourceAway if is_away(error) else SourceError
                    raise kind(f"kafka {self._topic}/{number}: {error.str()}")
                continue
            self.ended.discard(number)
            arrived = found.setdefault(number, Arrived(number, [], [], []))
            clock, millis = message.timestamp()
            arrived.values.append(message.value())
            arrived.offsets.append(message.offset())
            arrived.arrivals.append(millis * 1000 if clock and millis >= 0 else time.time_ns() // 1000)
            self.offsets[number] = message.offset() + 1
        return list(found.values())

    def close(self) -> None:
        self._consumer.close()
