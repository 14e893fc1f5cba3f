"""A topic: a record a message, key RULE/KEY of its first alert, with the header `idempotency-key`.

Taken is what all in-sync replicas have. The client's own tries are idempotent; a record may be there twice where the
process died, or the broker's answer was lost, between the writing and the knowing: under the same header.
"""

from __future__ import annotations

import time
from typing import Any

from beam_grid.alerts.declared import KafkaSink
from beam_grid.alerts.messages import Message, to_json
from beam_grid.alerts.sinks import SinkFailed
from data_sources.durations import parse_duration


class ToKafka:
    """One topic; the connection is kept from message to message."""

    def __init__(self, declared: KafkaSink) -> None:
        self._declared, self._timeout = declared, parse_duration(declared.timeout).total_seconds()
        self._producer: Any = None

    def send(self, message: Message) -> None:
        from confluent_kafka import KafkaException

        failed: list[Any] = []
        told: list[bool] = []

        def delivered(error: Any, record: Any) -> None:
            told.append(True)
            if error is not None:
                failed.append(error)

        try:
            producer = self._producer = self._producer or self._connected()
            key = f"{message.rule}/{message.alerts[0].id if len(message.alerts) == 1 else message.id}"
            producer.produce(
                self._declared.topic, to_json(message), key.encode(), headers={"idempotency-key": message.id.encode()},
                on_delivery=delivered,
            )  # fmt: skip
            deadline = time.monotonic() + self._timeout + 1.0
            while not told and time.monotonic() < deadline:
                producer.poll(0.1)
        except (KafkaException, BufferError) as cause:
            is_refused = isinstance(cause, KafkaException) and _is_too_large(cause.args[0])
            raise SinkFailed(f"topic {self._declared.topic}: {_short(cause)}", is_refused) from None
        if failed or not told:
            if not told:
                producer.purge()
                self._producer = None
            why = _short(failed[0]) if failed else f"no answer within {self._timeout:g} s"
            raise SinkFailed(
                f"topic {self._declared.topic}: {why}", is_refused=bool(failed) and _is_too_large(failed[0])
            )

    def _connected(self) -> Any:
        from confluent_kafka import Producer

        from data_sources.sources.errors import SourceError
        from data_sources.sources.kafka import settings

        try:
            given = settings(self._declared.config)
        except SourceError as cause:
            raise SinkFailed(str(cause)) from None
        own = {
            "bootstrap.servers": self._declared.bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 0,
            "delivery.timeout.ms": int(self._timeout * 1000), "request.timeout.ms": int(self._timeout * 1000),
            "log_level": 0, "error_cb": lambda error: None,
        }  # fmt: skip
        return Producer({**given, **own}, logger=_Silent())


class _Silent:
    """librdkafka's own lines: what matters of them comes as an error."""

    def log(self, *_: Any) -> None:
        """Nothing."""


def _short(error: Any) -> str:
    found = error.args[0] if getattr(error, "args", ()) else error
    name = getattr(found, "name", None)
    return str(name()) if callable(name) else type(error).__name__


def _is_too_large(error: Any) -> bool:
    from confluent_kafka import KafkaError

    return bool(error.code() == KafkaError.MSG_SIZE_TOO_LARGE)
