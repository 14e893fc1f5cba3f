"""The producer of a soak: what it sends, to which partitions, in which transactions, is decided by a seed.

    plain        ──x──x──x──x──x──x──►        idempotent, so that a broker that restarts gets each once
    committed       [──x──x──]commit
    aborted         [──x──x──]abort           read by nobody
    open            [──x──────x──── ... ──]   meanwhile others write behind it; then either

It remembers each message that was delivered, and that its transaction was committed: nothing else counts. Among the
messages are copies, corrections of earlier ones, late and broken ones; some partitions are idle for a while.
"""

from __future__ import annotations

import json
import random
import threading
import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tests.properties.oracle import RawLine
from tests.transforms.making import minute
from tests.waiting import PATIENCE_S

_EVERY_S = 0.1
_ARRIVED_MS = int(minute(100_000).timestamp() * 1000)
"""All messages say that they came long after their events, so that none is from the future."""


class Sender(threading.Thread):
    """Sends about `rate` messages a second until `stop`; then `delivered` is complete. What ends it early is in `failure`."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, seed: int, rate: int = 200) -> None:
        super().__init__(name="sender", daemon=True)
        self.topic, self.partitions, self.rate = topic, partitions, rate
        self.delivered: list[RawLine] = []
        self.sent = {"plain": 0, "committed": 0, "aborted": 0}
        self.failure: BaseException | None = None
        self.settling = threading.Lock()
        """Held while a transaction ends: who stops the broker meanwhile would not know what became of it."""
        self._rng, self._servers = random.Random(f"sender {seed}"), bootstrap
        self._ended, self._written, self._made = threading.Event(), 0, list[dict[str, Any]]()
        self._plain = Producer({**self._settings, "enable.idempotence": True})
        self._transactions = 0

    def stop(self) -> None:
        self._ended.set()
        self.join(PATIENCE_S)
        assert not self.is_alive() and self.failure is None, self.failure

    def run(self) -> None:
        try:
            self._run()
        except BaseException as cause:
            self.failure = cause

    @property
    def _settings(self) -> dict[str, Any]:
        return {"bootstrap.servers": self._servers, "message.timeout.ms": 120_000, "linger.ms": 5, "log_level": 0}

    def _run(self) -> None:
        rng, open_one = self._rng, None
        while not self._ended.is_set():
            began = time.monotonic()
            count = max(1, int(self.rate * _EVERY_S))
            if open_one is None and rng.random() < 0.15:
                open_one = _Transaction(self, rng.uniform(0.2, 4.0))
            if open_one is not None and rng.random() < 0.5:
                open_one.send(self._records(max(1, count // 3)))
            self._send(self._plain, self._records(count), self.delivered, "plain")
            if open_one is not None and open_one.is_due:
                open_one.end(is_committed=rng.random() < 0.6)
                open_one = None
            self._plain.poll(0)
            self._ended.wait(max(0.0, began + _EVERY_S - time.monotonic()))
        if open_one is not None:
            open_one.end(is_committed=False)
        assert self._plain.flush(60) == 0, "messages that were never confirmed"

    def _send(self, producer: Producer, records: list[bytes], into: list[RawLine], how: str) -> None:
        """In no order of time, to partitions of which some are idle."""
        busy = [p for p in range(self.partitions) if (int(time.monotonic()) // 5 + p) % 4] or [0]

        def at(error: Any, message: Message) -> None:
            if error is None:
                value, partition, offset = message.value(), message.partition(), message.offset()
                assert value is not None and partition is not None and offset is not None
                into.append(RawLine(partition, offset, value.decode(), self.topic, _ARRIVED_MS * 1000))
                self.sent["plain"] += how == "plain"
            elif how == "plain":
                self.failure = RuntimeError(f"a message was not delivered: {error}")

        for record in records:
            partition = self._rng.choice(busy)
            words = {"partition": partition, "timestamp": _ARRIVED_MS, "on_delivery": at}
            try:
                producer.produce(self.topic, record, **words)
            except KafkaException as cause:
                if cause.args[0].code() != KafkaError._UNKNOWN_PARTITION:
                    raise
                producer.list_topics(self.topic, timeout=10)  # it was added since the client last asked
                producer.produce(self.topic, record, **words)

    def _records(self, count: int) -> list[bytes]:
        rng, made = self._rng, list[bytes]()
        for _ in range(count):
            fate = rng.random()
            if fate < 0.15 and self._made:  # again, or corrected
                row = dict(rng.choice(self._made[-2000:]))
                if fate < 0.05:
                    row |= {"version": rng.randint(1, 9), "kwh": rng.randint(0, 99) / 4}
            else:
                self._written += 1
                row = {
                    "id": f"r{self._written}", "at": minute(self._written / 120 - rng.expovariate(0.5)).isoformat(),
                    "kwh": rng.choice([None, 0.25, 1.5, 7.0]), "meter": rng.choice([None, "m1", "m2", "m3"]), "version": 1,
                }  # fmt: skip
                if fate < 0.18:
                    row["at"] = minute(self._written / 120 - 120).isoformat()
                elif fate < 0.2:
                    row["kwh"] = -1.0
                self._made.append(row)
            text = '{"id": "cut off' if 0.2 <= fate < 0.22 else json.dumps(row)
            made.append(text.encode())
        rng.shuffle(made)
        return made


class _Transaction:
    """One that is open for so many seconds."""

    def __init__(self, sender: Sender, seconds: float) -> None:
        sender._transactions += 1
        self._sender, self._until = sender, time.monotonic() + seconds
        self._delivered: list[RawLine] = []
        name = f"{sender.topic}-{sender._transactions}"
        self._producer = Producer({**sender._settings, "transactional.id": name, "transaction.timeout.ms": 300_000})
        with sender.settling:
            self._again(lambda: self._producer.init_transactions(30))
            self._producer.begin_transaction()

    @property
    def is_due(self) -> bool:
        return time.monotonic() > self._until

    def send(self, records: list[bytes]) -> None:
        self._sender._send(self._producer, records, self._delivered, "transaction")
        self._producer.poll(0)

    def end(self, *, is_committed: bool) -> None:
        with self._sender.settling:
            try:
                if is_committed:
                    self._again(lambda: self._producer.commit_transaction(30))
                else:
                    self._again(lambda: self._producer.abort_transaction(30))
            except KafkaException as cause:
                error, is_committed = cause.args[0], False
                if error.txn_requires_abort():
                    self._again(lambda: self._producer.abort_transaction(30))
                elif error.code() not in (KafkaError.INVALID_TXN_STATE, KafkaError.INVALID_PRODUCER_EPOCH):
                    raise  # of these two the broker aborted it, because it was away, or we were, for too long
        if is_committed:
            self._sender.delivered += self._delivered
        self._sender.sent["committed" if is_committed else "aborted"] += len(self._delivered)

    def _again(self, call: Any) -> None:
        """Until it has an answer: the same call, again, is safe where the client says so."""
        for _ in range(10):
            try:
                call()
                return
            except KafkaException as cause:
                if not cause.args[0].retriable():
                    raise
        raise RuntimeError(f"{self._sender.topic}: a transaction has no answer")
