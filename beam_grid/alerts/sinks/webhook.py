"""POST of JSON, signed by the Standard Webhooks (https://www.standardwebhooks.com), so that receivers check it by a library.

    webhook-id, Idempotency-Key    the message's id, the same at each try
    webhook-timestamp              seconds since the epoch, of this try
    webhook-signature              v1,BASE64(HMAC-SHA256(secret, ID.TIMESTAMP.BODY))

Taken is what is answered 2xx. A redirect is not followed: it would carry the message to somebody else. A try ends after
`timeout` however slowly the answer comes; the answer's body is not read.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from beam_grid.alerts.declared import Secret, WebhookSink
from beam_grid.alerts.messages import Message, to_json
from beam_grid.alerts.sinks import SinkFailed
from beam_grid.errors import GridError
from data_sources.durations import parse_duration

_OF_THE_MESSAGE = {400, 413, 415, 422}
"""Answers that say that this message is not taken, while others may be."""


class ToWebhook:
    """One address."""

    def __init__(self, declared: WebhookSink) -> None:
        self._declared, self._timeout = declared, parse_duration(declared.timeout).total_seconds()

    def send(self, message: Message) -> None:
        try:
            url = self._declared.url.value() if isinstance(self._declared.url, Secret) else self._declared.url
            secret = self._declared.secret.value() if self._declared.secret else None
        except GridError as cause:
            raise SinkFailed(str(cause)) from None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SinkFailed("url: is no address as https://host/path")
        body = to_json(message)
        headers = {"Content-Type": "application/json", "User-Agent": "beam-grid", "Idempotency-Key": message.id,
                   "webhook-id": message.id, "webhook-timestamp": str(int(time.time()))}  # fmt: skip
        if secret is not None:
            headers["webhook-signature"] = signature(secret, message.id, headers["webhook-timestamp"], body)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        status = self._status(parts, path, body, headers)
        if not 200 <= status < 300:
            raise SinkFailed(f"{parts.hostname} answered {status}", is_refused=status in _OF_THE_MESSAGE)

    def _status(self, parts: Any, path: str, body: bytes, headers: dict[str, str]) -> int:
        try:
            if parts.scheme == "https":
                context = ssl.create_default_context()
                link: http.client.HTTPConnection = http.client.HTTPSConnection(
                    parts.hostname, parts.port, timeout=self._timeout, context=context
                )
            else:
                link = http.client.HTTPConnection(parts.hostname, parts.port, timeout=self._timeout)
            with ends_after(self._timeout, lambda: link.sock) as is_over:
                try:
                    link.request("POST", path, body, headers)
                    status = link.getresponse().status
                    if is_over.is_set():  # headers that end because we ended them are no answer
                        raise TimeoutError
                    return status
                except (OSError, http.client.HTTPException, ValueError) as cause:
                    if is_over.is_set():
                        raise TimeoutError from None
                    raise cause
                finally:
                    link.close()
        except TimeoutError:
            raise SinkFailed(f"{parts.hostname} did not answer within {self._timeout:g} s") from None
        except (OSError, http.client.HTTPException, ValueError) as cause:
            why = getattr(cause, "strerror", None) or type(cause).__name__
            raise SinkFailed(f"{parts.hostname} cannot be asked ({why})") from None


def signature(secret: str, id: str, timestamp: str, body: bytes) -> str:
    """As the Standard Webhooks have it: a secret written whsec_BASE64 is those bytes, any other is its text."""
    key = secret.encode()
    if secret.startswith("whsec_"):
        with suppress(binascii.Error):
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    signed = hmac.digest(key, f"{id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(signed).decode()}"


@contextmanager
def ends_after(seconds: float, sock: Any) -> Iterator[threading.Event]:
    """Close the socket that `sock()` gives after so long, whatever is awaited of it: a socket's own timeout begins anew with
    each byte. The event says that it was so."""
    is_over, is_done = threading.Event(), threading.Event()

    def end() -> None:
        is_over.set()
        while not is_done.wait(0.05):  # it may connect just now
            if (found := sock()) is not None:
                with suppress(OSError):
                    found.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield is_over
    finally:
        is_done.set()
        timer.cancel()
