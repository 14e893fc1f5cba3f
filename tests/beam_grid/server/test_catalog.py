"""Which version set is told, and when, where telling one takes work and then a rest."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import pytest

from beam_grid.landing import Lake
from beam_grid.server import catalog
from beam_grid.server.catalog import Catalog


def test_after_a_rest_the_newest_set_is_told_and_none_that_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set a twentieth of a second: what is told is as new as the preparing takes, however long the rest before was."""
    began = time.monotonic()

    def number() -> int:
        return 1 + int((time.monotonic() - began) / 0.05)

    monkeypatch.setattr(catalog, "newest_number", lambda lake, at_least: number())
    monkeypatch.setattr(catalog, "_EVERY_S", 0.01)
    prepared: list[tuple[int, int]] = []
    rests_until = began

    async def prepare(found: int) -> None:
        nonlocal rests_until
        prepared.append((found, number()))
        rests_until = time.monotonic() + 0.5

    def rest_s() -> float:
        return max(0.0, rests_until - time.monotonic())

    async def watched() -> list[int]:
        told, known = [], 0
        watching = Catalog(Lake.open(tmp_path / "lake"), prepare=prepare, rest_s=rest_s)
        task = asyncio.create_task(watching.watch())
        while len(told) < 4:
            known = await watching.newer_than(known, 5.0)
            told.append(known)
        task.cancel()
        return told

    told = asyncio.run(watched())
    assert told == [found for found, _ in prepared[: len(told)]]
    assert all(now - found <= 4 for found, now in prepared), prepared
    assert all(later - earlier >= 8 for earlier, later in itertools.pairwise(told)), told
