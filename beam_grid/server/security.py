"""What holds for every answer, before any route: the Host header, what a browser may do with it, how large a body may be.

    request ─► Host known? ─► from another site's page? ─► body within bounds? ─► route ─► + security headers

On loopback nothing asks who calls, so a page of the web must not be able to: a name that was rebound to 127.0.0.1 is
refused by its Host, and a form or script of another site by what its browser says of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from beam_grid.server.problems import response
from beam_grid.server.settings import LOOPBACK_NAMES, Settings

MOST_BODY_BYTES = 1 << 20

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Security:
    """An ASGI application around another."""

    def __init__(self, app: Callable[[_Scope, _Receive, _Send], Awaitable[None]], settings: Settings) -> None:
        self._app = app
        self._hosts = {name.lower() for name in (*LOOPBACK_NAMES, *settings.allow_hosts, settings.host)}
        self._checks_host = settings.is_loopback
        self._headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
        if settings.tls_cert is not None:
            self._headers.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                have = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in self._headers if h[0] not in have)]
                if b"cache-control" not in have:
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        wrong = self._wrong(headers)
        if wrong is not None:
            await response(*wrong)(scope, receive, with_headers)
            return
        await self._app(scope, _bounded(receive), with_headers)

    def _wrong(self, headers: dict[bytes, str]) -> tuple[int, str] | None:
        if self._checks_host and _name(headers.get(b"host", "")) not in self._hosts:
            return 421, "the Host header names another server; a proxy's name is allowed by `serve --allow-host NAME`"
        if headers.get(b"sec-fetch-site") == "cross-site" and headers.get(b"sec-fetch-mode") != "navigate":
            return 403, "pages of other sites may not ask this server"
        if headers.get(b"content-length", "0").isdigit() and int(headers.get(b"content-length", "0")) > MOST_BODY_BYTES:
            return 413, f"the body has more than {MOST_BODY_BYTES >> 20} MiB"
        return None


def _bounded(receive: _Receive) -> _Receive:
    """The same for a body that does not say how long it is: cut off, as if the client had gone."""
    seen = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MOST_BODY_BYTES:
            return {"type": "http.disconnect"}
        return message

    return counted


def _name(host: str) -> str:
    """Without the port: `[::1]:8080` is ::1."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
