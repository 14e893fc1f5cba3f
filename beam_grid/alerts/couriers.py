"""A courier for each sink: sends what waits for it, oldest first, again and again until it is taken.

    outbox ─► oldest unsent ─► sink ─┬─ taken ─► written down ─► the next one
                                     └─ not ─► a pause, longer and longer (1 s to 60 s) ─► the same one

Guarantees: a sink that hangs or is down holds up no other, nor the looking; it gets all that waited, in order, when it is
back. A message that its receiver refuses by what it is is given up after REFUSALS tries and listed as refused.
"""

from __future__ import annotations

import threading
import time

from beam_grid.alerts.declared import AnySink
from beam_grid.alerts.evaluate import now_us
from beam_grid.alerts.messages import from_json
from beam_grid.alerts.sinks import Sink, SinkFailed, made
from beam_grid.alerts.store import Store, opened
from beam_grid.console import say
from beam_grid.errors import GridError
from beam_grid.landing import Lake
from beam_grid.service.breaker import Breaker

REFUSALS = 5

_LOOKS_EVERY_S = 0.2


class Courier:
    """Of one sink. `change` may be called while it works."""

    def __init__(self, lake: Lake, declared: AnySink, first_s: float = 1.0) -> None:
        self._lake, self.declared = lake, declared
        self._sink: Sink = made(declared, lake.path)
        self._tries, self._said = Breaker(first_s), ""
        self._refused = (0, 0)
        """A message's number, and how often it was refused: tries while nobody answers do not count."""
        self._taken = 0
        """The number of one that was taken, until that is written down."""

    def change(self, declared: AnySink) -> None:
        """What it sends from now on goes there."""
        if declared != self.declared:
            self.declared, self._sink = declared, made(declared, self._lake.path)

    def run(self, ending: threading.Event) -> None:
        """Send until told to end; a thread's work."""
        while not ending.is_set():
            try:
                with opened(self._lake) as store:
                    while not ending.is_set():
                        while not ending.is_set() and self._tries.wait_s == 0 and self.send_one(store):
                            pass
                        ending.wait(max(_LOOKS_EVERY_S, min(self._tries.wait_s, 1.0)))
            except GridError as cause:
                self._say(str(cause))
                ending.wait(5.0)

    def drain(self, store: Store, tries: int = 3) -> str | None:
        """Send all that waits; what is wrong, where that many tries do not bring one through, which is not given up either."""
        number, failed = 0, 0
        while (waiting := store.unsent(self.declared.name)) is not None:
            number, failed = waiting.number, failed + 1 if waiting.number == number else 0
            if failed >= (REFUSALS if self._refused[0] == number else tries):
                return self._said
            self.send_one(store)
            time.sleep(self._tries.wait_s)
        return None

    def send_one(self, store: Store) -> bool:
        """Whether anything waited."""
        waiting = store.unsent(self.declared.name)
        if waiting is None:
            return False
        try:
            if waiting.number != self._taken:
                with self._tries.trying():
                    self._sink.send(from_json(waiting.body))
        except Exception as cause:
            why = str(cause) if isinstance(cause, SinkFailed) else f"failed: {type(cause).__name__}"
            is_over = (
                isinstance(cause, SinkFailed) and cause.is_refused and self._counts(waiting.number, cause.is_final)
            )
            store.failed(waiting.number, why, now_us() if is_over else None)
            self._say(why if is_over else f"{why}; tried again, after longer and longer pauses")
            return True
        self._taken = waiting.number
        store.sent(waiting.number, now_us())
        if self._said:
            self._said = ""
            say(f"alerts: sink {self.declared.name}: goes on")
        return True

    def _counts(self, number: int, is_final: bool) -> bool:
        """Whether the message was refused often enough."""
        before = self._refused[1] if self._refused[0] == number else 0
        self._refused = number, before + 1
        return is_final or before + 1 >= REFUSALS

    def _say(self, line: str) -> None:
        """Once for each reason."""
        if line != self._said:
            self._said = line
            say(f"alerts: sink {self.declared.name}: {line}")
