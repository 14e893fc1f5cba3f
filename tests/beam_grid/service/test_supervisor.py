"""Feeds that fail side by side, over files and in this process: tables somebody changed, sources that go, a full disk."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from beam_grid import follow as follow_room
from beam_grid.errors import GridError, RunFailed
from beam_grid.follow import Pace, Tables, follow
from beam_grid.lakehouse.query import query
from beam_grid.land import Lander, Options
from beam_grid.landing import Lake
from beam_grid.service.vitals import FeedVitals, Vitals
from tests.beam_grid.test_follow import METERS, READINGS, _two, ids, reading
from tests.properties.oracle import as_lines
from tests.small_disk import SmallDisk
from tests.transforms.making import contract
from tests.waiting import PATIENCE_S


class Run:
    """Follows in this process; after each round of all feeds a step is asked whether it is done, the next one begins then."""

    def __init__(self, lake: Lake, feeds: list[tuple[Any, Options]], makes_tables: bool = True) -> None:
        self.lake, self.feeds, self.said = lake, feeds, list[str]()
        self.tables = Tables(lake, say=self.said.append) if makes_tables else None
        self.now: dict[str, FeedVitals] = {}
        self.seen: dict[str, set[str]] = {contract.name: set() for contract, _ in feeds}
        self.ending = threading.Event()

    def beat(self, vitals: Vitals) -> None:
        self.now = vitals.feeds
        for name, feed in vitals.feeds.items():
            self.seen[name] |= {feed.state, f"breaker {feed.breaker}"}

    def __call__(self, *steps: Callable[[], Any]) -> int:
        """Each step is called once a round until it returns something else than False."""
        waiting, turns, deadline = list(steps), 0, time.monotonic() + PATIENCE_S

        def at(lander: Lander) -> None:
            nonlocal turns
            turns += 1
            assert time.monotonic() < deadline, self.said
            if turns % len(self.feeds) == 0 and waiting and waiting[0]() is not False:
                waiting.pop(0)
            if not waiting:
                self.ending.set()

        with self.lake.lock("land"):
            return follow(
                self.lake, self.feeds, Pace(0.05, 3600), self.tables, self.said.append, at, self.beat, self.ending
            )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def two_feeds(source: Path) -> list[tuple[Any, Options]]:
    return [(READINGS, Options(f"{source}/*.json")), (METERS, Options(f"{source}/*.csv"))]


def test_tables_that_somebody_changed_are_tried_again_and_landing_goes_on(tmp_path: Path, source: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    _two(source, 0)
    run = Run(lake, two_feeds(source))
    silver = lake.path / "tables" / "silver" / "readings"

    def meddle() -> None:
        DeltaTable(silver).delete("id = 'r0-0'")
        _two(source, 1)

    def has_noticed() -> bool:
        return run.now["readings"].failures >= 2 and run.now["meters"].published == 2

    code = run(
        lambda: None, meddle, has_noticed, lambda: shutil.rmtree(silver), lambda: run.now["readings"].failures == 0
    )
    assert code == 0
    assert lake.feed("readings").last == 2, "it landed meanwhile"
    assert ids(lake) == sorted(f"r{turn}-{n}" for turn in range(2) for n in range(5))
    assert query(lake, "SELECT count(*) AS n FROM silver.meters")["n"].to_pylist() == [6]
    told = [line for line in run.said if "somebody else changed it" in line]
    assert len(told) == 1 and told[0].startswith("readings: not published"), run.said
    assert "readings: published again" in run.said
    assert "somebody else" in (run.now["readings"].last_error or "") and run.now["readings"].published == 2


def test_while_another_is_at_work_on_the_tables_landing_goes_on(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_room, "_WAIT_S", 0.1)
    lake, held = Lake.open(tmp_path / "lake"), ExitStack()
    (source / "a.json").write_text(as_lines([reading("a", 0)]))
    run = Run(lake, [(READINGS, Options(str(source)))])

    def maintains() -> None:
        held.enter_context(lake.lock("tables"))
        (source / "b.json").write_text(as_lines([reading("b", 1)]))

    def goes_on() -> bool:
        return lake.feed("readings").last == 2 and run.now["readings"].failures >= 1

    assert run(lambda: None, maintains, goes_on, held.close, lambda: run.now["readings"].failures == 0) == 0
    assert ids(lake) == ["a", "b"] and "readings: published again" in run.said


def test_a_source_that_goes_and_comes_back_fails_alone(tmp_path: Path, source: Path) -> None:
    lake, other = Lake.open(tmp_path / "lake"), tmp_path / "other"
    other.mkdir()
    (source / "a.json").write_text(as_lines([reading("a", 0)]))
    (other / "a.csv").write_text("meter,seen\n1,2025-06-15T12:00:00Z\n")
    run = Run(lake, [(READINGS, Options(str(source))), (METERS, Options(str(other)))], makes_tables=False)

    def goes() -> None:
        source.rename(tmp_path / "away")
        (other / "b.csv").write_text("meter,seen\n2,2025-06-15T12:00:00Z\n")

    def comes() -> None:
        (tmp_path / "away").rename(source)
        (source / "b.json").write_text(as_lines([reading("b", 1)]))

    code = run(
        lambda: None,
        goes,
        lambda: run.now["readings"].failures >= 3 and lake.feed("meters").last == 2,
        comes,
        lambda: lake.feed("readings").last == 2,
    )
    assert code == 0 and {"failed", "breaker open"} <= run.seen["readings"]
    assert "breaker open" not in run.seen["meters"]
    of_readings = [line for line in run.said if line.startswith("readings:") and "read =" not in line]
    assert len(of_readings) == 3 and of_readings[-1].startswith("readings: goes on"), of_readings


def test_what_is_left_out_is_told_as_long_as_it_is(tmp_path: Path, source: Path) -> None:
    """Also by looks that end where their slice is full, before they come to it."""
    for name in ("a", "z"):
        (source / f"{name}.json").write_text(as_lines([reading(name, 1)]))
    run = Run(Lake.open(tmp_path / "lake"), [(READINGS, Options(str(source), slice_rows=2))], makes_tables=False)
    seen = []

    def told(commit: int, count: int) -> bool:
        vitals = run.now["readings"]
        seen.append(vitals.left_out_count)
        return vitals.commit == commit and vitals.left_out_count == count

    assert run(
        lambda: told(1, 0) and (source / "z.json").write_text(as_lines([reading("y", 1)])),
        lambda: told(1, 1) and (source / "b.json").write_text(as_lines([reading(f"b{n}", 2) for n in range(6)])),
        lambda: told(4, 1) and (source / "z.json").unlink(),
        lambda: told(4, 0),
    ) == 0  # fmt: skip
    assert seen == [0] * seen.index(1) + [1] * seen.count(1) + [0]
    (line,) = [line for line in run.said if "has changed" in line]
    assert line.strip().startswith("z.json: left out: ")


def test_a_source_that_is_not_there_at_the_start_ends_the_run(tmp_path: Path, source: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    (source / "a.json").write_text(as_lines([reading("a", 0)]))
    run = Run(lake, [(READINGS, Options(str(source))), (METERS, Options(str(tmp_path / "nowhere")))])
    with pytest.raises(GridError, match="no such file or folder"):
        run(lambda: False)
    assert run.now["meters"].state == "failed"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "disk", megabytes=4) as made:
        yield made


@pytest.mark.parametrize("how", ["full", "read-only"])
@pytest.mark.parametrize("what", ["landing", "publishing"])
def test_a_lake_that_cannot_be_written_ends_the_run_and_a_rerun_loses_nothing(
    disk: SmallDisk, source: Path, how: str, what: str
) -> None:
    lake = Lake.open(disk.path / "lake")
    feed = contract(dedup={"key": ["id", "at"]})
    (source / "a.json").write_text(as_lines([reading("a", 0)]))
    feeds = [(feed, Options(str(source)))]

    parts = [lake.path / "landing"] if what == "landing" else [lake.path / "tables", lake.path / "versions"]

    def break_it() -> None:
        (source / "b.json").write_text(as_lines([reading(f"b{n}", n / 100) for n in range(200)]))
        if how == "full":
            disk.fill()
        for part in parts if how == "read-only" else []:
            disk.refuse(part)

    run = Run(lake, feeds)
    if what == "publishing":
        Run(lake, feeds, makes_tables=False)(lambda: None)
        assert run.tables is not None
        publish = run.tables.publish

        def broken(*more: Any) -> None:
            break_it()
            publish(*more)

        run.tables.publish = broken  # type: ignore[method-assign]
    with pytest.raises(RunFailed, match="cannot be written") as caught:
        run(lambda: None, break_it, lambda: False)
    assert caught.value.exit_code == 1
    assert run.now["readings"].state == "failed" and run.now["readings"].last_error
    disk.grow()
    assert Run(lake, feeds)(lambda: lake.feed("readings").last == 2) == 0
    assert ids(lake) == sorted(["a", *(f"b{n}" for n in range(200))])
