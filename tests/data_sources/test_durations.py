"""Durations of a contract."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_sources.durations import LONGEST, format_duration, micros, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("15m", 900),
        ("1h", 3600),
        ("2d", 172_800),
        ("0s", 0),
        (" 90 m ", 5400),
        ("36500d", 36_500 * 86_400),
    ],
)
def test_what_may_be_written(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert micros(parse_duration(text)) == seconds * 1_000_000


@pytest.mark.parametrize(
    "text", ["", "10", "m", "1.5h", "-5m", "1h30m", "10 min", "1w", "10S", "ten", "１０s", 10, 1.5, None, True, ["1h"]]
)
def test_what_may_not(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration; write it as 10s, 15m, 1h or 2d"):
        parse_duration(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["36501d", "999999999d", "9" * 30 + "s", "9" * 5000 + "d"])
def test_a_duration_no_sum_of_times_survives(text: str) -> None:
    with pytest.raises(ValueError, match="the longest is 36500d"):
        parse_duration(text)


@given(st.integers(0, LONGEST // timedelta(seconds=1)))
def test_written_and_read_again(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


def test_the_shortest_way_to_write_one() -> None:
    written = {0: "0s", 90: "90s", 900: "15m", 3600: "1h", 5400: "90m", 86_400: "1d", 90_000: "25h"}
    assert {s: format_duration(timedelta(seconds=s)) for s in written} == written
