"""VEE against values worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from data_sources.errors import UserError
from transforms.vee import Check, intervals_of, validated
from transforms.vee.rows import validated_rows
from transforms.vee.run import SCHEMA

START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""
QUARTER = timedelta(minutes=15)
HOUR_US = 3_600_000_000


def read(values: Sequence[float | None], *, start: datetime = START, width: timedelta = QUARTER, meter: str = "A", register: Sequence[float | None] | None = None) -> pa.Table:  # fmt: skip
    """A reading an interval; None is not read at all."""
    counts = register or [None] * len(values)
    there = [(n, v, c) for n, (v, c) in enumerate(zip(values, counts, strict=True)) if v is not None or c is not None]
    return pa.table(
        {
            "meter": [meter] * len(there),
            "at": pa.array([start + n * width for n, _, _ in there], pa.timestamp("us", "UTC")),
            "kwh": pa.array([v for _, v, _ in there], pa.float64()),
            "count": pa.array([c for _, _, c in there], pa.float64()),
        }
    )


def vee(table: pa.Table, checks: list[Check], *, width: timedelta = QUARTER, register: bool = False, zone: str = "UTC", linear: int = HOUR_US, **more: object) -> pa.Table:  # fmt: skip
    laid = intervals_of(
        table, series="meter", time="at", value="kwh", width=width // timedelta(microseconds=1),
        register="count" if register else None, zone=zone,
    )  # fmt: skip
    found = validated(laid, checks, linear_up_to=linear, **more)  # type: ignore[arg-type]
    assert found.schema == SCHEMA
    return found


def test_a_gap_of_four_between_75_and_100_is_a_straight_line() -> None:
    found = vee(read([75, None, None, None, None, 100]), [Check("gap", estimate=True)])
    assert found["value"].to_pylist() == [75, 80, 85, 90, 95, 100]
    assert found["status"].to_pylist() == ["valid", *["estimated"] * 4, "valid"]
    assert found["rules"].to_pylist() == [None, *["gap"] * 4, None]
    assert found["method"].to_pylist() == [None, *["linear"] * 4, None]
    assert found["read"].to_pylist() == [75, None, None, None, None, 100]
    assert found["place"].to_pylist() == [0, None, None, None, None, 1]


def test_a_longer_gap_is_the_mean_of_the_three_nearest_same_weekdays() -> None:
    hour = timedelta(hours=1)
    weeks = [float(10 + week) for week in range(6) for _ in range(7 * 24)]
    gone = 3 * 7 * 24 + 26  # a Tuesday, 02:00, in the fourth week
    for n in range(gone, gone + 5):
        weeks[n] = None  # type: ignore[call-overload]
    found = vee(read(weeks, width=hour), [Check("gap", estimate=True)], width=hour)
    assert found["value"].to_pylist()[gone : gone + 5] == [(12 + 14 + 11) / 3] * 5  # a week away, then the one before
    assert set(found["method"].to_pylist()[gone : gone + 5]) == {"like_day"}


def test_a_holiday_is_like_a_sunday() -> None:
    hour = timedelta(hours=1)
    values = [100.0 if n // 24 % 7 == 6 else 1.0 for n in range(5 * 7 * 24)]
    gone = 2 * 7 * 24 + 24  # a Tuesday
    for n in range(gone, gone + 24):
        values[n] = None  # type: ignore[call-overload]
    lone = vee(read(values, width=hour), [Check("gap", estimate=True)], width=hour)
    assert lone["value"].to_pylist()[gone : gone + 24] == [1.0] * 24
    named = vee(read(values, width=hour), [Check("gap", estimate=True)], width=hour, holidays=[date(2026, 3, 17)])
    assert named["value"].to_pylist()[gone : gone + 24] == [100.0] * 24


def test_no_estimate_is_made_of_an_estimate() -> None:
    week = 7 * 24
    values: list[float | None] = [1.0] * (5 * week)
    values[0 * week : 1 * week] = [7.0] * week
    for n in range(1, 4):  # three Tuesdays are gone; what is left of Tuesdays is a 7 and a 1
        values[n * week + 24 : n * week + 48] = [None] * 24
    hour = timedelta(hours=1)
    found = vee(read(values, width=hour), [Check("gap", estimate=True)], width=hour)
    for n in range(1, 4):
        assert found["value"].to_pylist()[n * week + 24 : n * week + 48] == [4.0] * 24


def test_estimates_add_up_to_what_the_register_counted() -> None:
    values = [10.0, None, None, 10.0]
    counts = [1000.0, None, None, 1050.0]  # at the end of the first, and of the last: 50 in between, 40 for the two
    found = vee(read(values, register=counts), [Check("gap", estimate=True)], register=True)
    assert found["value"].to_pylist() == [10, 20, 20, 10]
    assert found["method"].to_pylist() == [None, "linear, scaled", "linear, scaled", None]


def test_a_register_that_rolls_over_is_no_step_back() -> None:
    counts = [99_990.0, None, None, 40.0]
    table = read([10.0, None, None, 10.0], register=counts)
    found = vee(table, [Check("gap", estimate=True)], register=True, rolls_over_at=100_000.0)
    assert found["value"].to_pylist() == [10, 20, 20, 10]
    another = vee(table, [Check("gap", estimate=True)], register=True)
    assert another["value"].to_pylist() == [10, 10, 10, 10], "without its size it may be another meter"
    assert another["method"].to_pylist()[1] == "linear"


REGISTER = [99998.271, 99998.905, 99999.510, 0.214, 0.900, 1.000]
"""Five digits: it rolls over between the third and the fourth."""


@pytest.mark.parametrize("at", ["start", "end"])
def test_of_a_register_alone_the_values_are_what_it_counted(at: str) -> None:
    table = read([None] * 6, register=REGISTER).drop_columns("kwh")
    laid = intervals_of(
        table, series="meter", time="at", width=900_000_000, register="count", register_at=at, rolls_over_at=100_000.0  # type: ignore[arg-type]
    )  # fmt: skip
    found = validated(laid, [Check("gap", estimate=True)], linear_up_to=HOUR_US, rolls_over_at=100_000.0)
    assert found["value"].to_pylist() == pytest.approx([0.634, 0.605, 0.704, 0.686, 0.1])
    exact = table.set_column(2, "count", table["count"].cast(pa.decimal128(12, 3)))
    laid = intervals_of(
        exact, series="meter", time="at", width=900_000_000, register="count", register_at=at, rolls_over_at=100_000.0  # type: ignore[arg-type]
    )  # fmt: skip
    assert laid.value.tolist() == [0.634, 0.605, 0.704, 0.686, 0.1]
    later = QUARTER if at == "end" else timedelta()
    assert found["interval_start"].to_pylist() == [START + later + n * QUARTER for n in range(5)]
    assert found["place"].to_pylist() == ([1, 2, 3, 4, 5] if at == "end" else [0, 1, 2, 3, 4])


@pytest.mark.parametrize("at", ["start", "end"])
def test_a_gap_of_a_register_is_what_it_counted_meanwhile(at: str) -> None:
    counts = [10.0, 12.0, None, None, 24.0, 26.0]
    table = read([None] * 6, register=counts).drop_columns("kwh")
    laid = intervals_of(table, series="meter", time="at", width=900_000_000, register="count", register_at=at)  # type: ignore[arg-type]
    found = validated(laid, [Check("gap", estimate=True)], linear_up_to=HOUR_US)
    assert found["value"].to_pylist() == pytest.approx([2, 4, 4, 4, 2])
    assert found["method"].to_pylist() == [None, *["linear, scaled"] * 3, None]
    edge = read([None] * 4, register=[10.0, None, None, 25.0]).drop_columns("kwh")
    laid = intervals_of(edge, series="meter", time="at", width=900_000_000, register="count", register_at=at)  # type: ignore[arg-type]
    assert validated(laid, [Check("gap", estimate=True)], linear_up_to=HOUR_US)["status"].to_pylist() == ["missing"] * 3


def test_another_meter_is_no_roll_over() -> None:
    counts = [70_000.0, 70_001.0, 5.0, 6.0]
    table = read([None] * 4, register=counts).drop_columns("kwh")
    laid = intervals_of(table, series="meter", time="at", width=900_000_000, register="count", rolls_over_at=100_000.0)
    assert (
        laid.value.tolist()[0] == 1 and laid.value.tolist()[2] == 1 and laid.is_missing.tolist() == [False, True, False]
    )


def test_values_that_do_not_add_up_to_the_register_are_warned_of() -> None:
    counts = [0.0, None, 3.0, None, 7.0]
    found = vee(read([1, 1, 2, 2, 2.5], register=counts), [Check("register", tolerance=0.01)], register=True)
    assert found["status"].to_pylist() == ["valid", "valid", "valid", "warned", "warned"]
    assert found["rules"].to_pylist() == [None, None, None, "register", "register"]
    assert found["value"].to_pylist() == [1, 1, 2, 2, 2.5]


def test_what_floats_are_off_by_is_no_difference_to_the_register() -> None:
    counts = [1000.0, None, None, 1000.3, None, 1000.301]
    checks = [Check("gap", estimate=True), Check("register", tolerance=0)]
    found = vee(read([0.5, 0.1, None, 0.2, 0.0, 0.001], register=counts), checks, register=True)
    assert found["value"].to_pylist() == [0.5, 0.1, 0, 0.2, 0, 0.001]
    assert found["rules"].to_pylist() == [None, None, "gap", None, None, None]
    over = vee(read([0.5, 0.1, None, 0.201], register=counts[:4]), checks, register=True)
    assert over["rules"].to_pylist() == [None, "register_exceeded", "gap,register_exceeded", "register_exceeded"]


def test_negative_spike_and_zero_run() -> None:
    values = [2, 2, 40, 2, 2, -1, 2, *[0] * 4, 2, 2]
    checks = [Check("negative", estimate=True), Check("spike", estimate=True), Check("zero_run", rows=4)]
    found = vee(read([float(v) for v in values]), checks)
    rules = [None, None, "spike", None, None, "negative", None, *["zero_run"] * 4, None, None]
    assert found["rules"].to_pylist() == rules
    assert found["value"].to_pylist() == [2, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 2, 2]
    assert found["read"].to_pylist() == [float(v) for v in values]


def test_high_and_low_beside_the_same_hour_of_the_weeks_before() -> None:
    hour, week = timedelta(hours=1), 7 * 24
    values = [float(n % week) + 1 for n in range(5 * week)]
    values[4 * week + 50] *= 10
    values[4 * week + 60] /= 10
    checks = [Check("high", factor=5), Check("low", factor=0.2)]
    found = vee(read(values, width=hour), checks, width=hour)
    told = {n: rule for n, rule in enumerate(found["rules"].to_pylist()) if rule}
    assert told == {4 * week + 50: "high", 4 * week + 60: "low"}


@pytest.mark.parametrize(("day", "halves"), [(date(2026, 3, 29), 46), (date(2026, 10, 25), 50), (date(2026, 6, 1), 48)])
def test_the_day_of_a_clock_change_has_46_or_50_half_hours(day: date, halves: int) -> None:
    zone, half = ZoneInfo("Europe/Amsterdam"), timedelta(minutes=30)
    begin = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    table = read([1.0, *[None] * (halves - 2), 1.0, 9.0], start=begin, width=half)
    found = vee(table, [Check("gap", estimate=True)], width=half, zone="Europe/Amsterdam", linear=48 * HOUR_US)
    local = [one.astimezone(zone).date() for one in found["interval_start"].to_pylist()]
    assert local.count(day) == halves and sum(v for v, d in zip(found["value"].to_pylist(), local, strict=True) if d == day) == halves  # fmt: skip


def test_readings_off_the_grid_and_twice_in_an_interval() -> None:
    at = [START, START + QUARTER, START + QUARTER + timedelta(minutes=2), START + 2 * QUARTER + timedelta(minutes=1)]
    table = pa.table({"meter": ["A"] * 4, "at": pa.array(at, pa.timestamp("us", "UTC")), "kwh": [1.0, 2.0, 3.0, 4.0]})
    laid = intervals_of(table, series="meter", time="at", value="kwh", width=900_000_000)
    assert laid.beside.tolist() == [2]
    found = validated(laid, [Check("clock")], linear_up_to=HOUR_US)
    assert found["value"].to_pylist() == [1, 2, 4]
    assert found["rules"].to_pylist() == [None, "clock", "clock"]


def test_what_cannot_be_estimated_is_missing() -> None:
    found = vee(read([1.0, *[None] * 8, 1.0]), [Check("gap", estimate=True)])
    assert found["value"].to_pylist() == [1, *[None] * 8, 1]
    assert found["status"].to_pylist() == ["valid", *["missing"] * 8, "valid"]
    lone = vee(read([-5.0]), [Check("negative", estimate=True)])
    assert (lone["value"].to_pylist(), lone["status"].to_pylist()) == ([-5.0], ["warned"])


def test_nothing_one_reading_nan_and_many_series() -> None:
    for zone in ("UTC", "Europe/Amsterdam"):
        assert vee(read([]), [Check("gap", estimate=True), Check("high")], zone=zone).num_rows == 0
    table = pa.concat_tables(
        [read([1, float("nan"), 3], meter="B"), read([5], meter="A"), read([2, None, 4], meter="C")]
    )
    found = vee(table, [Check("gap", estimate=True), Check("spike"), Check("zero_run")])
    assert list(zip(found["series"].to_pylist(), found["value"].to_pylist(), strict=True)) == [
        ("B", 1), ("B", 2), ("B", 3), ("A", 5), ("C", 2), ("C", 3), ("C", 4),
    ]  # fmt: skip


def test_a_clock_in_another_century_makes_no_intervals_in_between() -> None:
    far = [read([1.0, None, 3.0]), read([5.0, None, 7.0], start=datetime(9998, 1, 1, tzinfo=UTC))]
    far.append(read([0.5], start=datetime(1970, 1, 1, tzinfo=UTC)))
    found = vee(pa.concat_tables(far), [Check("gap", estimate=True), Check("spike"), Check("zero_run")])
    assert found["value"].to_pylist() == [0.5, 1, 2, 3, 5, 6, 7]


def test_a_year_without_readings_is_missing() -> None:
    day = timedelta(days=1)
    away = pa.concat_tables([read([1.0], width=day), read([1.0], start=START + 365 * day, width=day)])
    found = vee(away, [Check("gap", estimate=True)], width=day)
    near = {n for n in range(1, 365) if (n % 7 == 0 and n <= 35) or ((365 - n) % 7 == 0 and n >= 330)}
    assert found["status"].to_pylist() == [
        "valid", *("estimated" if n in near else "missing" for n in range(1, 365)), "valid",
    ]  # fmt: skip


def test_columns_that_are_not_there() -> None:
    with pytest.raises(UserError, match="no column 'kw'; the table has meter, at, kwh, count"):
        intervals_of(read([1.0]), series="meter", time="at", value="kw", width=1_000_000)
    with pytest.raises(UserError, match="a number is needed"):
        intervals_of(read([1.0]), series="at", time="at", value="meter", width=1_000_000)


def test_an_edit_counts_for_its_own_interval_alone() -> None:
    table = read([1.0, 2.0, 3.0])
    for n, name in enumerate(("_edited", "_edited_by", "_edited_because")):
        table = table.append_column(name, pa.nulls(3, pa.float64() if n == 0 else pa.string()))
    others = [START + QUARTER, START + QUARTER + timedelta(minutes=1), START - QUARTER, START + 9 * QUARTER]
    edits = [
        {"meter": meter, "at": at, "_edited": 70.0 + n, "_edited_by": "jan", "_edited_because": "seen"}
        for n, (meter, at) in enumerate([*(("A", at) for at in others), ("Z", START), (None, START)])
    ]
    rows = pa.concat_tables([table, pa.Table.from_pylist(edits, schema=table.schema)]).sort_by(
        [("meter", "ascending"), ("at", "ascending")]
    )
    how: dict[str, Any] = {
        "series": "meter",
        "time": "at",
        "value": "kwh",
        "width": 900_000_000,
        "linear_up_to": HOUR_US,
    }
    found = pa.Table.from_batches(validated_rows(rows.to_batches(), checks=[{"kind": "gap"}], **how))
    assert found["value"].to_pylist() == [1, 70, 3]
    assert found["status"].to_pylist() == ["valid", "edited", "valid"]
    assert found["edited_by"].to_pylist() == [None, "jan", None]
