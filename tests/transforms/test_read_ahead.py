"""Blocks made ahead come in order, fail where they are due and leave nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from transforms.read_ahead import ROOM_AHEAD, Blocks, ReadAhead


def slow(block: int) -> int:
    time.sleep(0.002 * (block % 3))
    return -block


def read(count: int, fails: int | None = None) -> Iterator[tuple[object, bool]]:
    for n in range(count):
        if n == fails:
            raise ValueError(f"block {n}")
        yield n, True
        if n % 4 == 3:
            yield f"note {n}", False


def test_blocks_come_in_order_with_the_notes_between_them() -> None:
    assert list(Blocks(read(9), slow)) == [0, -1, -2, -3, "note 3", -4, -5, -6, -7, "note 7", -8]
    assert list(Blocks(read(0), slow)) == []


@pytest.mark.parametrize("ahead", [False, True])
def test_an_error_is_raised_where_its_block_is_due(ahead: bool) -> None:
    def decode(block: int) -> int:
        if block == 2:
            raise RuntimeError("block 2")
        return block

    for blocks, error, before in (
        (Blocks(read(9), decode), RuntimeError, [0, 1]),
        (Blocks(read(9, fails=6), slow), ValueError, [0, -1, -2, -3, "note 3", -4, -5]),
    ):
        if ahead:
            read_ahead = ReadAhead()
            read_ahead.begin("k", blocks)
            assert read_ahead.take("k") is blocks
        got = []
        with pytest.raises(error, match="block"):
            for found in blocks:
                got.append(found)
        assert got == before


def test_only_so_many_blocks_are_made_ahead() -> None:
    asked = []

    def counted() -> Iterator[tuple[object, bool]]:
        for n in range(1000):
            asked.append(n)
            yield n, True

    read_ahead = ReadAhead()
    read_ahead.begin("k", Blocks(counted(), slow))
    time.sleep(0.3)
    assert asked == list(range(ROOM_AHEAD))
    read_ahead.forget()
    assert read_ahead.take("k") is None
    assert asked == list(range(ROOM_AHEAD))


def test_who_stops_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    for _ in range(5):
        for found in Blocks(read(50), slow):
            if found == -3:
                break
    assert threading.active_count() <= before + 2  # the two that decode are shared


def test_only_who_listens_hears_where_reading_ended() -> None:
    heard: list[object] = []
    read_ahead = ReadAhead()
    read_ahead.when_read("a", heard.append)
    read_ahead.has_read("b", [])
    read_ahead.has_read("a", [{"path": "x"}])
    read_ahead.when_read("a", None)
    read_ahead.has_read("a", [{"path": "y"}])
    assert heard == [[{"path": "x"}]]
