"""A circuit breaker with growing pauses: what failed is tried again, less and less often, until it works.

    closed ──fails──► closed ──fails 3 times──► open ──the pause is over──► half-open ──works──► closed
              pauses of 1 s, 2 s, .. 60 s, each drawn anew between half and whole      └─fails──► open

The states are pybreaker's, the pauses tenacity's. Time is the monotonic clock's, so a clock that is set neither
hastens a try nor puts it off; `retry_at` is told in the wall clock's, for people.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import tenacity
from pybreaker import CircuitBreaker

from beam_grid.service.vitals import Breaker as State

FAILURES = 3
"""So many failures in a row open the circuit."""

FIRST_S, LONGEST_S = 1.0, 60.0
"""Pauses grow from the first to the longest."""


class Breaker:
    """Of one thing that may fail: a feed's source, a feed's tables.

    with breaker.trying(): ...   counts what is raised, and raises it
    """

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._circuit = CircuitBreaker(fail_max=FAILURES, reset_timeout=0, throw_new_error_on_trip=False)
        half, most = first_s / 2, longest_s / 2
        steady = tenacity.wait_exponential(multiplier=half, max=most)
        self._pause = steady + tenacity.wait_random_exponential(multiplier=half, max=most)
        self._due = 0.0
        self.failures = 0
        self.retry_at: int | None = None
        self.failing_since: float | None = None
        """Of the monotonic clock; None while all is well."""

    @property
    def state(self) -> State:
        found: State = self._circuit.current_state  # type: ignore[assignment]
        return found

    @property
    def wait_s(self) -> float:
        """Seconds until the next try may be made; 0 where it may be now."""
        return max(0.0, self._due - time.monotonic())

    @contextmanager
    def trying(self) -> Iterator[None]:
        """One try: its success closes the circuit, its failure puts the next one off."""
        if self.state == "open":
            self._circuit.half_open()
        try:
            with self._circuit.calling():
                yield
        except Exception:
            self._failed()
            raise
        self.failures, self._due, self.retry_at, self.failing_since = 0, 0.0, None, None

    def _failed(self) -> None:
        self.failures += 1
        self.failing_since = self.failing_since or time.monotonic()
        turn = tenacity.RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        turn.attempt_number = self.failures
        pause = self._pause(turn)
        self._due = time.monotonic() + pause
        self.retry_at = time.time_ns() // 1000 + int(pause * 1e6)
