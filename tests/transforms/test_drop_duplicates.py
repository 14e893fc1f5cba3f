"""Dedup over panes: what the batch's answer is, whatever the panes, and what is remembered for how long.

out_of_orderness 10 minutes and allowed lateness 20: a record is late when it is more than 30 minutes behind M.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pytest
from apache_beam.transforms.trigger import AfterCount, AfterProcessingTime, AfterWatermark, Repeatedly

from tests.transforms.making import LATEST, TIMELESS, brief, contract
from tests.transforms.timeline import THE_END, arrive, run, watermark
from transforms import drop_duplicates

pytestmark = pytest.mark.pipeline

FIRST = contract(windows=[])
NEWEST = contract(windows=[], dedup=LATEST)
BY_ID = contract(windows=[], dedup=TIMELESS)
NEAR = contract(windows=[], dedup={"key": ["id"], "horizon": "10m"})


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows of earlier panes each step was given."""
    found: list[int] = []
    step = drop_duplicates.dedup

    def spy(seen: pa.Table | None, *rest: Any) -> Any:
        found.append(0 if seen is None else seen.num_rows)
        return step(seen, *rest)

    monkeypatch.setattr(drop_duplicates, "dedup", spy)
    return found


def test_a_copy_in_a_later_pane_does_not_pass(remembered: list[int]) -> None:
    found = run(FIRST, [
        arrive(0, ("a", 1, 1.0), ("b", 2, 1.0), ("a", 1, 1.0)),
        arrive(0, ("b", 2, 1.0), ("c", 3, 1.0)),
        THE_END,
    ], shards=1)  # fmt: skip
    assert [brief(pane, "id") for pane in found.panes] == [[("a",), ("b",)], [("c",)]]
    assert found.counted("duplicates") == 2 and found.counted("landed") == 3
    assert remembered == [0, 2], "two panes fired, the second knew the first"


def test_a_late_record_is_set_aside_and_its_copy_too() -> None:
    found = run(FIRST, [
        arrive(0, ("new", 100, 1.0)),
        arrive(0, ("old", 69.99, 1.0), ("just", 70, 1.0)),
        watermark(90),
        arrive(0, ("old", 69.99, 1.0)),
        THE_END,
    ])  # fmt: skip
    assert sorted(brief(found.rows, "id")) == [("just",), ("new",)]
    assert brief(found.of("late"), "id") == [("old",), ("old",)]


def test_partitions_have_their_own_clocks() -> None:
    found = run(FIRST, [
        arrive(0, ("fast", 500, 1.0)),
        arrive(1, ("slow", 0, 1.0)),
        arrive(0, ("behind", 0, 1.0)),
        THE_END,
    ])  # fmt: skip
    assert sorted(brief(found.rows, "id")) == [("fast",), ("slow",)]
    assert brief(found.of("late"), "id", "_partition") == [("behind", 0)]


def test_a_fast_clock_and_a_broken_record_move_nothing() -> None:
    found = run(FIRST, [
        arrive(0, ("now", 0, 1.0), ("broken", 90, -1.0), ("future", 90, 1.0), at=5),
        arrive(0, ("next", 1, 1.0), at=6),
        THE_END,
    ])  # fmt: skip
    assert sorted(brief(found.rows, "id")) == [("next",), ("now",)]
    assert found.of("rejected")["cause"].to_pylist() == ["rule_broken", "from_the_future"]


class TestMemory:
    """a@1 is on time until M = 31, W = 21:   late when event_time < M - 30 = 1"""

    def test_a_copy_that_is_just_on_time_does_not_pass(self) -> None:
        found = run(FIRST, [
            arrive(0, ("a", 1, 1.0)),
            arrive(0, ("b", 31, 1.0)),
            watermark(21),
            arrive(0, ("a", 1, 1.0)),
            THE_END,
        ], shards=2)  # fmt: skip
        assert {shard.shard for one in found.manifests for shard in one.shards if shard.landed} == {0, 1}, (
            "b renews no timer of a"
        )
        assert found.counted("late") == 0
        assert found.counted("landed") == 2 and found.counted("duplicates") == 1

    def test_what_can_have_no_copy_on_time_is_forgotten(self, remembered: list[int]) -> None:
        found = run(FIRST, [
            arrive(0, ("a", 1, 1.0), ("b", 2, 1.0)),
            watermark(100),
            arrive(0, ("c", 110, 1.0)),
            arrive(0, ("a", 1, 1.0), ("d", 111, 1.0)),
            THE_END,
        ], shards=1)  # fmt: skip
        assert remembered == [0, 0, 1], "a and b were forgotten, c was not"
        assert found.counted("late") == 1

    def test_an_older_pane_does_not_shorten_the_memory_of_a_newer_one(self, remembered: list[int]) -> None:
        found = run(FIRST, [
            arrive(0, ("new", 29, 1.0)),
            arrive(0, ("old", 0, 1.0)),
            watermark(25),
            arrive(0, ("x", 30, 1.0)),
            watermark(200),
            arrive(0, ("y", 300, 1.0)),
            THE_END,
        ], shards=1)  # fmt: skip
        assert remembered == [0, 1, 1, 0]
        assert found.counted("landed") == 4

    def test_rows_that_outlive_a_pane_are_forgotten_in_their_turn(self, remembered: list[int]) -> None:
        run(FIRST, [
            arrive(0, ("new", 29, 1.0)),
            arrive(0, ("old", 0, 1.0)),
            watermark(25),
            watermark(200),
            arrive(0, ("y", 300, 1.0)),
            THE_END,
        ], shards=1)  # fmt: skip
        assert remembered == [0, 1, 0]

    def test_without_a_horizon_a_timeless_key_is_never_forgotten(self, remembered: list[int]) -> None:
        found = run(BY_ID, [
            arrive(0, ("a", 1, 1.0)),
            watermark(5000),
            arrive(0, ("a", 6000, 1.0)),
            THE_END,
        ], shards=1)  # fmt: skip
        assert remembered == [0, 1]
        assert found.counted("duplicates") == 1 and found.counted("conflicts") == 1

    @pytest.mark.parametrize(("again", "lands"), [(11, 1), (11.001, 2)])
    def test_a_horizon_lengthens_the_memory_by_itself(self, again: float, lands: int) -> None:
        """a@1 reaches to 11; a record at 11 is on time until W = 31."""
        found = run(NEAR, [
            arrive(0, ("a", 1, 1.0)),
            arrive(0, ("ab", 41, 1.0)),
            watermark(31),
            arrive(0, ("a", again, 1.0)),
            THE_END,
        ], shards=2)  # fmt: skip
        assert found.counted("late") == 0
        assert found.counted("landed") == 1 + lands

    def test_conflicts_over_panes_count_once(self) -> None:
        found = run(FIRST, [
            arrive(0, ("a", 1, 1.0)), arrive(0, ("a", 1, 2.0)), arrive(0, ("a", 1, 3.0)), THE_END,
        ])  # fmt: skip
        assert found.counted("conflicts") == 1
        assert [t.num_rows for t in found.aside["conflicts"]] == [1, 1]


class TestLatest:
    def test_a_correction_in_a_later_pane_supersedes(self) -> None:
        found = run(NEWEST, [
            arrive(0, ("a", 1, 1.0, "m1", 1)),
            arrive(0, ("a", 1, 2.0, "m2", 2)),
            arrive(0, ("a", 1, 9.0, "m9", 0)),
            THE_END,
        ])  # fmt: skip
        assert brief(found.rows, "kwh") == [(1.0,), (2.0,)]
        assert brief(found.of("superseded"), "kwh", "_position") == [(1.0, 0)]
        assert found.counted("landed") - found.counted("superseded") == 1


LINES = [("a", 1, 1.0), ("b", 2, 1.0), ("a", 1, 1.0), ("c", 3, 5.0), ("c", 3, 6.0), ("b", 2, 1.0), ("d", 4, 1.0)]


@pytest.mark.parametrize("trigger", [
    AfterWatermark(), AfterWatermark(early=AfterCount(1)), AfterWatermark(early=AfterCount(2), late=AfterCount(1)),
    Repeatedly(AfterProcessingTime(0)),
], ids=["at the end", "early", "early and late", "processing time"])  # fmt: skip
def test_no_trigger_changes_the_answer(trigger: Any) -> None:
    """With early firings the on-time pane may be empty, which is no failure."""
    found = run(FIRST, [*(arrive(0, line) for line in LINES), watermark(500), THE_END], trigger=trigger)
    assert sorted(brief(found.rows, "id", "kwh")) == [("a", 1.0), ("b", 1.0), ("c", 5.0), ("d", 1.0)]
    assert found.counted("duplicates") == 3 and found.counted("conflicts") == 1


def test_an_empty_pane_is_no_failure() -> None:
    step = drop_duplicates._DropCopies(FIRST, None, "")
    pane = dataclasses.make_dataclass("Pane", ["is_first", "is_last"])(False, True)
    assert list(step.process((0, []), pane, None, None, None)) == []
