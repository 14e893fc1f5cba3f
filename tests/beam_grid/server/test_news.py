"""What a server does when a commit is published: events, pages of the set they began with, new answers; and its log."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from deltalake import DeltaTable

from beam_grid.lakehouse import query_log
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.query_log import Asked
from beam_grid.landing import Lake
from beam_grid.server.engine import Engine, Limits
from tests.beam_grid.server import serving
from tests.beam_grid.server.serving import lines, served, sql
from tests.waiting import PATIENCE_S


def published(client: httpx.Client, since: str, count: int) -> list[dict[str, Any]]:
    """The next events' data, with id and kind."""
    found: list[dict[str, Any]] = []
    with client.stream("GET", "/api/v1/events", headers={"Last-Event-ID": since} if since else {}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        event: dict[str, Any] = {}
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if name in ("id", "event"):
                event[name] = value
            elif name == "data":
                found.append({**event, **json.loads(value)})
                if len(found) == count:
                    return found
    raise AssertionError(f"the stream ended after {found}")


def copied(lake: Lake, folder: Path) -> Lake:
    """A copy of the lake, beside its source, to be changed."""
    shutil.copytree(lake.path.parent, folder, dirs_exist_ok=True)
    return Lake.open(folder / "lake", create=False)


def test_what_is_published_is_told_and_read(lake: Lake, tmp_path: Path) -> None:
    lake = copied(lake, tmp_path)
    with served(lake) as client:
        first = client.get("/api/v1/tables/silver.readings", params={"limit": 500}).json()
        heard: list[dict[str, Any]] = []
        listener = threading.Thread(target=lambda: heard.extend(published(client, "", 1)))
        listener.start()
        serving.write(tmp_path / "source", "day2.csv", lines(2))
        serving.run(tmp_path)
        listener.join(PATIENCE_S)
        (event,) = heard
        assert (event["event"], event["id"], event["commits"]) == (
            "published",
            str(first["set"] + 1),
            {"readings": [1, 2]},
        )
        assert "silver.readings" in event["tables"]

        assert sql(client, "SELECT count(*) AS n FROM silver.readings").json()["rows"] == [{"n": 1920}]
        rest = client.get("/api/v1/tables/silver.readings", params={"limit": 500, "cursor": first["next"]}).json()
        assert rest["set"] == first["set"] and rest["next"] is None
        pages = {(row["meter"], row["read_at"]) for row in first["rows"] + rest["rows"]}
        assert len(pages) == 960 and all(day.startswith("2026-03-01") for _, day in pages)
        old = sql(client, "SELECT count(*) AS n FROM silver.readings", set=first["set"])
        assert old.json()["rows"] == [{"n": 960}] and old.headers["Beam-Grid-Set"] == str(first["set"])

        again = published(client, str(first["set"]), 1)
        assert again == heard
        (lake.path / "versions" / f"{first['set']:010d}.json").unlink()
        missed = published(client, str(first["set"] - 1), 1)
        assert missed[0]["event"] == "missed"
        page = client.get("/api/v1/tables/silver.readings", params={"limit": 500, "cursor": first["next"]})
        assert page.status_code in (200, 410)  # a worker that has it open still answers
    assert client.is_closed


@pytest.fixture(scope="module")
def asked(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A lake whose server was asked eleven times, of which one is refused and one too slow."""
    lake = copied(lake, tmp_path_factory.mktemp("asked"))
    shutil.rmtree(lake.path / query_log.FOLDER, ignore_errors=True)
    with served(lake, timeout_s=1.0) as client:
        for n in range(8):
            assert sql(client, f"SELECT {n} + count(*) FROM silver.readings").status_code == 200
        sql(client, "SELECT count(*) FROM range(100000000000000)")
        sql(client, "DROP TABLE silver.readings")
        client.get("/api/v1/tables/gold.hourly?where=n=2&limit=1")
    yield lake


def test_the_log_has_what_was_asked(asked: Lake) -> None:
    rows = query(asked, "SELECT * FROM gold.query_log ORDER BY started_at").to_pylist()
    assert [row["status"] for row in rows] == ["ok"] * 8 + ["timeout", "refused", "ok"]
    assert rows[0]["statement"] == "SELECT 0 + count(*) FROM silver.readings" and rows[0]["tables"] == [
        "silver.readings"
    ]
    assert rows[10]["kind"] == "table" and rows[10]["statement"].startswith("gold.hourly?where=n=2")
    assert all(0 <= row["waited_ms"] <= row["execution_time_ms"] for row in rows)
    assert rows[8]["execution_time_ms"] >= 1000 and rows[0]["answer_rows"] == 1 and rows[8]["answer_rows"] is None
    assert {row["caller"] for row in rows} == {"local"}
    assert "gold.query_log" in query(asked, "SHOW TABLES")["table"].to_pylist()


def test_the_report_is_the_logs(asked: Lake) -> None:
    """By `query` and by the server, beside the same figures in words of DuckDB's own."""
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    files = DeltaTable(str(asked.path / "query_log")).file_uris()
    oracle = engine.execute(
        "SELECT time_bucket(INTERVAL '1 hour', started_at) AS hour, count(*), quantile_cont(execution_time_ms, 0.5), "
        "quantile_cont(execution_time_ms, 0.99), count(*) / 3600, sum(execution_time_ms) / 3600e3, "
        "count(*) FILTER (status = 'ok' AND execution_time_ms <= 1000) / count(*), count(*) FILTER (status <> 'ok') "
        "FROM read_parquet(?) GROUP BY ALL ORDER BY ALL",
        [files],
    ).fetchall()
    columns = (
        "hour, total_queries, p50_latency_ms, p99_latency_ms, queries_per_second, avg_concurrent_queries, "
        "sla_compliance_rate, not_answered"
    )
    mine = query(asked, f"SELECT {columns} FROM gold.query_report ORDER BY hour").to_pylist()
    with served(asked) as client:
        theirs = client.get("/api/v1/tables/gold.query_report?order=hour").json()["rows"]
    assert len(mine) == len(oracle) == len(theirs)
    for row, other, wanted in zip(mine, theirs, oracle, strict=True):
        assert list(row.values())[1:] == pytest.approx(list(wanted)[1:], rel=1e-3)
        assert [other[name] for name in list(row)[1:]] == pytest.approx(list(wanted)[1:], rel=1e-9)


def test_the_log_is_bounded(tmp_path: Path) -> None:
    lake, now = Lake.open(tmp_path / "lake"), datetime.now(UTC)
    for day in range(60):
        times = [now - timedelta(days=day, minutes=n) for n in range(10)]
        query_log.append(lake, [Asked(started_at=at, kind="sql", statement="SELECT 1") for at in times])
    assert _rows(lake) == 600
    query_log.trim(lake, days=30, rows=1000)
    assert 300 <= _rows(lake) <= 310 and len(DeltaTable(str(lake.path / "query_log")).file_uris()) <= 50
    query_log.trim(lake, days=30, rows=42)
    assert _rows(lake) == 42
    newest = DeltaTable(str(lake.path / "query_log")).to_pyarrow_table()["started_at"].to_pylist()
    assert min(newest) > now - timedelta(days=5)
    query_log.append(lake, [Asked(started_at=now, kind="sql", statement="SELECT 2")])
    assert _rows(lake) == 43


def test_the_log_that_grows_is_read_at_the_same_set(lake: Lake, tmp_path: Path) -> None:
    lake, at = copied(lake, tmp_path), datetime.now(UTC)
    shutil.rmtree(lake.path / query_log.FOLDER, ignore_errors=True)
    engine = Engine(lake, tmp_path, Limits())

    def counted() -> list[int]:
        found, names = engine.set_of(None), ["gold.query_report", "gold.query_log"]
        engine.define(found, names)
        engine.define(found, names)
        asked = (
            "SELECT count(*) AS n FROM gold.query_log",
            "SELECT coalesce(sum(total_queries), 0)::BIGINT AS n FROM gold.query_report",
        )
        return [engine.batches(one).read_all()["n"][0].as_py() for one in asked]

    rows = [Asked(started_at=at, kind="sql", statement="SELECT 1")] * 3
    assert counted() == [0, 0]
    for n in (1, 2):
        query_log.append(lake, rows)
        assert counted() == [3 * n, 3 * n]
    shutil.rmtree(lake.path / query_log.FOLDER)
    for part in (rows[:1], rows):
        query_log.append(lake, part)
    assert counted() == [4, 4]  # made anew, with as many versions


def _rows(lake: Lake) -> int:
    return DeltaTable(str(lake.path / "query_log")).to_pyarrow_table().num_rows
