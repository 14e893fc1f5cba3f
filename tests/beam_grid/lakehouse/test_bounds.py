"""Files that no row of a condition can be in, by their bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from beam_grid.lakehouse.bounds import Recurring, may_hold
from beam_grid.lakehouse.live import LiveFile

MONDAY = datetime(2025, 5, 19, tzinfo=UTC)
HOURS = st.integers(-2_000, 2_000)


@given(HOURS, st.integers(0, 200), st.frozensets(st.integers(0, 167), min_size=1, max_size=3))
def test_a_file_is_kept_where_an_hour_of_its_span_is_one_of_the_week(
    start: int, more: int, phases: frozenset[int]
) -> None:
    first, last = (MONDAY + timedelta(hours=start + n, minutes=30) for n in (0, more))
    file = LiveFile("f", 1, rows=2, least={"t": first.isoformat()}, greatest={"t": last.isoformat()}, nulls={"t": 0})
    condition = Recurring("t", 3 * 86_400_000_000 + 604_800_000_000 * 1_000, 3_600_000_000, 168, phases)
    wanted = any(
        (start + n) % 168 in phases for n in range(more + 1)
    )  # the epoch was a Thursday, three days after a Monday
    assert may_hold(file, condition, "timestamp") == wanted


def test_a_file_of_unknown_bounds_is_kept() -> None:
    condition = Recurring("t", 0, 3_600_000_000, 168, frozenset({3}))
    assert may_hold(LiveFile("f", 1), condition, "timestamp")
    assert may_hold(LiveFile("f", 1, least={"t": MONDAY.isoformat()}), condition, "timestamp")
    assert not may_hold(LiveFile("f", 1, rows=2, nulls={"t": 2}), condition, "timestamp")
