"""Several lakes by one command: what one does leaves the others alone, limits hold, and none outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest

from beam_grid.errors import GridError
from beam_grid.landing import Lake
from beam_grid.service.lakes import served_lakes
from tests.beam_grid.service.small import contract, grid, write
from tests.component.broker import free_ports
from tests.waiting import PATIENCE_S

NORTH_AND_SOUTH = """
[[lakes]]
lake = "north"
source = "in"
contracts = ["meters.toml"]
every = "1s"
{north}

[[lakes]]
lake = "south"
source = "in"
contracts = ["meters.toml"]
every = "1s"
{south}
"""


@contextmanager
def serving(folder: Path, north: str = "", south: str = "") -> Iterator[subprocess.Popen[str]]:
    contract(folder)
    (folder / "lakes.toml").write_text(NORTH_AND_SOUTH.format(north=north, south=south))
    log = (folder / "log").open("w")
    (port,) = free_ports(1)
    (folder / "port").write_text(str(port))
    command = grid("--log-format", "json", "run-lakes", str(folder / "lakes.toml"), "--metrics-port", str(port))
    running = subprocess.Popen(command, stderr=log, text=True)
    children: list[psutil.Process] = []
    try:
        yield running
    finally:
        children = psutil.Process(running.pid).children() if running.poll() is None else []
        running.kill()
        running.wait()
        psutil.wait_procs(children, 10)
        for child in children:
            if child.is_running():
                child.kill()
        log.close()


def until(holds: Callable[[], object], folder: Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)


def asked(folder: Path, page: str) -> str:
    """What all lakes' one port answers, well or not."""
    try:
        with urlopen(f"http://127.0.0.1:{(folder / 'port').read_text()}/{page}", timeout=10) as answer:
            return answer.read().decode()
    except HTTPError as refused:
        return refused.read().decode()


def child_of(running: subprocess.Popen[str], lake: Path) -> psutil.Process:
    """The lake's process; another may end this very moment."""
    for child in psutil.Process(running.pid).children():
        with suppress(psutil.Error):
            if str(lake) in child.cmdline():
                return child
    raise AssertionError(f"no process follows {lake}")


def commits(folder: Path, lake: str) -> int:
    return Lake(folder / lake).feed("meters").last


def said(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines() if line.startswith("{")]


def test_a_lake_that_crashes_is_started_again_and_all_end_with_their_parent(tmp_path: Path) -> None:
    write(tmp_path / "in", "a.csv")
    with serving(tmp_path) as running:
        until(lambda: commits(tmp_path, "north") == 1 and commits(tmp_path, "south") == 1, tmp_path)
        until(lambda: asked(tmp_path, "readyz") == "ok\n", tmp_path)
        for lake in ("north", "south"):  # a second after the commit at the latest
            line = f'beam_grid_records_total{{fate="landed",feed="meters",lake="{tmp_path / lake}"}} 10.0'
            until(lambda line=line: line in asked(tmp_path, "metrics"), tmp_path)
        children = psutil.Process(running.pid).children()
        assert len(children) == 2
        first = child_of(running, tmp_path / "north")
        first.kill()
        until(lambda: "north: nobody follows it" in asked(tmp_path, "readyz"), tmp_path)
        assert f'beam_grid_followed{{lake="{tmp_path / "north"}"}} 0.0' in asked(tmp_path, "metrics")
        write(tmp_path / "in", "b.csv")
        until(lambda: commits(tmp_path, "north") == 2 and commits(tmp_path, "south") == 2, tmp_path)
        assert any("ended by signal 9; it is started again" in str(line["message"]) for line in said(tmp_path))
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE_S) == 0
        assert not any(child.is_running() for child in children)
    lines = [line for line in said(tmp_path) if line["message"] == "committed"]
    assert {(line["lake"], line["feed"], line["commit"]) for line in lines} == {
        (lake, "meters", number) for lake in ("north", "south") for number in (1, 2)
    }


def test_limits_are_kept_and_children_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    """North reads 20 records a second and uses one core; south may hold less than any process does."""
    write(tmp_path / "in", "a.csv", rows=2000)
    with serving(tmp_path, "max_rows_per_s = 20\ncpus = 1", "max_memory_mib = 40") as running:
        until(lambda: commits(tmp_path, "north") >= 4, tmp_path)
        child = child_of(running, tmp_path / "north")
        assert len(child.cpu_affinity()) == 1
        read = [(c.created_at.timestamp(), c.fates.read) for c in Lake(tmp_path / "north").feed("meters").commits()]
        assert max(rows for _, rows in read) <= 20
        assert sum(rows for _, rows in read[1:]) <= 20 * (read[-1][0] - read[0][0] + 1)
        assert any("the limit is 40" in str(line["message"]) for line in said(tmp_path))
        children = psutil.Process(running.pid).children()
        running.kill()
        _, alive = psutil.wait_procs(children, 30)
        assert child in children and not alive


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("lakes = 3", r"Expected `array`.*\$\.lakes"),
        ("", "missing required field `lakes`"),
        ("lakes = []", "has no"),
        ('[[lakes]]\nlake = "a"', "missing required field `source`"),
        ('[[lakes]]\nlake = "a"\nsource = "s"\nslice_row = 3', "unknown field `slice_row`"),
        ('[[lakes]]\nlake = "a"\nsource = "s"\ncpus = 0', "a: cpus = 0; it must be at least 1"),
        ('[[lakes]]\nlake = "a"\nsource = "s"\nevery = "soon"', "a: every: 'soon' is not a duration"),
        ('[[lakes]]\nlake = "a"\nsource = "s"\n[[lakes]]\nlake = "./a"\nsource = "t"', "two .* have lake ="),
        ("[[lakes", "Expected"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_word(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "lakes.toml").write_text(text)
    with pytest.raises(GridError, match=why):
        served_lakes(str(tmp_path / "lakes.toml"))


def test_more_cores_than_there_are_is_refused(tmp_path: Path) -> None:
    from beam_grid.service.run_lakes import Serving

    cores = len(os.sched_getaffinity(0)) + 1
    (tmp_path / "lakes.toml").write_text(f'[[lakes]]\nlake = "a"\nsource = "kafka://b:1"\ncpus = {cores}')
    with pytest.raises(GridError, match=rf"cpus = {cores}; this process may use {cores - 1}"):
        Serving(served_lakes(str(tmp_path / "lakes.toml")))
