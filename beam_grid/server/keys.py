"""API keys at rest: LAKE/server/keys.json, or a file of several lakes. What a key opens, never the key itself.

    beam-grid keys add dashboard --lake lake --table 'gold.*'   ─► prints bg_ID_SECRET, once
    the file                                                     ─► ID, SHA-256 of the secret, scope, revoked_at

A secret has 256 random bits, so a plain hash of it is enough: there is nothing to guess. The file is readable by its
owner alone, and read again when it changes: a revoked key is refused from the next request on.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from beam_grid import durable
from beam_grid.errors import GridError
from beam_grid.landing import Lake
from data_sources.typed_json import decoder, encode

_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"bg_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


class Key(Struct, frozen=True, kw_only=True):
    """One key."""

    id: str
    name: str
    """Names the caller in the query log."""
    secret_sha256: str
    lakes: tuple[str, ...]
    """Ids of the lakes it opens."""
    tables: tuple[str, ...] = ("*",)
    """Patterns of the names of tables it reaches, as gold.*"""
    rate: str = "100/second"
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> str:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


class _File(Struct, kw_only=True):
    format: int = _FORMAT
    keys: list[Key] = []


_read = decoder(_File)


def default_file(lake: Lake) -> Path:
    """Where a lake's own keys are."""
    return lake.path / "server" / "keys.json"


class Keys:
    """The keys of a file; raises GridError where it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark: tuple[int, int, int] | None = None
        self._keys: list[Key] = []

    def all(self) -> list[Key]:
        """In the order they were added, revoked ones too."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._mark, self._keys = None, []
            return self._keys
        mark = (found.st_mtime_ns, found.st_size, found.st_ino)
        if mark != self._mark:
            try:
                read = _read(self.path.read_bytes())
            except (OSError, ValueError) as cause:
                raise GridError(f"keys {self.path}: cannot be read ({cause}); put it back from a copy, or remove it and add keys anew") from cause  # fmt: skip
            if read.format > _FORMAT:
                raise GridError(f"keys {self.path}: was written by a newer version; update beam-grid")
            self._mark, self._keys = mark, read.keys
        return self._keys

    def add(
        self, name: str, lakes: list[Lake], tables: tuple[str, ...], rate: str, expires_at: datetime | None = None
    ) -> str:
        """Keep a new key and return it as the caller sends it; it is not to be had again."""
        if not _NAME.fullmatch(name):
            raise GridError(f"key name {name!r}: letters, digits, dots, dashes and underscores, at most 64")
        now = datetime.now(UTC)
        keys = self.all()
        if any(key.name == name and key.state(now) == "valid" for key in keys):
            raise GridError(f"key {name!r}: there is one; revoke it first, or give another name")
        check_rate(rate)
        identity, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        key = Key(
            id=identity, name=name, secret_sha256=_hash(secret), lakes=tuple(lake.id for lake in lakes), tables=tables,
            rate=rate, created_at=now, expires_at=expires_at,
        )  # fmt: skip
        self._write([*keys, key])
        return f"bg_{identity}_{secret}"

    def revoke(self, which: str) -> list[Key]:
        """Those of this name or id, from now on refused. Raises GridError where none is valid."""
        now = datetime.now(UTC)
        keys = self.all()
        hit = {key.id for key in keys if which in (key.name, key.id) and key.revoked_at is None}
        if not hit:
            raise GridError(f"key {which!r}: there is no valid one in {self.path}; `beam-grid keys list` shows them")
        after = [replace(key, revoked_at=now) if key.id in hit else key for key in keys]
        self._write(after)
        return [key for key in after if key.id in hit]

    def find(self, token: str, lake_id: str) -> Key | None:
        """The valid key that the token is, if it opens the lake."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        now = datetime.now(UTC)
        for key in self.all():
            if key.id == match[1] and hmac.compare_digest(key.secret_sha256, _hash(match[2])):
                return key if key.state(now) == "valid" and lake_id in key.lakes else None
        return None

    def _write(self, keys: list[Key]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            before = os.umask(0o077)
            try:
                durable.replace(self.path, encode(_File(keys=keys), indent=1))
            finally:
                os.umask(before)
        except OSError as cause:
            raise GridError(f"keys {self.path}: cannot be written ({cause.strerror or cause})") from cause


def check_rate(rate: str) -> None:
    """Raises GridError for what is no rate."""
    import limits

    try:
        limits.parse(rate)
    except ValueError as cause:
        raise GridError(f"rate {rate!r}: write it as 100/second or 6000/minute") from cause


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
