"""`python -m benchmarks.backlog`: how fast is a topic drained, in how much memory, and what does a message leave behind?

    topic of N readings ──┬► confluent-kafka consumes it, and does nothing else
                          ├► beam-grid run: decode, rules, dedup, windows, landing, tables published
                          └► the same under the built-in feed's name: its analyses and expectations, too

All read the same topic, in turns. In the end each message must be a row of the table, once. The bytes and files that a
message and a commit leave, and CPU seconds a million messages, are the constants of docs/capacity.md.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from beam_grid.feeds import BUILT_IN
from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.service.sizes import sizes
from benchmarks.equal import CONTRACT
from benchmarks.measure import Run, median, run
from benchmarks.variants import FEED, unread
from data_sources.generators.streams.sinks import Kafka
from data_sources.smart_meter_readings.generate import as_records, readings
from data_sources.smart_meter_readings.order import meter_sizes
from tests.component.broker import KafkaBroker

_PARTITIONS = 2
_BATCH = 50_000
_SEED = 11
_FIRST_MS = 1_772_323_200_000  # 2026-03-01


def fill(bootstrap: str, topic: str, messages: int, rate: int) -> None:
    """Readings as they would have been taken at `rate` a second, one after the other."""
    sink, rng, meters = Kafka(bootstrap, topic), np.random.default_rng(_SEED), meter_sizes(_SEED)
    for first in range(0, messages, _BATCH):
        number = np.arange(first, min(messages, first + _BATCH))
        meter = number % len(meters)
        event_ms = (_FIRST_MS + number * 1000 / rate).astype(np.int64)
        sink.write(as_records(readings(rng, meter, event_ms, meters[meter])))
    sink.close()


def consume(bootstrap: str, topic: str) -> int:
    """The peer: every message of the topic handed to Python, and dropped."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "peer", "auto.offset.reset": "earliest"})
    parts = [TopicPartition(topic, p, 0) for p in range(_PARTITIONS)]
    total = sum(consumer.get_watermark_offsets(part, timeout=10)[1] for part in parts)
    consumer.assign(parts)
    count = 0
    while count < total:
        count += len(consumer.consume(20_000, timeout=10))
    consumer.close()
    return count


def measure(folder: Path, messages: int, runs: int, rate: int = 5_000) -> dict[str, dict[str, Any]]:
    """Figures, printed. Raises AssertionError where the table has other rows than the topic has messages."""
    at = folder / "backlog"
    shutil.rmtree(at, ignore_errors=True)
    (at / "kafka").mkdir(parents=True)
    assert CONTRACT.topic is not None
    broker = KafkaBroker((at / "kafka").absolute())
    broker.start()
    try:
        broker.create_topic(CONTRACT.topic, _PARTITIONS)
        fill(broker.bootstrap, CONTRACT.topic, messages, rate)
        source, lake, contract = f"kafka://{broker.bootstrap}/{CONTRACT.topic}", at / "lake", at / "contract.toml"
        contract.write_text(unread((BUILT_IN / CONTRACT.name / "contract.toml").read_text()))
        ours = ["--source", source, "--lake", str(lake)]
        variants = {
            "confluent-kafka": ["-m", "benchmarks.backlog", "--consume", broker.bootstrap, CONTRACT.topic],
            "run-analyses": ["-m", "beam_grid", "run", CONTRACT.name, *ours],
            "run": ["-m", "beam_grid", "run", "--contract", str(contract), *ours],
        }
        print(f"backlog: {messages:,} messages in {_PARTITIONS} partitions, {runs} runs each in turns", flush=True)
        taken: dict[str, list[Run]] = {name: [] for name in variants}
        for n in range(runs):
            for name, command in variants.items():
                shutil.rmtree(lake, ignore_errors=True)
                taken[name].append(run(command, at / f"{name}-{n}.log"))
                if lake.exists():
                    _check(lake, CONTRACT.name if name == "run-analyses" else FEED, messages)
    finally:
        broker.stop()
    found = {name: _figures(median(done), messages) for name, done in taken.items()}
    for name, figures in found.items():
        print(
            f"  {name:<18}{figures['wall_s']:>8.1f} s {figures['messages_per_s']:>10,.0f} messages/s"
            f"{figures['cpu_s_per_million']:>8.2f} s of CPU a million{figures['peak_mib']:>8.0f} MiB",
            flush=True,
        )
    for name in ("run", "run-analyses"):
        found[name]["ratio"] = found[name]["wall_s"] / found["confluent-kafka"]["wall_s"]
        print(f"  {name}: {found[name]['ratio']:.2f} x the consumer (aims of run: 2.0, and 120,000 messages/s)")
    opened = Lake.open(lake).feed(FEED)
    found["run"]["commits"] = opened.last
    print(f"  each message is a row, once; {opened.last} commits leave")
    for part, size in sorted(sizes(lake).items()):
        found["run"][f"bytes a message, {part}"] = size.bytes / messages
        print(
            f"    {part:<28}{size.files:>7,} files{size.bytes / 1e6:>10.1f} MB{size.bytes / messages:>8.1f} bytes a message"
        )
    return {f"backlog: {name}": figures for name, figures in found.items()}


def _check(lake: Path, feed: str, messages: int) -> None:
    table = query(Lake.open(lake), f"SELECT count(*) AS n, count(DISTINCT event_id) AS d FROM silver.{feed}")
    assert table.to_pylist() == [{"n": messages, "d": messages}], table.to_pylist()


def _figures(done: Run, messages: int) -> dict[str, Any]:
    return {
        "wall_s": done.wall_s,
        "messages_per_s": messages / done.wall_s,
        "cpu_s_per_million": done.cpu_s / messages * 1e6,
        "peak_mib": done.peak_mib,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backlog", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--messages", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--consume", nargs=2, metavar=("BOOTSTRAP", "TOPIC"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.consume:
        print(consume(*given.consume))
        return
    folder = Path("bench-data")
    folder.mkdir(exist_ok=True)
    measure(folder, given.messages, given.runs)


if __name__ == "__main__":
    main()
