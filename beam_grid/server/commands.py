"""`beam-grid serve` and `beam-grid keys`, behind the command line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_grid.errors import GridError
from beam_grid.landing import Lake
from beam_grid.server.keys import Keys, default_file

if TYPE_CHECKING:
    import pyarrow as pa


def serve_until(ending: threading.Event, say: Callable[[str], None], **given: Any) -> None:
    """Serve until the event is set. Raises GridError for what cannot be served as it was asked for."""
    from beam_grid.server.engine import Limits
    from beam_grid.server.serve import serve
    from beam_grid.server.settings import Settings, default_workers

    lake = Lake.open(given["lake"], create=False)
    settings = Settings(
        lake=lake,
        host=given["host"],
        port=given["port"],
        keys_file=_path(given["keys_file"]),
        require_keys=given["require_keys"],
        allow_hosts=given["allow_hosts"],
        tls_cert=_path(given["tls_cert"]),
        tls_key=_path(given["tls_key"]),
        timeout_s=given["timeout"],
        max_rows=given["max_rows"],
        workers=given["workers"] or default_workers(),
        limits=Limits(memory_mib=given["memory_mib"]),
    )

    def started(url: str) -> None:
        say(f"serving {lake.path} at {url} ({url}/api/v1 lists the endpoints)")
        if settings.needs_keys and settings.tls_cert is None and not settings.is_loopback:
            say("  keys travel in the clear: give --tls-cert and --tls-key, or put a proxy that speaks TLS before it")

    serve(settings, ending, started)


def add_key(
    name: str, lakes: tuple[str, ...], keys_file: str | None, tables: tuple[str, ...], rate: str, expires: float | None
) -> str:
    """The new key, as the caller sends it."""
    opened = [Lake.open(lake, create=False) for lake in lakes]
    until = None if expires is None else datetime.now(UTC) + timedelta(seconds=expires)
    return _keys(opened, keys_file).add(name, opened, tables or ("*",), rate, until)


def list_keys(lakes: tuple[str, ...], keys_file: str | None) -> pa.Table:
    """One row a key of the file that opens one of the lakes."""
    import pyarrow as pa

    opened = [Lake.open(lake, create=False) for lake in lakes]
    ids, now = {lake.id for lake in opened}, datetime.now(UTC)
    kinds = [("name", pa.string()), ("id", pa.string()), ("state", pa.string()), ("tables", pa.string()),
             ("rate", pa.string()), ("created_at", pa.timestamp("us", "UTC")), ("expires_at", pa.timestamp("us", "UTC")),
             ("revoked_at", pa.timestamp("us", "UTC"))]  # fmt: skip
    rows = [
        {
            "name": key.name,
            "id": key.id,
            "state": key.state(now),
            "tables": ", ".join(key.tables),
            "rate": key.rate,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
        }
        for key in _keys(opened, keys_file).all()
        if ids & set(key.lakes)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(kinds))


def revoke_key(which: str, lakes: tuple[str, ...], keys_file: str | None) -> list[str]:
    """A line for each that was revoked."""
    opened = [Lake.open(lake, create=False) for lake in lakes]
    return [f"key {key.name} ({key.id}) is revoked" for key in _keys(opened, keys_file).revoke(which)]


def _keys(lakes: list[Lake], keys_file: str | None) -> Keys:
    if keys_file is not None:
        return Keys(Path(keys_file))
    if len(lakes) > 1:
        raise GridError("keys: a key of several lakes needs a file that their servers share; give --keys FILE")
    return Keys(default_file(lakes[0]))


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
