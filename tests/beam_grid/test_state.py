"""What commits add up to, and the watermark of a feed."""

from __future__ import annotations

from typing import Any

import pytest

from beam_grid.landing import FATES
from beam_grid.state import FeedState
from tests.transforms.making import contract

MINUTE = 60_000_000
FEED = contract(idle_timeout="15m")  # out_of_orderness 10 minutes


def partition(key: str, greatest: int | None, arrival: int | None = None, ends: Any = ()) -> dict[str, Any]:
    """Times in minutes."""
    at = None if greatest is None else greatest * MINUTE
    return {
        "key": key,
        "greatest": at,
        "newest_arrival": None if arrival is None else arrival * MINUTE,
        "ends": list(ends),
    }


def commit(state: FeedState, *partitions: dict[str, Any], files: Any = ()) -> dict[str, Any]:
    return {
        "commit": state.last + 1, "attempt": str(state.last + 1), "watermark": state.watermark_after(list(partitions), FEED),
        "fates": dict.fromkeys(FATES, 1), "partitions": list(partitions), "files": list(files),
    }  # fmt: skip


def watermarks(*commits: tuple[dict[str, Any], ...]) -> list[int | None]:
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
        ends = [{"topic": "t", "partition": 0, "offset": 10 * n}, {"path": "/a.json", "offset": n}]
        entries = [{"kind": kind, "path": f"{n}-{kind}", "rows": n} for kind in ("rows", "conflicts", "late", "tiles")]
        state.add(commit(state, partition("t/0", n, n, ends), files=entries))
    assert state.last == again and state.totals["read"] == again
    assert state.offsets == {"t": {"0": 10 * again}} and state.files["/a.json"]["offset"] == again
    assert [e["path"] for e in state.rows] == [f"{n}-rows" for n in range(1, again + 1)]
    assert len(state.conflicts) == again and state.attempts == {str(n) for n in range(1, again + 1)}
    assert state.greatest == {"t/0": again * MINUTE}


def test_late_files_wait_until_a_commit_takes_them_in_again() -> None:
    state = FeedState()
    for rows in (3, 0, 2):
        state.add(commit(state, files=[{"kind": "late", "path": f"late-{state.last + 1}", "rows": rows}]))
    assert list(state.late.values()) == [
        {"late": "late-1", "commit": 1, "rows": 3},
        {"late": "late-3", "commit": 3, "rows": 2},
    ]
    plan = [{"key": "late", "parts": [{**state.late["late-1"], "part": 0}]}]
    state.add({**commit(state), "plan": plan})
    assert list(state.late) == ["late-3"]
