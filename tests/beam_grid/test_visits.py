"""A run that follows lets others land in between its slices, and goes on from what stands then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from beam_grid import edits, visits
from beam_grid.errors import GridError, LakeBusy
from beam_grid.follow import Pace, Tables, follow
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.versions import newest
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from beam_grid.ledger import ledger
from beam_grid.reinject import reinject
from beam_grid.service.vitals import Vitals
from beam_grid.visits import Lead, visiting
from data_sources.contract import Contract, parse_contract
from tests.beam_grid.test_follow import METERS, READINGS, reading
from tests.beam_grid.test_follow import ids as all_ids
from tests.properties.oracle import as_lines
from tests.transforms.making import minute, plain_contract
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
TOML = """name = "readings"
format = "json"
event_time = "at"
out_of_orderness = "10m"
allowed_lateness = "20m"
file_order = "name"
fields = [
  {name = "id", type = "string", nullable = false},
  {name = "at", type = "timestamp", nullable = false},
  {name = "kwh", type = "float64"},
  {name = "meter", type = "string"},
  {name = "version", type = "int64"},
]
[dedup]
key = ["id", "at"]
"""


class Following:
    """A run that follows, in a thread of its own."""

    def __init__(
        self, lake: Lake, source: Path, every: float = 0.05, slice_rows: int = 500_000, feed: Contract = READINGS,
        refine_every: float = 3600,
    ) -> None:  # fmt: skip
        self.lake, self.ending, self.states = lake, threading.Event(), list[str]()
        self._feeds = [(feed, Options(f"{source}/*.json", slice_rows=slice_rows))]
        self._pace = Pace(every, refine_every)
        self._thread = threading.Thread(target=self._work)
        self.code: int | BaseException | None = None

    def _work(self) -> None:
        try:
            with closing(Lead(self.lake)) as lead:
                self.code = follow(
                    self.lake, self._feeds, self._pace, Tables(self.lake), print, beat=self._beat, ending=self.ending,
                    lead=lead,
                )  # fmt: skip
        except BaseException as cause:
            self.code = cause

    def _beat(self, vitals: Vitals) -> None:
        self.states += [feed.state for feed in vitals.feeds.values()]

    def until(self, what: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert self._thread.is_alive(), self.code
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def __enter__(self) -> Following:
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.ending.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def ids(lake: Lake) -> list[str]:
    """None before there are tables."""
    return all_ids(lake) if "silver.readings" in tables(lake) else []


def tables(lake: Lake) -> set[str]:
    found = newest(lake)
    return set(found.tables) if found else set()


def more(source: Path, name: str, *readings: dict[str, Any]) -> None:
    draft = source / f"{name}.draft"
    draft.write_text(as_lines(list(readings)))
    draft.rename(source / f"{name}.json")


def test_late_rows_and_another_feed_land_while_a_run_follows(tmp_path: Path, source: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    (source / "m.csv").write_text(f"meter,seen\n7,{minute(0).isoformat()}\n")
    more(source, "a", reading("a", 0))
    more(source, "b", reading("ahead", 300))
    with Following(lake, source, every=3600) as run:
        run.until(lambda: lake.feed("readings").last and "ahead" in ids(lake))
        with visiting(lake) as is_followed:  # it hears of a visitor while it sleeps, or this would not be let in
            assert is_followed
            more(source, "c", reading("late", 0))
            assert land(lake, READINGS, Options(f"{source}/*.json")).fates.late == 1, "the same feed, by another hand"
            assert reinject(lake, "readings").fates.landed == 1
            land(lake, METERS, Options(f"{source}/m.csv"))
        run.until(lambda: "late" in ids(lake))
        more(source, "d", reading("d", 301))
        with visiting(lake):  # ends the sleep
            pass
        run.until(lambda: "d" in ids(lake))
        assert query(lake, "SELECT meter FROM silver.meters")["meter"].to_pylist() == [7], "nobody follows that feed"
    assert run.code == 0 and "waiting" in run.states and run.states[-1] == "ended"
    assert ids(lake) == ["a", "ahead", "d", "late"] and lake.feed("meters").last == 1
    assert all(row["balanced"] for row in ledger(lake).to_pylist()), ledger(lake)


def test_what_others_landed_is_published_once_the_tables_are_free(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beam_grid.follow._WAIT_S", 0.1)
    lake = Lake.open(tmp_path / "lake")
    (source / "m.csv").write_text(f"meter,seen\n7,{minute(0).isoformat()}\n")
    more(source, "a", reading("a", 0))
    with Following(lake, source) as run:
        run.until(lambda: ids(lake) == ["a"])
        with lake.lock("tables", wait_s=10):
            with visiting(lake):
                land(lake, METERS, Options(f"{source}/m.csv"))
            time.sleep(1)
            assert "silver.meters" not in tables(lake)
        run.until(lambda: "silver.meters" in tables(lake))


def test_an_edit_stands_whatever_is_published_after_it(tmp_path: Path, source: Path) -> None:
    """The contract has an expectation that fails, so each publish makes the derived tables, with the contracts it knows."""
    lake = Lake.open(tmp_path / "lake")
    validated = {
        "name": "validated", "series": "meter", "value": "kwh", "interval": "15m", "checks": [{"kind": "negative"}],
    }  # fmt: skip
    feed = parse_contract(
        {
            **plain_contract(), "windows": [], "vee": [validated],
            "expectations": [{"id": "E-1", "expect": "not_null(id)", "on_fail": "fail"}],
        },
        "tests",
    )  # fmt: skip

    def edited() -> list[float]:
        found = query(lake, "SELECT value FROM gold.validated WHERE status = 'edited'") if ids(lake) else None
        return found["value"].to_pylist() if found is not None else []

    more(source, "a", *[reading(f"a{n}", n * 15) for n in range(8)])
    with Following(lake, source, feed=feed, refine_every=0.5) as run:
        run.until(lambda: ids(lake) and "gold.validated" in tables(lake))
        with visiting(lake):
            edits.edit(lake, "gold.validated", "m", int(minute(30).timestamp() * 1e6), 7.5, "jan", "read on site")
        run.until(lambda: edited() == [7.5])
        for n in range(3):
            more(source, f"b{n}", reading(f"b{n}", 120 + n * 15))
            run.until(lambda n=n: f"b{n}" in ids(lake))
            assert edited() == [7.5]


def test_the_shards_that_a_visitor_settled_hold(tmp_path: Path, source: Path) -> None:
    lake, other = Lake.open(tmp_path / "lake"), tmp_path / "other"
    other.mkdir()
    lines = [reading(f"r{n}", n / 10) for n in range(200)]
    more(other, "a", *lines)
    with Following(lake, source) as run:
        run.until(lambda: "idle" in run.states)
        with visiting(lake):
            land(lake, READINGS, Options(f"{other}/*.json", shards=8))
        more(source, "again", *lines)
        run.until(lambda: lake.feed("readings").last == 2)
    assert [(c.fates.landed, c.fates.duplicates) for c in lake.feed("readings").commits()] == [(200, 0), (0, 200)]


def test_nobody_lands_beside_another_and_all_get_their_turn(tmp_path: Path, source: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    for n in range(40):
        more(source, f"{n:02d}", *[reading(f"{n}-{i}", n + i / 10) for i in range(10)])
    others = [parse_contract({**plain_contract(), "name": f"other{n}", "windows": []}, "tests") for n in range(3)]
    failed: list[BaseException] = []

    def visitor(number: int) -> None:
        try:
            for turn in range(3):
                folder = tmp_path / f"in-{number}"
                folder.mkdir(exist_ok=True)
                more(folder, str(turn), reading(f"{turn}", turn))
                with visiting(lake):
                    land(lake, others[number], Options(f"{folder}/*.json"))
        except BaseException as cause:
            failed.append(cause)

    threads = [threading.Thread(target=visitor, args=(n,)) for n in range(3)]
    with Following(lake, source, slice_rows=10) as run:
        run.until(lambda: lake.feed("readings").last)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert not failed
        run.until(lambda: lake.feed("readings").last and len(ids(lake)) == 400)
    assert run.code == 0
    assert len(set(ids(lake))) == 400
    assert all(row["balanced"] for row in ledger(lake).to_pylist()), ledger(lake)
    for other in others:
        assert sum(commit.fates.landed for commit in lake.feed(other.name).commits()) == 3


def test_a_second_follower_does_not_slip_in_during_a_visit(tmp_path: Path, source: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    more(source, "a", reading("a", 0))
    with Following(lake, source) as run:
        run.until(lambda: lake.feed("readings").last)
        with visiting(lake):
            with pytest.raises(LakeBusy, match="another land or run is at work"):
                Lead(lake, wait_s=0.5)
            with pytest.raises(LakeBusy):
                lake.lock("land").__enter__()
    with closing(Lead(lake)):
        pass


def test_a_visitor_that_asked_and_died_holds_nobody_up(tmp_path: Path, source: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    more(source, "a", reading("a", 0))
    with Following(lake, source) as run:
        run.until(lambda: lake.feed("readings").last)
        asked = lake.path / "locks" / "land.asked"
        asked.touch()
        run.until(lambda: not asked.exists())
        more(source, "b", reading("b", 1))
        run.until(lambda: ids(lake) == ["a", "b"])
    assert run.code == 0


def test_a_run_told_to_end_during_a_visit_ends_and_leaves_the_visitor_be(tmp_path: Path, source: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    more(source, "a", reading("a", 0))
    with Following(lake, source) as run:
        run.until(lambda: lake.feed("readings").last)
        with visiting(lake):
            plan = lake.feed("readings").plan_file
            plan.write_text("mine")
            run.ending.set()
            run._thread.join(PATIENCE_S)
            assert run.code == 0 and plan.read_text() == "mine"
            with pytest.raises(LakeBusy):
                lake.lock("land").__enter__()


@pytest.mark.parametrize("change", ["a field", "a window", "a rule", "a rule, and back"])
def test_another_contract_that_a_visitor_landed_ends_the_run(change: str, tmp_path: Path, source: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    more(source, "a", reading("a", 0))
    wrong = parse_contract({**plain_contract(), "dedup": {"key": ["id"]}}, "tests")
    raw = {**plain_contract(), "version": "2"}
    raw |= {
        "a field": {"fields": [*raw["fields"], {"name": "phase", "type": "int64", "since": "2"}]},
        "a window": {"windows": [*raw["windows"], {"name": "hours", "size": "1h", "measures": {"n": "count()"}}]},
        "a rule": {"rules": []},
    }[change.removesuffix(", and back")]
    with Following(lake, source) as run:
        run.until(lambda: lake.feed("readings").last)
        with visiting(lake), pytest.raises(GridError):
            land(lake, wrong, Options(f"{source}/*.json"))
        more(source, "b", reading("b", 1))
        run.until(lambda: ids(lake) == ["a", "b"])
        with visiting(lake):
            more(source, "c", reading("c", 2))
            land(lake, parse_contract(raw, "tests"), Options(f"{source}/*.json"))
            if "back" in change:
                more(source, "d", reading("d", 3))
                land(lake, READINGS, Options(f"{source}/*.json"))
        run._thread.join(PATIENCE_S)
    assert isinstance(run.code, GridError) and "under another contract; start the run" in str(run.code), run.code
    assert lake.feed("readings").contract(lake.feed("readings").read(3).contract).version == "2"
    assert [row["balanced"] for row in ledger(lake).to_pylist()] == [True]


def test_late_rows_of_an_older_contract_are_taken_in_beside_a_run_with_a_newer_one(
    tmp_path: Path, source: Path
) -> None:
    lake = Lake.open(tmp_path / "lake")
    more(source, "a", reading("ahead", 300))
    more(source, "b", reading("late", 0))
    with lake.lock("land"):
        for name in ("a", "b"):
            land(lake, READINGS, Options(f"{source}/{name}.json"))
    raw = {**plain_contract(), "version": "2", "rules": [], "dedup": {"key": ["id", "at"]}}
    with Following(lake, source, feed=parse_contract(raw, "tests")) as run:
        run.until(lambda: "idle" in run.states)
        with visiting(lake):
            assert reinject(lake, "readings").fates.landed == 1
        more(source, "c", reading("c", 301))
        run.until(lambda: ids(lake) == ["ahead", "c", "late"])
    assert run.code == 0


def test_a_slice_that_takes_too_long_is_not_waited_for(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "_PATIENCE_S", 0.2)
    lake, said = Lake.open(tmp_path / "lake"), list[str]()
    with (
        closing(Lead(lake)),
        pytest.raises(LakeBusy, match="ended within"),
        visiting(lake, said.append),
    ):
        pass
    assert not (lake.path / "locks" / "land.asked").exists()


@contextmanager
def _process(*words: str) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        [sys.executable, "-m", "beam_grid", *words], stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def test_commands_land_beside_a_run_that_follows(tmp_path: Path, source: Path) -> None:
    lake = tmp_path / "lake"
    toml = tmp_path / "readings.toml"
    toml.write_text(TOML)
    more(source, "a", reading("a", 0), reading("ahead", 300))
    words = ("--contract", str(toml), "--source", str(source), "--lake", str(lake))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "beam_grid", *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            cwd=ROOT,
        )

    with _process("run", *words, "--follow", "--every", "1h", "--refine-every", "1s") as running:
        deadline = time.monotonic() + PATIENCE_S
        while not (Lake(lake).feed("readings").last):
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.1)
        more(source, "b", reading("late", 0))
        landed = run("land", *words)
        assert landed.returncode == 0 and "late 1" in landed.stderr, landed.stderr
        again = run("reinject", "late", "--feed", "readings", "--lake", str(lake))
        assert (
            again.returncode == 0
            and "the run that follows the lake (or, if that only lands, beam-grid refine) brings them" in again.stderr
        ), again.stderr
        while "late" not in ids(Lake(lake)):
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.1)
        refused = run("run", *words, "--follow")
        assert refused.returncode == 2 and "another land or run is at work" in refused.stderr
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE_S) == 0, running.stderr and running.stderr.read()
    assert run("ledger", "--lake", str(lake)).returncode == 0
