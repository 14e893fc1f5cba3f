"""Alerts on a topic of a real broker, also when it was away, and of readings that come by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from beam_grid.alerts import command
from beam_grid.alerts.couriers import Courier
from beam_grid.alerts.declared import KafkaSink
from beam_grid.alerts.store import opened
from tests.beam_grid.alerts.published import RULE, Published, keys
from tests.component.broker import KafkaBroker, free_ports
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.component


def test_alerts_are_on_the_topic_once_under_their_id(
    kafka_broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = "alerts.of.tests"
    kafka_broker.create_topic(topic)
    config = tmp_path / "kafka.properties"
    config.write_text("".join(f"{k} = {v}\n" for k, v in kafka_broker.sasl_config.items()))
    sink = KafkaSink(
        name="topic", bootstrap=kafka_broker.sasl_bootstrap, topic=topic, config=str(config), timeout="10s"
    )
    toml = f"""
[[sinks]]
name = "topic"
kind = "kafka"
bootstrap = "{sink.bootstrap}"
topic = "{topic}"
config = "{config}"
"""
    here = Published(tmp_path, RULE + toml)
    here.readings(("a", 0, 30.0), ("b", 0, 30.0))
    monkeypatch.setattr(command, "_sent", lambda *_: True)
    assert here.check() == 0
    away = Courier(
        here.lake, KafkaSink(name="topic", bootstrap=f"127.0.0.1:{free_ports(1)[0]}", topic=topic, timeout="1s")
    )
    with opened(here.lake) as store:
        assert away.send_one(store) and store.deliveries()[0][5].startswith(f"topic {topic}: ")
        away.change(sink)
        while away.send_one(store):
            pass
        assert store.deliveries()[0][1:4] == (2, 0, 0)
        assert kafka_broker.password not in str(store.deliveries())
    consumer = Consumer(
        {"bootstrap.servers": kafka_broker.bootstrap, "group.id": "tests", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    records = consumer.consume(2, timeout=PATIENCE_S)
    assert not consumer.consume(1, timeout=1)
    consumer.close()
    bodies = [json.loads(record.value()) for record in records]
    assert sorted(keys(one)[0] for one in bodies) == ["a", "b"]
    assert [dict(r.headers())["idempotency-key"].decode() for r in records] == [one["id"] for one in bodies]
