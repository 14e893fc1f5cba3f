"""Figures of the server for Prometheus, beside those of the lake's followers (service/metrics.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram, generate_latest

from beam_grid.service.metrics import registry
from beam_grid.service.told import Telling, tellings

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Figures:
    """Counters begin at 0 with the process."""

    def __init__(self, lake: Path) -> None:
        def followers() -> list[Telling]:
            return [follower.telling for follower in tellings(lake) if follower.is_alive]

        self._registry = registry(followers)
        prefix = "beam_grid_server"
        self._queries = Counter(f"{prefix}_queries", "Statements and pages asked, by how they ended.", ["kind", "status"], registry=self._registry)  # fmt: skip
        self._seconds = Histogram(f"{prefix}_query_seconds", "From the request to the whole answer.", ["kind"], buckets=_BUCKETS, registry=self._registry)  # fmt: skip

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A gauge that is asked for with each scrape."""
        Gauge(f"beam_grid_server_{name}", help, registry=self._registry).set_function(value)

    def answered(self, kind: str, status: str, seconds: float) -> None:
        self._queries.labels(kind, status).inc()
        self._seconds.labels(kind).observe(seconds)

    def busy(self) -> None:
        """A statement that no worker was free for."""
        self._queries.labels("any", "busy").inc()

    def text(self) -> bytes:
        """Reads the followers' files: not for the event loop."""
        return generate_latest(self._registry)
