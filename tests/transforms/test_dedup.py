"""dedup, the pure step: which rows land, which are copies, what conflicts, what is superseded."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from tests.transforms.making import LATEST, TIMELESS, brief, contract, rows, seen
from transforms.dedup import ORDER, Deduped, conflict_schema, dedup

FIRST = contract()
NEWEST = contract(dedup=LATEST)
BY_ID = contract(dedup=TIMELESS)
NEAR = contract(dedup={"key": ["id"], "horizon": "10m"})


def landed(found: Deduped) -> list[tuple[Any, ...]]:
    return brief(found.rows, "id", "at", "kwh")


class TestFirst:
    def test_what_came_first_stays(self) -> None:
        found = dedup(None, rows(FIRST, ("a", 0, 1.0), ("b", 0, 2.0), ("a", 0, 1.0), ("a", 1, 3.0)), FIRST)
        assert landed(found) == [("a", 0, 1.0), ("b", 0, 2.0), ("a", 1, 3.0)]
        assert found.duplicates.to_pylist() == [2]
        assert found.conflicts.num_rows == 0 and found.superseded.num_rows == 0

    def test_arrival_is_the_order_not_the_place_in_the_batch(self) -> None:
        came = rows(FIRST, ("a", 0, 1.0), ("a", 0, 2.0))
        found = dedup(None, came.take([1, 0]), FIRST)
        assert landed(found) == [("a", 0, 1.0)]

    def test_a_copy_of_what_was_seen_does_not_land(self) -> None:
        before = seen(rows(FIRST, ("a", 0, 1.0)))
        found = dedup(before, rows(FIRST, ("a", 0, 1.0), ("b", 0, 1.0), first=10), FIRST)
        assert landed(found) == [("b", 0, 1.0)]
        assert found.duplicates.to_pylist() == [10]

    def test_another_payload_is_a_conflict_and_lists_both(self) -> None:
        found = dedup(None, rows(FIRST, ("a", 0, 1.0, "m1"), ("a", 0, 2.0, "m1"), ("a", 0, 1.0, "m1")), FIRST)
        assert landed(found) == [("a", 0, 1.0)]
        assert brief(found.conflicts, "id", "kwh", "_counted") == [("a", 2.0, True)]
        assert json.loads(found.conflicts["_kept"][0].as_py())["kwh"] == 1.0
        assert found.duplicates.to_pylist() == [1, 2]

    @pytest.mark.parametrize(("one", "other"), [(None, 1.0), (1.0, None)])
    def test_null_is_another_payload_than_a_value(self, one: float | None, other: float | None) -> None:
        assert dedup(None, rows(FIRST, ("a", 0, one), ("a", 0, other)), FIRST).conflicts.num_rows == 1

    def test_null_is_the_same_payload_as_null(self) -> None:
        assert dedup(None, rows(FIRST, ("a", 0, None), ("a", 0, None)), FIRST).conflicts.num_rows == 0

    def test_lineage_is_no_payload(self) -> None:
        before = seen(rows(FIRST, ("a", 0, 1.0), first=3, commit=1))
        assert dedup(before, rows(FIRST, ("a", 0, 1.0), first=9, commit=2), FIRST).conflicts.num_rows == 0

    def test_a_seen_payload_conflicts_too(self) -> None:
        before = seen(rows(FIRST, ("a", 0, 1.0)))
        found = dedup(before, rows(FIRST, ("a", 0, 2.0)), FIRST)
        assert brief(found.conflicts, "kwh", "_counted") == [(2.0, True)]

    def test_a_key_without_its_time_is_one_record_at_any_time(self) -> None:
        found = dedup(None, rows(BY_ID, ("a", 0, 1.0), ("a", 5000, 1.0)), BY_ID)
        assert landed(found) == [("a", 0, 1.0)]
        assert found.conflicts.num_rows == 1, "the event time is payload here"


class TestConflictsAreCountedOnce:
    def test_within_a_step(self) -> None:
        found = dedup(None, rows(FIRST, ("a", 0, 1.0), ("a", 0, 2.0), ("a", 0, 3.0)), FIRST)
        assert brief(found.conflicts, "kwh", "_counted") == [(2.0, True), (3.0, False)]

    def test_over_steps(self) -> None:
        before = seen(rows(FIRST, ("a", 0, 1.0), ("b", 0, 1.0)))
        known = pa.table({"id": ["a"], "at": before["at"].slice(0, 1)})
        found = dedup(before, rows(FIRST, ("a", 0, 3.0), ("b", 0, 9.0)), FIRST, known)
        assert brief(found.conflicts, "id", "_counted") == [("a", False), ("b", True)]

    def test_a_known_conflict_listed_twice_multiplies_nothing(self) -> None:
        before = seen(rows(FIRST, ("a", 0, 1.0)))
        known = pa.concat_tables([before.select(["id", "at"])] * 3)
        found = dedup(before, rows(FIRST, ("a", 0, 3.0)), FIRST, known)
        assert found.conflicts.num_rows == 1


class TestLatest:
    def test_the_greatest_by_order_stays_wherever_it_stands(self) -> None:
        came = [("a", 0, 1.0, "m", 2), ("a", 0, 2.0, "m", 3), ("a", 0, 3.0, "m", 1)]
        for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
            found = dedup(None, rows(NEWEST, *(came[n] for n in order)), NEWEST)
            assert landed(found) == [("a", 0, 2.0)]
            assert len(found.duplicates) == 2 and found.superseded.num_rows == 0

    def test_ties_go_by_the_payload_in_the_contracts_order(self) -> None:
        came = [("a", 0, 1.0, "m2", 7), ("a", 0, 2.0, "m1", 7)]
        for order in ([0, 1], [1, 0]):
            assert landed(dedup(None, rows(NEWEST, *(came[n] for n in order)), NEWEST)) == [("a", 0, 2.0)]

    def test_null_is_the_least(self) -> None:
        came = [("a", 0, 1.0, "m", None), ("a", 0, 2.0, "m", -5)]
        for order in ([0, 1], [1, 0]):
            assert landed(dedup(None, rows(NEWEST, *(came[n] for n in order)), NEWEST)) == [("a", 0, 2.0)]
        tie = [("a", 0, None, "m", 1), ("a", 0, -1.0, "m", 1)]
        assert landed(dedup(None, rows(NEWEST, *tie), NEWEST)) == [("a", 0, -1.0)]

    def test_a_greater_one_supersedes_the_seen_one_by_its_identity(self) -> None:
        before = seen(rows(NEWEST, ("a", 0, 1.0, "m1", 1), first=41, commit=3))
        found = dedup(before, rows(NEWEST, ("a", 0, 2.0, "m2", 2), first=7, commit=4), NEWEST)
        assert landed(found) == [("a", 0, 2.0)]
        assert brief(found.superseded, "id", "_source", "_position", "_commit") == [("a", "f.json", 41, 3)]
        assert brief(found.conflicts, "kwh") == [(1.0,)], "the row that gave way differs from the one that stays"

    def test_a_lesser_one_is_a_duplicate(self) -> None:
        before = seen(rows(NEWEST, ("a", 0, 1.0, "m1", 5)))
        found = dedup(before, rows(NEWEST, ("a", 0, 2.0, "m2", 2)), NEWEST)
        assert found.rows.num_rows == 0 and len(found.duplicates) == 1 and found.superseded.num_rows == 0

    def test_an_equal_one_leaves_the_seen_row_where_it_is(self) -> None:
        before = seen(rows(NEWEST, ("a", 0, 1.0, "m1", 5)))
        found = dedup(before, rows(NEWEST, ("a", 0, 1.0, "m1", 5), first=3), NEWEST)
        assert found.rows.num_rows == 0 and found.superseded.num_rows == 0 and found.conflicts.num_rows == 0

    def test_what_was_superseded_before_is_not_superseded_again(self) -> None:
        before = pa.concat_tables(
            [
                seen(rows(NEWEST, ("a", 0, 2.0, "m", 2), first=8, commit=2)),
                seen(rows(NEWEST, ("a", 0, 1.0, "m", 1), first=1, commit=1)),
            ]
        )
        found = dedup(before, rows(NEWEST, ("a", 0, 3.0, "m", 3), commit=3), NEWEST)
        assert brief(found.superseded, "_position", "_commit") == [(8, 2)]


class TestHorizon:
    """---a======|======--->  a copy is at most the horizon away, itself included."""

    @pytest.mark.parametrize(("minutes", "lands"), [(0, False), (9.99, False), (10, False), (10.0001, True), (-10, False), (-10.0001, True)])  # fmt: skip
    def test_the_boundary_belongs_to_the_horizon(self, minutes: float, lands: bool) -> None:
        assert dedup(None, rows(NEAR, ("a", 0), ("a", minutes)), NEAR).rows.num_rows == 1 + lands
        assert dedup(seen(rows(NEAR, ("a", 0))), rows(NEAR, ("a", minutes)), NEAR).rows.num_rows == lands

    def test_only_landed_records_have_a_reach(self) -> None:
        found = dedup(None, rows(NEAR, ("a", 0, 1.0), ("a", 8, 1.0), ("a", 16, 1.0)), NEAR)
        assert landed(found) == [("a", 0, 1.0), ("a", 16, 1.0)]

    def test_keys_do_not_reach_for_each_other(self) -> None:
        assert dedup(None, rows(NEAR, ("a", 0), ("b", 0)), NEAR).rows.num_rows == 2

    def test_the_nearest_landed_record_is_the_one_it_conflicts_with(self) -> None:
        before = seen(rows(NEAR, ("a", 0, 1.0), ("a", 15, 2.0)))
        found = dedup(before, rows(NEAR, ("a", 9, 2.0)), NEAR)
        assert json.loads(found.conflicts["_kept"][0].as_py())["kwh"] == 2.0

    def test_a_key_with_its_time_has_no_use_for_one(self) -> None:
        both = contract(dedup={"key": ["id", "at"], "horizon": "10m"})
        assert dedup(None, rows(both, ("a", 0), ("a", 5)), both).rows.num_rows == 2

    def test_dates(self) -> None:
        daily = contract(
            dedup={"key": ["id"], "horizon": "1d"},
            event_time="day",
            windows=[],
            rules=[],
            fields=[{"name": "id", "type": "string"}, {"name": "day", "type": "date"}],
        )
        came = pa.table(
            {"id": ["a"] * 3, "day": pa.array([20000, 20001, 20002], pa.int32()).cast(pa.date32()), ORDER: [0, 1, 2]}
        )
        assert dedup(None, came, daily).rows[ORDER].to_pylist() == [0, 2]


class TestKeys:
    def test_key_columns_in_any_order(self) -> None:
        turned = contract(dedup={"key": ["at", "id"]})
        came = [("a", 0, 1.0), ("b", 0, 1.0), ("a", 0, 1.0), ("a", 1, 1.0)]
        assert landed(dedup(None, rows(turned, *came), turned)) == landed(dedup(None, rows(FIRST, *came), FIRST))

    def test_minus_zero_is_the_key_zero(self) -> None:
        by_value = contract(dedup={"key": ["kwh"]})
        found = dedup(seen(rows(by_value, ("a", 0, 0.0))), rows(by_value, ("a", 0, -0.0), ("b", 0, -0.0)), by_value)
        assert found.rows.num_rows == 0

    def test_dictionary_text_equals_plain_text(self) -> None:
        before = seen(rows(FIRST, ("a", 0, 1.0, "m")))
        came = rows(FIRST, ("a", 0, 1.0, "m"), ("b", 0, 1.0, "m"))
        for name in ("id", "meter"):
            came = came.set_column(came.column_names.index(name), name, came[name].dictionary_encode())
        found = dedup(before, came, FIRST)
        assert landed(found) == [("b", 0, 1.0)] and found.conflicts.num_rows == 0


class TestNothing:
    def test_an_empty_batch(self) -> None:
        for of in (FIRST, NEWEST, NEAR):
            found = dedup(seen(rows(of, ("a", 0))), rows(of), of)
            assert (found.rows.num_rows, len(found.duplicates)) == (0, 0)

    def test_an_empty_seen(self) -> None:
        for of in (FIRST, NEWEST, NEAR):
            found = dedup(seen(rows(of)), rows(of, ("a", 0), ("a", 0)), of)
            assert (found.rows.num_rows, len(found.duplicates)) == (1, 1)

    def test_schemas_do_not_depend_on_what_was_found(self) -> None:
        without = dedup(None, rows(FIRST, ("a", 0)), FIRST)
        found = dedup(None, rows(FIRST, ("a", 0, 1.0), ("a", 0, 2.0)), FIRST)
        assert without.conflicts.schema == found.conflicts.schema == conflict_schema(rows(FIRST).schema)
        assert without.superseded.schema == found.superseded.schema
