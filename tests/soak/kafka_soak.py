"""A follower on a real broker, killed at random times, while all that can happen to a topic happens to it.

    sender ──► broker ──► beam-grid run --follow ──► tables = what DuckDB makes of the messages that count
                 ▲                 ▲
              restarts          SIGKILL, again and again

`python -m tests.soak.kafka_soak --seed 3 --kills 5` runs one. Each kill is asserted to have hit a live process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from beam_grid.errors import GridError
from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from data_sources.contract import Contract
from data_sources.splits import KafkaEnd
from tests.beam_grid.test_land import toml_of
from tests.component.broker import KafkaBroker
from tests.properties.oracle import assert_equal, landed, oracle_of
from tests.properties.published import assert_tables
from tests.soak.sender import Sender
from tests.transforms.making import LATEST, contract, plain_contract
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
_FEED: dict[str, Any] = {"dedup": LATEST, "idle_timeout": "15m"}


class Soak:
    """One soak in a folder of its own. `story` tells what was done, in order."""

    def __init__(self, broker: KafkaBroker, folder: Path, seed: int, rate: int = 200) -> None:
        self.broker, self.folder, self.lake, self.seed = broker, folder, folder / "lake", seed
        self.topic = f"soak-{seed}-{os.getpid()}"
        broker.create_topic(self.topic, 3)
        self.sender = Sender(broker.bootstrap, self.topic, 3, seed, rate)
        self.feed: Contract = contract(**_FEED)
        (folder / "contract.toml").write_text(toml_of(plain_contract(**_FEED)))
        self.rng, self.story = random.Random(f"soak {seed}"), list[str]()
        self.gaps: dict[int, list[range]] = {}
        self._follower: subprocess.Popen[bytes] | None = None

    def run(self, kills: int) -> None:
        """All of it: raises AssertionError, with the story, where the tables are not what they must be."""
        try:
            self.sender.start()
            apart, running = [self.offsets_reset, self.retention], [self.partitions_added, self.broker_restarted]
            for n in range(kills):
                self.started()
                if n % 2:
                    running[n // 2 % len(running)]()
                self.killed()
                if n % 2 == 0:
                    apart[n // 2 % len(apart)]()
            self.sender.stop()
            self.drained()
            self.checked()
        except BaseException as cause:
            cause.add_note(f"soak of seed {self.seed}:\n" + "\n".join(self.story))
            raise
        finally:
            self.sender._ended.set()
            if self._follower is not None:
                self._follower.kill()
                self._follower.wait()

    # What happens

    def started(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._follower = subprocess.Popen(
                [*self._words("run"), "--follow", "--every", "1s"], cwd=ROOT, stdout=log, stderr=log, env=self._env
            )

    def killed(self) -> None:
        """At a random time: while it starts, or up to some commits later."""
        assert self._follower is not None
        if self.rng.random() < 0.25:
            time.sleep(self.rng.uniform(0, 4))
        else:
            self._until_commit()
            time.sleep(self.rng.uniform(0, 2.5))
        assert self._follower.poll() is None, f"it ended by itself:\n{self.log[-3000:]}"
        self._follower.send_signal(signal.SIGKILL)
        assert self._follower.wait(10) == -signal.SIGKILL
        self.tell(f"killed at commit {self.last}, {self._distinct()} rows")

    def partitions_added(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap, "log_level": 0})
        count = self.sender.partitions + 1
        admin.create_partitions([NewPartitions(self.topic, count)])[self.topic].result(timeout=10)
        time.sleep(1)  # until the leader is known, or the first message waits for its metadata
        self.sender.partitions = count
        self.tell(f"{count} partitions")

    def broker_restarted(self) -> None:
        self._until_commit()
        with self.sender.settling:
            self.broker.stop()
            time.sleep(self.rng.uniform(0, 2))
            self.broker.start()
        self.tell("broker restarted")
        self._until_commit()

    def offsets_reset(self) -> None:
        """Somebody resets the group's offsets to the earliest: the lake knows better."""
        offsets = [TopicPartition(self.topic, p, 0) for p in range(self.sender.partitions)]
        for patience in (10, 10, 20, 40, None):  # the first time the broker makes the topic that keeps them
            admin = AdminClient({"bootstrap.servers": self.broker.bootstrap, "log_level": 0})
            group = ConsumerGroupTopicPartitions("beam-grid", offsets)
            try:
                admin.alter_consumer_group_offsets([group], request_timeout=patience or 60)["beam-grid"].result(90)
                break
            except KafkaException:
                if patience is None:
                    raise
        self.tell("offsets reset to the earliest")

    def retention(self) -> None:
        """Takes messages that were not read yet, of a partition that has some."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for partition, read in self.ends.items():
                _, high = self._bounds(partition)
                if high - read > 20:
                    upto = read + (high - read) // 2
                    self.broker.delete_before(self.topic, partition, upto)
                    self.gaps.setdefault(partition, []).append(range(read, upto))
                    self.tell(f"retention took {partition}: {read} to {upto - 1}")
                    return
            time.sleep(0.2)
        raise AssertionError(f"no partition has messages to lose: {self.ends}")

    # The end

    def drained(self) -> None:
        """One run more, and nothing is left."""
        for _ in range(3):
            done = subprocess.run(
                self._words("run"), capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT, env=self._env
            )
            assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
            if "nothing new" in done.stderr:
                return
        raise AssertionError(f"there is always more:\n{done.stderr}")

    def checked(self) -> None:
        """Tables, landing zone and ledger are what DuckDB makes of what counts; each gap is named, and nothing else."""
        gone = {(p, offset) for p, spans in self.gaps.items() for span in spans for offset in span}
        counted = [m for m in self.sender.delivered if (m.rank, m.n) not in gone]
        wanted = oracle_of(counted, self.feed)
        lake = Lake.open(self.lake, create=False)
        named = [problem for commit in lake.feed(self.feed.name).commits() for problem in commit.problems]
        expected = [
            f"{self.topic}/{p}: offsets {span.start} to {span.stop - 1} are gone (retention took them unread)"
            for p, spans in self.gaps.items() for span in spans
        ]  # fmt: skip
        assert sorted(named) == sorted(expected)
        assert_equal(landed(lake, self.feed), wanted)
        assert_tables(lake, self.feed, wanted)
        ledger = subprocess.run([sys.executable, "-m", "beam_grid", "ledger", "--lake", str(self.lake), "--format", "json"], capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT, env=self._env)  # fmt: skip
        assert ledger.returncode == 0, ledger.stderr
        (row,) = json.loads(ledger.stdout)
        assert row["read"] == len(counted) == sum(row[fate] for fate in ("landed", "duplicates", "late", "rejected"))
        assert "Traceback" not in self.log, self.log[-5000:]
        self.tell(f"{len(counted)} messages, {self.sender.sent['aborted']} of aborted transactions, {len(gone)} offsets gone, {self.last} commits")  # fmt: skip

    # What is seen

    def tell(self, line: str) -> None:
        self.story.append(f"{time.strftime('%H:%M:%S', time.gmtime())} {line}")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def last(self) -> int:
        return Lake.open(self.lake, create=False).feed(self.feed.name).last if (self.lake / "lake.json").exists() else 0

    @property
    def ends(self) -> dict[int, int]:
        """By partition the offset that commits have read up to."""
        found: dict[int, int] = {}
        for commit in Lake.open(self.lake, create=False).feed(self.feed.name).commits():
            for partition in commit.partitions:
                found |= {end.partition: end.offset for end in partition.ends if isinstance(end, KafkaEnd)}
        return found

    def _bounds(self, partition: int) -> tuple[int, int]:
        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": "looks", "isolation.level": "read_committed"})  # fmt: skip
        try:
            return consumer.get_watermark_offsets(TopicPartition(self.topic, partition), timeout=10)
        finally:
            consumer.close()

    def _distinct(self) -> int:
        """Rows that a reader sees now; none of them twice."""
        try:
            sql = (
                f"SELECT count(*) AS n, count(DISTINCT id || CAST(at AS VARCHAR)) AS keys FROM silver.{self.feed.name}"
            )
            seen = query(Lake.open(self.lake, create=False), sql).to_pylist()[0]
        except GridError as cause:
            assert "no table" in str(cause).lower() or self.last == 0 or "refine" in str(cause), cause
            return 0
        assert seen["n"] == seen["keys"], seen
        return int(seen["n"])

    def _until_commit(self) -> None:
        """The next commit of the follower is there."""
        assert self._follower is not None
        before, deadline = self.last, time.monotonic() + PATIENCE_S
        while self.last <= before:
            assert self._follower.poll() is None, f"it ended by itself:\n{self.log[-3000:]}"
            assert self.sender.failure is None, self.sender.failure
            assert time.monotonic() < deadline, f"no commit in {PATIENCE_S:.0f} s:\n{self.log[-3000:]}"
            time.sleep(0.1)

    def _words(self, command: str) -> list[str]:
        return [
            sys.executable, "-m", "beam_grid", command, self.feed.name, "--contract", str(self.folder / "contract.toml"),
            "--source", f"kafka://{self.broker.bootstrap}/{self.topic}", "--lake", str(self.lake), "--slice-rows", "1500",
        ]  # fmt: skip

    @property
    def _env(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "BEAM_GRID_DEBUG": ""}


def main() -> None:
    """One soak, told."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.kafka_soak")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=5)
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "kafka").mkdir()
        broker = KafkaBroker(folder / "kafka")
        stack.callback(broker.stop)
        broker.start()
        soak = Soak(broker, folder, given.seed)
        tell: Callable[[], None] = lambda: print("\n".join(soak.story))  # noqa: E731
        stack.callback(tell)
        soak.run(given.kills)


if __name__ == "__main__":
    main()
