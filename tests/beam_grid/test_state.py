"""What commits add up to, and the watermark of a feed."""

from __future__ import annotations

from typing import Any

import pytest

from beam_grid.commit import FATES, Commit, Fates, PartitionStatistics
from beam_grid.state import FeedState, Kept
from data_sources.splits import KafkaEnd, LateSplit, PartitionPlan, RejectedSplit
from tests import committed
from tests.transforms.making import contract
from transforms.manifest import Kind

MINUTE = 60_000_000
FEED = contract(idle_timeout="15m")  # out_of_orderness 10 minutes


def partition(key: str, greatest: int | None, arrival: int | None = None, ends: Any = ()) -> PartitionStatistics:
    """Times in minutes."""
    at = None if greatest is None else greatest * MINUTE
    arrived = None if arrival is None else arrival * MINUTE
    return committed.partition(key, max_event_time=at, newest_arrival=arrived, ends=tuple(ends))


def commit(state: FeedState, *partitions: PartitionStatistics, **said: Any) -> Commit:
    watermark, fates = state.watermark_after(partitions, FEED), Fates(**dict.fromkeys(FATES, 1))
    return committed.commit(state.last + 1, watermark=watermark, fates=fates, partitions=partitions, **said)


def watermarks(*commits: tuple[PartitionStatistics, ...]) -> list[int | None]:
    state, seen = FeedState(), []
    for partitions in commits:
        state.add(commit(state, *partitions))
        seen.append(None if state.watermark is None else state.watermark // MINUTE)
    return seen


def test_it_is_the_least_of_the_partitions() -> None:
    assert watermarks((partition("0", 100, 100), partition("1", 60, 100))) == [50]


def test_partitions_not_in_this_slice_count_too() -> None:
    assert watermarks((partition("0", 60, 100), partition("1", 60, 100)), (partition("0", 200, 101),)) == [50, 50]


def test_an_idle_partition_holds_nothing_up() -> None:
    """Idle: its newest arrival is older than the feed's newest by more than idle_timeout."""
    start = (partition("0", 60, 100), partition("1", 60, 100))
    assert watermarks(start, (partition("0", 200, 115),)) == [50, 50]
    assert watermarks(start, (partition("0", 200, 116),)) == [50, 190]


def test_a_partition_that_wakes_does_not_turn_it_back() -> None:
    start = (partition("0", 60, 100), partition("1", 60, 100))
    assert watermarks(start, (partition("0", 200, 200),), (partition("1", 61, 201),)) == [50, 190, 190]


def test_a_partition_without_a_record_has_no_say() -> None:
    assert watermarks((partition("0", 60, 100), partition("1", None, None))) == [50]
    assert watermarks((partition("0", None, 100),)) == [None]


def test_files_that_are_whole_have_none() -> None:
    assert watermarks((partition("/a.json", None), partition("/b.json", None))) == [None]


def test_files_that_form_a_log_have_one() -> None:
    assert watermarks((partition("files", 60),), (partition("files", 90),)) == [50, 80]


def test_it_does_not_go_back_for_an_older_m() -> None:
    assert watermarks((partition("files", 60),), (partition("files", 30),)) == [50, 50]


@pytest.mark.parametrize("again", [1, 2])
def test_offsets_files_and_totals_are_the_last_said(again: int) -> None:
    state = FeedState()
    for n in range(1, again + 1):
        ends = [KafkaEnd(topic="t", partition=0, offset=10 * n), committed.file_end("/a.json", offset=n)]
        kinds: list[Kind] = ["rows", "conflicts", "late", "tiles"]
        files = tuple(committed.file(kind, f"{n}-{kind}", n) for kind in kinds)
        state.add(commit(state, partition("t/0", n, n, ends), files=files))
    assert state.last == again and state.totals.read == again
    assert {key: end.offset for key, end in state.ends.items()} == {"t/0": 10 * again, "/a.json": again}
    assert [file.path for file in state.landed.files("rows")] == [f"{n}-rows" for n in range(1, again + 1)]
    assert len(state.landed.files("conflicts")) == again
    assert state.max_event_times == {"t/0": again * MINUTE}


def test_late_files_wait_until_a_commit_takes_them_in_again() -> None:
    state, kept = FeedState(), Kept()

    def add(**said: Any) -> None:
        kept.add(made := commit(state, **said))
        state.add(made)

    for rows in (3, 0, 2):
        add(files=(committed.file("late", f"late-{state.last + 1}", rows),))
    assert list(kept.late.values()) == [
        LateSplit(path="late-1", commit=1, rows=3),
        LateSplit(path="late-3", commit=3, rows=2),
    ]
    add(plan=(PartitionPlan(key="late", splits=(kept.late["late-1"],)),))
    assert list(kept.late) == ["late-3"]


def test_of_a_file_of_rejects_that_was_judged_again_the_later_one_is_current() -> None:
    state, kept = FeedState(), Kept()
    first = commit(state, files=(committed.file("rejected", "rejected-1", 3),))
    state.add(first)
    kept.add(first)
    assert list(kept.rejected.values()) == [RejectedSplit(path="rejected-1", commit=1, rows=3)]
    plan = PartitionPlan(key="rejected", splits=(kept.rejected["rejected-1"],))
    judged = commit(state, plan=(plan,), files=(committed.file("rejected", "rejected-2", 1),))
    assert judged.filed["rejected"] == -2 and judged.judged_again == [kept.rejected["rejected-1"]]
    kept.add(judged)
    assert list(kept.rejected) == ["rejected-2"]
