"""How alerting itself is, in a few figures, for `beam-grid status` and for Prometheus.

    alerts.db ─► figures ─┬─► status
                          └─► Seen.newest ─► /metrics       asked often, reads now and then

Reads beside whoever writes, and keeps nobody waiting. Of pending, suppressed and cleared alerts nothing is told here.
"""

from __future__ import annotations

import threading
import time

from msgspec import Struct

from beam_grid.alerts.store import Store, path_of
from beam_grid.errors import GridError
from beam_grid.landing import Lake

_LEAST_S = 5.0


class OpenAlerts(Struct, kw_only=True):
    """Alerts of a rule that are open; those that somebody acknowledged too."""

    rule: str
    severity: str
    count: int


class Deliveries(Struct, kw_only=True):
    """What a sink was sent and has not taken."""

    sink: str
    waiting: int
    """Messages that are still tried."""
    refused: int
    """Messages that were given up, of the last 90 days."""
    oldest_waiting_s: float | None = None
    """Age of the oldest that waits."""
    error: str | None = None
    """The newest of those that wait or were refused."""


class AlertFigures(Struct, kw_only=True):
    """Of one lake: worst first; sinks by name, those that were ever sent something."""

    open: list[OpenAlerts]
    sinks: list[Deliveries]


def figures(lake: Lake) -> AlertFigures | None:
    """As they are now; None where nobody ever looked for alerts. Raises GridError where they cannot be read."""
    if not path_of(lake).exists():
        return None
    now = time.time_ns() // 1000
    store = Store(lake, is_read_only=True)
    try:
        return AlertFigures(
            open=[OpenAlerts(rule=rule, severity=severity, count=n) for rule, severity, n in store.open_by_rule()],
            sinks=[
                Deliveries(
                    sink=sink,
                    waiting=waiting,
                    refused=refused,
                    oldest_waiting_s=None if oldest is None else max(0.0, (now - oldest) / 1e6),
                    error=error,
                )
                for sink, waiting, refused, oldest, error in store.untaken()
            ],
        )
    finally:
        store.close()


class Seen:
    """The figures of one lake, no older than some seconds, or than 100 times as long as it took to read them."""

    def __init__(self, lake: Lake) -> None:
        self._lake, self._guard = lake, threading.Lock()
        self._known: AlertFigures | None = None
        self._next = 0.0

    def newest(self) -> AlertFigures | None:
        """None, too, where they cannot be read: `beam-grid status` says why."""
        with self._guard:
            began = time.monotonic()
            if began >= self._next:
                try:
                    self._known = figures(self._lake)
                except GridError:
                    self._known = None
                took = time.monotonic() - began
                self._next = time.monotonic() + max(_LEAST_S, 100 * took)
            return self._known
