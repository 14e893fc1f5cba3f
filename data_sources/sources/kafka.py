"""Kafka as a source: a bounded slice per run, from the committed to the latest offsets, `read_committed`.

Connection settings (TLS, SASL) come from a properties file or from the environment, never from the command line:
`BEAM_GRID_KAFKA_SASL_PASSWORD` becomes `sasl.password`. Readers load them where they run; nothing here logs them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from data_sources.contract import Contract
from data_sources.formats import format_of
from data_sources.records import Records, messages
from data_sources.sources import Listing
from data_sources.sources.errors import SourceAway, SourceDenied, SourceError, SourceRefused
from data_sources.splits import End, KafkaEnd, KafkaSplit

if TYPE_CHECKING:  # the client takes a while to load and files do without
    from confluent_kafka import Consumer, KafkaError, KafkaException
    from confluent_kafka.admin import TopicMetadata

BATCH = 20_000
"""Messages a block holds."""

TIMEOUT_S = 15.0
_ASK_S = 1.0
"""How long to wait for an answer at a time: a refusal is known at once, and is not waited on."""

_PAUSE_S = 0.2
"""How long to wait at a time: what an aborted transaction leaves at a partition's end never comes, and its end does."""

PREFIX = "BEAM_GRID_KAFKA_"


@dataclass(frozen=True)
class Topic:
    """A topic, or a broker of which each feed reads its own topic, as a Source."""

    address: str
    config_file: str | None = None
    patience_s: float = TIMEOUT_S
    """How long a plan waits for an answer."""
    plans_ahead = False

    def holds(self, contract: Contract) -> bool:
        if is_broker(self.address):
            return contract.topic in self._topics
        return parse_source(self.address)[1] == contract.topic

    @cached_property
    def _topics(self) -> set[str]:
        return topics(self.address, self.config_file)

    def plan(self, contract: Contract, ends: Mapping[str, End], rows: int) -> Listing:
        try:
            format_of(contract).messages(messages([], [], []))
        except ValueError as cause:
            raise SourceError(f"feed {contract.name}: {cause}") from cause
        known = {key: end for key, end in ends.items() if isinstance(end, KafkaEnd)}
        return plan_topic(self.address, known, self.config_file, rows, self.patience_s)

    def partitions(self, listing: Listing, contract: Contract) -> list[tuple[str, Sequence[KafkaSplit]]]:
        return [(split.key, [split]) for split in listing.splits if isinstance(split, KafkaSplit)]


def is_kafka(source: str) -> bool:
    return source.startswith("kafka://")


def is_broker(source: str) -> bool:
    """Whether the source is a broker without a topic: each feed's contract then names its own."""
    return is_kafka(source) and not urlsplit(source).path.strip("/")


def topics(source: str, config_file: str | None) -> set[str]:
    """The topics a broker has; raises SourceError where it does not answer."""
    bootstrap, _ = parse_source(f"{source.rstrip('/')}/any")
    with connected(source, bootstrap, config_file) as link:
        return set(link.topics())


def parse_source(source: str) -> tuple[str, str]:
    """`kafka://host:port[,host:port]/topic` to bootstrap servers and topic; SourceError otherwise."""
    parts = urlsplit(source)
    topic = parts.path.strip("/")
    if "@" in parts.netloc:
        raise SourceError("source kafka://...: put user and password into --kafka-config FILE, not into the address")
    ported = all(re.fullmatch(r".+:\d+", server) for server in parts.netloc.split(","))
    if not ported or not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic):
        raise SourceError(f"source {source}: write it as kafka://host:port/topic")
    return parts.netloc, topic


def settings(config_file: str | None) -> dict[str, str]:
    """librdkafka settings from `key = value` lines and the environment, which wins. Raises SourceError."""
    found: dict[str, str] = {}
    if config_file:
        try:
            with open(config_file, encoding="utf-8") as text:
                rows = text.read().splitlines()
        except (OSError, UnicodeDecodeError) as cause:
            raise SourceError(f"--kafka-config {config_file}: cannot be read ({cause})") from cause
        for number, row in enumerate(rows, 1):
            if not row.strip() or row.lstrip().startswith(("#", "!")):
                continue
            key, equals, value = row.partition("=")
            if not equals:
                raise SourceError(f"--kafka-config {config_file}, line {number}: is not key=value")
            found[key.strip()] = value.strip()
    for name, value in os.environ.items():
        if name.startswith(PREFIX) and name != PREFIX + "CONFIG":
            found[name.removeprefix(PREFIX).lower().replace("_", ".")] = value
    return found


class _Link:
    """A client that asks about topics, and knows why it gets no answer.

    The call that fails says no more than that there was none; the reason (no such host, connection refused, wrong
    password) comes apart, as an event.
    """

    def __init__(self, source: str, bootstrap: str, config_file: str | None, patience_s: float) -> None:
        self._source, self._bootstrap, self._patience_s = source, bootstrap, patience_s
        self._reasons: dict[int, str] = {}
        self.consumer = open_consumer(bootstrap, config_file, self._hear)

    def _hear(self, error: KafkaError) -> None:
        self._reasons.setdefault(error.code(), error.str())

    def topics(self, name: str | None = None) -> dict[str, TopicMetadata]:
        """What the broker says of a topic, or of all. Raises SourceDenied as soon as it refuses, SourceAway where there is
        no answer for as long as it waits."""
        from confluent_kafka import KafkaException

        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                said = self.consumer.list_topics(*([name] if name else []), timeout=_ASK_S)
                return dict(said.topics)
            except KafkaException as cause:
                failure = self.failure(cause)
                if isinstance(failure, SourceDenied) or time.monotonic() > deadline:
                    raise failure from cause

    def failure(self, cause: KafkaException) -> SourceError:
        """What a call that failed means."""
        self.consumer.poll(0)  # events are heard while it polls
        for code in refusals():
            if code in self._reasons:
                return SourceDenied(
                    f"source {self._source}: {self._bootstrap} refuses ({_short(self._reasons[code])}); check --kafka-config"
                )
        said = next((r for code, r in self._reasons.items() if code != _all_down()), None)
        reason = said or (cause.args[0].str() if cause.args else str(cause))
        return SourceAway(
            f"source {self._source}: no answer from {self._bootstrap} ({_short(reason)}); is the broker running?"
        )


@contextmanager
def connected(source: str, bootstrap: str, config_file: str | None, patience_s: float = TIMEOUT_S) -> Iterator[_Link]:
    """Raises SourceError for what a call to the broker raises within."""
    from confluent_kafka import KafkaException

    link = _Link(source, bootstrap, config_file, patience_s)
    try:
        yield link
    except KafkaException as cause:
        raise link.failure(cause) from cause
    finally:
        link.consumer.close()


def refusals() -> tuple[int, ...]:
    from confluent_kafka import KafkaError as E

    return (
        E._AUTHENTICATION, E._SSL, E.SASL_AUTHENTICATION_FAILED, E.TOPIC_AUTHORIZATION_FAILED,
        E.CLUSTER_AUTHORIZATION_FAILED, E.UNSUPPORTED_SASL_MECHANISM,
    )  # fmt: skip


def _all_down() -> int:
    from confluent_kafka import KafkaError

    return int(KafkaError._ALL_BROKERS_DOWN)


def is_away(error: KafkaError) -> bool:
    """Whether an error means that the broker, or the way to it, is gone for now."""
    from confluent_kafka import KafkaError as E

    away = (E._ALL_BROKERS_DOWN, E._TRANSPORT, E._RESOLVE, E._TIMED_OUT, E._TIMED_OUT_QUEUE, E._WAIT_COORD)
    return error.code() in away or bool(error.retriable())


def _short(reason: str) -> str:
    return " ".join(reason.split())[:200]


def open_consumer(
    bootstrap: str, config_file: str | None, hear: Callable[[KafkaError], None] | None = None
) -> Consumer:
    from confluent_kafka import Consumer, KafkaException

    config: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "group.id": "beam-grid",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "socket.connection.setup.timeout.ms": 5000,
        "log_level": 0,
        **({"error_cb": hear} if hear is not None else {}),
        **settings(config_file),
    }
    try:
        return Consumer(config, logger=_silent())
    except KafkaException as cause:
        raise SourceError(f"kafka: a setting is not accepted: {cause.args[0].str()}") from cause


def _silent() -> Any:
    import logging

    logger = logging.getLogger("beam_grid.kafka.rdkafka")
    logger.setLevel(logging.CRITICAL)
    return logger


def plan_topic(
    source: str, known: Mapping[str, KafkaEnd], config_file: str | None, rows: int, patience_s: float = TIMEOUT_S
) -> Listing:
    """The next slice: a split per partition, numbered, at most `rows` offsets together.

    known: where the commits stand, by TOPIC/PARTITION. The problems are gaps: offsets that retention took before they
    were read. Raises SourceError when the broker or topic is not to be had, or the topic is another one than was read.
    """
    from confluent_kafka import TopicPartition

    bootstrap, topic = parse_source(source)
    with connected(source, bootstrap, config_file, patience_s) as link:
        found = link.topics(topic)[topic]
        if found.error is not None:
            said = f"source {source}: topic {topic!r}: {found.error.str()}; check the name"
            if found.error.code() in refusals():
                raise SourceDenied(said)
            raise SourceAway(said) if is_away(found.error) and not is_unknown(found.error) else SourceRefused(said)
        topic_id = _topic_id(bootstrap, config_file, topic, patience_s)
        spans, gaps, skipped = [], [], set()
        for number in sorted(found.partitions):
            before = known.get(f"{topic}/{number}")
            if before is not None and None not in (before.topic_id, topic_id) and before.topic_id != topic_id:
                raise SourceRefused(_made_anew(source, f"its id is {topic_id}, and {before.topic_id} was read before"))
            low, high = link.consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=patience_s)
            start = low if before is None else before.offset
            if start < low:
                gaps.append(f"{topic}/{number}: offsets {start} to {low - 1} are gone (retention took them unread)")
                start = low
                skipped.add(number)  # its offset moves on, also where nothing new has come
            if start > high:
                raise SourceRefused(
                    _made_anew(source, f"partition {number} ends at {high}, and {start} were read before")
                )
            spans.append([number, start, high])
    waiting = [s for s in spans if s[2] > s[1] or s[0] in skipped]
    takes, left = [], rows
    for n, (number, start, high) in enumerate(sorted(waiting, key=lambda s: s[2] - s[1])):
        take = min(high - start, max(1, left // (len(waiting) - n)))
        left -= take
        takes.append((number, start, start + take))
    splits = [
        KafkaSplit(
            topic=topic,
            bootstrap=bootstrap,
            partition=partition,
            start=start,
            end=end,
            topic_id=topic_id,
            number=number,
        )
        for number, (partition, start, end) in enumerate(sorted(takes))
    ]
    left_over = {f"{topic}/{number}": high - start for number, start, high in spans}
    left_over.update((split.key, left_over[split.key] - split.rows) for split in splits)
    return Listing([*splits], gaps, lag=left_over)


def is_unknown(error: KafkaError) -> bool:
    from confluent_kafka import KafkaError as E

    return error.code() in (E.UNKNOWN_TOPIC_OR_PART, E._UNKNOWN_TOPIC, E._UNKNOWN_PARTITION)


def _made_anew(source: str, seen: str) -> str:
    return (
        f"source {source}: the topic was deleted and made anew ({seen}): what it holds now would be taken for what was "
        "read; land it into a new lake or under a new topic name"
    )


def _topic_id(bootstrap: str, config_file: str | None, topic: str, patience_s: float) -> str | None:
    """What the broker calls the topic; None where it does not say (before Kafka 2.8, or it is not allowed to)."""
    from concurrent.futures import TimeoutError as Late

    from confluent_kafka import KafkaException, TopicCollection
    from confluent_kafka.admin import AdminClient

    said = {"bootstrap.servers": bootstrap, "log_level": 0, **settings(config_file)}
    admin = AdminClient(said, logger=_silent())
    try:
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=patience_s)[topic]
        return str(described.result(patience_s).topic_id)
    except (KafkaException, Late):
        return None


def partitions_of(source: str, config_file: str | None) -> int:
    """How many partitions the topic has; raises SourceError."""
    bootstrap, topic = parse_source(source)
    with connected(source, bootstrap, config_file) as link:
        return len(link.topics(topic)[topic].partitions)


def read_partition(
    split: KafkaSplit, contract: Contract, config_file: str | None, now_micros: int
) -> Iterator[Records | KafkaEnd]:
    """Records of messages with offsets in [start, end), then the end. Raises SourceError when the broker goes away."""
    kind = format_of(contract)
    for block in _read_messages(split, config_file, now_micros):
        yield block if split.poison else kind.messages(block)
    yield KafkaEnd(topic=split.topic, partition=split.partition, offset=split.end, topic_id=split.topic_id)


def _read_messages(split: KafkaSplit, config_file: str | None, now_micros: int) -> Iterator[Records]:
    from confluent_kafka import KafkaError, KafkaException, TopicPartition

    if split.start >= split.end:
        return
    consumer = open_consumer(split.bootstrap, config_file)
    try:
        consumer.assign([TopicPartition(split.topic, split.partition, split.start)])
        idle, after = 0.0, split.start
        ended = False
        while not ended:
            # consume waits for as many as it is asked for, so asking beyond the end would wait the whole time
            batch = consumer.consume(min(BATCH, split.end - after), timeout=_PAUSE_S)
            idle = 0.0 if batch else idle + _PAUSE_S
            if idle > TIMEOUT_S:
                raise SourceAway(f"kafka {split.topic}/{split.partition}: no answer for {TIMEOUT_S:.0f} s; run again")
            values, offsets, arrivals = [], [], []
            for message in batch:
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        ended = ended or message.offset() >= split.end
                        continue
                    if error.retriable():
                        continue
                    kind = SourceAway if is_away(error) else SourceError
                    raise kind(f"kafka {split.topic}/{split.partition}: {error.str()}")
                if message.offset() >= split.end:
                    ended = True
                    break
                after = message.offset() + 1
                values.append(message.value())
                offsets.append(message.offset())
                clock, millis = message.timestamp()
                arrivals.append(millis * 1000 if clock and millis >= 0 else now_micros)  # -1: no timestamp
                ended = ended or message.offset() == split.end - 1
            if values:
                yield messages(values, offsets, arrivals)
    except KafkaException as cause:
        kind = SourceAway if is_away(cause.args[0]) else SourceError
        raise kind(f"kafka {split.topic}/{split.partition}: {cause.args[0].str()}") from cause
    finally:
        consumer.close()
