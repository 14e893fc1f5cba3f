"""`python -m benchmarks.follow_long`: a follower left alone for minutes at full rate, killed now and then; are its curves flat?

    producer ──5,000/s──► Kafka broker ──► beam-grid run --follow ──► tables
                                              ▲
                            SIGKILL, and started again at once

Once a second a sample: age of the newest queryable row, messages that wait, resident memory, commits, CPU seconds. In the
end the producer stops, the follower drains the topic, and tables and windows must be what DuckDB makes of all that a plain
consumer reads from the topic. It writes samples as CSV and draws them as SVG, and prints what the last third of the time
was beside the first.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from msgspec import Struct
from msgspec.structs import asdict

from beam_grid.landing import Lake
from beam_grid.service.told import tellings
from benchmarks.equal import CONTRACT, check_tables, lake_tables, make_oracle
from benchmarks.freshness import NotFresh, Reader
from benchmarks.measure import Usage, end, start
from data_sources.splits import KafkaEnd
from tests.component.broker import KafkaBroker

_EVERY_S = 1.0
_PARTITIONS = 2
_FIRST_ROW_WITHIN_S, _RECOVERED_WITHIN_S, _DRAINED_WITHIN_S = 120.0, 120.0, 600.0
_SETTLES_S = 30.0
"""A process that was started so long ago holds what it is going to hold."""
_FILE_MESSAGES = 1_000_000


class Sample(Struct, frozen=True, kw_only=True):
    """One look."""

    at_s: float
    """Since the first row was queryable."""
    age_s: float
    """Of the newest queryable row."""
    lag: int
    """Messages in the topic that no commit has read."""
    rss_mib: float
    """Of the follower and all it started."""
    up_s: float
    """Since the follower was started."""
    commits: int
    cpu_s: float
    """Of the follower, since it was started."""
    busy_s: float
    """The same, of time spent planning, landing and publishing, as it tells in LAKE/status."""
    rows: int
    kills: int


@dataclass
class Watched:
    """What was seen. recoveries: seconds from a kill to the next commit, the start of the process included."""

    samples: list[Sample] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    killed_at: list[float] = field(default_factory=list)
    drained_s: float = 0.0
    messages: int = 0
    verdict: str = ""


@dataclass
class Positions:
    """How far commits have come in the topic, read once each."""

    lake: Path
    bootstrap: str
    commit: int = 0
    ends: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "follow-long", "log_level": 0})

    def look(self) -> int:
        """Messages that wait."""
        newest = self.newest
        for commit in Lake.open(self.lake).feed(CONTRACT.name).commits(self.commit, newest) if newest else ():
            self.commit = commit.number
            for partition in commit.partitions:
                self.ends |= {end.partition: end.offset for end in partition.ends if isinstance(end, KafkaEnd)}
        return sum(high - self.ends.get(p, 0) for p, high in self.highs().items())

    @property
    def newest(self) -> int:
        """Number of the newest commit; 0 before the first."""
        return Lake.open(self.lake, create=False).feed(CONTRACT.name).last if (self.lake / "lake.json").exists() else 0

    def highs(self) -> dict[int, int]:
        assert CONTRACT.topic is not None
        return {p: self._consumer.get_watermark_offsets(TopicPartition(CONTRACT.topic, p), timeout=10)[1] for p in range(_PARTITIONS)}  # fmt: skip


class Bench:
    """Broker, producer, follower and who looks, in a folder."""

    def __init__(self, folder: Path, rate: int, seed: int) -> None:
        self.folder, self.lake, self.rate, self.rng = folder, folder / "lake", rate, random.Random(seed)
        self.watched = Watched()

    def run(self, seconds: float, kill_every_s: float) -> Watched:
        """Raises NotFresh where a process ends by itself, does not recover, or messages are missing; SystemExit where the
        tables are others than they should be."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "kafka").mkdir(parents=True)
        assert CONTRACT.topic is not None
        with ExitStack() as stack:
            self.broker = KafkaBroker((self.folder / "kafka").absolute())
            stack.callback(self.broker.stop)
            self.broker.start()
            self.broker.create_topic(CONTRACT.topic, _PARTITIONS)
            self.positions, self.reader = Positions(self.lake, self.broker.bootstrap), Reader(self.lake)
            words = ["-m", "benchmarks.producer", self.broker.bootstrap, CONTRACT.topic, str(self.rate)]
            self.producer = start(words, self.folder / "producer.log", subprocess.PIPE)
            stack.callback(end, self.producer, 30)
            stack.callback(lambda: end(self.follower, 30))
            self._follow()
            self._until(lambda: self.reader.rows > 0, _FIRST_ROW_WITHIN_S)
            self._began = time.monotonic()
            due = self._next_kill(kill_every_s)
            while (at := time.monotonic() - self._began) < seconds:
                self._sample()
                if at > due:
                    self._kill()
                    due = at + self._next_kill(kill_every_s)
                time.sleep(max(0.0, self._began + at + _EVERY_S - time.monotonic()))
            self.producer.terminate()
            output, _ = self.producer.communicate(timeout=60)
            sent = int(output)
            self.watched.drained_s = self._until(lambda: self.reader.rows >= sent and not self.positions.look(), _DRAINED_WITHIN_S)  # fmt: skip
            end(self.follower, 30)
            if self.reader.rows != sent:
                raise NotFresh(f"{self.reader.rows:,} rows are queryable of {sent:,} messages")
            self.watched.messages = self._dumped()
            assert self.watched.messages == sent, (self.watched.messages, sent)
        oracle = make_oracle(str(self.folder / "topic"), self.folder / "oracle")
        self.watched.verdict = check_tables(lake_tables(self.lake, CONTRACT.name), oracle)
        return self.watched

    def _follow(self) -> None:
        source = f"kafka://{self.broker.bootstrap}/{CONTRACT.topic}"
        words = ["-m", "beam_grid", "run", CONTRACT.name, "--source", source, "--lake", str(self.lake), "--follow", "--every", "1s"]  # fmt: skip
        self._started = time.monotonic()
        self.follower = start(words, self.folder / f"run-{len(self.watched.killed_at)}.log")
        self.usage = Usage(self.follower.pid)

    def _kill(self) -> None:
        """As an operator's nightmare would; then wait for the next commit of another process."""
        if self.follower.poll() is not None:
            raise NotFresh(f"the follower ended by itself with {self.follower.returncode}: see {self.folder}")
        began, before = time.monotonic(), self._last()
        self.follower.send_signal(signal.SIGKILL)
        assert self.follower.wait() == -signal.SIGKILL
        self.watched.killed_at.append(began - self._began)
        self._follow()
        sampled = began
        while self._last() <= before:
            if time.monotonic() - began > _RECOVERED_WITHIN_S:
                raise NotFresh(f"no commit {_RECOVERED_WITHIN_S:.0f} s after a kill: see the logs in {self.folder}")
            if time.monotonic() - sampled >= _EVERY_S:
                sampled = time.monotonic()
                self._sample()
            time.sleep(0.05)
        self.watched.recoveries.append(time.monotonic() - began)

    def _last(self) -> int:
        return self.positions.newest

    def _sample(self) -> None:
        for process in (self.follower, self.producer):
            if process.poll() is not None:
                raise NotFresh(f"a process ended by itself with {process.returncode}: see the logs in {self.folder}")
        self.usage.look()
        self.reader.look()
        now = time.monotonic()
        self.watched.samples.append(
            Sample(
                at_s=now - self._began, age_s=self.reader.age_s, lag=self.positions.look(), rss_mib=self.usage.rss_mib,
                up_s=now - self._started, commits=self.positions.commit, cpu_s=self.usage.cpu_s, busy_s=self._busy_s(), rows=self.reader.rows,
                kills=len(self.watched.killed_at),
            )
        )  # fmt: skip

    def _busy_s(self) -> float:
        told = [follower.telling.vitals for follower in tellings(self.lake)]
        feeds = [vitals.feeds.get(CONTRACT.name) for vitals in told if vitals.pid == self.follower.pid]
        return sum(sum(feed.seconds.values()) for feed in feeds if feed is not None)

    def _until(self, reached: Callable[[], bool], within_s: float) -> float:
        began = time.monotonic()
        while not reached():
            if self.follower.poll() is not None or time.monotonic() - began > within_s:
                raise NotFresh(f"not reached in {time.monotonic() - began:.0f} s: see the logs in {self.folder}")
            time.sleep(0.1)
            self.reader.look()
        return time.monotonic() - began

    def _next_kill(self, every_s: float) -> float:
        return self.rng.uniform(0.5, 1.5) * every_s if every_s else float("inf")

    def _dumped(self) -> int:
        """Write the topic's messages as lines of files, by a consumer that is not the product's; returns how many."""
        (self.folder / "topic").mkdir()
        highs, count = self.positions.highs(), 0
        assert CONTRACT.topic is not None
        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": "dump", "auto.offset.reset": "earliest"})  # fmt: skip
        consumer.assign([TopicPartition(CONTRACT.topic, p, 0) for p in highs])
        total = sum(highs.values())
        with ExitStack() as stack:
            while count < total:
                batch = consumer.consume(20_000, timeout=10)
                if not batch:
                    raise NotFresh(f"the topic gave {count:,} of {total:,} messages")
                if count % _FILE_MESSAGES + len(batch) >= _FILE_MESSAGES or not count:
                    stack.close()
                    out = stack.enter_context((self.folder / "topic" / f"{count}.json").open("wb"))
                out.writelines(message.value() + b"\n" for message in batch)
                count += len(batch)
        consumer.close()
        return count


def written(watched: Watched, path: Path) -> None:
    """The samples as CSV."""
    with path.open("w", newline="") as out:
        table = csv.DictWriter(out, Sample.__struct_fields__, lineterminator="\n")
        table.writeheader()
        for sample in watched.samples:
            table.writerow({k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(sample).items()})


def costs(samples: list[Sample], name: str, over_s: float = 20.0) -> list[tuple[float, float]]:
    """(at_s, what a commit takes of `cpu_s` or `busy_s`), over so many seconds of one process each; its start is left out."""
    found, first = [], samples[0]
    for sample in samples:
        if sample.kills != first.kills or not getattr(first, name):
            first = sample
        elif sample.at_s - first.at_s >= over_s and sample.commits > first.commits:
            found.append(
                (sample.at_s, (getattr(sample, name) - getattr(first, name)) / (sample.commits - first.commits))
            )
            first = sample
    return found


def figures(watched: Watched) -> dict[str, float]:
    """The last third beside the first: ratios of medians; ages and memory of processes that have settled."""
    found = {
        "age of the newest row, median s": statistics.median(s.age_s for s in watched.samples),
        "age of the newest row, p95 s": statistics.quantiles([s.age_s for s in watched.samples], n=20)[-1],
        "kills": float(len(watched.killed_at)),
        "commits": float(watched.samples[-1].commits),
        "messages": float(watched.messages),
        "all rows after the last message, s": watched.drained_s,
    }
    if watched.recoveries:
        found["kill to the next commit, median s"] = statistics.median(watched.recoveries)
        found["kill to the next commit, greatest s"] = max(watched.recoveries)
    settled = [s for s in watched.samples if s.up_s > _SETTLES_S]
    end = watched.samples[-1].at_s
    series = {
        "age": [(s.at_s, s.age_s) for s in settled],
        "memory": [(s.at_s, s.rss_mib) for s in settled],
        "seconds a commit": costs(watched.samples, "busy_s"),
        "CPU a commit": costs(watched.samples, "cpu_s"),
    }
    for name, points in series.items():
        first = [value for at, value in points if at < end / 3]
        last = [value for at, value in points if at > end * 2 / 3]
        if first and last:
            found[f"{name}, median of the last third"] = statistics.median(last)
            found[f"{name}, last third over first"] = statistics.median(last) / statistics.median(first)
    return found


def drawn(watched: Watched, path: Path) -> None:
    """Five curves above each other over minutes, kills as dotted lines, as an SVG that stands alone."""
    from matplotlib.figure import Figure

    from beam_grid.report.charts.drawing import BLUE, GREEN, MUTED, ORANGE, PAGE, VERMILLION, svg

    def draw() -> Figure:
        figure = Figure(figsize=(PAGE / 72, 680 / 72), dpi=72, layout="constrained")
        minutes = [s.at_s / 60 for s in watched.samples]
        busy, cpu = costs(watched.samples, "busy_s"), costs(watched.samples, "cpu_s")
        curves: list[tuple[str, list[float], list[float], str]] = [
            ("age of the newest row, s", minutes, [s.age_s for s in watched.samples], BLUE),
            ("messages that wait, thousands", minutes, [s.lag / 1000 for s in watched.samples], BLUE),
            ("resident memory, MiB", minutes, [s.rss_mib for s in watched.samples], ORANGE),
            (
                "seconds a commit: planned, landed, published",
                [at / 60 for at, _ in busy],
                [value for _, value in busy],
                GREEN,
            ),
            ("CPU seconds a commit", [at / 60 for at, _ in cpu], [value for _, value in cpu], VERMILLION),
        ]
        for axes, (name, x, y, colour) in zip(figure.subplots(len(curves), 1, sharex=True), curves, strict=True):
            axes.plot(x, y, color=colour, lw=1.2)
            axes.set_title(name, loc="left", fontsize=11.5)
            axes.set_ylim(0, max([*y, 0.001]) * 1.1)
            axes.grid(axis="y")
            for at in watched.killed_at:
                axes.axvline(at / 60, color=MUTED, lw=0.8, ls=":")
        axes.set_xlabel("minutes; dotted lines are kills")
        return figure

    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" style="background:#fff" '
    path.write_text(str(svg("follow", draw)).replace("<svg ", head, 1) + "\n", encoding="utf-8")


def measure(folder: Path, minutes: float, rate: int, kill_every_s: float, seed: int = 7) -> dict[str, dict[str, Any]]:
    """Figures, printed; samples and curves in the folder. Raises as Bench.run."""
    print(
        f"follow_long: {rate:,} messages/s for {minutes:g} minutes, a kill about every {kill_every_s:.0f} s", flush=True
    )
    bench = Bench(folder / "follow-long", rate, seed)
    try:
        watched = bench.run(minutes * 60, kill_every_s)
    finally:
        if bench.watched.samples:
            written(bench.watched, folder / "follow-long.csv")
            drawn(bench.watched, folder / "follow-long.svg")
    found = figures(watched)
    for label, value in found.items():
        print(f"  {label:<52}{value:>12,.2f}", flush=True)
    print(f"  {watched.verdict}", flush=True)
    return {"follow_long": found}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.follow_long", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=int, default=5_000, help="messages a second")
    parser.add_argument("--kill-every", type=float, default=180, metavar="SECONDS", help="on average; 0 for never")
    parser.add_argument("--seed", type=int, default=7, help="of the times of kills")
    given = parser.parse_args()
    folder = Path("bench-data")
    folder.mkdir(exist_ok=True)
    measure(folder, given.minutes, given.rate, given.kill_every, given.seed)


if __name__ == "__main__":
    main()
