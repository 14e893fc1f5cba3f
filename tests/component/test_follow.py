"""`run --follow` on topics that never pause: rows are queryable while they come, and what was committed stays.

What kills do to it: tests/soak/test_kafka.py.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beam_grid.errors import GridError
from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from tests.component.conftest import KafkaBroker
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.component]

START = datetime(2025, 6, 15, 10, tzinfo=UTC)
RATE = 200  # messages a second


def toml(feed: str) -> str:
    lake = {
        "readings": '[dedup]\nkey = ["id", "at"]\n[[windows]]\nname = "minutes"\nsize = "1m"\nmeasures = { n = "count()" }\n',
        "gauges": '[dedup]\nkey = ["id", "at"]\n',
        "bills": '[lake]\nload = "cdc"\nkey = ["id"]\noperation = "op"\nsequence_by = ["n", "op"]\n',
    }[feed]
    fields = (("id", "string"), ("at", "timestamp"), ("n", "int64"), ("op", "int64"))
    return (
        f'name = "{feed}"\nformat = "json"\ntopic = "follow.{feed}"\nevent_time = "at"\n{lake}'
        + "".join(f'[[fields]]\nname = "{name}"\ntype = "{kind}"\n' for name, kind in fields)
    )  # fmt: skip


def message(n: int) -> bytes:
    at = (START + timedelta(seconds=n)).isoformat()
    return json.dumps({"id": f"r{n}", "at": at, "n": n, "op": 2}).encode()


class Place:
    """A lake, contracts and topics of a test's own."""

    def __init__(self, broker: KafkaBroker, folder: Path, **topics: str) -> None:
        self.broker, self.folder, self.lake, self.topics = broker, folder, folder / "lake", topics
        self.sent: dict[str, int] = dict.fromkeys(topics, 0)
        for feed, topic in topics.items():
            broker.create_topic(topic, 2)
            (folder / f"{feed}.toml").write_text(toml(feed).replace(f'"follow.{feed}"', f'"{topic}"'))

    def send(self, feed: str, count: int) -> None:
        first = self.sent[feed]
        self.broker.produce(self.topics[feed], (message(n) for n in range(first, first + count)))
        self.sent[feed] = first + count

    @contextmanager
    def sending(self, feed: str) -> Iterator[None]:
        """Send without a pause until left."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(0.1):
                self.send(feed, RATE // 10)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def command(self, *more: str) -> list[str]:
        contracts = [word for feed in self.topics for word in ("--contract", str(self.folder / f"{feed}.toml"))]
        source = f"kafka://{self.broker.bootstrap}"
        return [
            sys.executable,
            "-m",
            "beam_grid",
            "run",
            *contracts,
            "--source",
            source,
            "--lake",
            str(self.lake),
            *more,
        ]

    @contextmanager
    def following(self, *more: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / "log").open("a") as log:
            words = self.command("--follow", "--every", "1s", *more)
            running = subprocess.Popen(words, stderr=log, env={**os.environ, "BEAM_GRID_DEBUG": ""})
            try:
                yield running
            finally:
                running.kill()
                running.wait()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def count(self, table: str) -> int:
        """Rows as another process sees them; 0 where there is no table yet."""
        try:
            return int(query(Lake.open(self.lake), f"SELECT count(*) AS n FROM {table}")["n"][0].as_py())
        except GridError:
            return 0

    def until(self, what: Any, running: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert running.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.2)

    def grid(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "beam_grid", *arguments, "--lake", str(self.lake)]
        return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, env={**os.environ, **env})


_numbers = itertools.count()


@pytest.fixture
def place(kafka_broker: KafkaBroker, tmp_path: Path) -> Any:
    return lambda *feeds: Place(kafka_broker, tmp_path, **{feed: f"follow.{next(_numbers)}.{feed}" for feed in feeds})


def test_rows_of_a_topic_that_never_pauses_are_queryable_while_it_goes_on(place: Any) -> None:
    """Beside it, a topic with a backlog of many slices does not hold it up, `maintain` gets its turn; SIGINT ends it."""
    here = place("readings", "gauges")
    here.send("gauges", 8_000)
    with here.sending("readings"), here.following("--slice-rows", "1000") as running:
        here.until(lambda: here.count("silver.readings") > 0, running)
        assert here.count("silver.gauges") < 8_000, "the backlog is not through when the other's rows are there"
        seen = here.count("silver.readings")
        here.until(lambda: here.count("silver.readings") > seen + RATE, running)
        assert here.count("gold.minutes") > 0
        done = here.grid("maintain", PATH="/nowhere", JAVA_HOME="")
        assert done.returncode in (0, 1) and "that nobody reads any more removed" in done.stdout, done.stderr
        here.until(lambda: here.count("silver.gauges") == 8_000, running)
        lag = here.sent["readings"]
        here.until(lambda: here.count("silver.readings") >= lag, running)
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S) == 130, here.log
    assert "interrupted" in here.log and "Traceback" not in here.log and "nanobind" not in here.log
    stays = here.count("silver.readings")
    assert stays > 0 and here.grid("ledger").returncode == 0
    done = subprocess.run(here.command(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert here.count("silver.readings") == here.sent["readings"] >= stays
    total = query(Lake.open(here.lake), "SELECT sum(n) AS n FROM gold.minutes")["n"][0].as_py()
    assert total == here.sent["readings"]


@pytest.mark.spark
def test_changes_come_at_their_own_pace_while_readings_go_on_being_published(place: Any) -> None:
    here = place("readings", "bills")
    here.send("bills", 100)
    with here.sending("readings"), here.following("--refine-every", "2s") as running:
        here.until(lambda: "starting Spark" in here.log, running)
        during = here.count("silver.readings")
        here.until(lambda: here.count("silver.readings") > during, running)
        assert here.count("silver.bills") == 0, "published while Spark is still at the changes"
        here.until(lambda: here.count("silver.bills") == 100, running)
        words = [sys.executable, "-m", "beam_grid", "maintain", "--lake", str(here.lake)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as maintaining:
            later = here.count("silver.readings")
            here.until(lambda: here.count("silver.readings") > later + RATE, running)
            told = maintaining.communicate(timeout=PATIENCE_S)[0]
        assert maintaining.returncode == 0 and "that nobody reads any more removed" in told, told
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S) == 130, here.log
    assert "Traceback" not in here.log
    done = subprocess.run(here.command("--engine", "embedded"), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert here.count("silver.readings") == here.sent["readings"] and here.count("silver.bills") == 100
