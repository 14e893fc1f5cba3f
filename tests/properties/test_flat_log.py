"""The same tables, whatever of the log is summed up: segments and checkpoints of few commits, files put together, what they
stand for removed, tables made anew from what is left, and checkpoints and segments that are gone, damaged or foreign.

As tests/properties/test_any_slicing.py, with a segment after two commits instead of eight.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_grid import checkpoints, durable, segments, upkeep
from beam_grid.history import read as history
from beam_grid.land import Lander, Options
from beam_grid.landing import Lake
from beam_grid.ledger import ledger
from beam_grid.refine import refine
from beam_grid.state import FeedState, Kept
from tests.properties.oracle import as_lines, assert_equal, landed, oracle, run
from tests.properties.published import assert_published
from tests.properties.test_any_slicing import DEDUPS, NEVER_LATE, REFINING, WIDE, Drop, drops, land_all, slow
from tests.transforms.making import contract, minute


@pytest.fixture(autouse=True)
def _of_few_commits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "RADIX", 2)
        patch.setattr(segments, "_LARGEST", 16)
        patch.setattr(checkpoints, "EVERY", 2)
        yield


@pytest.mark.parametrize("dedup", DEDUPS)
@slow
@given(given_drops=drops(WIDE), slices=st.integers(4, 9), order=st.sampled_from(["none", "name"]), refining=REFINING, seed=st.integers(0, 99))  # fmt: skip
def test_tables_are_those_of_the_oracle(dedup: str, given_drops: list[Drop], slices: int, order: str, refining: str, seed: int) -> None:  # fmt: skip
    feed = contract(dedup=DEDUPS[dedup], file_order=order)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = land_all(folder, feed, given_drops, slices, 2, refining=refining)
        lake = Lake.open(folder / "lake")
        _damage(lake, feed.name, random.Random(seed))
        (folder / "in" / "z.json").write_text(
            ""
        )  # one more look at the source, with what is left of the log's summaries
        run(folder / "lake", feed, folder / "in")
        wanted = oracle(log, feed)
        assert_equal(landed(lake, feed), wanted)
        assert_published(folder / "lake", feed, wanted)
        if feed.name in lake.feeds:
            _check_summaries(lake, feed.name)


@pytest.mark.parametrize("dedup", ["first", "latest"])
@slow
@given(given_drops=drops(NEVER_LATE), slices=st.integers(4, 9), refining=REFINING)
def test_tables_can_be_made_anew_when_what_segments_stand_for_is_gone(dedup: str, given_drops: list[Drop], slices: int, refining: str) -> None:  # fmt: skip
    feed = contract(dedup=DEDUPS[dedup])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = land_all(folder, feed, given_drops, slices, 2, refining=refining)
        lake = Lake.open(folder / "lake")
        wanted = oracle(log, feed)
        assert_equal(landed(lake, feed), wanted)
        if feed.name not in lake.feeds:
            return
        refine(lake)
        segments.collect(lake.feed(feed.name), lake.feed(feed.name).last, older_than_s=-1)
        shutil.rmtree(folder / "lake" / "tables")
        assert_published(folder / "lake", feed, wanted)
        assert all(ledger(lake)["balanced"].to_pylist())


def _damage(lake: Lake, name: str, chance: random.Random) -> None:
    """Remove, cut or scramble some of what sums the log up; the files of segments stay, and commits are never touched."""
    feed = lake.feed(name)
    summaries = [p for kind in ("checkpoints", "segments", "history") for p in (feed.path / kind).glob("*.parquet")]
    for path in sorted(summaries):
        match chance.randrange(4):
            case 0:
                path.unlink()
            case 1:
                path.write_bytes(path.read_bytes()[: chance.randrange(200)])
            case 2:
                content = bytearray(path.read_bytes())
                content[chance.randrange(len(content))] ^= 0xFF
                path.write_bytes(content)


def _check_summaries(lake: Lake, name: str) -> None:
    """What is summed up is what the commits say."""
    feed = lake.feed(name)
    commits = list(feed.commits())
    state, plain = FeedState.of(feed), FeedState()
    for commit in commits:
        plain.add(commit)
    for word in ("last", "ends", "max_event_times", "arrivals", "watermark", "totals", "unbalanced"):
        assert getattr(state, word) == getattr(plain, word), word
    for kind in ("rows", "tiles", "conflicts", "late", "rejected", "superseded"):
        held = list(state.landed.held(kind))
        assert sum(one.file.rows for one in held) == sum(f.rows for c in commits for f in c.listed(kind)), kind
    assert [line.fates for line in history(feed)] == [commit.fates for commit in commits]
    assert Kept.of(feed).late.keys() <= {f.path for c in commits for f in c.listed("late")}


def test_a_segment_that_was_made_although_its_making_failed_keeps_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The rename was done and the answer lost: the next reader goes by the segment."""
    replace, lost = durable.replace, list[str]()

    def done_but_lost(path: Path, content: bytes) -> None:
        replace(path, content)
        if path.parent.name == "segments":
            lost.append(path.name)
            raise OSError(errno.EIO, "the answer was lost")

    monkeypatch.setattr(durable, "replace", done_but_lost)
    feed = contract(dedup=DEDUPS["first"])
    land_all(tmp_path, feed, [Drop({"a.json": [*_readings(8)]})], 4, 1)
    assert lost
    log = Lake.open(tmp_path / "lake").feed(feed.name)
    held = segments.LandedIndex(log).upto(log.last)
    assert [unit for unit in held.units if unit.first < unit.last], "a segment is read"
    assert not [file.path for file in held.files("rows", "tiles") if not (log.path / file.path).exists()]


def test_files_that_a_segment_has_just_replaced_stay_for_who_knows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A feed of few commits a day: its files are old when a segment stands for them."""
    monkeypatch.setattr(upkeep, "_COLLECT_EVERY_S", -1.0)
    feed, lake, source = contract(dedup=DEDUPS["first"]), Lake.open(tmp_path / "lake"), tmp_path / "in"
    source.mkdir()
    early, late = [*_readings(8)], [*_readings(16)][8:]
    for n, rows in enumerate([early, late, early, late]):
        (source / f"{n}.json").write_text(as_lines(rows))
    with lake.lock("land"), Lander(lake, feed, Options(str(source / "*.json"), slice_rows=8)) as lander:
        while (commit := lander.step()) is not None and commit.fates.read:
            lander._upkeep._thread.submit(int).result()  # what it does beside landing is done
            os.utime(lake.feed(feed.name).path / "data" / commit.attempt, (0, 0))
        fates = lander.done.fates
    assert (fates.landed, fates.duplicates) == (16, 16)


def _readings(count: int) -> Iterator[dict[str, Any]]:
    for n in range(count):
        yield {"id": f"r{n}", "at": minute(n).isoformat(), "kwh": 1.0, "meter": "m1", "version": 1}
