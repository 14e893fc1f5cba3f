"""How far a feed of several partitions is."""

from __future__ import annotations

from tests.transforms.making import contract
from transforms.watermark import watermark_of

FEED = contract(idle_timeout="15m", out_of_orderness="10m")


def at(minutes: float) -> int:
    return int(minutes * 60_000_000)


def test_the_slowest_partition_decides_unless_it_is_idle() -> None:
    times = {"a": at(100), "b": at(40)}
    assert watermark_of(times, {"a": at(101), "b": at(86)}, FEED) == at(30)
    assert watermark_of(times, {"a": at(101), "b": at(85.9)}, FEED) == at(90)
    assert watermark_of(times, {"a": at(101), "b": at(85.9)}, contract(out_of_orderness="10m")) == at(30)


def test_a_partition_with_more_to_read_is_not_idle() -> None:
    assert watermark_of({"a": at(100), "b": at(40)}, {"a": at(101), "b": at(41)}, FEED, {"b"}) == at(30)


def test_there_is_none_before_the_first_record() -> None:
    assert watermark_of({}, {}, FEED) is None
