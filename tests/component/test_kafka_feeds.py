"""Three topics of one broker at once, each with partitions that fall idle: `land --source kafka://broker`."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beam_grid.landing import Lake
from tests.component.broker import KafkaBroker
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.component]
START = datetime(2025, 6, 15, 10, tzinfo=UTC)
FEEDS = ("pumps", "valves", "ledger_changes")


def toml(feed: str) -> str:
    change = feed == "ledger_changes"
    lake = '[lake]\nload = "cdc"\nkey = ["id"]\noperation = "op"\nsequence_by = ["n", "op"]\n'
    measures = 'measures = { n = "count()" }\n'
    keyed = f'[dedup]\nkey = ["id", "at"]\n[[windows]]\nname = "{feed}_5min"\nsize = "5m"\n{measures}'
    return (
        f'name = "{feed}"\nformat = "json"\ntopic = "grid.{feed}"\nevent_time = "at"\nout_of_orderness = "10m"\n'
        'allowed_lateness = "20m"\nidle_timeout = "15m"\n'
        + (lake if change else keyed)
        + "".join(
            f'[[fields]]\nname = "{name}"\ntype = "{kind}"\n'
            for name, kind in (("id", "string"), ("at", "timestamp"), ("n", "int64"), ("op", "int64"))
        )
    )


def test_three_topics_with_partitions_that_fall_idle(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    for feed in FEEDS:
        kafka_broker.create_topic(f"grid.{feed}", 3)
        (tmp_path / f"{feed}.toml").write_text(toml(feed))

    def send(feed: str, partition: int, minutes: list[float], arrival: float) -> None:
        at = [START + timedelta(minutes=m) for m in minutes]
        values = [json.dumps({"id": f"{feed}{partition}-{m}", "at": t.isoformat(), "n": 1, "op": 2}).encode() for m, t in zip(minutes, at, strict=True)]  # fmt: skip
        millis = int((START + timedelta(minutes=arrival)).timestamp() * 1000)
        kafka_broker.produce(f"grid.{feed}", values, partition, [millis] * len(values))

    def land(*more: str) -> list[dict[str, Any]]:
        contracts = [word for feed in FEEDS for word in ("--contract", str(tmp_path / f"{feed}.toml"))]
        grid = [sys.executable, "-m", "beam_grid"]
        done = subprocess.run(
            [*grid, "land", *contracts, "--source", f"kafka://{kafka_broker.bootstrap}", "--lake", str(tmp_path / "lake"), *more],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        book = subprocess.run([*grid, "ledger", "--lake", str(tmp_path / "lake"), "--format", "json"], capture_output=True, text=True, timeout=PATIENCE_S)  # fmt: skip
        return json.loads(book.stdout)

    def watermark(feed: str) -> float | None:
        log = Lake.open(tmp_path / "lake").feed(feed)
        found = log.read(log.last).watermark
        return None if found is None else (found - int(START.timestamp() * 1e6)) / 6e7

    for feed in FEEDS:  # partition 2 never hears a thing
        send(feed, 0, [0, 1, 2], arrival=2)
        send(feed, 1, [0, 5, 5, -40], arrival=5)
    book = {row["feed"]: row for row in land("--slice-rows", "4")}
    assert {f: (r["read"], r["landed"], r["duplicates"], r["late"], r["balanced"]) for f, r in book.items()} == {
        "pumps": (7, 5, 1, 1, True), "valves": (7, 5, 1, 1, True), "ledger_changes": (7, 6, 1, 0, True),
    }  # fmt: skip
    assert watermark("pumps") == -8  # the slowest partition's M less ten minutes
    send("pumps", 1, [30, 31], arrival=31)
    send("valves", 0, [3], arrival=6)
    book = {row["feed"]: row for row in land()}
    assert [book[f]["read"] for f in FEEDS] == [9, 8, 7]
    assert watermark("pumps") == 21, "partition 0 has been silent for more than a quarter of an hour"
    assert watermark("valves") == -7
    assert [row["read"] for row in land()] == [row["read"] for row in book.values()], "nothing new"
