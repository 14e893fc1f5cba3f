"""Clients and statements that mean no good, each against a server that goes on answering the others."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from beam_grid.landing import Lake
from tests.beam_grid.server.serving import served, sql

FOREVER = "SELECT count(*) FROM range(100000000000000) a"
DEAF = "SELECT levenshtein(repeat('a', 400000), repeat('b', 400000))"
"""Hours in one call of one function, which hears no interrupt."""


@pytest.fixture(scope="module", autouse=True)
def before() -> set[threading.Thread]:
    """Threads of this process before the first of these tests: other files of tests leave theirs."""
    return set(threading.enumerate())


@pytest.fixture(scope="module")
def impatient(lake: Lake) -> Iterator[httpx.Client]:
    with served(lake, timeout_s=2.0, slow_client_s=1.0) as client:
        yield client


def figure(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"beam_grid_server_{name} "))


def comes(condition: Callable[[], bool], within_s: float = 20.0) -> bool:
    end = time.monotonic() + within_s
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return met


def connection(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 0), 30)


def request(text: str, accept: str = "application/json") -> bytes:
    body = f'{{"sql": "{text}"}}'
    return (
        f"POST /api/v1/sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: {accept}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        ("SELECT * FROM read_csv('/etc/passwd')", 400, "read_csv"),
        ("SELECT " + "(" * 10_000 + "1" + ")" * 10_000, 400, "depth"),
        ("SELECT * FROM range(1000000000)", 413, "rows"),
        (FOREVER, 408, "longer than 2 s"),
        (DEAF, 408, "longer than 2 s"),
        ("SELECT len(range(1000000000))", 413, "memory"),
        ("SELECT length(repeat('x', 4000000000))", 413, "memory"),
        ("SELECT a.i FROM range(100000) a(i), range(100000) b ORDER BY random()", 408, "longer"),
        ("x" * 200_000, 422, "100000"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_statement_too_many_is_ended_and_the_next_is_answered(
    impatient: httpx.Client, text: str, status: int, says: str
) -> None:
    answer = sql(impatient, text)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    after = sql(impatient, "SELECT 1 AS one")
    assert after.status_code == 200 and after.json()["rows"] == [{"one": 1}], after.text


def test_a_statement_that_hears_nothing_costs_its_worker_and_nobody_else(impatient: httpx.Client) -> None:
    killed = figure(impatient, "killed_workers")
    assert sql(impatient, DEAF).status_code == 408
    assert figure(impatient, "killed_workers") == killed + 1
    for _ in range(4):
        answer = sql(impatient, "SELECT count(*) AS n FROM silver.readings")
        assert answer.status_code == 200 and answer.json()["rows"] == [{"n": 960}], answer.text


def test_a_statement_ends_when_its_asker_goes(lake: Lake) -> None:
    with served(lake, timeout_s=600.0) as client:
        for text in (FOREVER, DEAF):
            with connection(client) as one:
                one.sendall(request(text))
                assert comes(lambda: figure(client, "busy_workers") == 1)
            assert comes(lambda: figure(client, "busy_workers") == 0)
        assert 'status="cancelled"} 2' in client.get("/metrics").text


def test_those_that_wait_for_a_worker_are_answered_or_told(lake: Lake) -> None:
    with served(lake, timeout_s=1.0, workers=1) as client:
        with connection(client) as one:
            one.sendall(request(FOREVER))
            assert comes(lambda: figure(client, "busy_workers") == 1)
            told = sql(client, "SELECT 1")
            assert told.status_code == 200 or (told.status_code == 503 and told.headers["retry-after"]), told.text
            assert client.get("/healthz").status_code == 200
        assert comes(lambda: sql(client, "SELECT 1").status_code == 200)


def test_a_client_that_never_reads_is_cut_off(impatient: httpx.Client) -> None:
    big = "SELECT repeat('x', 1000) AS x FROM range(30000)"
    with connection(impatient) as one:
        one.sendall(request(big, "text/csv"))
        assert comes(lambda: figure(impatient, "unsent_bytes") > 0)
        assert comes(lambda: figure(impatient, "unsent_bytes") == 0)
        got = 0
        with pytest.raises(ConnectionResetError):
            while data := one.recv(1 << 20):
                got += len(data)
            raise ConnectionResetError  # an end without a reset, as some kernels tell it
        assert got < 30_000_000
    assert len(sql(impatient, big, "text/csv").content) == len("x\r\n") + 30_000 * 1002


def test_half_a_request_is_cut_off(impatient: httpx.Client) -> None:
    for begun in (b"", b"GET /healthz HTTP/1.1\r\nHost: loc", request("SELECT 1")[:-5]):
        with connection(impatient) as one:
            one.sendall(begun)
            assert one.recv(1000) == b""


def test_headers_without_end_are_cut_off(impatient: httpx.Client) -> None:
    with connection(impatient) as one, pytest.raises(OSError):
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        for n in range(100_000):
            one.sendall(b"X-%d: %s\r\n" % (n, b"x" * 1000))


def test_a_thousand_connections(lake: Lake) -> None:
    with served(lake) as client:
        many = [connection(client) for _ in range(1000)]
        try:
            assert sql(client, "SELECT count(*) AS n FROM silver.readings").json()["rows"] == [{"n": 960}]
            for one in many:
                one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert all(one.recv(15) == b"HTTP/1.1 200 OK" for one in many)
            for one in many[:200]:  # more statements than may wait
                one.recv(1 << 16)
                one.sendall(request("SELECT count(*) FROM silver.readings"))
            statuses = {one.recv(12) for one in many[:200]}
            assert b"HTTP/1.1 200" in statuses and statuses <= {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        finally:
            for one in many:
                one.close()
        assert client.get("/readyz").status_code == 200


def test_listeners_that_never_read_are_bounded(lake: Lake) -> None:
    with served(lake, max_streams=3) as client:
        many = [connection(client) for _ in range(3)]
        for one in many:
            one.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert comes(lambda: figure(client, "streams") == 3)
        assert client.get("/api/v1/events").status_code == 503
        for one in many:
            one.close()
        assert comes(lambda: figure(client, "streams") == 0)


def test_a_table_that_vanishes_meanwhile_is_told(lake: Lake, tmp_path: Path) -> None:
    copy = tmp_path / "lake"
    shutil.copytree(lake.path, copy)
    with served(Lake.open(copy, create=False)) as client:
        assert sql(client, "SELECT count(*) FROM silver.readings").status_code == 200
        shutil.rmtree(copy / "tables" / "silver" / "readings")
        for answer in (
            sql(client, "SELECT count(*) AS others FROM silver.readings"),
            client.get("/api/v1/tables/silver.readings"),
        ):
            assert answer.status_code == 410 and str(copy) not in answer.text, answer.text
        assert sql(client, "SELECT count(*) AS n FROM gold.hourly").json()["rows"] == [{"n": 480}]
        gone = next(t for t in client.get("/api/v1/tables").json()["tables"] if t["table"] == "silver.readings")
        assert "gone" in gone["description"]
        shutil.rmtree(copy / "versions")
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "localhost.evil.example", ""])
def test_a_name_rebound_to_loopback_is_refused(client: httpx.Client, host: str) -> None:
    assert client.get("/api/v1/tables", headers={"Host": host}).status_code == 421
    assert client.get("/healthz", headers={"Host": "[::1]:80"}).status_code == 200


def test_a_page_of_another_site_may_not_ask(client: httpx.Client) -> None:
    cross = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/api/v1/tables", headers=cross).status_code == 403
    form = client.post("/api/v1/sql", content='{"sql": "SELECT 1"}', headers={"Content-Type": "text/plain"})
    assert form.status_code == 422
    assert client.post("/api/v1/sql", content=b"x" * (2 << 20)).status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/tables/silver.readings?limit=0",
        "/api/v1/tables/silver.readings?limit=100001",
        "/api/v1/tables/silver.readings?cursor=!!",
        "/api/v1/tables/silver.readings?cursor=WzEsLTEsIngiXQ",
        "/api/v1/tables/silver.readings?cursor=W10",
        "/api/v1/tables/silver.readings?where=1)%20UNION%20SELECT%20(1",
        "/api/v1/tables/..%2F..%2Fetc%2Fpasswd",
        "/api/v1/tables/silver.readings%22;DROP",
        "/api/v1/lineage?where=true",
        "/api/v1/lineage?table=silver.readings&where=(SELECT%201)",
        "/../../etc/passwd",
    ],
)
def test_odd_parameters_are_the_callers_fault(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["status"] == answer.status_code and answer.json()["detail"]


def test_nothing_is_left_running(impatient: httpx.Client, before: set[threading.Thread]) -> None:
    assert comes(lambda: figure(impatient, "busy_workers") == 0 and figure(impatient, "unsent_bytes") == 0)
    started = [thread.name for thread in threading.enumerate() if thread not in before]
    assert len(started) < 150, started  # two servers' pools at their fullest, and no thread per client that was here
