"""Final windows in order of their groups: the same rows, whatever changes in them afterwards, and few files for a group."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

from beam_grid.lakehouse import bounds, compact, gold
from beam_grid.lakehouse.live import Live, LiveFile, live
from beam_grid.lakehouse.maintain import maintain
from beam_grid.lakehouse.tables import Table
from beam_grid.landing import Lake
from beam_grid.refine import Refinement, contracts_of, refine, versions
from data_sources.contract import parse_contract
from tests.beam_grid.test_refine import CONTRACT, START, Landing, check, readings, superseding

METERS = [f"m{n}" for n in range(40)]


@pytest.fixture
def landing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Landing:
    """Files of twenty windows, eight of them a run."""
    monkeypatch.setattr(gold, "FILE_ROWS", 20)
    monkeypatch.setattr(gold, "_SMALL", 5)
    monkeypatch.setattr(compact, "RUN_ROWS", 160)
    contract = parse_contract({**CONTRACT, "windows": CONTRACT["windows"][:1]}, "test")
    return Landing(Lake.open(tmp_path / "lake"), contract)


def days(landing: Landing, seed: int, first: int, count: int, rows: int = 200) -> None:
    """Rows of forty meters on these days, one commit."""
    rng = random.Random(seed)
    landing.land(
        [
            {**row, "meter": rng.choice(METERS), "at": row["at"] + timedelta(days=first + rng.randrange(count))}
            for row in readings(rows, seed)
        ],
        watermark=START + timedelta(days=max(first + count, 9)),
    )


def followed(landing: Landing) -> None:
    """What a run that follows does once a commit stands."""
    run = Refinement(landing.lake, contracts_of(landing.lake, landing.lake.feeds))
    run.publish(landing.lake.feeds)
    run.refine(landing.lake.feeds)


def files(landing: Landing) -> list[LiveFile]:
    """Those of the windows, as the newest set has them."""
    found = versions(landing.lake)
    assert found is not None
    table = Table(landing.lake, "gold.fixed")
    assert found.tables[table.name].version == table.state().version, "the set goes on to the files in order"
    return live(table.path).files


def ordered(landing: Landing) -> list[LiveFile]:
    return [file for file in files(landing) if file.tags.get(compact.ORDERED)]


def asked(landing: Landing, meter: str) -> int:
    """Files that a question about one meter has to open."""
    condition = bounds.Within("meter", ((meter, meter),))
    return sum(bounds.may_hold(file, condition, "string") for file in files(landing))


def test_final_windows_come_in_order_of_their_meters_and_stay_right_whatever_comes_late(landing: Landing) -> None:
    for n in range(5):
        days(landing, n, 2 * n, 2)
        followed(landing)
    check(landing)
    ahead = len(files(landing))
    assert len(ordered(landing)) > ahead // 2
    assert asked(landing, "m7") < ahead // 2, "in order of time each file holds all meters"
    assert {file.rows for file in files(landing) if file not in ordered(landing)} <= set(range(21))
    days(landing, 10, 1, 3, rows=5)  # late ones, into files in order
    refine(landing.lake)
    check(landing)
    landing.land(superseding(landing, 8))
    followed(landing)
    check(landing)
    for _ in range(2):
        landing.land(readings(1, 100 + landing.commit))
        followed(landing)
    check(landing)


def test_windows_that_are_not_final_are_left_in_order_of_time(landing: Landing) -> None:
    days(landing, 1, 0, 4, rows=300)
    landing.land(readings(1, 2), watermark=START)
    followed(landing)
    assert len(files(landing)) > 8
    assert ordered(landing) == []


def test_maintain_orders_all_of_a_history_and_then_nothing(landing: Landing) -> None:
    days(landing, 1, 0, 9, rows=600)
    refine(landing.lake)
    before = len(files(landing))
    (done,) = [entry for entry in maintain(landing.lake) if entry.table == "gold.fixed"]
    assert done.action == "ordered" and done.reason.endswith("files of final windows by meter")
    assert len(ordered(landing)) >= before - 8
    check(landing)
    (again,) = [entry for entry in maintain(landing.lake) if entry.table == "gold.fixed"]
    assert again.action == "skipped"
    landing.land(readings(3, 5))
    refine(landing.lake)
    check(landing)


def test_a_run_that_a_late_window_broke_up_is_put_in_order_again(landing: Landing) -> None:
    days(landing, 1, 0, 9, rows=600)
    refine(landing.lake)
    maintain(landing.lake)
    whole = len(ordered(landing))
    days(landing, 2, 1, 1, rows=2)
    refine(landing.lake)
    assert len(ordered(landing)) < whole
    maintain(landing.lake)
    assert len(ordered(landing)) >= whole - 1
    check(landing)


def test_what_lies_between_files_in_order_is_put_in_order_however_little_it_is() -> None:
    def file(name: str, day: int, *, is_ordered: bool = False) -> LiveFile:
        at = (START + timedelta(days=day)).isoformat()
        tags = {"tags": {compact.ORDERED: "1"}} if is_ordered else {}
        return LiveFile(name, 1, rows=10, least={"window_start": at}, greatest={"window_start": at}, action=tags)

    files = [file("a", 1, is_ordered=True), file("b", 2), file("c", 3), file("d", 4, is_ordered=True), file("e", 5)]
    found, is_done = compact._to_order(Live(0, files, [], 1), None)
    assert ([one.path for one in found], is_done) == (["b", "c"], True)
    alone = [one for one in files if one.path != "c"]
    assert compact._to_order(Live(0, alone, [], 1), None) == ([], False), "one file is in nobody's way"


def test_the_newest_are_put_in_order_some_at_a_time_and_again_when_they_are_many(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "SOME_ROWS", 40)
    days(landing, 1, 0, 2, rows=300)
    tags = set[str]()
    for n in range(3):
        days(landing, 50 + n, 2, 1, rows=1)
        followed(landing)
        check(landing)
        tags |= {file.tags[compact.ORDERED] for file in ordered(landing)}
    left = [file for file in files(landing) if file not in ordered(landing)]
    assert sum(file.rows or 0 for file in left) < 40 + 20, "but what is not worth it"
    for n in range(5):
        days(landing, 10 + n, 3 + 2 * n, 2, rows=60)
        followed(landing)
        check(landing)
        tags |= {file.tags[compact.ORDERED] for file in ordered(landing)}
    assert "1" in tags and len(tags) > 2
    small = [file for file in ordered(landing) if file.tags[compact.ORDERED] != "1"]
    assert sum(file.rows or 0 for file in small) < 160, "they went into a run"


def test_a_run_that_is_done_with_is_not_put_in_order_again_for_one_late_window() -> None:
    def file(name: str, tag: str | None, day: int, rows: int) -> LiveFile:
        at = (START + timedelta(days=day)).isoformat()
        return LiveFile(
            name,
            1,
            rows=rows,
            least={"window_start": at},
            greatest={"window_start": at},
            action={"tags": {compact.ORDERED: tag}} if tag else {},
        )

    rows = compact.RUN_ROWS
    broken = [file(f"a{n}", "1", 1, rows // 8) for n in range(7)] + [file("late", None, 1, rows // 8)]
    assert compact._to_order(Live(0, broken, [], 1), None) == ([], False)
    some = [file("b1", "x", 2, rows // 8), file("b2", "x", 2, rows // 8), file("c", None, 3, rows // 4)]
    assert compact._to_order(Live(0, broken + some, [], 1), None) == ([], False), "not so many that b is taken again"
    more = [*some, file("d", None, 4, rows // 4)]
    found, is_done = compact._to_order(Live(0, broken + more, [], 1), None)
    assert ({one.path for one in found}, is_done) == ({"c", "d"}, False)
    most = [*more, file("e", "y", 4, rows // 2)]
    found, is_done = compact._to_order(Live(0, broken + most, [], 1), None)
    assert ({one.path for one in found}, is_done) == ({"late", "b1", "b2", "c", "d", "e"}, True)
