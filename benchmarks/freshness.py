"""`python -m benchmarks.freshness`: how old the newest queryable row is while a live topic never pauses.

    producer ──5,000/s──► Kafka broker ──► beam-grid run --follow --every 1s ──► tables ──► this process asks

All four are processes of their own on this machine. A reading's event time is when it was sent; its age, when a query of
the newest set of versions first shows it. This process looks for a new set every quarter of a second, and where there is
one asks for the rows of the commits it has not seen; between sets the newest row grows older. In the end the producer
stops, and every message it sent must be in the table, once.

`freshness` looks for 60 s, `follow` for longer: then what a round costs and holds, at first and at the end, says more.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from benchmarks.equal import CONTRACT
from benchmarks.measure import Usage, end, start
from tests.component.broker import KafkaBroker

_POLL_S = 0.25
_FIRST_ROW_WITHIN_S = 60.0
_WARM_UP_S = 10.0
_DRAINED_WITHIN_S = 60.0
_PARTITIONS = 2


class NotFresh(SystemExit):
    """No row was ever to be had, or not all of them, or more than were sent."""


@dataclass
class Reader:
    """Another process's view of the table: what a query of the newest set shows."""

    lake: Path
    rows: int = 0
    newest: datetime | None = None
    _set: str = ""
    _commit: int = 0

    def look(self) -> None:
        """Ask for the rows of new commits, if there is a new set."""
        newest = max((path.name for path in (self.lake / "versions").glob("[0-9]*.json")), default="")
        if newest == self._set:
            return
        columns = f'count(*) AS n, max("{CONTRACT.event_time}") AS newest, max("_commit") AS last'
        table = f"silver.{CONTRACT.name}"
        found = query(
            Lake.open(self.lake, create=False), f"SELECT {columns} FROM {table} WHERE _commit > {self._commit}"
        )
        answer = found.to_pylist()[0]
        self._set = newest
        if answer["n"]:
            self.rows, self._commit = self.rows + answer["n"], answer["last"]
            self.newest = max(filter(None, (self.newest, answer["newest"])))

    @property
    def age_s(self) -> float:
        """Seconds since the newest row that was shown was sent; only after one was."""
        assert self.newest is not None
        return (datetime.now(UTC) - self.newest).total_seconds()

    @property
    def sets(self) -> int:
        """Sets of versions published so far; they are numbered from 1."""
        return int(self._set.removesuffix(".json") or 0)


@dataclass
class Sample:
    """One look: seconds since the start of measuring, age of the newest row, and what the run has used by then."""

    at_s: float
    age_s: float
    rows: int
    sets: int
    cpu_s: float
    rss_mib: float


@dataclass
class Watched:
    """What was seen: seconds to the first row, samples, seconds until all was in after the last message, messages."""

    first_row_s: float
    samples: list[Sample] = field(default_factory=list)
    drained_s: float = 0.0
    sent: int = 0


@dataclass
class Live:
    """The reader, and the processes that must not end meanwhile, each with its log."""

    reader: Reader
    usage: Usage
    logs: dict[subprocess.Popen[bytes], Path]

    def look(self) -> None:
        for process, log in self.logs.items():
            if process.poll() is not None:
                raise NotFresh(f"{log} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        self.usage.look()
        self.reader.look()

    def until(self, reached: Any, within_s: float) -> float:
        """Look until something is reached, or the time is over; the seconds it took."""
        started = time.monotonic()
        while not reached() and time.monotonic() - started < within_s:
            time.sleep(_POLL_S)
            self.look()
        if not self.reader.rows:
            log = next(iter(self.logs.values()))
            raise NotFresh(f"no row was queryable in {within_s:.0f} s; {log} ends:\n{log.read_text()[-2000:]}")
        return time.monotonic() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freshness", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--rate", type=int, default=5_000, help="messages a second")
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    folder = Path("bench-data")
    folder.mkdir(exist_ok=True)
    measure(folder, "freshness", given.rate, given.seconds)


def measure(folder: Path, name: str, rate: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Ages, rate, and cost of a round, printed; raises NotFresh where rows are missing, or too many."""
    print(f"{name}: {rate:,} messages/s for {seconds:.0f} s", flush=True)
    found = figures(watch(folder / name, rate, seconds), rate)
    for label, value in found.items():
        print(f"  {label:<52}{value:>12,.2f}", flush=True)
    return {name: found}


def watch(folder: Path, rate: int, seconds: float) -> Watched:
    """Start broker, producer and run; look for `seconds` once the first row has shown and a warm-up has passed."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "kafka").mkdir(parents=True)
    assert CONTRACT.topic is not None
    with ExitStack() as stack:
        broker = KafkaBroker((folder / "kafka").absolute())
        stack.callback(broker.stop)
        broker.start()
        broker.create_topic(CONTRACT.topic, _PARTITIONS)
        producer = start(
            ["-m", "benchmarks.producer", broker.bootstrap, CONTRACT.topic, str(rate)], folder / "producer.log", subprocess.PIPE
        )  # fmt: skip
        stack.callback(end, producer, 10)
        source = f"kafka://{broker.bootstrap}/{CONTRACT.topic}"
        command = ["-m", "beam_grid", "run", CONTRACT.name, "--source", source, "--lake", str(folder / "lake"), "--follow", "--every", "1s"]  # fmt: skip
        run = start(command, folder / "run.log")
        stack.callback(end, run, 10)
        live = Live(Reader(folder / "lake"), Usage(run.pid), {run: folder / "run.log", producer: folder / "producer.log"})  # fmt: skip
        watched = Watched(live.until(lambda: live.reader.rows > 0, _FIRST_ROW_WITHIN_S))
        live.until(lambda: False, _WARM_UP_S)
        started = time.monotonic()
        while (at := time.monotonic() - started) < seconds:
            live.look()
            usage, reader = live.usage, live.reader
            watched.samples.append(Sample(at, reader.age_s, reader.rows, reader.sets, usage.cpu_s, usage.rss_mib))
            time.sleep(_POLL_S)
        producer.terminate()
        output, _ = producer.communicate(timeout=_DRAINED_WITHIN_S)
        del live.logs[producer]
        watched.sent = int(output)
        watched.drained_s = live.until(lambda: live.reader.rows >= watched.sent, _DRAINED_WITHIN_S)
        if live.reader.rows != watched.sent:
            raise NotFresh(f"{live.reader.rows:,} rows are queryable of {watched.sent:,} messages")
    return watched


def figures(watched: Watched, rate: int) -> dict[str, float]:
    """Age in seconds (median, p95, greatest), and the cost of a set of versions over the first and the last third."""
    samples = watched.samples
    ages = [sample.age_s for sample in samples]
    thirds = samples[: len(samples) // 3 + 1], samples[-(len(samples) // 3 + 1) :]
    found = {
        "age of the newest row, median s": statistics.median(ages),
        "age of the newest row, p95 s": statistics.quantiles(ages, n=20)[-1],
        "age of the newest row, greatest s": max(ages),
        "rows queryable a second": _slope(samples, "rows"),
        "sets published a second": _slope(samples, "sets"),
        "first row after s": watched.first_row_s,
        "all rows after the last message, s": watched.drained_s,
        "messages": float(watched.sent),
    }
    for name, third in zip(("at first", "at the end"), thirds, strict=True):
        found[f"cores used, {name}"] = _slope(third, "cpu_s")
        sets = third[-1].sets - third[0].sets
        found[f"CPU s a set, {name}"] = (third[-1].cpu_s - third[0].cpu_s) / max(sets, 1)
        found[f"age, median s, {name}"] = statistics.median(sample.age_s for sample in third)
        found[f"memory MiB, {name}"] = statistics.median(sample.rss_mib for sample in third)
    if found["rows queryable a second"] < 0.9 * rate:
        print(f"  it falls behind: {rate:,} messages are sent each second")
    return found


def _slope(samples: list[Sample], name: str) -> float:
    first, last = samples[0], samples[-1]
    return float((getattr(last, name) - getattr(first, name)) / (last.at_s - first.at_s))


if __name__ == "__main__":
    main()
