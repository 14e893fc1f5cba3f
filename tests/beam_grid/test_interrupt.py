"""Ctrl-C while DuckDB is at a long statement: the process ends soon, with 130, and "interrupted" is all it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beam_grid.errors import GridError
from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from tests.waiting import PATIENCE_S

SAYS = "interrupted; what was committed stays, the rest is read again by the next run"

CONTRACT = """\
name = "readings"
format = "json"
event_time = "at"
dedup = { key = ["id"] }
fields = [{ name = "id", type = "string" }, { name = "at", type = "timestamp" }]
[[expectations]]
id = "named"
expect = "not_null(id)"
"""

LISTENS = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE (a.range * b.range) % 7919 = 8"
IS_DEAF = "SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))"
"""Minutes within one call of a function: DuckDB looks for an interrupt between vectors of rows."""

GRID = """\
import sys
from pathlib import Path
from beam_grid.cli import main
from beam_grid.lakehouse.engines.embedded import Embedded

long, begun = sys.argv.pop(1), Path(sys.argv.pop(1))

def ask(self, sql):
    begun.touch()
    self._engine.execute(long).fetchall()

Embedded.ask = ask
main()
"""
"""The command line, but for expectations and analyses, whose questions take minutes and tell when they begin."""


def interrupt(folder: Path, long: str, *arguments: str, how: signal.Signals = signal.SIGINT) -> float:
    """Run it on a reading, press Ctrl-C while the expectation is asked; returns the seconds it took to end after that."""
    code, says = (130, SAYS) if how == signal.SIGINT else (0, "")
    (folder / "readings.toml").write_text(CONTRACT)
    (folder / "readings.json").write_text(json.dumps({"id": "r", "at": "2025-06-15T10:00:00Z"}))
    log, begun, lake = folder / "log", folder / "begun", Lake.open(folder / "lake")
    words = [sys.executable, "-c", GRID, long, str(begun), "run", "--contract", str(folder / "readings.toml"),
             "--source", str(folder / "readings.json"), "--lake", str(lake.path), *arguments]  # fmt: skip
    with log.open("wb") as out:
        running = subprocess.Popen(words, stdout=out, stderr=out, env={**os.environ, "BEAM_GRID_DEBUG": ""})
    try:
        while not begun.exists():
            assert running.poll() is None, log.read_text()
            time.sleep(0.1)
        time.sleep(0.5)
        before = log.read_text()
        running.send_signal(how)
        began = time.monotonic()
        assert running.wait(PATIENCE_S) == code, log.read_text()
        took = time.monotonic() - began
    finally:
        running.kill()
        running.wait()
    assert log.read_text().removeprefix(before).strip() == says
    assert query(lake, "SELECT id FROM silver.readings")["id"].to_pylist() == ["r"]
    with pytest.raises(GridError, match=r"no table gold\.quality"):
        query(lake, "SELECT * FROM gold.quality")
    return took


@pytest.mark.parametrize("long", [LISTENS, IS_DEAF], ids=["listens", "is_deaf"])
def test_while_a_thread_refines_beside_a_run_that_follows(tmp_path: Path, long: str) -> None:
    assert interrupt(tmp_path, long, "--follow", "--every", "1s", "--refine-every", "1s") < 20


def test_while_the_command_itself_refines(tmp_path: Path) -> None:
    assert interrupt(tmp_path, LISTENS) < 20


def test_told_to_end_it_does_not_wait_for_a_thread_that_is_deaf(tmp_path: Path) -> None:
    assert interrupt(tmp_path, IS_DEAF, "--follow", "--every", "1s", "--refine-every", "1s", how=signal.SIGTERM) < 20


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """The main thread is within one call of a function, and does not hear the first."""
    (tmp_path / "readings.toml").write_text(CONTRACT)
    (tmp_path / "readings.json").write_text(json.dumps({"id": "r", "at": "2025-06-15T10:00:00Z"}))
    begun = tmp_path / "begun"
    words = [sys.executable, "-c", GRID, IS_DEAF, str(begun), "run", "--contract", str(tmp_path / "readings.toml"),
             "--source", str(tmp_path / "readings.json"), "--lake", str(tmp_path / "lake")]  # fmt: skip
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            while not begun.exists():
                assert running.poll() is None
                time.sleep(0.1)
            time.sleep(0.5)
            running.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert running.poll() is None, "deaf, as it is to be"
            running.send_signal(signal.SIGINT)
            began = time.monotonic()
            assert running.wait(PATIENCE_S) == 130
            assert time.monotonic() - began < 3
        finally:
            running.kill()


JUDGES = """\
import threading, time
from beam_grid.interrupt import leave
from data_sources.expressions import sandbox

cursor = sandbox().cursor()
threading.Thread(target=lambda: cursor.execute("SELECT count(*) FROM range(100000000000)").fetchall(), daemon=True).start()
time.sleep(0.5)
leave(130)
"""


def test_a_thread_that_still_judges_rows_has_no_say() -> None:
    ended = subprocess.run([sys.executable, "-c", JUDGES], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
