"""`run --follow` as a service, against a real broker: told to end, left by its broker, its topics and its leader."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from beam_grid import land as landing_room
from beam_grid.follow import Pace, follow
from beam_grid.land import Lander, Options
from beam_grid.landing import Lake, utc_now
from beam_grid.service.told import tellings
from beam_grid.service.vitals import FeedVitals
from tests.component.broker import KafkaBroker
from tests.component.test_follow import Place, place
from tests.component.test_kafka_land import FEED, Topic, millis, value
from tests.waiting import PATIENCE_S

__all__ = ["place"]
pytestmark = [pytest.mark.component]


def ends(running: subprocess.Popen[bytes], how: signal.Signals) -> int:
    """The exit code, once told to end."""
    running.send_signal(how)
    return running.wait(PATIENCE_S)


def vitals(here: Place, feed: str) -> FeedVitals | None:
    found = tellings(here.lake)
    return found[0].telling.vitals.feeds.get(feed) if found else None


def landed(here: Place, feed: str) -> int:
    return sum(c.fates.landed for c in Lake.open(here.lake).feed(feed).commits())


def test_sigterm_ends_after_the_commit_under_way_and_what_it_published(place: Any) -> None:
    here = place("readings")
    with here.sending("readings"), here.following("--slice-rows", "300") as running:
        here.until(lambda: here.count("silver.readings") > 0, running)
        assert ends(running, signal.SIGTERM) == 0, here.log
    assert here.count("silver.readings") == landed(here, "readings") > 0, "published as far as it landed"
    assert not re.search("interrupted|Traceback|error", here.log), here.log
    with here.following("--every", "10m") as running:
        here.until(lambda: here.count("silver.readings") == here.sent["readings"], running)
        here.until(lambda: (v := vitals(here, "readings")) is not None and v.state == "idle", running)
        assert ends(running, signal.SIGTERM) == 0, "while it sleeps for longer than this waits"
    with here.following("--every", "10m") as running:
        here.until(lambda: (v := vitals(here, "readings")) is not None and v.state == "idle", running)
        assert ends(running, signal.SIGINT) == 130, here.log


def test_a_broker_that_does_not_answer_is_waited_for_at_the_start_and_later(place: Any) -> None:
    here = place("readings", "gauges")
    here.send("readings", 100)
    here.broker.pause()
    try:
        with here.following() as running:
            here.until(lambda: "is the broker running" in here.log, running)
            here.broker.resume()
            here.until(lambda: here.count("silver.readings") == 100, running)
            here.broker.pause()
            here.until(lambda: (v := vitals(here, "readings")) is not None and v.breaker == "open", running)
            told = vitals(here, "readings")
            assert told is not None and told.failures >= 3 and told.retry_at and told.last_error
            assert "no answer" in told.last_error and told.state == "backing off"
            here.broker.resume()
            here.send("readings", 50)
            here.send("gauges", 7)
            here.until(lambda: here.count("silver.readings") == 150, running)
            here.until(lambda: here.count("silver.gauges") == 7, running)
            here.until(lambda: (v := vitals(here, "readings")) is not None and v.failures == 0, running)
            assert ends(running, signal.SIGTERM) == 0, here.log
    finally:
        here.broker.resume()
    assert_said_once_per_change(here, outages=2)


def assert_said_once_per_change(here: Place, outages: int) -> None:
    of_readings = [line for line in here.log.splitlines() if line.startswith("readings:") and "read =" not in line]
    assert sum("goes on" in line for line in of_readings) == outages, of_readings
    assert len(of_readings) <= 3 * outages, f"a line per change, not per try: {of_readings}"


@pytest.mark.nightly
def test_a_broker_that_is_down_is_waited_for_at_the_start_and_later(place: Any) -> None:
    here = place("readings")
    here.send("readings", 100)
    here.broker.stop()
    with here.following() as running:
        here.until(lambda: "is the broker running" in here.log, running)
        here.broker.start()
        here.until(lambda: here.count("silver.readings") == 100, running)
        here.broker.stop()
        here.until(lambda: (v := vitals(here, "readings")) is not None and v.breaker == "open", running)
        here.broker.start()
        here.send("readings", 50)
        here.until(lambda: here.count("silver.readings") == 150, running)
        assert ends(running, signal.SIGTERM) == 0, here.log
    assert_said_once_per_change(here, outages=2)


@pytest.mark.parametrize("wrong", ["password", "topic"])
def test_what_a_broker_refuses_at_the_start_ends_a_run_that_follows(topic: Topic, tmp_path: Path, wrong: str) -> None:
    (tmp_path / "c.toml").write_text(_toml(topic.name))
    config = tmp_path / "kafka.properties"
    config.write_text("".join(f"{k} = {v}\n" for k, v in topic.broker.sasl_config.items()))
    if wrong == "password":
        config.write_text(config.read_text().replace(topic.broker.password, "not-the-password"))
    name = topic.name if wrong == "password" else "no-such-topic"
    words = ["land", "--follow", "--contract", str(tmp_path / "c.toml"), "--kafka-config", str(config), "--source"]
    done = subprocess.run(
        [sys.executable, "-m", "beam_grid", *words, f"kafka://{topic.broker.sasl_bootstrap}/{name}", "--lake", str(topic.lake)],
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert ("refuses" if wrong == "password" else "check the name") in done.stderr
    assert "not-the-password" not in done.stderr


def _toml(topic: str) -> str:
    from tests.component.test_follow import toml

    return toml("readings").replace('"follow.readings"', f'"{topic}"')


@pytest.fixture
def topic(kafka_broker: KafkaBroker, tmp_path: Path) -> Topic:
    return Topic(kafka_broker, tmp_path)


def test_a_topic_that_vanishes_and_is_made_anew_fails_alone(place: Any) -> None:
    here = place("readings", "gauges")
    here.send("readings", 20)
    with here.sending("gauges"), here.following() as running:
        here.until(lambda: here.count("silver.readings") == 20 and here.count("silver.gauges") > 0, running)
        here.broker.delete_topic(here.topics["readings"])
        here.until(lambda: (v := vitals(here, "readings")) is not None and v.state == "failed", running)
        seen = here.count("silver.gauges")
        here.broker.create_topic(here.topics["readings"], 2)
        here.send("readings", 5)
        here.until(lambda: "made anew" in here.log, running)
        here.until(lambda: here.count("silver.gauges") > seen, running)
        assert ends(running, signal.SIGTERM) == 0, here.log
    assert here.count("silver.readings") == 20, "what another topic holds is not taken for more of this one"
    assert here.grid("ledger").returncode == 0


def test_a_second_follower_is_refused_or_stands_by_and_takes_over(place: Any) -> None:
    here = place("readings")
    with here.sending("readings"), here.following() as first:
        here.until(lambda: here.count("silver.readings") > 0, first)
        refused = subprocess.run(here.command("--follow"), capture_output=True, text=True, timeout=PATIENCE_S)
        assert refused.returncode == 2 and "another land or run is at work" in refused.stderr
        with here.following("--standby") as second:
            here.until(lambda: "standing by" in here.log, second)
            here.until(lambda: any(f.telling.vitals.role == "standby" for f in tellings(here.lake)), second)
            first.kill()
            first.wait()
            before = Lake.open(here.lake).feed("readings").last
            here.until(lambda: Lake.open(here.lake).feed("readings").last > before, second)
            here.until(lambda: (f := tellings(here.lake)) and f[0].telling.vitals.role == "leader", second)
            assert ends(second, signal.SIGTERM) == 0, here.log
    done = subprocess.run(here.command(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert here.count("silver.readings") == here.sent["readings"]


def _configured(broker: KafkaBroker, name: str, **config: str) -> None:
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

    entries = [
        ConfigEntry(key.replace("_", "."), text, incremental_operation=AlterConfigOpType.SET)
        for key, text in config.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
    admin = broker._admin()
    admin.incremental_alter_configs([resource])[resource].result(timeout=10)


def test_a_message_of_20_megabytes_is_one_reject_and_the_next_ones_land(topic: Topic) -> None:
    from confluent_kafka import Producer

    _configured(topic.broker, topic.name, max_message_bytes=str(32 << 20))
    topic.send(0, value("before", 0))
    producer = Producer({"bootstrap.servers": topic.broker.bootstrap, "message.max.bytes": 32 << 20})
    producer.produce(topic.name, value("x" * (20 << 20), 0), partition=0, timestamp=millis(0))
    assert producer.flush(30) == 0
    topic.send(0, value("behind", 1))
    done = topic.land()
    assert (done.fates.read, done.fates.landed, done.fates.rejected) == (3, 2, 1)
    assert topic.kept() == ["before", "behind"]
    ((position, raw),) = topic.kept("rejected", "_position", "raw")
    assert position == 1 and len(raw) == 1 << 20


def test_a_compacted_topic_is_read_past_the_offsets_that_are_gone(topic: Topic) -> None:
    from confluent_kafka import Producer

    _configured(
        topic.broker, topic.name, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.001",
        max_compaction_lag_ms="100", segment_bytes="1048576",
    )  # fmt: skip
    producer = Producer({"bootstrap.servers": topic.broker.bootstrap})

    def send(n: int) -> None:
        producer.produce(
            topic.name, value(f"k{n % 5}", n / 10), key=f"k{n % 5}".encode(), partition=0, timestamp=millis(n)
        )
        assert producer.flush(10) == 0

    for n in range(60):
        send(n)
    deadline, n, held = time.monotonic() + PATIENCE_S, 60, 60
    while held > 40:
        assert time.monotonic() < deadline, "the broker did not compact"
        time.sleep(1)
        send(n)  # closes a segment
        n, held = n + 1, len(_offsets(topic, n))
    done = topic.land(slice_rows=7)
    offsets = _offsets(topic, n)
    assert done.fates.read >= len(offsets) and done.fates.read < n
    assert topic.land().commits == 0
    (end,) = Lake.open(topic.lake).feed("readings").read(done.commits).partitions[0].ends
    assert end.offset == n


def _offsets(topic: Topic, end: int) -> list[int]:
    from data_sources.sources.kafka import _read_messages
    from data_sources.splits import KafkaSplit

    split = KafkaSplit(topic=topic.name, bootstrap=topic.broker.bootstrap, partition=0, start=0, end=end)
    return [int(p) for records in _read_messages(split, None, 0) for p in records.positions]


def test_a_clock_that_is_set_back_while_following_changes_no_fate(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, turns = Lake.open(topic.lake), 0
    monkeypatch.setattr(landing_room, "utc_now", lambda: utc_now() - timedelta(hours=turns))

    def at(lander: Lander) -> None:
        nonlocal turns
        turns += 1
        if turns > 4:
            raise StopIteration
        topic.send(0, value(f"r{turns}", turns), arrival=turns)

    with lake.lock("land"):
        assert follow(lake, [(FEED, Options(topic.source))], Pace(0, 3600), None, print, at) == 0
    commits = list(lake.feed("readings").commits())
    assert [c.fates.landed for c in commits] == [1, 1, 1, 1]
    assert commits[0].now > commits[-1].now, "the clock did go back"
    assert topic.kept() == ["r1", "r2", "r3", "r4"]


@pytest.mark.parametrize("shape", ["records", "documents"])
def test_a_poison_message_is_put_aside_with_its_partition_offset_and_bytes(
    kafka_broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    """A value at which the decoder breaks, in one of three partitions; once it can be decoded it lands after all."""
    from beam_grid.reinject_rejected import reinject_rejected
    from data_sources.formats import json_document, json_lines
    from tests.beam_grid.service.test_poison import Decoder
    from tests.transforms.making import contract

    def sent(*ids: str) -> list[bytes]:
        found = [value(id, n) for n, id in enumerate(ids)]
        return found if shape == "records" else [b'{"list": [' + one + b"]}" for one in found]

    feed = FEED if shape == "records" else contract(idle_timeout="15m", json={"records": "list"})
    here = Topic(kafka_broker, tmp_path, partitions=3)
    for partition in range(3):
        ids = [f"p{partition}-{n}" for n in range(10)]
        ids[4] = "poison" if partition == 1 else ids[4]
        here.send(partition, *sent(*ids), arrival=10)
    decoder, room = Decoder(b"poison"), json_lines if shape == "records" else json_document
    with monkeypatch.context() as broken:
        broken.setattr(room, "decode_json", decoder)
        done = here.land(feed)
    assert decoder.broke and done.fates.rejected == 1 and done.fates.read == 30 == done.fates.landed + 1
    assert len(done.problems) == 1 and f"{here.name}/1, offset 4" in done.problems[0]
    ((cause, partition, position, raw),) = here.kept("rejected", "cause", "_partition", "_position", "raw")
    assert (cause, partition) == ("poison", 1) and raw == sent("", "", "", "", "poison")[4]
    assert position == (4 if shape == "records" else 4 * 1_000_000 + 1)
    assert "poison" not in here.kept()
    lake = Lake.open(here.lake)
    with lake.lock("land"):
        again = reinject_rejected(lake, "readings", rule="poison")
    assert (again.judged, again.fates.landed) == (1, 1) and "poison" in here.kept()
