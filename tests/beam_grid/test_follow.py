"""`follow` over files, in this process: what appears, what grows, what two feeds of it become. Kafka is in tests/component."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beam_grid.errors import GridError
from beam_grid.follow import Pace, Tables, follow
from beam_grid.lakehouse.query import query
from beam_grid.land import Lander, Options, land
from beam_grid.landing import Lake
from beam_grid.reinject import reinject
from data_sources.contract import Contract, parse_contract
from tests.properties.oracle import as_lines
from tests.transforms.making import contract, minute, plain_contract

READINGS = contract(dedup={"key": ["id", "at"]})


def reading(id: str, at: float, **more: Any) -> dict[str, Any]:
    return {"id": id, "at": minute(at).isoformat(), "kwh": 1.0, "meter": "m", "version": 1, **more}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def following(
    lake: Lake, feeds: list[tuple[Contract, Options]], *rounds: Callable[[], Any], makes_tables: bool = True
) -> int:
    """Follow: after each round of all feeds the next function is called; ends with the last."""
    waiting, seen = list(rounds), 0
    said: list[str] = []

    def at(lander: Lander) -> None:
        nonlocal seen
        seen += 1
        if seen % len(feeds) == 0:
            if not waiting:
                raise StopIteration
            waiting.pop(0)()

    tables = Tables(lake, say=said.append) if makes_tables else None
    with lake.lock("land"):
        return follow(lake, feeds, Pace(0, 3600), tables, said.append, at)


def test_land_that_follows_makes_no_tables(tmp_path: Path, source: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    (source / "a.json").write_text(as_lines([reading("a", 0)]))

    def more() -> None:
        (source / "b.json").write_text(as_lines([reading("b", 1)]))

    assert following(lake, [(READINGS, Options(str(source)))], more, makes_tables=False) == 0
    assert lake.feed("readings").last == 2
    assert not (lake.path / "tables").exists() and not (lake.path / "versions").exists()


def ids(lake: Lake, feed: str = "readings") -> list[str]:
    return sorted(query(lake, f"SELECT id FROM silver.{feed}")["id"].to_pylist())


def test_a_file_that_appears_and_one_that_grows_are_queryable_a_round_later(tmp_path: Path, source: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    (source / "a.json").write_text(as_lines([reading("a", 0)]))

    def append(text: str) -> Callable[[], Any]:
        def now() -> None:
            with (source / "a.json").open("a") as out:
                out.write(text)

        return now

    rest = json.dumps(reading("b", 1))
    found: list[list[str]] = []
    code = following(
        lake,
        [(READINGS, Options(str(source)))],
        lambda: (source / "b.json").write_text(as_lines([reading("c", 2)])),
        lambda: found.append(ids(lake)),
        append(rest[:20]),
        lambda: found.append(ids(lake)),
        append(rest[20:] + "\n"),
        lambda: found.append(ids(lake)),
    )
    assert code == 0
    assert found == [["a", "c"], ["a", "c"], ["a", "b", "c"]]
    assert lake.feed("readings").last == 3, "an unfinished line waits and makes no commit"
    assert query(lake, "SELECT n FROM gold.quarters")["n"].to_pylist() == [3]


def test_the_clock_goes_on_while_a_file_never_stops_growing(tmp_path: Path, source: Path) -> None:
    """Each round finds something new; what is written later than the start plus `max_future` is not from the future."""
    lake, feed = Lake.open(tmp_path / "lake"), contract(max_future="0s", file_order="none")

    def write() -> None:
        with (source / "a.json").open("a") as out:
            out.write(as_lines([{**reading("x", 0), "at": datetime.now(UTC).isoformat()}]))

    write()
    following(lake, [(feed, Options(str(source)))], *[write] * 3)
    fates = [commit.fates for commit in lake.feed("readings").commits()]
    assert [(f.read, f.landed) for f in fates] == [(1, 1)] * 4


METERS = parse_contract(
    {
        "name": "meters", "format": "csv", "event_time": "seen", "dedup": {"key": ["meter"]},
        "windows": [{"name": "seen_daily", "size": "1d", "measures": {"meters": "count()"}}],
        "fields": [{"name": "meter", "type": "int64"}, {"name": "seen", "type": "timestamp"}],
    },
    "tests",
)  # fmt: skip


def _two(source: Path, turn: int) -> None:
    (source / f"{turn}.json").write_text(as_lines([reading(f"r{turn}-{n}", n + turn) for n in range(5)]))
    seen = (minute(0) + timedelta(days=turn)).isoformat()
    (source / f"{turn}.csv").write_text("meter,seen\n" + "".join(f"{turn * 10 + n},{seen}\n" for n in range(3)))


def _assert_two(lake: Lake, turns: int) -> None:
    assert ids(lake) == sorted(f"r{turn}-{n}" for turn in range(turns) for n in range(5))
    meters = query(lake, "SELECT meter FROM silver.meters ORDER BY meter")["meter"].to_pylist()
    assert meters == [turn * 10 + n for turn in range(turns) for n in range(3)]
    assert query(lake, "SELECT sum(n) AS n FROM gold.quarters")["n"].to_pylist() == [5 * turns]
    assert query(lake, "SELECT meters FROM gold.seen_daily")["meters"].to_pylist() == [3] * turns
    assert query(lake, "SELECT * FROM bronze.rejected").num_rows == 0


def test_what_was_read_ahead_by_a_clock_that_has_moved_on_leaves_no_thread_behind(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beam_grid.land._CLOCK_HOLDS_US", -1)  # each slice asks by a new one
    lake, before = Lake.open(tmp_path / "lake"), set(threading.enumerate())
    (source / "a.json").write_text(as_lines([reading(str(n), n) for n in range(40)]))
    reading_ahead: list[int] = []

    def look() -> None:
        new = set(threading.enumerate()) - before
        reading_ahead.append(sum(thread.name.startswith("read_") for thread in new))

    assert following(lake, [(READINGS, Options(str(source), slice_rows=4))], *[look] * 8, makes_tables=False) == 0
    log = lake.feed("readings")
    assert log.last == 9 and len({commit.now for commit in log.commits()}) == 9
    assert max(reading_ahead) <= 2, "those of this slice and of the next"


def test_feeds_that_are_followed_side_by_side_keep_to_themselves(tmp_path: Path, source: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    _two(source, 0)
    feeds = [(READINGS, Options(f"{source}/*.json")), (METERS, Options(f"{source}/*.csv"))]
    assert following(lake, feeds, *(lambda turn=turn: _two(source, turn) for turn in (1, 2))) == 0
    _assert_two(lake, 3)


def test_one_run_after_another_in_one_process_and_a_reinject_keep_to_their_feed(tmp_path: Path, source: Path) -> None:
    """Each keeps a graph of its own, built with the first slice: rows and late rows never reach another feed's."""
    lake = Lake.open(tmp_path / "lake")
    for turn in range(2):
        _two(source, turn)
        for feed, files in ((READINGS, "*.json"), (METERS, "*.csv")):
            with lake.lock("land"):
                land(lake, feed, Options(f"{source}/{files}", slice_rows=2))
    (source / "z.json").write_text(as_lines([reading("ahead", 300), reading("late", 0)]))
    with lake.lock("land"):
        assert land(lake, READINGS, Options(f"{source}/*.json")).fates.late == 1
        assert reinject(lake, "readings").fates.landed == 1
    tables = Tables(lake)
    for feed in (READINGS, METERS):
        tables.publish(feed.name, feed)
    assert {"ahead", "late"} <= set(ids(lake))
    assert query(lake, "SELECT count(*) AS n FROM silver.meters")["n"].to_pylist() == [6]
    assert query(lake, "SELECT sum(meters) AS n FROM gold.seen_daily")["n"].to_pylist() == [6]


def test_a_window_no_feed_may_share_ends_the_run_before_anything_is_published(tmp_path: Path, source: Path) -> None:
    thief = parse_contract({**plain_contract(), "name": "thief"}, "tests")
    (source / "a.json").write_text(as_lines([reading("a", 0)]))
    lake = Lake.open(tmp_path / "lake")
    with pytest.raises(GridError, match="both declare it"):
        following(lake, [(READINGS, Options(str(source))), (thief, Options(str(source)))])
