"""What `beam-grid serve` was asked for, checked before it listens."""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from beam_grid.errors import GridError
from beam_grid.landing import Lake
from beam_grid.server.engine import Limits
from beam_grid.server.keys import Keys, default_file

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


def default_workers() -> int:
    return min(8, max(2, 2 * (os.cpu_count() or 1)))


@dataclass(frozen=True)
class Settings:
    """Limits are per statement unless said otherwise."""

    lake: Lake
    host: str = "127.0.0.1"
    port: int = 8080
    keys_file: Path | None = None
    require_keys: bool = False
    """Also on loopback."""
    allow_hosts: tuple[str, ...] = ()
    """Names that a Host header may have beside the loopback's."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    timeout_s: float = 10.0
    max_rows: int = 1_000_000
    max_answer_mib: int = 64
    workers: int = field(default_factory=default_workers)
    limits: Limits = field(default_factory=Limits)
    max_connections: int = 4096
    """Of the server; more are answered 503."""
    max_streams: int = 512
    """Of the server: clients that listen to events at once."""
    slow_client_s: float = 20.0
    """A client that takes nothing, or sends no whole request, for so long is cut off."""
    log_days: int = 30
    log_rows: int = 1_000_000

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK_NAMES or _is_loopback(self.host)

    @property
    def needs_keys(self) -> bool:
        return self.require_keys or not self.is_loopback

    @property
    def keys(self) -> Keys:
        return Keys(self.keys_file or default_file(self.lake))

    def check(self) -> None:
        """Raises GridError, naming the remedy, for what it would not be safe or possible to serve with."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise GridError("--tls-cert and --tls-key: give both, PEM files of the certificate chain and its key")
        if self.tls_cert is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.tls_cert, self.tls_key)
            except (OSError, ssl.SSLError) as cause:
                raise GridError(f"--tls-cert {self.tls_cert}, --tls-key {self.tls_key}: cannot be used ({cause.strerror or cause})") from cause  # fmt: skip
        if not self.needs_keys:
            return
        now, lake_id = datetime.now(UTC), self.lake.id
        if not any(key.state(now) == "valid" and lake_id in key.lakes for key in self.keys.all()):
            reach = "--require-keys" if self.is_loopback else f"--host {self.host} is reached from other machines"
            raise GridError(
                f"serve: {reach} and no key opens lake {self.lake.path}; add one with "
                f"`beam-grid keys add NAME --lake {self.lake.path}`, or listen on 127.0.0.1"
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
