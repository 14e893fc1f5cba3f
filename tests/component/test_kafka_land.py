"""`land` from a real Kafka broker: run after run from the committed to the latest offsets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer

from beam_grid.commit import Commit, Fates
from beam_grid.errors import GridError
from beam_grid.land import Landed
from beam_grid.landing import Lake
from beam_grid.optimize import optimize
from data_sources.contract import Contract, load_contract
from tests.beam_grid.test_land import toml_of
from tests.component.broker import KafkaBroker
from tests.properties.oracle import run
from tests.transforms.making import contract, minute, plain_contract
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.component]
ROOT = Path(__file__).resolve().parents[2]
FEED = contract(idle_timeout="15m")  # late: more than 30 minutes behind; future: more than 20 ahead of arrival


def value(id: str, at: float, kwh: float = 1.0) -> bytes:
    return json.dumps({"id": id, "at": minute(at).isoformat(), "kwh": kwh, "meter": "m"}).encode()


def millis(minutes: float) -> int:
    return int(minute(minutes).timestamp() * 1000)


class Topic:
    """A topic of the test's own, the lake it lands in, and what has landed."""

    def __init__(self, broker: KafkaBroker, folder: Path, partitions: int = 1) -> None:
        self.broker, self.lake, self.name = broker, folder / "lake", f"t-{uuid.uuid4().hex}"
        self.source = f"kafka://{broker.bootstrap}/{self.name}"
        broker.create_topic(self.name, partitions)

    def send(self, partition: int, *values: bytes | None, arrival: float = 0) -> None:
        self.broker.produce(self.name, values, partition, [millis(arrival)] * len(values))

    def land(self, feed: Contract = FEED, **options: Any) -> Landed:
        return run(self.lake, feed, self.source, **options)

    def kept(self, kind: str = "rows", *names: str) -> list[Any]:
        log = Lake.open(self.lake).feed("readings")
        tables = [pq.read_table(log.path / e.path) for c in log.commits() for e in c.listed(kind)]
        if not tables:
            return []
        table = pa.concat_tables(tables)
        columns = [table[n].to_pylist() for n in names or ("id",)]
        return sorted(zip(*columns, strict=True) if len(columns) > 1 else columns[0], key=str)

    def commit(self, number: int) -> Commit:
        return Lake.open(self.lake).feed("readings").read(number)


@pytest.fixture
def topic(kafka_broker: KafkaBroker, tmp_path: Path) -> Topic:
    return Topic(kafka_broker, tmp_path)


@pytest.fixture
def two(kafka_broker: KafkaBroker, tmp_path: Path) -> Topic:
    return Topic(kafka_broker, tmp_path, partitions=2)


def test_each_partition_has_its_own_lateness(two: Topic) -> None:
    two.send(0, value("fast", 600), value("late", 569.9), value("in time", 570), arrival=600)
    two.send(1, value("slow", 0), value("slower", -30), arrival=600)
    two.land()
    assert two.kept() == ["fast", "in time", "slow", "slower"]
    assert two.kept("late", "id", "_source", "_partition", "_position") == [("late", two.name, 0, 1)]
    answer = optimize(Lake.open(two.lake).landed("readings"), 0.0)
    assert (answer.records, answer.late, answer.came.late) == (5, 1, 0)
    assert answer.behind[1.0] == 30.1 * 60e6
    assert answer.proposed.allowed_lateness == timedelta(minutes=21), "with the out-of-orderness the least above 30.1"


def test_run_after_run_reads_on_where_the_last_one_stopped(two: Topic) -> None:
    two.send(0, value("a", 0), value("b", 100), arrival=100)
    assert two.land().fates.read == 2
    assert two.land().commits == 0, "nothing new, no commit"
    two.send(0, value("a", 0), value("b", 100), value("c", 71), arrival=100)
    two.send(1, value("a", 0), arrival=100)
    again = two.land()
    assert again.fates == Fates(read=4, landed=1, duplicates=2, late=1)
    assert two.kept() == ["a", "b", "c"]
    assert two.kept("late", "id", "_position") == [("a", 2)], "M is remembered from the first run"
    answer = optimize(Lake.open(two.lake).landed("readings"), 0.0)
    assert (answer.records, answer.late, answer.behind[1.0]) == (4, 1, 100 * 60e6)
    assert [note.split(", of")[0] for note in answer.notes] == [
        f"2 of the 2 records that are out of order are so because of one, {two.name}/0:1"
    ]


def test_slices_give_what_one_slice_gives(two: Topic) -> None:
    for partition in (0, 1):
        two.send(partition, *(value(f"k{n % 17}", n % 17) for n in range(40)))
    two.land(slice_rows=7)
    assert two.commit(1).fates.read <= 7 and Lake.open(two.lake).feed("readings").last >= 12
    assert len(two.kept()) == 17


def test_hostile_messages_have_one_fate_each(topic: Topic) -> None:
    messages = [
        None, b"", b" ", value("raw\u2028", 0), b'{"id": "pretty",\n "at": "2025-06-15T12:00:00Z"}',
        value("one", 0) + b"\n" + value("two", 0), value("x", 0) + value("y", 0), b"\xff\xfe", b"null", b"[]", value("neg", 0, -1.0),
        value("good", 1),
    ]  # fmt: skip
    topic.send(0, *messages)
    fates = topic.land().fates
    assert fates.read == len(messages) == fates.landed + fates.rejected
    assert topic.kept("rows", "id", "_position") == [("good", 11), ("pretty", 4), ("raw\u2028", 3)]
    rejected = dict(topic.kept("rejected", "_position", "raw"))
    assert set(rejected) == {0, 1, 2, 5, 6, 7, 8, 9, 10}
    assert all(rejected[n] == (messages[n] or b"") for n in rejected), "raw bytes, whole"


def test_the_future_is_judged_by_the_messages_own_time(topic: Topic) -> None:
    topic.send(0, value("soon", 20), value("far", 20.1), arrival=0)
    topic.send(0, value("then it was not", 20.2), arrival=10)
    topic.land(now=millis(-9000) * 1000)
    assert topic.kept() == ["soon", "then it was not"]
    assert topic.kept("rejected", "cause", "_position") == [("from_the_future", 1)]


def test_a_message_without_a_timestamp_is_judged_by_the_clock_of_the_run(topic: Topic) -> None:
    ids, own = ("a", "b", "far ahead of the run"), millis(5)
    sent = [value(id, at) for id, at in zip(ids, (0, 29, 31), strict=True)]
    topic.broker.produce(topic.name, sent, 0, [-1, -1, -1])
    topic.broker.produce(topic.name, [value("own", 24), value("far ahead of its own time", 26)], 0, [own, own])
    topic.land(now=millis(10) * 1000)
    assert topic.kept() == ["a", "b", "own"]
    assert topic.kept("rejected", "cause", "_position") == [("from_the_future", 2), ("from_the_future", 4)]


def test_readings_without_timestamps_all_land_in_the_built_in_feed(topic: Topic) -> None:
    """Issue 12, case kafka-no-timestamp: taken for messages of 1969, four of the five were of the future."""
    reading = {"reading_kwh": 0.25, "region": "NORTH", "grid_zone": "Z1", "meter_status": "ACTIVE"}
    sent = [
        {"event_id": f"e-{n}", "meter_id": f"SM-N-0000{n}", "timestamp": minute(n).isoformat(), **reading}
        for n in range(1, 6)
    ]
    topic.broker.produce(topic.name, [json.dumps(r).encode() for r in sent], 0, [-1, -1, -1, -1, millis(5)])
    feed = load_contract(ROOT / "data_sources" / "smart_meter_readings" / "contract.toml")
    assert topic.land(feed).fates == Fates(read=5, landed=5)


@pytest.mark.parametrize("messages", [2, 3, 5])
def test_a_topic_that_was_made_anew_is_refused_however_long_it_is(topic: Topic, messages: int) -> None:
    topic.send(0, *(value(f"old-{n}", n) for n in range(3)), arrival=10)
    assert topic.land().fates == Fates(read=3, landed=3)
    topic.broker.recreate_topic(topic.name)
    topic.send(0, *(value(f"new-{n}", n) for n in range(messages)), arrival=10)
    for _ in range(2):
        with pytest.raises(GridError, match=r"the topic was deleted and made anew .* was read before\)") as caught:
            topic.land()
        assert caught.value.exit_code == 2 and "land it into a new lake" in str(caught.value)
    assert topic.kept() == ["old-0", "old-1", "old-2"] and Lake.open(topic.lake).feed("readings").last == 1


def test_a_topic_that_was_made_anew_before_it_was_read_is_any_topic(topic: Topic) -> None:
    topic.send(0, value("never read", 0))
    topic.broker.recreate_topic(topic.name)
    topic.send(0, value("a", 0))
    assert topic.land().fates == Fates(read=1, landed=1)
    topic.send(0, value("b", 1))
    topic.land()
    assert topic.kept() == ["a", "b"]


def test_an_idle_partition_does_not_hold_the_watermark(two: Topic) -> None:
    def watermark(number: int) -> float:
        return (two.commit(number).watermark - int(minute(0).timestamp() * 1e6)) / 6e7

    two.send(0, value("a", 0), arrival=0)
    two.send(1, value("b", 5), arrival=0)
    two.land()
    assert watermark(1) == -10
    two.send(1, value("c", 20), arrival=15)
    two.land()
    assert watermark(2) == -10, "partition 0 was heard 15 minutes ago"
    two.send(1, value("d", 30), arrival=15.1)
    two.land()
    assert watermark(3) == 20


def test_what_retention_took_is_named(topic: Topic) -> None:
    topic.send(0, *(value(f"a{n}", n) for n in range(5)))
    topic.land(slice_rows=2)
    topic.send(0, *(value(f"b{n}", n) for n in range(5)))
    topic.broker.delete_before(topic.name, 0, 8)
    done = topic.land()
    assert any(f"{topic.name}/0" in p and "5 to 7 are gone" in p for p in done.problems)
    assert topic.kept()[-2:] == ["b3", "b4"] and done.fates.read == 2
    assert topic.land().problems == [], "said once"


def test_a_topic_that_is_not_there_is_named(topic: Topic, tmp_path: Path) -> None:
    with pytest.raises(GridError, match="no-such-topic"):
        run(tmp_path / "other", FEED, f"kafka://{topic.broker.bootstrap}/no-such-topic")


def test_aborted_transactions_are_not_read_and_markers_end_no_run_early(topic: Topic) -> None:
    producer = Producer({"bootstrap.servers": topic.broker.bootstrap, "transactional.id": topic.name})
    producer.init_transactions(10)
    for name, end in (("kept", producer.commit_transaction), ("dropped", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(topic.name, value(name, 0), partition=0)
        end(10)
    done = topic.land()
    assert topic.kept() == ["kept"] and done.fates.read == 1
    assert topic.land().commits == 0


@pytest.fixture
def config(tmp_path: Path, kafka_broker: KafkaBroker) -> Iterator[Path]:
    file = tmp_path / "kafka.properties"
    file.write_text("# settings\n" + "".join(f"{k} = {v}\n" for k, v in kafka_broker.sasl_config.items()))
    yield file


@pytest.mark.parametrize("way", ["file", "environment"])
def test_the_password_is_nowhere_to_be_seen(topic: Topic, config: Path, tmp_path: Path, way: str) -> None:
    topic.send(0, value("a", 0))
    (tmp_path / "c.toml").write_text(toml_of(plain_contract()))
    arguments = ["land", "readings", "--contract", str(tmp_path / "c.toml"), "--source", f"kafka://{topic.broker.sasl_bootstrap}/{topic.name}", "--lake", str(topic.lake)]  # fmt: skip
    env = dict(os.environ)
    if way == "file":
        arguments += ["--kafka-config", str(config)]
    else:
        for name, text in topic.broker.sasl_config.items():
            env["BEAM_GRID_KAFKA_" + name.upper().replace(".", "_")] = text
    done = subprocess.run([sys.executable, "-m", "beam_grid", "--debug", *arguments], capture_output=True, text=True, env=env, cwd=ROOT, timeout=PATIENCE_S)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert topic.kept() == ["a"]
    secret = topic.broker.password
    assert secret not in done.stdout + done.stderr
    written = [p for p in topic.lake.rglob("*") if p.is_file()]
    assert written and not [p for p in written if secret.encode() in p.read_bytes()]


def test_a_wrong_password_is_said_without_it(topic: Topic, config: Path) -> None:
    config.write_text(config.read_text().replace(topic.broker.password, "not-the-password"))
    with pytest.raises(GridError) as caught:
        run(
            topic.lake,
            FEED,
            f"kafka://{topic.broker.sasl_bootstrap}/{topic.name}",
            kafka_config=str(config),
            patience_s=5.0,
        )
    assert "not-the-password" not in str(caught.value) and caught.value.exit_code == 2


def test_the_simulator_sends_what_the_built_in_contract_lands(topic: Topic) -> None:
    simulator = [
        sys.executable,
        "-m",
        "data_sources.smart_meter_readings.kafka_producer_simulator",
        "2",
        "--rate",
        "50",
    ]
    sent = subprocess.run([*simulator, "--bootstrap", topic.broker.bootstrap, "--topic", topic.name], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S)  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    done = subprocess.run(
        [sys.executable, "-m", "beam_grid", "land", "smart_meter_readings", "--source", topic.source, "--lake", str(topic.lake)],
        capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    fates = Lake.open(topic.lake).feed("smart_meter_readings").read(1).fates
    assert fates.read == fates.landed == 100
