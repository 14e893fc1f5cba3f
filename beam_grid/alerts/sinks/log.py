"""The log: a line for each message, with its fields where logs are JSON."""

from __future__ import annotations

from beam_grid.about import about
from beam_grid.alerts.messages import Message
from beam_grid.console import say


class ToLog:
    """Lines on stderr. Not guaranteed: that whoever reads them saw a line once."""

    def send(self, message: Message) -> None:
        with about(alert=message.rule, message_id=message.id, set=message.set):
            say(f"alert: {message.title}" + (f" ({message.link})" if message.link else ""))
