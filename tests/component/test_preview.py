"""A preview of a real topic: windows fire while the producer goes on, and end as `run` makes them of the same messages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.refine import refine
from beam_grid.state import FeedState
from runners import flink
from tests.beam_grid.test_land import toml_of
from tests.component import jars
from tests.component.broker import KafkaBroker
from tests.component.test_kafka_land import Topic, value
from tests.properties.oracle import run
from tests.transforms.making import contract, minute, plain_contract
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.component]

ROOT = Path(__file__).resolve().parents[2]
POM = ROOT / "runners" / "flink_job_server" / "pom.xml"
IDLE = {"idle_timeout": "15m"}


class Watched:
    """A preview that runs, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.rows: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.rows.append(json.loads(line))

    def of(self, start: float) -> list[dict[str, Any]]:
        """Rows of the window that starts so many minutes after noon, in the order of their panes."""
        found = [row for row in list(self.rows) if datetime.fromisoformat(row["start"]) == minute(start)]
        return sorted(found, key=lambda row: row["pane"])

    def wait(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s; seen {self.rows}"
            time.sleep(0.05)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def previewing(topic: Topic, folder: Path) -> Iterator[Watched]:
    file = folder / "contract.toml"
    file.write_text(toml_of(plain_contract(**IDLE)))
    environment = dict(os.environ)
    environment[flink.JARS_VARIABLE] = str(jars.resolve(POM)[0].parent)
    process = subprocess.Popen(
        [sys.executable, "-m", "beam_grid", "preview", "readings", "--contract", str(file), "--source", topic.source,
         "--every", "1s"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    try:
        yield Watched(process)
    finally:
        process.kill()
        process.wait()


def test_windows_fire_while_the_producer_goes_on_and_end_as_the_commits_say(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    topic = Topic(kafka_broker, tmp_path, partitions=3)  # nobody ever sends to the third
    topic.send(1, value("silent", 5), arrival=5)
    for at in range(0, 40, 4):
        topic.send(0, value(f"a{at}", at, kwh=at / 7), arrival=at)
    with previewing(topic, tmp_path) as preview:
        # 12:36 has come; the second partition holds nothing back, as it has been idle for half an hour
        preview.wait(lambda: bool(preview.of(0)))
        (first,) = preview.of(0)
        assert (first["timing"], first["pane"], first["final"]) == ("on_time", 0, False)
        assert first["measures"]["n"] == 5 and first["by"] == {"meter": "m"}

        topic.send(
            0,
            value("a36", 36, kwh=36 / 7),
            b"no json",
            value("behind", 12, kwh=50),
            value("a8", 8, kwh=8 / 7),
            value("late", 5),
            arrival=40,
        )
        preview.wait(lambda: len(preview.of(0)) == 2)
        second = preview.of(0)[1]  # of the late, the copy and the reject nothing is counted
        assert (second["timing"], second["pane"]) == ("late", 1)
        assert second["measures"]["n"] == 6 and second["measures"]["top"] == 50

        topic.send(1, value("back", 60), arrival=60)
        for at in range(40, 100, 4):
            topic.send(0, value(f"a{at}", at, kwh=at / 7), arrival=at)
        preview.wait(lambda: bool(preview.of(60)))
        assert preview.end() == 0
    assert not list(tmp_path.glob("lake/**/*.parquet"))

    feed = contract(**IDLE)
    run(topic.lake, feed, topic.source)
    lake = Lake.open(topic.lake)
    refine(lake)
    watermark = FeedState.of(lake.feed("readings")).watermark
    fired = query(lake, "SELECT * FROM gold.quarters ORDER BY window_start").to_pylist()
    table = [row for row in fired if row["window_end"] <= datetime.fromtimestamp(watermark / 1e6, UTC)]
    assert len(table) == 5
    panes = {row["start"]: row for row in sorted(preview.rows, key=lambda row: row["pane"])}
    assert sorted(panes) == [row["window_start"].isoformat() for row in table]
    for row in table:
        measures = panes[row["window_start"].isoformat()]["measures"]
        assert measures == {name: pytest.approx(row[name], rel=1e-9) for name in feed.windows[0].measures}
