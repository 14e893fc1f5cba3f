"""A lake whose tables are written by delta-rs and published as version sets, without landing: a publish takes milliseconds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from beam_grid.alerts import command
from beam_grid.alerts.store import opened
from beam_grid.lakehouse.table_set import PublishedTable
from beam_grid.lakehouse.versions import Content, content_of, newest, publish
from beam_grid.landing import Lake

START = datetime(2026, 3, 1, tzinfo=UTC)

READINGS = pa.schema([("meter", pa.string()), ("at", pa.timestamp("us", "UTC")), ("kwh", pa.float64())])

RULE = """
[[alerts]]
name = "high"
table = "silver.readings"
key = ["meter"]
time = "at"
where = "kwh > 20"
"""

TO_FILE = """
[[sinks]]
name = "out"
kind = "file"
path = "alerts/out.jsonl"
"""


def minute(n: float) -> datetime:
    return START + timedelta(minutes=n)


class Published:
    """`lake`, and what is published in it."""

    def __init__(self, folder: Path, toml: str = RULE + TO_FILE) -> None:
        self.lake = Lake.open(folder / "lake")
        self.declare(toml)
        self.said: list[str] = []

    def declare(self, toml: str) -> None:
        (self.lake.path / "alerts.toml").write_text(toml, encoding="utf-8")

    def readings(self, *rows: tuple[str, float, float], mode: str = "append") -> int:
        """Add (meter, minute, kwh), and publish; the set's number."""
        table = pa.Table.from_pylist([{"meter": m, "at": minute(n), "kwh": k} for m, n, k in rows], schema=READINGS)
        return self.table("silver.readings", table, mode)

    def table(self, name: str, rows: pa.Table, mode: str = "overwrite") -> int:
        path = f"tables/{name}"
        write_deltalake(str(self.lake.path / path), rows, mode=mode)
        written = DeltaTable(str(self.lake.path / path))
        content: Content = content_of(newest(self.lake))
        content.tables[name] = PublishedTable(path=path, version=written.version(), id=str(written.metadata().id))
        return publish(self.lake, content).number

    def check(self) -> int:
        """`alerts check`; the exit code. What it says goes to `said`."""
        return command.check(self.lake, self.said.append)

    def told(self, name: str = "out.jsonl") -> list[dict[str, Any]]:
        """Messages that the file has."""
        path = self.lake.path / "alerts" / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def kinds(self) -> list[tuple[str, list[Any]]]:
        """Of each message its kind and the keys of its alerts."""
        return [(one["kind"], keys(one)) for one in self.told()]

    def states(self) -> dict[str, str]:
        """Of live alerts the state by key."""
        with opened(self.lake) as store:
            return {alert.key: alert.state for alert in store.alerts()}


def keys(message: dict[str, Any]) -> list[Any]:
    """All keys of a message, those that are only listed too."""
    shown = [list(alert["key"].values()) for alert in message["alerts"]]
    return [key[0] if len(key) == 1 else key for key in [*shown, *(other["key"] for other in message["others"])]]


def ids(messages: Iterable[dict[str, Any]]) -> list[str]:
    """Ids of the alerts that messages tell of."""
    return [one["id"] for message in messages for one in (*message["alerts"], *message["others"])]
