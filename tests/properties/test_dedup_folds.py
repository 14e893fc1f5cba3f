"""Any cutting of a stream into panes or steps folds through `dedup` to the batch's answer."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_sources.contract import Contract
from tests.conftest import examples
from tests.transforms.making import LATEST, TIMELESS, brief, contract, rows, seen
from transforms.dedup import ORDER, dedup

IDENTITY = ["_commit", "_source", "_position"]
READING = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from([0, 1, 2, 20]),
    st.sampled_from([None, 1.0, 2.0]),
    st.sampled_from([None, "m1", "m2"]),
    st.sampled_from([None, 1, 2]),
)
READINGS = st.lists(READING, max_size=14)
# Records of a key lie within two islands an hour apart, each no wider than the horizon: nothing chains.
ISLANDS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from([0, 3, 9.5, 10, 70, 75, 80]), st.sampled_from([1.0, 2.0])),
    max_size=14,
)
FEEDS = {
    "first": contract(),
    "latest": contract(dedup=LATEST),
    "latest, timeless": contract(dedup={**LATEST, **TIMELESS}),
    "timeless": contract(dedup=TIMELESS),
}
NEAR = contract(dedup={"key": ["id"], "horizon": "10m"})


def cut(table: pa.Table, cuts: list[int]) -> list[pa.Table]:
    """Pieces between the cuts; empty ones too."""
    edges = [0, *sorted(min(c, table.num_rows) for c in cuts), table.num_rows]
    return [table.slice(a, b - a) for a, b in itertools.pairwise(edges)]


def fold(pieces: list[pa.Table], feed: Contract) -> dict[str, Any]:
    """What a run of steps makes: each knows all rows of the steps before it, superseded ones too."""
    known: list[pa.Table] = []
    counted: list[pa.Table] = []
    gone: set[Any] = set()
    landed = duplicates = superseded = conflicts = 0
    for number, piece in enumerate(pieces, 1):
        piece = piece.set_column(
            piece.column_names.index("_commit"), "_commit", pa.array([number] * len(piece), pa.int64())
        )
        found = dedup(
            pa.concat_tables(known) if known else None, piece, feed, pa.concat_tables(counted) if counted else None
        )
        assert found.rows.num_rows + len(found.duplicates) == piece.num_rows
        assert set(found.rows[ORDER].to_pylist()).isdisjoint(found.duplicates.to_pylist())
        fresh = set(map(tuple, brief(found.superseded, *IDENTITY)))
        assert len(fresh) == found.superseded.num_rows and fresh.isdisjoint(gone), "a row gives way once"
        gone |= fresh
        known.append(seen(found.rows))
        counted.append(found.conflicts.select(feed.dedup.key))
        landed += found.rows.num_rows
        duplicates += len(found.duplicates)
        superseded += found.superseded.num_rows
        conflicts += sum(found.conflicts["_counted"].to_pylist())
    everything = pa.concat_tables(known)
    identities = brief(everything, *IDENTITY)
    current = everything.filter(pa.array([i not in gone for i in identities], pa.bool_()))
    names = [f.name for f in feed.fields]
    return {
        "rows": sorted(brief(current, *names), key=str),
        "current": landed - superseded,
        "copies": duplicates + superseded,
        "conflicts": conflicts,
    }


@pytest.mark.parametrize("name", FEEDS)
@settings(max_examples=examples(80), deadline=None)
@given(readings=READINGS, cuts=st.lists(st.integers(0, 14), max_size=4))
def test_cutting_changes_nothing(name: str, readings: list[Any], cuts: list[int]) -> None:
    feed = FEEDS[name]
    table = rows(feed, *readings)
    assert fold(cut(table, cuts), feed) == fold([table], feed)


@settings(max_examples=examples(80), deadline=None)
@given(readings=ISLANDS, cuts=st.lists(st.integers(0, 14), max_size=4))
def test_cutting_changes_nothing_within_a_horizon(readings: list[Any], cuts: list[int]) -> None:
    table = rows(NEAR, *readings)
    assert fold(cut(table, cuts), NEAR) == fold([table], NEAR)


@pytest.mark.parametrize("name", ["latest", "latest, timeless"])
@settings(max_examples=examples(80), deadline=None)
@given(data=st.data(), readings=READINGS, cuts=st.lists(st.integers(0, 14), max_size=4))
def test_the_latest_do_not_depend_on_arrival(
    name: str, data: st.DataObject, readings: list[Any], cuts: list[int]
) -> None:
    feed = FEEDS[name]
    shuffled = data.draw(st.permutations(readings))
    assert fold(cut(rows(feed, *shuffled), cuts), feed) == fold([rows(feed, *readings)], feed)


@settings(max_examples=examples(60), deadline=None)
@given(data=st.data(), readings=READINGS)
def test_which_keys_land_first_does_not_depend_on_arrival(data: st.DataObject, readings: list[Any]) -> None:
    """Only the payload of a conflict does."""
    feed = FEEDS["first"]
    one, other = (fold([rows(feed, *r)], feed) for r in (readings, data.draw(st.permutations(readings))))
    assert [r[:2] for r in one["rows"]] == sorted([r[:2] for r in one["rows"]], key=str)
    assert {r[:2] for r in one["rows"]} == {r[:2] for r in other["rows"]}
    assert (one["copies"], one["conflicts"]) == (other["copies"], other["conflicts"])


@pytest.mark.parametrize("name", FEEDS)
@settings(max_examples=examples(40), deadline=None)
@given(readings=READINGS)
def test_sending_all_of_it_again_adds_copies_alone(name: str, readings: list[Any]) -> None:
    feed = FEEDS[name]
    table = rows(feed, *readings)
    once, twice = fold([table], feed), fold([table, table], feed)
    assert twice["rows"] == once["rows"] and twice["conflicts"] == once["conflicts"]
    assert twice["copies"] == once["copies"] + len(readings)
