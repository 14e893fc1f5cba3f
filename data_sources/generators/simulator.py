"""Paced live messages to Kafka: what a feed's simulator adds is how `count` messages of this moment look.

`simulate` stops after SECONDS, with SECONDS x rate messages if the broker keeps up; what it could not send by then
is not sent. Exit 0 sent, 1 some messages were not delivered, 2 usage or no broker, 130 interrupted (what was already
handed over is flushed first).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import re
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import numpy as np
from kafka import KafkaProducer
from kafka.errors import KafkaError

Messages = Callable[[np.random.Generator, int, int], Iterable[tuple[bytes, bytes]]]
"""(random numbers, how many, now in milliseconds since the epoch) to (key, value) pairs."""

Maker = Callable[[int], Messages]
"""What a seed (0 where none was given) makes messages of."""

_FLUSH_SECONDS = 15
_LARGEST_BLOCK = 2000


def simulate(description: str, topic: str, maker: Maker, arguments: list[str] | None = None) -> int:
    """Run a simulator's command line; returns the exit code."""
    options = _parser(description, topic).parse_args(arguments)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # one message of our own, not one a retry
    try:
        producer = KafkaProducer(
            bootstrap_servers=options.bootstrap.split(","),
            linger_ms=20,
            batch_size=131_072,
            bootstrap_timeout_ms=5_000,
            max_block_ms=10_000,
            delivery_timeout_ms=_FLUSH_SECONDS * 1000,
            request_timeout_ms=5_000,
        )
    except (KafkaError, ValueError, OSError) as error:
        reason = str(error) or type(error).__name__
        hint = "start one, or name it with --bootstrap HOST:PORT"
        print(f"no Kafka broker at {options.bootstrap} ({reason}): {hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    messages = maker(options.seed or 0)
    return _Stream(producer, options.topic, messages, options.seed).run(options.seconds, options.rate)


class _Stream:
    """Paces messages into a producer and keeps count of what became of them."""

    def __init__(self, producer: KafkaProducer, topic: str, messages: Messages, seed: int | None) -> None:
        self._producer = producer
        self._topic = topic
        self._messages = messages
        self._rng = np.random.default_rng(seed)
        self._sent = self._delivered = 0
        self._problem: BaseException | None = None

    def run(self, seconds: float, rate: float) -> int:
        """Send for `seconds`, flush, print a summary line; returns the exit code."""
        start = time.monotonic()
        interrupted = False
        try:
            self._pace(start, seconds, rate)
        except KafkaError as error:
            self._note(error)
        except KeyboardInterrupt:
            interrupted = True
        lasted = time.monotonic() - start
        try:
            self._producer.flush(timeout=_FLUSH_SECONDS)
        except KafkaError as error:
            self._note(error)
        except KeyboardInterrupt:
            interrupted = True
        with contextlib.suppress(KafkaError, KeyboardInterrupt):
            self._producer.close(timeout=1)
        print(
            f"sent {self._sent:,} messages to {self._topic} in {lasted:.1f} s"
            f" ({self._sent / max(lasted, 0.001):,.1f} a second), {self._delivered:,} delivered"
        )
        failed = self._problem is not None or self._delivered < self._sent
        if failed:
            reason = self._problem or "the broker did not confirm the rest"
            print(f"not everything was delivered: {reason}; check the broker and the topic", file=sys.stderr)
        return 130 if interrupted else int(failed)

    def _pace(self, start: float, seconds: float, rate: float) -> None:
        total = round(seconds * rate)
        elapsed = 0.0
        while self._sent < total and elapsed < seconds:
            elapsed = time.monotonic() - start
            due = min(total, math.floor(elapsed * rate) + 1) - self._sent
            if due > 0:
                self._send(min(due, _LARGEST_BLOCK))
            else:
                time.sleep(min(max(self._sent / rate - elapsed, 0.01), 0.25))

    def _send(self, count: int) -> None:
        """Hand over `count` messages of this moment. Raises KafkaError when the topic cannot be had."""
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        for key, value in self._messages(self._rng, count, now_ms):
            message = self._producer.send(self._topic, key=key, value=value)
            message.add_callback(self._count)
            message.add_errback(self._note)
            self._sent += 1

    def _count(self, _: object) -> None:
        self._delivered += 1

    def _note(self, error: BaseException) -> None:
        self._problem = self._problem or error


def _parser(description: str, topic: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("seconds", metavar="SECONDS", type=_positive, help="how long to send")
    parser.add_argument("--rate", type=_positive, default=3.0, help="messages a second (default 3)")
    parser.add_argument("--bootstrap", default="localhost:9092", help="the broker (default localhost:9092)")
    parser.add_argument("--topic", type=_topic, default=topic, help=f"default {topic}")
    parser.add_argument("--seed", type=_seed, help="the same messages again (but for the time)")
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _topic(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", text) or text in (".", ".."):
        raise argparse.ArgumentTypeError(f"{text!r} cannot name a topic: use letters, digits, '.', '_' and '-'")
    return text


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)
