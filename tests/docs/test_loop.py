"""docs/loop.md as a reader goes through it, two commands: a reading that is unusual, followed from its file to the table of its
feed, its score and features, an alert at a webhook, an event of the server, and the log of who asked for it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from beam_grid.inspect import inspect
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from tests.beam_grid.alerts.receiver import SECRET, receiving, webhook
from tests.beam_grid.service.small import grid, ran
from tests.waiting import PATIENCE_S

PAGE = (Path(__file__).parents[2] / "docs" / "loop.md").read_text(encoding="utf-8")


def _of_the_page(name: str) -> str:
    (text,) = re.findall(rf"```\w+ {re.escape(name)}\n(.*?)```", PAGE, re.S)
    return str(text)


@contextmanager
def _started(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that is told to end in order, and does."""
    with log.open("w") as out:
        process = subprocess.Popen(grid(*arguments), stderr=out)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        process.kill()


def _until(what: Callable[[], Any], log: Path, seconds: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found


def test_an_unusual_reading_goes_through_the_whole_loop_in_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, lake, log = tmp_path / "in", Lake.open(tmp_path / "lake"), tmp_path / "log"
    for name in ("meters.toml", "lake/alerts.toml", "history.py"):
        (tmp_path / name).write_text(_of_the_page(name))
    subprocess.run([sys.executable, "history.py"], cwd=tmp_path, check=True)
    monkeypatch.setenv("BEAM_GRID_TEST_HOOK", SECRET)
    follow = ("run", "--follow", "--contract", str(tmp_path / "meters.toml"), "--source", str(source), "--lake", str(lake.path),
              "--every", "1s", "--refine-every", "1h")  # fmt: skip
    with receiving() as receiver:
        with (lake.path / "alerts.toml").open("a") as rules:
            rules.write(webhook(receiver, timeout="10s"))
        with _started(log, *follow):
            _until(lambda: (found := newest(lake)) and "gold.meter_scores" in found.tables, log)
            said = tmp_path / "serve.log"
            with _started(said, "serve", "--lake", str(lake.path), "--port", "0", "--workers", "1"):
                url = _until(lambda: said.read_text().partition(" at ")[2].split(), said)[0]
                with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
                    listens, events = threading.Event(), list[dict[str, Any]]()
                    listener = threading.Thread(target=_listen, args=(url, listens, events))
                    listener.start()
                    assert listens.wait(PATIENCE_S)
                    now = datetime.now(UTC).isoformat(timespec="seconds")
                    (tmp_path / "now.csv").write_text(f"meter,read_at,kwh\nM-1,{now},50.0\nM-2,{now},1.2\n")
                    (tmp_path / "now.csv").rename(source / "1.csv")
                    receiver.until(1)
                    listener.join(PATIENCE_S)
                    answer = client.post(
                        "/api/v1/sql", json={"sql": "SELECT * FROM gold.meter_scores WHERE is_anomaly"}
                    ).json()
                    landed = client.get("/api/v1/tables/silver.meters", params={"where": "kwh > 2"}).json()["rows"]
                    features = client.get("/api/v1/features/meter_features", params={"key": "M-1"}).json()["rows"]
            done = _until(lambda: [one for one in inspect(lake, "sets").to_pylist() if one["delivered_s"]], log)
        _assert_scored(source, answer["rows"])
        _assert_told(source, features)
        _check(lake, receiver.taken, events, answer, landed, done)


def _assert_scored(source: Path, rows: list[dict[str, Any]]) -> None:
    """DuckDB over the raw lines: the reading's distance from the others of its meter."""
    ((value, expected, spread),) = duckdb.execute(
        f"SELECT max(kwh), avg(kwh) FILTER (kwh < 50), stddev_pop(kwh) FILTER (kwh < 50) FROM '{source}/*.csv' WHERE meter = 'M-1'"
    ).fetchall()
    (row,) = rows
    assert (row["meter"], row["value"]) == ("M-1", value)
    assert (row["expected"], row["spread"]) == (pytest.approx(expected), pytest.approx(spread))
    assert row["probability"] < 0.003


def _assert_told(source: Path, rows: list[dict[str, Any]]) -> None:
    """The newest features of the meter are of that reading."""
    ((mean,),) = duckdb.execute(
        f"SELECT avg(kwh) FROM (FROM '{source}/*.csv' WHERE meter = 'M-1' ORDER BY read_at DESC LIMIT 3)"
    ).fetchall()
    assert [row["kwh_ma"] for row in rows] == [pytest.approx(mean)]


def _check(
    lake: Lake, messages: list[dict[str, Any]], events: list[dict[str, Any]], answer: dict[str, Any],
    landed: list[dict[str, Any]], done: list[dict[str, Any]],
) -> None:  # fmt: skip
    (row,) = landed
    assert (row["meter"], row["kwh"], row["_commit"], row["_source"]) == ("M-1", 50.0, 2, "1.csv")
    (message,) = messages
    (alert,) = message["alerts"]
    assert alert["link"].startswith("http://127.0.0.1:8080/#/fleet/meters/M-1?at=")
    told = [json.loads(line) for line in (lake.path / "alerts" / "told.jsonl").read_text().splitlines()]
    assert [one["id"] for one in told] == [message["id"]]
    assert (alert["key"], alert["row"]["value"], alert["set"]) == ({"meter": "M-1"}, 50.0, message["set"])
    first, last = events[0], events[-1]
    assert (first["commits"], "silver.meters" in first["tables"]) == ({"meters": [1, 2]}, True)
    assert {"land meters", "silver.meters", "gold.meters_hourly"} <= first["seconds"].keys()
    assert "gold.meter_scores" in last["tables"] and last["seconds"]["gold.meter_scores"] > 0
    assert last["set"] <= message["set"] and newest(lake).commits == {"meters": 2}, "no other commit was needed"
    (raised,) = done
    assert (raised["set"], raised["raised"]) == (message["set"], 1) and raised["delivered_s"] > 0
    told = json.loads(ran("inspect", "sets", "--lake", str(lake.path), "--format", "json").stdout)
    (brought,) = [one for one in told if one["commits"] == "meters 2"]
    assert brought["land_s"] > 0 and brought["publish_s"] > 0
    report = ran("status", "--lake", str(lake.path))
    assert "meters 2: set" in report.stdout and "analyses" in report.stdout and "alerts" in report.stdout
    logged = ran("query", "SELECT statement, status FROM gold.query_log ORDER BY started_at", "--lake", str(lake.path),
                 "--format", "json")  # fmt: skip
    statements = [row["statement"] for row in json.loads(logged.stdout) if row["status"] == "ok"]
    assert "SELECT * FROM gold.meter_scores WHERE is_anomaly" in statements and answer["set"] >= last["set"]


def _listen(url: str, listens: threading.Event, events: list[dict[str, Any]]) -> None:
    """Until the scores of what was written have been published."""
    with httpx.stream("GET", f"{url}/api/v1/events", timeout=PATIENCE_S) as stream:
        listens.set()
        for line in stream.iter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: ")))
                if "gold.meter_scores" in events[-1]["tables"]:
                    return
