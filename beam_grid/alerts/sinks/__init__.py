"""Where messages are sent: a file for each kind of sink.

A sink takes a message or raises SinkFailed. It is given the same message again where it may have taken it and the sender
died before it knew; each passes the message's id on, by which the receiver knows it: `Idempotency-Key` and `webhook-id`, a
header of the Kafka record, `Message-ID`; the file looks for it in its own last lines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from beam_grid.alerts.declared import AnySink, EmailSink, FileSink, KafkaSink, LogSink
from beam_grid.alerts.messages import Message


class SinkFailed(Exception):
    """It was not taken, or not known to be. The text holds no secret."""

    def __init__(self, text: str, is_refused: bool = False, is_final: bool = False) -> None:
        """is_refused: the receiver will not take this message, while it may take others. is_final: nor is it to be tried
        again."""
        super().__init__(text)
        self.is_refused, self.is_final = is_refused or is_final, is_final


class Sink(Protocol):
    """Takes messages, one at a time."""

    def send(self, message: Message) -> None:
        """Return when it is taken; raises SinkFailed, within the sink's time."""


def made(declared: AnySink, lake: Path) -> Sink:
    """The sink that a file declares."""
    if isinstance(declared, LogSink):
        from beam_grid.alerts.sinks.log import ToLog

        return ToLog()
    if isinstance(declared, FileSink):
        from beam_grid.alerts.sinks.file import ToFile

        return ToFile(lake / declared.path)
    if isinstance(declared, KafkaSink):
        from beam_grid.alerts.sinks.kafka import ToKafka

        return ToKafka(declared)
    if isinstance(declared, EmailSink):
        from beam_grid.alerts.sinks.email import ToEmail

        return ToEmail(declared)
    from beam_grid.alerts.sinks.webhook import ToWebhook

    return ToWebhook(declared)
