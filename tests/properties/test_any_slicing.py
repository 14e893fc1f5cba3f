"""Through `land`, the in-process runner and `refine`: any order, duplication and slicing, refined with each commit or
once, gives the tables the oracle gives, and so do tables that were deleted and made anew.

About a second a run, so few examples, each with many things at once: files in several drops, cut anywhere, any
number of shards, `file_order` none and name, first and latest, broken and impossible records, corrections over
commits. The oracle is SQL over the raw lines (oracle.py).
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beam_grid.landing import Lake
from beam_grid.refine import refine
from data_sources.contract import Contract
from tests.conftest import EXAMPLES
from tests.properties.oracle import as_lines, assert_equal, landed, oracle, run
from tests.properties.published import assert_published
from tests.transforms.making import LATEST, TIMELESS, contract, minute

DEDUPS: dict[str, dict[str, Any]] = {
    "first": {"key": ["id", "at"]},
    "timeless": TIMELESS,
    "latest": LATEST,
    "latest, timeless": {**LATEST, **TIMELESS},
}
REFINING = st.sampled_from(["once", "each"])
BROKEN = [
    '{"id": "a"',
    "[1]",
    "",
    '{"id": null, "at": "2025-06-15T12:00:00Z"}',
    '{"id": "a", "at": "noon"}',
    '{"id": 7, "at": 8}',
]


class Drop(NamedTuple):
    """Files that appear between two runs: name to records."""

    files: dict[str, list[Any]]


def reading(minutes: st.SearchStrategy[float]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "id": st.sampled_from("abcdef"),
            "at": minutes.map(lambda m: minute(m).isoformat()),
            "kwh": st.sampled_from([None, 0.5, 1.25, 3.0, -1.0]),
            "meter": st.sampled_from([None, "m1", "m2"]),
            "version": st.sampled_from([None, 1, 2, 3]),
        }
    )


NEVER_LATE = reading(st.sampled_from([0.0, 1.0, 14.999, 15.0, 29.5]))
WIDE = reading(st.sampled_from([0.0, 1.0, 16.0, 31.0, 46.0, 76.0, 200.0]))


def drops(records: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Drop]]:
    """One to three drops of one or two files each; names of a later drop may sort before those of an earlier."""
    lines = st.lists(st.one_of(records, records, records, st.sampled_from(BROKEN)), max_size=12)
    return st.lists(st.lists(lines, min_size=1, max_size=2), min_size=1, max_size=3).flatmap(
        lambda parts: st.permutations([f"{n}.json" for n in range(6)]).map(
            lambda names: [
                Drop({names[2 * n + k]: part for k, part in enumerate(parts_of)}) for n, parts_of in enumerate(parts)
            ]
        )
    )


def land_all(
    folder: Path, feed: Contract, given_drops: list[Drop], slices: int, shards: int, *, refining: str = "once"
) -> list[Path]:
    """Land drop after drop; returns the files in the order of the log. A run after the last one does nothing.

    refining: "each" brings the tables up with each commit, as a run that follows does.
    """
    source, log = folder / "in", []
    source.mkdir()
    total = sum(len(lines) for drop in given_drops for lines in drop.files.values())
    options = {"slice_rows": max(1, -(-total // slices)), "shards": shards}
    at_commit = partial(refine, Lake.open(folder / "lake")) if refining == "each" else None
    for drop in given_drops:
        for name, lines in sorted(drop.files.items()):
            (source / name).write_text(as_lines(lines))
            log.append(source / name)
        run(folder / "lake", feed, source, at_commit, **options)
    before = sorted((folder / "lake").rglob("*.json"))
    again = run(folder / "lake", feed, source, **options)
    assert again.commits == 0 and again.fates.read == 0 and not again.problems, "a rerun changes nothing"
    assert sorted((folder / "lake").rglob("*.json")) == before
    return log


def check(feed: Contract, given_drops: list[Drop], slices: int, shards: int, refining: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = land_all(folder, feed, given_drops, slices, shards, refining=refining)
        wanted = oracle(log, feed)
        assert_equal(landed(Lake.open(folder / "lake"), feed), wanted)
        assert_published(folder / "lake", feed, wanted)


def slow(test: Any) -> Any:
    """No shrinking: a hundred runs of a second each to make a failure prettier are not worth the wait."""
    phases = [Phase.explicit, Phase.reuse, Phase.generate]
    return settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=phases)(test)


@pytest.mark.parametrize("dedup", DEDUPS)
@slow
@given(given_drops=drops(NEVER_LATE), slices=st.integers(1, 4), shards=st.integers(1, 5), order=st.sampled_from(["none", "name"]), refining=REFINING)  # fmt: skip
def test_rows_that_are_not_late(dedup: str, given_drops: list[Drop], slices: int, shards: int, order: str, refining: str) -> None:  # fmt: skip
    check(contract(dedup=DEDUPS[dedup], file_order=order), given_drops, slices, shards, refining)


@pytest.mark.parametrize("dedup", ["first", "latest"])
@slow
@given(given_drops=drops(WIDE), slices=st.integers(1, 4), shards=st.integers(1, 5), order=st.sampled_from(["none", "name", "name"]), refining=REFINING)  # fmt: skip
def test_rows_of_which_some_are_late(dedup: str, given_drops: list[Drop], slices: int, shards: int, order: str, refining: str) -> None:  # fmt: skip
    check(contract(dedup=DEDUPS[dedup], file_order=order), given_drops, slices, shards, refining)


@slow
@given(
    data=st.data(),
    records=st.lists(NEVER_LATE, min_size=1, max_size=20),
    slices=st.integers(1, 3),
    shards=st.integers(1, 5),
)
def test_the_latest_are_the_same_in_any_order_and_number(data: st.DataObject, records: list[Any], slices: int, shards: int) -> None:  # fmt: skip
    """Shuffled, some sent again, cut over files and slices: the rows and windows of the plain list."""
    feed = contract(dedup=LATEST)
    again = data.draw(st.lists(st.sampled_from(records), max_size=6))
    shuffled = data.draw(st.permutations([*records, *again]))
    edge = data.draw(st.integers(0, len(shuffled)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plain.json").write_text(as_lines(records))
        land_all(folder, feed, [Drop({"b.json": shuffled[:edge]}), Drop({"a.json": shuffled[edge:]})], slices, shards)
        found, wanted = landed(Lake.open(folder / "lake"), feed), oracle([folder / "plain.json"], feed)
        assert found["rows"] == wanted["rows"]
        for count in ("landed - superseded", "conflicts"):
            assert found["counts"][count] == wanted["counts"][count]
