"""The machinery below the component tests does what Beam Grid builds on.

Each test here is a fact the design counts on: when an upgrade breaks one, it should break here,
in thirty lines, and not inside a pipeline.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.coders import BytesCoder, Coder
from apache_beam.coders.typecoders import registry
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.trigger import AccumulationMode, AfterWatermark
from apache_beam.transforms.userstate import BagStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import (
    FixedWindows,
    GlobalWindow,
    GlobalWindows,
    TimestampedValue,
)
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from runners import spark
from runners.job_server import cause_of
from tests.component.broker import KafkaBroker
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.component


# --- Kafka ---------------------------------------------------------------------------------------


def test_a_message_comes_back_with_its_partition_offset_and_timestamp(
    kafka_broker: KafkaBroker,
) -> None:
    kafka_broker.create_topic("round-trip", partitions=2)
    kafka_broker.produce("round-trip", [b"old", None], partition=1, timestamps=[1_000, 2_000])
    kafka_broker.produce("round-trip", [b"ahead"], partition=1, timestamps=[4_102_444_800_000])

    read = _read(kafka_broker, "round-trip", partition=1, count=3)

    assert read == [(0, 1_000, b"old"), (1, 2_000, None), (2, 4_102_444_800_000, b"ahead")]


def test_topics_are_not_made_by_asking_for_them(kafka_broker: KafkaBroker) -> None:
    consumer = Consumer({"bootstrap.servers": kafka_broker.bootstrap, "group.id": "none"})
    topic = consumer.list_topics("never-made", timeout=10).topics["never-made"]
    consumer.close()
    assert topic.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_deleted_records_move_the_low_watermark(kafka_broker: KafkaBroker) -> None:
    kafka_broker.create_topic("retained")
    kafka_broker.produce("retained", [b"a", b"b", b"c"])
    kafka_broker.delete_before("retained", 0, 2)
    consumer = Consumer({"bootstrap.servers": kafka_broker.bootstrap, "group.id": "none"})
    low_and_high = consumer.get_watermark_offsets(TopicPartition("retained", 0), timeout=10)
    consumer.close()
    assert low_and_high == (2, 3)


def test_sasl_takes_the_password_and_no_other(kafka_broker: KafkaBroker) -> None:
    def topics(**changed: str) -> Collection[str]:
        settings = {"bootstrap.servers": kafka_broker.sasl_bootstrap, **kafka_broker.sasl_config}
        return AdminClient({**settings, "log_level": 0, **changed}).list_topics(timeout=3).topics

    kafka_broker.create_topic("guarded")
    assert "guarded" in topics()
    with pytest.raises(KafkaException):
        topics(**{"sasl.password": "wrong"})


def test_the_broker_keeps_its_port_and_messages_when_it_was_down(kafka_broker: KafkaBroker) -> None:
    kafka_broker.create_topic("survivor")
    kafka_broker.produce("survivor", [b"still here"], timestamps=[7])
    kafka_broker.stop()
    try:
        with pytest.raises(KafkaException):
            AdminClient({"bootstrap.servers": kafka_broker.bootstrap, "log_level": 0}).list_topics(timeout=1)
    finally:
        kafka_broker.start()
    assert _read(kafka_broker, "survivor", partition=0, count=1) == [(0, 7, b"still here")]


def _read(broker: KafkaBroker, topic: str, partition: int, count: int) -> list[tuple[int | None, int, bytes | None]]:
    """(offset, timestamp, value) of the partition's first messages, or what came while it was patient."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0)])
    read: list[tuple[int | None, int, bytes | None]] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(read) < count and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            read.append((message.offset(), message.timestamp()[1], message.value()))
    consumer.close()
    return read


# --- Spark ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_spark(spark_job_server_jars: Path) -> Iterator[PipelineOptions]:
    with spark.options("local[2]", jars=spark.job_server_jars(spark_job_server_jars)) as options:
        yield options


class Write(beam.DoFn):
    """Each element as one JSON file, because nothing else comes back from Spark."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def process(  # type: ignore[no-untyped-def]
        self, element, window=beam.DoFn.WindowParam, pane=beam.DoFn.PaneInfoParam
    ) -> None:
        text = json.dumps([element, str(window), pane.is_first and pane.is_last])
        (self._folder / f"{uuid.uuid4()}.json").write_text(text)


def _written(folder: Path) -> list[tuple[object, str, bool]]:
    """(element, window, whether its pane was the first and last), in order."""
    return sorted(tuple(json.loads(file.read_text())) for file in folder.glob("*.json"))


#     0         60        120 s
#     |a0 a1 b2 |b7 a8     |        key and number, at ten times the number in seconds
#
def test_windows_and_group_by_key(on_spark: PipelineOptions, tmp_path: Path) -> None:
    elements = [(b"a", 0), (b"a", 1), (b"b", 2), (b"b", 7), (b"a", 8)]
    with beam.Pipeline(options=on_spark) as pipeline:
        _ = (
            pipeline
            | beam.Create(elements)
            | "Stamp" >> beam.Map(lambda kv: TimestampedValue(kv, kv[1] * 10))
            | beam.WindowInto(FixedWindows(60))
            | beam.GroupByKey()
            | "Name" >> beam.MapTuple(lambda key, values: [key.decode(), sorted(values)])
            | "Write" >> beam.ParDo(Write(tmp_path))
        )
    assert _written(tmp_path) == [
        (["a", [0, 1]], "[0.0, 60.0)", True),
        (["a", [8]], "[60.0, 120.0)", True),
        (["b", [2]], "[0.0, 60.0)", True),
        (["b", [7]], "[60.0, 120.0)", True),
    ]


class CountThenTell(beam.DoFn):
    """Collects a key's elements in state and tells them all when the watermark is at its end."""

    COLLECTED = BagStateSpec("collected", BytesCoder())
    END = TimerSpec("end", TimeDomain.WATERMARK)

    def process(  # type: ignore[no-untyped-def]
        self,
        element,
        collected=beam.DoFn.StateParam(COLLECTED),
        end=beam.DoFn.TimerParam(END),
    ) -> None:
        collected.add(element[1])
        end.set(GlobalWindow().max_timestamp())

    @on_timer(END)
    def tell(self, key=beam.DoFn.KeyParam, collected=beam.DoFn.StateParam(COLLECTED)):  # type: ignore[no-untyped-def]
        name = key.decode() if isinstance(key, bytes) else key
        yield [name, sorted(value.decode() for value in collected.read())]


@pytest.mark.parametrize(
    "key",
    [lambda number: b"k%d" % (number % 3), lambda number: number % 3],
    ids=["bytes", "int"],
)
def test_one_keys_elements_all_reach_its_state_and_then_its_timer(
    on_spark: PipelineOptions, tmp_path: Path, key: Callable[[int], bytes | int]
) -> None:
    with beam.Pipeline(options=on_spark) as pipeline:
        _ = (
            pipeline
            | beam.Create([(key(number), b"%03d" % number) for number in range(300)])
            | beam.Reshuffle()
            | beam.WindowInto(
                GlobalWindows(),
                trigger=AfterWatermark(),
                accumulation_mode=AccumulationMode.DISCARDING,
            )
            | "Collect" >> beam.ParDo(CountThenTell())
            | "Write" >> beam.ParDo(Write(tmp_path))
        )
    told = [element for element, _, _ in _written(tmp_path)]
    assert told == [
        [key(rest).decode() if isinstance(key(rest), bytes) else rest,  # type: ignore[union-attr]
         [f"{number:03d}" for number in range(rest, 300, 3)]]
        for rest in range(3)
    ]  # fmt: skip


class Numbers(NamedTuple):
    """An Arrow array as an element: an own type, so that no other test's coder is replaced."""

    column: pa.Array


class NumbersCoder(Coder):
    """As an Arrow stream. The test counts its uses: LOOPBACK runs them in this process."""

    uses: ClassVar[Counter[str]] = Counter()

    def encode(self, value: Numbers) -> bytes:
        self.uses["encode"] += 1
        sink = pa.BufferOutputStream()
        batch = pa.record_batch({"column": value.column})
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue())

    def decode(self, encoded: bytes) -> Numbers:
        self.uses["decode"] += 1
        return Numbers(pa.ipc.open_stream(pa.py_buffer(encoded)).read_next_batch().column(0))

    def estimate_size(self, value: Numbers) -> int:
        return int(value.column.nbytes)  # Coder's own encodes the element again, to measure it

    def is_deterministic(self) -> bool:
        return False

    def to_type_hint(self) -> type:
        return Numbers


class UpTo(beam.DoFn):
    def process(self, number: int) -> Iterator[tuple[int, Numbers]]:
        yield number % 2, Numbers(pa.array(range(number)))


# `from __future__ import annotations` makes annotations texts, and Beam takes a text for Any:
# the annotation above tells it nothing, and elements are pickled without a word.
@pytest.mark.parametrize(("told", "uses"), [(True, {"encode": 6, "decode": 6}), (False, {})], ids=["told", "annotated"])
def test_a_registered_coder_is_used_where_the_type_is_told_and_only_there(
    on_spark: PipelineOptions, tmp_path: Path, told: bool, uses: dict[str, int]
) -> None:
    registry.register_coder(Numbers, NumbersCoder)
    NumbersCoder.uses.clear()
    make = beam.ParDo(UpTo())
    with beam.Pipeline(options=on_spark) as pipeline:
        _ = (
            pipeline
            | beam.Create(range(6))
            | "Make" >> (make.with_output_types(tuple[int, Numbers]) if told else make)
            | beam.GroupByKey()
            | "Count" >> beam.MapTuple(lambda key, all: [key, sum(len(n.column) for n in all)])
            | "Write" >> beam.ParDo(Write(tmp_path))
        )
    assert _written(tmp_path) == [
        ([0, 0 + 2 + 4], "GlobalWindow", True),
        ([1, 1 + 3 + 5], "GlobalWindow", True),
    ]
    assert NumbersCoder.uses == uses


class Explode(beam.DoFn):
    def process(self, element):  # type: ignore[no-untyped-def]
        raise ValueError(f"no such shard: {element}")


def test_the_cause_of_a_failure_can_be_told_and_the_next_pipeline_runs(
    on_spark: PipelineOptions, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError) as caught, beam.Pipeline(options=on_spark) as pipeline:
        _ = pipeline | beam.Create([7]) | "Explode" >> beam.ParDo(Explode())
    assert cause_of(caught.value) == "ValueError: no such shard: 7 (while running 'Explode')"

    with beam.Pipeline(options=on_spark) as pipeline:
        _ = pipeline | beam.Create([8]) | "Write" >> beam.ParDo(Write(tmp_path))
    assert [element for element, _, _ in _written(tmp_path)] == [8]


def test_a_job_server_that_cannot_start_says_why() -> None:
    wrong = [Path("not-a.jar")]
    with (
        pytest.raises(RuntimeError, match=r"(?s)ended with exit code 1.*SparkJobServerDriver"),
        spark.options("local[2]", jars=wrong),
    ):
        pytest.fail("started from nothing")


def test_neither_job_server_nor_its_files_outlive_a_killed_process(spark_job_server_jars: Path, tmp_path: Path) -> None:
    script = (
        "import os; from runners import spark\n"
        "with spark.options('local[1]') as options:\n"
        "    print(options.get_all_options()['job_endpoint'], flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = {
        **os.environ,
        spark.JARS_VARIABLE: str(spark_job_server_jars),
        "TMPDIR": str(tmp_path),
    }
    killed = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    host, port = killed.stdout.strip().split(":")
    deadline = time.monotonic() + PATIENCE_S
    while _answers(host, int(port)) or list(tmp_path.glob("beam-grid-*")):
        assert time.monotonic() < deadline, f"after {PATIENCE_S:g} s: {list(tmp_path.iterdir())}"
        time.sleep(0.1)


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def test_the_jars_folder_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(spark.JARS_VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match=r"BEAM_GRID_SPARK_JOB_SERVER_JARS is .*0 other jars"):
        spark.job_server_jars()
    monkeypatch.delenv(spark.JARS_VARIABLE)
    assert spark.job_server_jars() is None
