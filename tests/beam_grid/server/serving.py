"""A lake of a few hostile rows, made by the command line, and a server of it on a free port, in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from beam_grid.landing import Lake
from beam_grid.server.serve import serve
from beam_grid.server.settings import Settings
from tests.beam_grid.service.small import run_folder
from tests.waiting import PATIENCE_S

CONTRACT = """
name = "readings"
format = "csv"
event_time = "read_at"
dedup = { key = ["meter", "read_at"] }
out_of_orderness = "1m"
file_order = "name"

[[rules]]
id = "R-1"
check = "kwh >= 0"

[[fields]]
name = "meter"
type = "string"

[[fields]]
name = "read_at"
type = "timestamp"

[[fields]]
name = "kwh"
type = "float64"

[[windows]]
name = "hourly"
size = "1h"
by = ["meter"]
measures = { n = "count()", kwh = "sum(kwh)" }
"""

SCRIPT = "<script>alert('meter')</script>"
FORMULA = "=HYPERLINK(1)"


def lines(day: int, meters: int = 20) -> list[str]:
    """A day of half-hourly readings."""
    names = [SCRIPT, FORMULA, *(f"M-{n:03d}" for n in range(2, meters))]
    return [
        f'"{name}",2026-03-{day:02d}T{minute // 60:02d}:{minute % 60:02d}:00Z,{(minute + n) % 50 / 10}'
        for minute in range(0, 24 * 60, 30)
        for n, name in enumerate(names)
    ]


def write(source: Path, name: str, rows: list[str]) -> None:
    source.mkdir(exist_ok=True)
    (source / name).write_text("meter,read_at,kwh\n" + "\n".join(rows) + "\n")


def run(folder: Path) -> None:
    """Land and publish what is new under folder/source."""
    run_folder(folder, "readings", CONTRACT)


def make(folder: Path) -> Lake:
    """960 rows, 1 duplicate, 2 rejects."""
    write(folder / "source", "day1.csv", [lines(1)[0], *lines(1), "M-1,2026-03-01T00:00:00Z,-4", "M-1,never,1"])
    run(folder)
    return Lake.open(folder / "lake", create=False)


@contextmanager
def served(lake: Lake, **settings: Any) -> Iterator[httpx.Client]:
    """A client of a server that ends with the block; fails where the server did."""
    ending, listens, told, failed = threading.Event(), threading.Event(), [], []

    def started(url: str) -> None:
        told.append(url)
        listens.set()

    def work() -> None:
        try:
            serve(Settings(**{"lake": lake, "port": 0, "workers": 2, "timeout_s": 5.0, **settings}), ending, started)
        except BaseException as cause:
            failed.append(cause)
        finally:
            listens.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert listens.wait(PATIENCE_S)
        if failed:
            raise failed[0]
        with httpx.Client(base_url=told[0], timeout=PATIENCE_S, verify=False) as client:
            yield client
    finally:
        ending.set()
        thread.join(PATIENCE_S)
    assert not failed and not thread.is_alive(), failed


def sql(client: httpx.Client, text: str, accept: str = "application/json", **more: Any) -> httpx.Response:
    return client.post("/api/v1/sql", json={"sql": text, **more}, headers={"Accept": accept})
