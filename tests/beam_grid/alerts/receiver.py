"""A webhook's receiver: a real server on loopback that takes, refuses, hangs, drips, or takes and does not say so."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.waiting import PATIENCE_S

SECRET = "a secret of the tests"


class Receiver:
    """`how` says what becomes of the next requests, one word each; then all are taken.

    taken, 500, 400, 404, redirect, hang, drip (a byte of a header now and then), cut (taken, and the line is cut before the
    answer)
    """

    def __init__(self, port: int = 0) -> None:
        self.how: list[str] = []
        self.always: str | None = None
        self.taken: list[dict[str, Any]] = []
        """Each message once, by its id, as a receiver that honours ids has them."""
        self.deliveries: Counter[str] = Counter()
        """By id how often it came and was taken."""
        self.tries, self.wrong = 0, list[str]()
        self.ending = threading.Event()
        handler = type("Handler", (_Handler,), {"receiver": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?of=tests"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def take(self, id: str, body: dict[str, Any]) -> None:
        self.deliveries[id] += 1
        if self.deliveries[id] == 1:
            self.taken.append(body)

    def until(self, count: int, seconds: float = 60.0) -> None:
        """Wait for so many messages."""
        deadline = time.monotonic() + seconds
        while len(self.taken) < count:
            assert time.monotonic() < deadline, f"{len(self.taken)} of {count} messages after {self.tries} tries"
            time.sleep(0.05)

    def end(self) -> None:
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        receiver = self.receiver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        receiver.tries += 1
        how = receiver.always or (receiver.how.pop(0) if receiver.how else "taken")
        id, sent = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        if "webhook-signature" in self.headers:
            digest = hmac.digest(SECRET.encode(), f"{id}.{sent}.".encode() + body, "sha256")
            if self.headers["webhook-signature"] != f"v1,{base64.b64encode(digest).decode()}":
                receiver.wrong.append("signature")
        else:
            receiver.wrong.append("no signature")
        if self.headers["Idempotency-Key"] != id or json.loads(body)["id"] != id or self.path != "/hook?of=tests":
            receiver.wrong.append("id or path")
        if how == "hang":
            receiver.ending.wait(PATIENCE_S)
            return
        if how == "drip":
            with suppress(OSError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not receiver.ending.wait(0.1):
                    self.wfile.write(b"X")
            return
        if how in ("taken", "cut"):
            receiver.take(id, json.loads(body))
        if how == "cut":
            self.close_connection = True
            return
        self.send_response({"taken": 204, "redirect": 307}.get(how) or int(how))
        if how == "redirect":
            self.send_header("Location", receiver.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver(port)
    try:
        yield receiver
        assert not receiver.wrong, receiver.wrong
    finally:
        receiver.end()


def webhook(receiver: Receiver, name: str = "hook", timeout: str = "1s") -> str:
    """[[sinks]] for it; the secret is in BEAM_GRID_TEST_HOOK."""
    return f"""
[[sinks]]
name = "{name}"
kind = "webhook"
url = "{receiver.url}"
secret = {{ env = "BEAM_GRID_TEST_HOOK" }}
timeout = "{timeout}"
"""
