"""`beam-grid status`, through the command line, on lakes with and without a follower."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from beam_grid.service.show_status import age
from beam_grid.service.told import PATIENCE_S
from tests.beam_grid.service.small import contract, grid, ran, write
from tests.beam_grid.service.telling import feed_vitals, now_us, telling


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One commit, published, and one that was landed alone."""
    base = tmp_path_factory.mktemp("status")
    known = ("--contract", str(contract(base)), "--source", str(base / "in"), "--lake", str(base / "lake"))
    for turn, command in enumerate(("run", "land")):
        write(base / "in", f"{turn}.csv")
        done = ran(command, *known)
        assert done.returncode == 0, done.stderr
    return base / "lake"


@contextmanager
def told(lake: Path, *feeds: Any, **more: Any) -> Iterator[None]:
    """While open, this process is its follower."""
    file = lake / "status" / "1.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(msgspec.json.encode(telling(lake, *feeds, **more)))
    try:
        yield
    finally:
        file.unlink()


def asked(lake: Path) -> tuple[int, dict[str, Any]]:
    done = ran("status", "--lake", str(lake), "--format", "json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_without_a_follower_the_log_says_how_it_is(lake: Path) -> None:
    code, found = asked(lake)
    (feed,) = found["feeds"]
    assert code == 1 and found["followers"] == [] and "no follower" in found["wrong"][0]
    assert (feed["commit"], feed["waiting"], feed["waits_for"], feed["state"]) == (2, 1, "refine", None)
    assert 0 < feed["commit_age_s"] < feed["newest_row_age_s"] < 60


def test_a_follower_that_is_well_makes_it_well(lake: Path) -> None:
    with told(lake, feed_vitals("meters", state="idle", newest_event=now_us() - 60_000_000)):
        code, found = asked(lake)
        table = ran("status", "--lake", str(lake)).stdout
    (feed,) = found["feeds"]
    assert (code, found["wrong"]) == (0, [])
    assert (feed["lag"], feed["state"], feed["breaker"], feed["waits_for"]) == (10, "idle", "closed", "publish")
    assert feed["newest_row_age_s"] == pytest.approx(60, abs=5)
    assert re.search(r"leader \d+ on .*: up", table) and "1 for publish" in table and "all is well" in table


@pytest.mark.parametrize(
    ("feed", "more", "why"),
    [
        ({"state": "failed", "last_error": "the topic is gone"}, {}, "meters failed: the topic is gone"),
        ({"breaker": "open", "last_error": "no broker"}, {}, "the breaker is open: no broker"),
        ({"failures": 2, "last_error": "no broker"}, {}, "meters failed 2 times in a row: no broker"),
        ({"quarantined": 1}, {}, "1 records are in quarantine"),
        (
            {"left_out": ["a.csv: left out: has changed"], "left_out_count": 1},
            {},
            "meters: a.csv: left out: has changed",
        ),
        ({"left_out": ["a.csv: left out: has changed"], "left_out_count": 3}, {}, "meters: 2 more were left out"),
        ({}, {"refine_error": "no Java"}, "refine failed: no Java"),
        ({}, {"role": "standby"}, "no follower"),
        ({}, {"beat_at": now_us() - int((PATIENCE_S + 100) * 1e6)}, "has not gone round"),
        ({}, {"pid": 2**22 - 3}, "process 4194301 is gone"),
    ],
)
def test_what_is_wrong_is_said_and_makes_the_exit_code_1(
    lake: Path, feed: dict[str, Any], more: dict[str, Any], why: str
) -> None:
    with told(lake, feed_vitals("meters", **feed), **more):
        code, found = asked(lake)
    assert code == 1 and any(why in line for line in found["wrong"]), found["wrong"]


def test_what_a_dead_follower_left_is_not_wrong_where_another_leads(lake: Path) -> None:
    old = now_us() - int((PATIENCE_S + 100) * 1e6)
    (lake / "status").mkdir(exist_ok=True)
    (left := lake / "status" / "0.json").write_bytes(msgspec.json.encode(telling(lake, host="pod-a", beat_at=old)))
    with told(lake, feed_vitals("meters")):
        code, found = asked(lake)
    left.unlink()
    assert (code, found["wrong"], [f["is_alive"] for f in found["followers"]]) == (0, [], [True, False])


def test_an_error_that_quotes_what_was_sent_steers_no_terminal(lake: Path) -> None:
    with told(lake, feed_vitals("meters", state="failed", last_error="bad \x1b[2J\x07 line")):
        shown = ran("status", "--lake", str(lake)).stdout
        _, found = asked(lake)
    assert "bad \\x1b[2J\\x07 line" in shown and "\x1b" not in shown
    assert found["feeds"][0]["last_error"] == "bad \x1b[2J\x07 line"


def test_a_feed_before_its_first_commit_is_there_too(lake: Path) -> None:
    with told(lake, feed_vitals("new", commit=0, published=0, state="starting")):
        code, found = asked(lake)
    assert [(f["feed"], f["commit"]) for f in found["feeds"]] == [("meters", 2), ("new", 0)] and code == 0


def test_it_watches_until_it_is_interrupted(lake: Path) -> None:
    command = grid("status", "--lake", str(lake), "--watch", "--format", "json")
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    lines = [json.loads(running.stdout.readline()) for _ in range(3)]
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert lines[0]["at"] < lines[1]["at"] < lines[2]["at"]
    assert (running.returncode, errors) == (130, "")


def test_what_is_no_lake_or_damaged_is_said(tmp_path: Path, lake: Path) -> None:
    assert ran("status", "--lake", str(tmp_path / "none")).returncode == 2
    copy = tmp_path / "lake"
    shutil.copytree(lake, copy)
    (copy / "landing" / "meters" / "commits" / f"{2:010d}.json").write_text("{")
    done = ran("status", "--lake", str(copy))
    assert done.returncode != 0 and "commit 2 of meters cannot be read" in done.stderr


def test_a_lake_of_ten_thousand_commits_answers_in_half_a_second(lake: Path, tmp_path: Path) -> None:
    """And reads none but the newest: the others here cannot be read."""
    copy = tmp_path / "lake"
    shutil.copytree(lake, copy)
    commits = copy / "landing" / "meters" / "commits"
    text = json.loads((commits / f"{2:010d}.json").read_text())
    for number in range(2, 10_000):
        (commits / f"{number:010d}.json").write_text("{")
    (commits / f"{10_000:010d}.json").write_text(json.dumps({**text, "commit": 10_000}))
    bare, took = [], []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import click, msgspec, rich.console"], check=True)
        bare.append(time.monotonic() - began)
        began = time.monotonic()
        _, found = asked(copy)
        took.append(time.monotonic() - began)
    assert found["feeds"][0]["commit"] == 10_000 and found["feeds"][0]["waiting"] == 9_999
    assert min(took) < max(0.5, 3 * min(bare)), f"{took} s; Python alone takes {bare} s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "·"), (0.42, "0.4 s"), (65, "65 s"), (300, "5 min"), (3600 * 3 + 1200, "3 h 20 min"),
     (86400 * 4 + 7200, "4 d 2 h"), (-90000, "-25 h 0 min"), (86400 * 400, "400 d")],
)  # fmt: skip
def test_ages_are_for_people(seconds: float | None, text: str) -> None:
    assert age(seconds) == text
