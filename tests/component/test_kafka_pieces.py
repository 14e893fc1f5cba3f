"""One partition of a real topic, read in pieces by many consumers, is judged as by one."""

from __future__ import annotations

from pathlib import Path

from pytest import MonkeyPatch, mark

from data_sources.sources.kafka import Topic
from data_sources.splits import KafkaEnd, PartitionPlan
from tests.component.broker import KafkaBroker
from tests.transforms.making import contract
from tests.transforms.test_pieces import landed_plans, readings

pytestmark = [mark.component]


def test_one_partition_in_pieces(kafka_broker: KafkaBroker, tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    kafka_broker.create_topic("in-pieces", partitions=1)
    kafka_broker.produce("in-pieces", [line.encode() for line in readings(900, 3).splitlines()], 0)
    monkeypatch.setattr("data_sources.sources.kafka.BATCH", 50)
    of, topic = contract(), Topic(f"kafka://{kafka_broker.bootstrap}/in-pieces", None)
    listing = topic.plan(of, {}, 10_000)
    plans = [PartitionPlan(key=key, splits=tuple(splits)) for key, splits in topic.partitions(listing, of)]
    whole, rows = landed_plans(tmp_path, of, plans, None)
    cut, cut_rows = landed_plans(tmp_path, of, plans, 130)
    (read,), (of_pieces,) = whole.values(), cut.values()
    assert read.late > 20 and read.rejected > 10 and read.newest_arrival
    assert of_pieces == read and isinstance(read.ends[0], KafkaEnd)
    assert cut_rows == rows
