"""Local days, weeks, months and years against zoneinfo and DuckDB's time zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import examples
from transforms.local_days import DAY, LONGEST, YEAR_1, bounds, starts_of_days

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CALENDARS = ["day", "week", "month", "year"]
ZONES = [
    "UTC", "Europe/Berlin", "Europe/Lisbon", "America/New_York", "America/Sao_Paulo", "America/Havana", "Asia/Beirut",
    "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Auckland", "Pacific/Apia", "Pacific/Kwajalein", "Australia/Lord_Howe",
    "Africa/Casablanca", "America/Nuuk",
]  # fmt: skip
TWO_MIDNIGHTS = ["America/St_Johns", "America/Toronto", "Asia/Manila", "America/Juneau", "Antarctica/Troll"]


def any_time(first: int, last: int) -> st.SearchStrategy[datetime]:
    low, high = (datetime(year, 1, 1) for year in (first, last))  # noqa: DTZ001 the zone is said beside
    return st.datetimes(low, high, timezones=st.just(UTC))


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def moment(instant: int) -> datetime:
    return EPOCH + timedelta(microseconds=int(instant))


def clock(instant: int, zone: str) -> datetime:
    return moment(instant).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def first_of(day: date, calendar: str) -> date:
    if calendar == "week":
        return day - timedelta(days=day.weekday())
    return day if calendar == "day" else day.replace(day=1) if calendar == "month" else day.replace(month=1, day=1)


@settings(deadline=None)
@given(
    st.lists(any_time(1840, 2500), min_size=1, max_size=20),
    st.sampled_from(ZONES + TWO_MIDNIGHTS),
    st.sampled_from(CALENDARS),
)
def test_a_window_begins_when_the_clock_first_shows_its_first_day(
    times: list[datetime], zone: str, calendar: str
) -> None:
    instants = np.array([micros(t) for t in times], np.int64)
    for at, start, end in zip(instants, *bounds(instants, calendar, zone), strict=True):
        assert start <= at < end and end - start <= LONGEST[calendar] * DAY
        shown = clock(start, zone)
        midnight = datetime.combine(first_of(shown.date(), calendar), datetime.min.time())
        assert clock(start - 1, zone) < midnight <= shown
        assert bounds(np.array([end]), calendar, zone)[0][0] == end, "no gap"
        assert bounds(np.array([end - 1]), calendar, zone)[0][0] == start, "no overlap"


@settings(deadline=None, max_examples=examples(30))
@given(
    st.lists(any_time(1990, 2026), min_size=1, max_size=50),
    st.sampled_from(ZONES),
    st.sampled_from(CALENDARS),
)
def test_a_window_holds_what_duckdb_calls_its_day(times: list[datetime], zone: str, calendar: str) -> None:
    instants = np.array([micros(t) for t in times], np.int64)
    starts, _ = bounds(instants, calendar, zone)
    table = pa.table({"t": pa.array(instants).cast(pa.timestamp("us", "UTC"))})
    with duckdb.connect() as engine:
        engine.register("times", table)
        said = engine.execute(
            f"SELECT CAST(date_trunc('{calendar}', timezone('{zone}', t)) AS DATE) FROM times"
        ).fetchall()
    ours = [first_of(clock(start, zone).date(), calendar) for start in starts]
    assert ours == [day for (day,) in said]


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("Europe/Berlin", date(2025, 3, 30), "2025-03-29T23:00:00", 23),
        ("Europe/Berlin", date(2025, 10, 26), "2025-10-25T22:00:00", 25),
        ("America/Sao_Paulo", date(2018, 11, 4), "2018-11-04T03:00:00", 23),  # midnight is 01:00
        ("Asia/Beirut", date(2024, 3, 31), "2024-03-30T22:00:00", 23),
        ("America/Havana", date(2025, 11, 2), "2025-11-02T04:00:00", 25),  # two midnights
        ("Australia/Lord_Howe", date(2025, 4, 6), "2025-04-05T13:00:00", 24.5),
        ("America/Toronto", date(1919, 3, 31), "1919-03-31T04:30:00", 23.5),  # 23:30 to 00:30
        ("America/St_Johns", date(2000, 10, 29), "2000-10-29T02:30:00", 25),  # at 00:01 back to 23:01
        ("Pacific/Apia", date(2011, 12, 31), "2011-12-30T10:00:00", 24),  # 30 December was left out
    ],
)  # fmt: skip
def test_days_that_people_had(zone: str, day: date, start: str, hours: float) -> None:
    number = (day - EPOCH.date()).days
    begins = int(starts_of_days(np.array([number]), zone)[0])
    assert moment(begins).replace(tzinfo=None) == datetime.fromisoformat(start)
    _, (end,) = bounds(np.array([begins]), "day", zone)
    assert (end - begins) / 3_600_000_000 == hours


def test_the_first_and_the_last_year_that_tables_know() -> None:
    for zone in ("Europe/Berlin", "America/New_York", "Pacific/Kiritimati"):
        first, last = YEAR_1, micros(datetime.max.replace(tzinfo=UTC))
        for calendar in CALENDARS:
            starts, ends = bounds(np.array([first, last]), calendar, zone)
            assert starts[0] == YEAR_1 and (starts <= [first, last]).all() and (ends > [first, last]).all()
            assert (ends - starts <= LONGEST[calendar] * DAY).all()


def test_nothing_and_far_between() -> None:
    assert [len(side) for side in bounds(np.array([], np.int64), "day", "Europe/Berlin")] == [0, 0]
    far = np.array([micros(datetime(y, 7, 1, 12, tzinfo=UTC)) for y in (1, 1500, 2025, 9999)])
    starts, ends = bounds(far, "day", "Europe/Berlin")
    assert (ends - starts == DAY).all() and all(a < b for a, b in pairwise(starts))
