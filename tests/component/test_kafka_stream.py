"""A spec's stream to a real broker, at a rate."""

from __future__ import annotations

import json
import time

import pytest
from confluent_kafka import Consumer

from beam_grid.feeds import BUILT_IN
from data_sources.generators.streams.feed import emit_feed
from data_sources.generators.streams.load import load_spec
from tests.component.broker import KafkaBroker
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.component]


def test_2000_records_a_second_arrive_in_order(kafka_broker: KafkaBroker) -> None:
    spec = load_spec(BUILT_IN / "transactions" / "spec.toml")
    assert spec.topic is not None
    with pytest.raises(ValueError, match="create it first"):
        emit_feed(spec, None, kafka_broker.bootstrap, seed=1, scale=1, days=1, messy=False, rows=1)
    kafka_broker.create_topic(spec.topic)
    done = emit_feed(spec, None, kafka_broker.bootstrap, seed=1, scale=1, days=1, messy=False, rate=2000, seconds=3)
    assert 4000 <= done.records <= 6000
    assert done.seconds >= 2.9
    consumer = Consumer({"bootstrap.servers": kafka_broker.bootstrap, "group.id": "t", "auto.offset.reset": "earliest"})
    consumer.subscribe([spec.topic])
    seen, deadline = [], time.monotonic() + PATIENCE_S
    while len(seen) < done.records and time.monotonic() < deadline:
        seen += consumer.consume(1000, 0.5)
    consumer.close()
    values = [json.loads(m.value()) for m in seen]
    assert len(values) == len({v["txn_id"] for v in values}) == done.records
    assert [v["timestamp"] for v in values] == sorted(v["timestamp"] for v in values)
    assert all(m.key() == str(v["account_id"]).encode() for m, v in zip(seen, values, strict=True))
