"""Start and end: checks, uvicorn, and an end in order at SIGTERM."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from beam_grid.errors import GridError
from beam_grid.server import app
from beam_grid.server.connections import protocol
from beam_grid.server.settings import Settings

_ENDS_WITHIN_S = 5


class _Server(uvicorn.Server):
    """Signals are the command line's, which sets `ending`."""

    def __init__(self, config: uvicorn.Config, ending: threading.Event, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending, self._when_started = ending, started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._when_started()

    async def on_tick(self, counter: int) -> bool:
        if self._ending.is_set():
            state = getattr(self.config.loaded_app, "state", None) or self.config.app.state  # type: ignore[union-attr]
            state.state.ending.set()
            return True
        return await super().on_tick(counter)


def serve(settings: Settings, ending: threading.Event, started: Callable[[str], None]) -> None:
    """Answer until `ending` is set. started: told the URL once it listens.

    Raises GridError where the settings are not safe (Settings.check) or it cannot listen.
    """
    settings.check()
    _more_files()
    listening = _listen(settings)
    made = app.make(settings)
    config = uvicorn.Config(
        made,
        http=protocol(settings.slow_client_s),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_ENDS_WITHIN_S,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    scheme = "http" if settings.tls_cert is None else "https"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"{scheme}://{host}:{listening.getsockname()[1]}"
    try:
        server = _Server(config, ending, lambda: started(url))
        asyncio.run(server.serve([listening]))
    finally:
        listening.close()
    if not server.started:
        raise GridError("serve: the server could not start; the lines above say why")


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(
        family, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # asyncio sends at once only if it is told so
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen(2048)
    except (OSError, OverflowError) as cause:
        listening.close()
        why = getattr(cause, "strerror", None) or cause
        raise GridError(
            f"--port {settings.port}: cannot listen on {settings.host} ({why}); give a port that is free"
        ) from cause
    return listening


def _more_files() -> None:
    """A thousand clients are a thousand open files; many systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
