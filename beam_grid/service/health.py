"""/metrics, /healthz and /readyz of a follower, over HTTP, on loopback unless told otherwise.

    /healthz    200 while the loop goes round, else 503: start the process anew
    /readyz     200 where a reader gets what is new, else 503: do not count on it; standing by is no failure, nor readiness
    /metrics    for Prometheus

Guarantees: an answer never waits for the loop, nor the loop for an answer. Not guaranteed: secrecy. Whoever reaches the
port reads names of feeds, lakes and rules; there is no login, so the port belongs on loopback or behind one that asks.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from beam_grid.errors import GridError
from beam_grid.service.metrics import registry
from beam_grid.service.told import MOST_UNPUBLISHED, Telling, overdue

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


@dataclass(frozen=True)
class Address:
    """Where to listen; port 0 takes a free one."""

    port: int
    host: str = "127.0.0.1"


@contextmanager
def served(
    at: Address, tellings: Callable[[], list[Telling]], missing: Callable[[], dict[str, str]] = dict
) -> Iterator[int]:
    """Answer while open; gives the port. missing: lakes that nobody follows, each with the
    reason. Raises GridError where it cannot listen."""
    try:
        server = (_Server6 if ":" in at.host else _Server)((at.host, at.port), _Quiet)
    except (OSError, OverflowError) as cause:
        why = getattr(cause, "strerror", None) or cause
        raise GridError(
            f"--metrics-port {at.port}: cannot listen on {at.host} ({why}); give a port that is free, or 0 to leave it out"
        ) from cause
    server.set_app(app(tellings, missing))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(2.0)


def app(tellings: Callable[[], list[Telling]], missing: Callable[[], dict[str, str]] = dict) -> WSGIApplication:
    """The three pages."""
    metrics = make_wsgi_app(registry(tellings, missing))

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics(environ, start)
        if path not in ("/healthz", "/readyz"):
            return _text(start, "404 Not Found", ["/metrics, /healthz and /readyz are here"])
        found, now = tellings(), time.time_ns() // 1000
        wrong = why_not_healthy(found, now) if path == "/healthz" else [*missing().values(), *why_not_ready(found, now)]
        return _text(start, "503 Service Unavailable" if wrong else "200 OK", wrong or ["ok"])

    return answer


def why_not_healthy(tellings: list[Telling], now_us: int) -> list[str]:
    """Loops that hang, each with a reason. now_us: microseconds since the epoch."""
    return [f"{t.vitals.lake}: {why}" for t in tellings if (why := overdue(t, now_us))]


def why_not_ready(tellings: list[Telling], now_us: int) -> list[str]:
    """What keeps readers from what is new, each with a reason."""
    wrong = why_not_healthy(tellings, now_us)
    if not tellings:
        wrong.append("starting")
    for telling in tellings:
        vitals = telling.vitals
        if vitals.role != "leader":
            wrong.append(f"{vitals.lake}: stands by, another follower lands")
        for feed in vitals.feeds.values():
            waiting = feed.commit - feed.published
            if feed.state == "failed":
                wrong.append(f"{feed.feed}: failed: {feed.last_error or 'no reason given'}")
            if feed.breaker != "closed":
                wrong.append(
                    f"{feed.feed}: its source does not answer, the breaker is {feed.breaker}: {feed.last_error}"
                )
            if telling.publishes and not feed.is_refined and waiting > MOST_UNPUBLISHED:
                wrong.append(f"{feed.feed}: {waiting:,} commits wait to be published")
    return wrong


def _text(start: StartResponse, status: str, lines: list[str]) -> list[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8")])
    return ["".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Without asking a name server for the host's name, as the base class does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:
        """A scrape is no news."""
