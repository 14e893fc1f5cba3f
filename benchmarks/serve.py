"""`python -m benchmarks.serve`: how soon eight clients of `beam-grid serve` are answered while readings go on arriving.

    history, Parquet ─► beam-grid run ─┐
                                       ├─► lake ─► beam-grid serve ─► 8 clients, and one that listens to events
    producer ─► Kafka ─► run --follow ─┘     ├──► DuckDB over the same files, 8 cursors of a warm connection
                                             └──► Spark over the same tables, 8 threads of a warm session

In turns, each for some seconds while live readings arrive: the server, the server where no reflection answers, DuckDB
and Spark in this process. Then the producer stops, and when all rows are in (each once, or it fails) the answers of each are compared
row by row at one version set. Only then are times printed. How fresh: of each message, from being taken to the event
that says it is in a table, while the clients ask. Memory of the server is PSS: what processes share counts once.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import subprocess
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from benchmarks.measure import end, run, start
from benchmarks.peers.spark_questions import NAMES, by_spark
from benchmarks.questions import (
    LOG,
    QUESTIONS,
    REFLECTIONS,
    TIMEOUT_S,
    Asks,
    Client,
    Filled,
    by_duckdb,
    differs,
    filled,
    put,
)
from benchmarks.sensors import FEED, history, parquet_contract
from data_sources.grid_sensors.readings import HOUR_MS
from tests.component.broker import KafkaBroker, free_ports

_TOPIC = "grid.sensors"
_CLIENTS = 8
_STARTS_WITHIN_S = 120.0
_DRAINED_WITHIN_S = 300.0
_USUAL_WITHIN_S = 600.0
_FRESH_MS = 6 * HOUR_MS
_AIMS = {"p95_ms": 100.0, "freshness_p95_s": 5.0, "idle_mib": 400.0}


@dataclass(frozen=True)
class Size:
    """Sensors, rows of hourly history, readings a minute, and for how long each variant is asked."""

    sensors: int = 100_000
    rows: int = 72_000_000
    per_minute: int = 50_000
    seconds: float = 60.0


@dataclass
class Listener:
    """Who listens to /api/v1/events: when an event came, and up to which moment readings are in the table then.

    A commit holds each partition up to its greatest event time; the least of those is what surely is in.
    """

    lake: Path
    seen: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the epoch, both."""
    _upto: dict[str, int] = field(default_factory=dict)

    def listen(self, port: int) -> None:
        """Until the server ends."""
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/api/v1/events")
        answer, feed = connection.getresponse(), Lake.open(self.lake, create=False).feed(FEED)
        try:
            for line in answer:
                if line.startswith(b"data: ") and FEED in (commits := json.loads(line[6:]).get("commits", {})):
                    came, (before, now) = time.time(), commits[FEED]
                    for commit in feed.commits(before, now):
                        at = {p.key: p.max_event_time for p in commit.partitions if p.max_event_time is not None}
                        self._upto |= {key: upto for key, upto in at.items() if key.startswith(f"{_TOPIC}/")}
                    if self._upto:
                        self.seen.append((came, min(self._upto.values()) / 1e6))
        except (OSError, http.client.HTTPException):
            return

    def ages(self, since: float, until: float) -> list[float]:
        """Seconds from being taken to being told, of readings a twentieth of a second apart, told between the two."""
        found = []
        for (_, before), (came, upto) in zip(self.seen, self.seen[1:], strict=False):
            if since <= came <= until:
                found += (came - np.arange(before, upto, 0.05)).tolist()
        return found


def measure(folder: Path, size: Size) -> dict[str, dict[str, Any]]:
    """Milliseconds by variant and question, freshness, memory; printed.

    Raises SystemExit where answers differ, rows are missing, or a process ends meanwhile.
    """
    landed, at = folder / f"serve-{size.sensors}-{size.rows}", folder / "serve"
    rows, until_ms = _land_history(landed, size)
    shutil.rmtree(at, ignore_errors=True)
    (at / "kafka").mkdir(parents=True)
    lake = at / "lake"
    shutil.copytree(landed / "lake", lake, symlinks=True)
    with ExitStack() as stack:
        broker = KafkaBroker((at / "kafka").absolute())
        stack.callback(broker.stop)
        broker.start()
        broker.create_topic(_TOPIC, 2)
        (port,) = free_ports(1)
        serving = ["-m", "beam_grid", "serve", "--lake", str(lake), "--port", str(port), "--timeout", f"{TIMEOUT_S}s"]
        server = start(serving, at / "serve.log")
        stack.callback(end, server, 10)
        _until(lambda: is_ready(port), _STARTS_WITHIN_S, at / "serve.log")
        time.sleep(3)
        figures = {"idle_mib": _pss_mib(server)}
        listener = Listener(lake)
        threading.Thread(target=listener.listen, args=(port,), daemon=True).start()
        source, usual = f"kafka://{broker.bootstrap}/{_TOPIC}", _usual(lake)
        follow = start(["-m", "beam_grid", "run", FEED, "--source", source, "--lake", str(lake), "--follow", "--every", "1s"], at / "follow.log")  # fmt: skip
        stack.callback(end, follow, 10)
        live = ["-m", "benchmarks.sensors", broker.bootstrap, _TOPIC, str(size.per_minute / 60), str(size.sensors), str(until_ms)]  # fmt: skip
        producer = start(live, at / "producer.log", subprocess.PIPE)
        stack.callback(end, producer, 10)
        _until(lambda: len(listener.seen) > 2, _STARTS_WITHIN_S, at / "follow.log")
        came = time.monotonic()  # what is usual is made anew each hour, and now, from all history
        _until(lambda: _usual(lake) != usual, _USUAL_WITHIN_S, at / "follow.log")
        figures["usual_s"] = time.monotonic() - came
        load = os.getloadavg()[0]
        began = time.time()
        with_, without = ([Client(port, w) for _ in range(_CLIENTS)] for w in (True, False))
        taken = {"server": put(list(with_), size.sensors, size.seconds)}
        ages = listener.ages(began, time.time())
        taken["server, no reflections"] = put(list(without), size.sensors, size.seconds)
        taken["duckdb"] = put(_cursors(Lake.open(lake), _CLIENTS), size.sensors, size.seconds)
        at_once = newest(Lake.open(lake))
        assert at_once is not None
        taken["spark"] = put(by_spark(Lake.open(lake), at_once, _CLIENTS), size.sensors, size.seconds, NAMES)
        for process, log in ((server, "serve.log"), (follow, "follow.log"), (producer, "producer.log")):
            if process.poll() is not None:
                raise SystemExit(f"{log} ended meanwhile:\n{(at / log).read_text()[-2000:]}")
        figures["asked_mib"] = _pss_mib(server)
        producer.terminate()
        sent = int(producer.communicate(timeout=60)[0])
        _until(lambda: _count(lake) >= rows + sent, _DRAINED_WITHIN_S, at / "follow.log")
        if (found := _count(lake)) != rows + sent:
            raise SystemExit(f"serve: silver has {found:,} rows of {rows:,} and {sent:,}")
        end(follow, 60)
        kept = newest(Lake.open(lake))
        assert kept is not None
        _compare(Client(port), Client(port, with_reflections=False), Lake.open(lake), kept, size.sensors)
    if not ages:
        raise SystemExit("serve: no set was published while the clients asked")
    figures |= {"freshness_p50_s": _at(ages, 50), "freshness_p95_s": _at(ages, 95), "load": load, "rows": rows, "sent": sent}  # fmt: skip
    return _told(size, taken, {name: by for client in with_ for name, by in client.answered_by.items()}, figures)


def _land_history(at: Path, size: Size) -> tuple[int, int]:
    """The lake at AT/lake, its rows, and the moment at which they end; one made within the last hours is taken again."""
    lake, told, now_ms = at / "lake", at / "landed.json", int(time.time() * 1000)
    if told.exists() and now_ms - (kept := json.loads(told.read_text()))["until_ms"] < _FRESH_MS:
        print(f"serve: {kept['rows']:,} rows that were landed before", flush=True)
        return kept["rows"], kept["until_ms"]
    shutil.rmtree(at, ignore_errors=True)
    lake.mkdir(parents=True)
    until_ms = now_ms // HOUR_MS * HOUR_MS
    print(
        f"serve: {size.sensors:,} sensors, about {size.rows:,} hourly rows, {size.per_minute:,} live a minute",
        flush=True,
    )
    rows = history(at / "history", size.sensors, size.rows, until_ms)
    (lake / "reflections.toml").write_text(REFLECTIONS)
    contract = parquet_contract(at / "history.toml")
    done = run(["-m", "beam_grid", "run", FEED, "--contract", str(contract), "--source", str(at / "history"), "--lake", str(lake)], at / "history.log")  # fmt: skip
    print(f"  {rows:,} rows landed and published in {done.wall_s:.0f} s, {done.cpu_s:.0f} s of CPU", flush=True)
    done = run(["-m", "beam_grid", "maintain", "--lake", str(lake)], at / "maintain.log")
    print(f"  maintained, as after any large load, in {done.wall_s:.0f} s, {done.cpu_s:.0f} s of CPU", flush=True)
    told.write_text(json.dumps({"rows": rows, "until_ms": until_ms}))
    return rows, until_ms


def _cursors(lake: Lake, count: int) -> list[Asks]:
    found = newest(lake)
    assert found is not None
    engine = by_duckdb(lake, found)

    def asks() -> Asks:
        cursor = engine.cursor()

        def ask(name: str, question: Filled) -> None:
            cursor.sql(question.sql, params=list(question.parameters) or None).to_arrow_table()

        return ask

    return [asks() for _ in range(count)]


def _compare(client: Client, plain: Client, lake: Lake, found: TableSet, sensors: int) -> None:
    """Each question thrice, at one version set, all ways. Raises SystemExit for answers that differ."""
    engine, rng = by_duckdb(lake, found), np.random.default_rng(0)
    (spark,) = by_spark(lake, found, 1)
    for name in QUESTIONS:
        if name == LOG:
            continue
        for _ in range(3):
            question = filled(name, sensors, rng)
            mine = client.table(name, question, found.number)
            others = {
                "without reflections": plain.table(name, question, found.number),
                "by DuckDB": engine.sql(question.text).to_arrow_table(),
                "by Spark": spark(name, question),
            }
            for who, other in others.items():
                if why := differs(mine, other):
                    raise SystemExit(
                        f"serve: {name}, the server's answer and the one {who} differ: {why}\n{question.text}"
                    )
    print("  answers equal: with reflections, without, by DuckDB, by Spark", flush=True)


def _told(size: Size, taken: dict[str, dict[str, list[float]]], by: dict[str, set[str]], figures: dict[str, float]) -> dict[str, dict[str, Any]]:  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    print(f"\n{'p50, p95, p99 in ms':<22}" + "".join(f"{variant:>26}" for variant in taken) + "   answered by")
    for name in [*QUESTIONS, "all"]:
        line = f"{name:<22}"
        for variant, each in taken.items():
            seconds = each.get(name, []) if name != "all" else [s for many in each.values() for s in many]
            shown = {f"p{q}_ms": 1e3 * _at(seconds, q) for q in (50, 95, 99)} if seconds else {}
            found.setdefault(f"serve: {variant}", {})[name] = shown | {"asked": len(seconds)}
            line += " " * 2 + "".join(f"{ms:>8.0f}" for ms in shown.values()) if shown else f"{'-':>26}"
        print(line + "   " + ", ".join(sorted(by.get(name, ()))))
    asked = found["serve: server"]["all"]
    print(f"\nserver: {asked['asked'] / size.seconds:.1f} answers a second, p95 {asked['p95_ms']:.0f} ms (aim {_AIMS['p95_ms']:.0f})")  # fmt: skip
    print(f"  from a reading to the event that tells it: p50 {figures['freshness_p50_s']:.2f} s, p95 {figures['freshness_p95_s']:.2f} s (aim {_AIMS['freshness_p95_s']:.0f})")  # fmt: skip
    print(f"  memory (PSS): idle {figures['idle_mib']:.0f} MiB (aim {_AIMS['idle_mib']:.0f}), after the questions {figures['asked_mib']:.0f} MiB")  # fmt: skip
    print(f"  before that, {figures['usual_s']:.0f} s until what is usual had been made anew, as it is each hour")
    print(f"  load of the machine when it began: {figures['load']:.1f} on {os.cpu_count()} cores")
    return found | {"serve": dict(figures)}


def _at(values: list[float], percent: int) -> float:
    return float(np.percentile(values, percent))


def _usual(lake: Path) -> int:
    """The version of what is usual for each sensor, in the newest set."""
    found = newest(Lake.open(lake))
    assert found is not None
    return found.tables["gold.sensor_now_usual"].version


def _count(lake: Path) -> int:
    return int(query(Lake.open(lake), f"SELECT count(*) AS n FROM silver.{FEED}").to_pylist()[0]["n"])


def is_ready(port: int) -> bool:
    """Whether a server there has a version set to read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _pss_mib(server: subprocess.Popen[bytes]) -> float:
    me = psutil.Process(server.pid)
    return sum(float(one.memory_full_info().pss) for one in [me, *me.children(recursive=True)]) / 2**20


def _until(reached: Any, within_s: float, log: Path) -> None:
    began = time.monotonic()
    while not reached():
        if time.monotonic() - began > within_s:
            raise SystemExit(f"serve: not within {within_s:.0f} s; {log} ends:\n{log.read_text()[-2000:]}")
        time.sleep(0.25)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add_options(parser)
    folder = Path("bench-data")
    folder.mkdir(exist_ok=True)
    measure(folder, size_of(parser.parse_args()))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of this part, for `make bench` too."""
    parser.add_argument("--sensors", type=int, default=Size.sensors, help="of `serve`")
    parser.add_argument(
        "--history-rows", type=int, default=Size.rows, help="of `serve`: hourly readings before it begins"
    )
    parser.add_argument("--per-minute", type=int, default=Size.per_minute, help="of `serve`: live readings meanwhile")
    parser.add_argument("--serve-seconds", type=float, default=Size.seconds, help="how long `serve` asks each variant")


def size_of(given: argparse.Namespace) -> Size:
    """What the options say."""
    return Size(given.sensors, given.history_rows, given.per_minute, given.serve_seconds)


if __name__ == "__main__":
    main()
