"""Text and times to types: one value at a time or a column with bad neighbours, the answer is the same."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_sources.contract import FieldSpec
from data_sources.decode.casting import beyond_years, parse_dates, parse_text, parse_timestamps, try_cast
from data_sources.decode.times import local_times, localize
from tests.conftest import examples

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def times(values: list[str | None], **spec: Any) -> list[str | None]:
    """UTC in ISO form, None for null, "refused"."""
    found, bad = parse_timestamps(pa.array(values, pa.string()), FieldSpec(name="at", type="timestamp", **spec))
    assert found.type == pa.timestamp("us", "UTC") and len(found) == len(values)
    assert all(not found[i].is_valid for i in bad.tolist())
    return ["refused" if i in bad.tolist() else _iso(v.value) for i, v in enumerate(found)]


def _iso(micros: int | None) -> str | None:
    return None if micros is None else (EPOCH + timedelta(microseconds=micros)).replace(tzinfo=None).isoformat()


ISO = {
    "2025-06-15T10:00:00Z": "2025-06-15T10:00:00",
    "2025-06-15 10:00:00Z": "2025-06-15T10:00:00",
    "2025-06-15T10:00Z": "2025-06-15T10:00:00",
    "2025-06-15T10Z": "2025-06-15T10:00:00",
    "2025-06-15 10Z": "2025-06-15T10:00:00",
    "2025-06-15 10+0200": "2025-06-15T08:00:00",
    "2025-06-15T10:00:00+02:00": "2025-06-15T08:00:00",
    "2025-06-15T10:00:00+0530": "2025-06-15T04:30:00",
    "2025-06-15T10:00:00-11": "2025-06-15T21:00:00",
    "2025-06-15T10:00:00-00:00": "2025-06-15T10:00:00",
    "2025-06-15T23:59:59.999999-14:00": "2025-06-16T13:59:59.999999",
    "2025-06-15T10:00:00": "2025-06-15T10:00:00",
    "2025-06-15": "2025-06-15T00:00:00",
    "2025-06-15T10:00:00.5Z": "2025-06-15T10:00:00.500000",
    "2025-06-15T10:00:00.123456789Z": "2025-06-15T10:00:00.123456",
    "2025-06-15T10:00:00.1234567+02:00": "2025-06-15T08:00:00.123456",
    "2025-06-15T10:00:00.999999999": "2025-06-15T10:00:00.999999",
    "1969-12-31T23:59:59.999999999Z": "1969-12-31T23:59:59.999999",
    "2024-02-29T00:00:00Z": "2024-02-29T00:00:00",
    "2025-06-15T24:00:00Z": "2025-06-16T00:00:00",
    "2025-12-31 24:00": "2026-01-01T00:00:00",
    "2025-06-15T24:00:00+02:00": "2025-06-15T22:00:00",
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00",
    "9999-12-31T23:59:59.999999Z": "9999-12-31T23:59:59.999999",
} | dict.fromkeys(
    ["2025-02-30", "2025-02-29T10:00:00Z", "2025-06-15T24:00:01Z", "2025-06-15T24:30", "2025-06-15T25:00", "2025-06-15T10:60:00Z", "2025-06-15T10:00:60Z", "2025-13-01",
     "2025-06-15T10:00:00+25:00", "2025-06-15T10:00:00.1234567890Z", "2025-06-15T10:00:00 Z", " 2025-06-15T10:00:00Z", "2025-06-15T10:00:00Zx",
     "now", "epoch", "infinity", "", "1750000000", "15.06.2025", "２０２５-06-15", "2025-06-15T10:00:00\0", "-2025-06-15", "12025-06-15"],
    "refused",
)  # fmt: skip


def test_iso_8601_together_and_alone() -> None:
    assert times(list(ISO)) == list(ISO.values())
    for text, expected in ISO.items():
        assert times([text]) == [expected], text
        assert times([text, "2025-06-15T10:00:00Z"])[0] == expected, text
        assert times(["junk", text, None, "2025-06-15"])[1:3] == [expected, None], text


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.sampled_from(list(ISO)) | st.text("0123456789-:.TZ+ ", max_size=26) | st.none(), max_size=30))
def test_a_time_does_not_depend_on_its_neighbours(values: list[str | None]) -> None:
    assert times(values) == [t for v in values for t in times([v])]


BERLIN = {  # naive local time: (reject, earlier, later)
    "2025-03-30T01:59:59.999999": ("2025-03-30T00:59:59.999999",) * 3,
    "2025-03-30T02:00:00": ("refused",) * 3,
    "2025-03-30T02:59:59.999999": ("refused",) * 3,
    "2025-03-30T03:00:00": ("2025-03-30T01:00:00",) * 3,
    "2025-07-01 12:00": ("2025-07-01T10:00:00",) * 3,
    "2025-10-26T01:59:59": ("2025-10-25T23:59:59",) * 3,
    "2025-10-26T02:00:00": ("refused", "2025-10-26T00:00:00", "2025-10-26T01:00:00"),
    "2025-10-26T02:59:59.999999": ("refused", "2025-10-26T00:59:59.999999", "2025-10-26T01:59:59.999999"),
    "2025-10-26T03:00:00": ("2025-10-26T02:00:00",) * 3,
    "2025-10-26T02:30:00+01:00": ("2025-10-26T01:30:00",) * 3,
    "2025-03-30T02:30:00Z": ("2025-03-30T02:30:00",) * 3,
    "2025-02-30T02:30:00": ("refused",) * 3,
}


@pytest.mark.parametrize(("at", "on_dst"), enumerate(["reject", "earlier", "later"]))
def test_local_times_over_both_changes_of_the_clock(at: int, on_dst: str) -> None:
    expected = [answers[at] for answers in BERLIN.values()]
    assert times(list(BERLIN), time_zone="Europe/Berlin", on_dst=on_dst) == expected
    assert [times([t], time_zone="Europe/Berlin", on_dst=on_dst)[0] for t in BERLIN] == expected
    naive = {t: e for t, e in zip(BERLIN, expected, strict=True) if "+" not in t and "Z" not in t and len(t) == 19}
    own = {t.replace("T", " "): e for t, e in naive.items()}
    assert len(own) == 6
    assert times(list(own), format="%Y-%m-%d %H:%M:%S", time_zone="Europe/Berlin", on_dst=on_dst) == list(own.values())


@settings(max_examples=examples(150), deadline=None)
@given(st.datetimes(datetime.fromisoformat("1950-01-01"), datetime.fromisoformat("2150-12-31")), st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]))  # fmt: skip
def test_local_times_are_those_of_zoneinfo(local: datetime, name: str) -> None:
    zone = ZoneInfo(name)
    both = [local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    real = both[0].astimezone(zone).replace(tzinfo=None) == local
    expected = [t.replace(tzinfo=None).isoformat() if real else "refused" for t in both]
    text = local.isoformat()
    assert times([text], time_zone=name, on_dst="earlier") == [expected[0]]
    assert times([text], time_zone=name, on_dst="later") == [expected[1]]
    assert times([text], time_zone=name) == [expected[0] if expected[0] == expected[1] else "refused"]


AHEAD = {  # of the rule behind the tables of transitions: (reject, earlier, later)
    "2038-07-01T00:00:00": ("2038-06-30T22:00:00",) * 3,
    "2040-03-25T02:30:00": ("refused",) * 3,
    "2040-10-28T02:30:00": ("refused", "2040-10-28T00:30:00", "2040-10-28T01:30:00"),
    "9999-12-31T23:59:59.999999": ("9999-12-31T22:59:59.999999",) * 3,
    "2030-07-01T00:00:00": ("2030-06-30T22:00:00",) * 3,
}


def test_the_clock_goes_forward_and_back_after_2037_too() -> None:
    for at, on_dst in enumerate(["reject", "earlier", "later"]):
        expected = [answers[at] for answers in AHEAD.values()]
        assert times(list(AHEAD), time_zone="Europe/Berlin", on_dst=on_dst) == expected
        assert times(list(AHEAD) * 2, time_zone="Europe/Berlin", on_dst=on_dst) == expected * 2
    days = {
        "2040-10-28T24:30": "2040-10-28T22:30:00",
        "2040-10-28T25:00": "2040-10-28T23:00:00",
        "2040-03-25T24:00": "refused",
    }
    assert times(list(days), time_zone="Europe/Berlin", on_dst="elapsed") == list(days.values())
    assert times(["2039-09-04T01:00"], time_zone="America/Santiago", on_dst="elapsed") == ["2039-09-04T05:00:00"]
    hours = pa.array([datetime.fromisoformat("2040-07-01") + timedelta(hours=n) for n in range(48)], pa.timestamp("us"))
    instants, _ = localize(hours, FieldSpec(name="at", type="timestamp", time_zone="Australia/Sydney"))
    naive = pc.cast(hours, pa.int64()).to_pylist()
    assert local_times(pc.cast(instants, pa.int64()).to_numpy(), "Australia/Sydney").tolist() == naive


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("%d.%m.%Y %H:%M", "15.06.2025 10:05", "2025-06-15T10:05:00"),
        ("%d.%m.%Y %H:%M", "15.06.2025", "refused"),
        ("%d.%m.%Y %H:%M", "31.06.2025 10:05", "refused"),
        ("%d.%m.%Y %H:%M", "31.12.2025 24:00", "2026-01-01T00:00:00"),
        ("%d.%m.%Y %H:%M", "15.06.2025 24:01", "refused"),
        ("%d.%m.%Y %H:%M", "2025-06-15T10:05:00Z", "refused"),
        ("%d.%m.%Y %H:%M", "epoch", "refused"),
        ("%d.%m.%Y %H:%M", "Infinity", "refused"),
        ("%d.%m.%Y %H:%M", "-infinity", "refused"),
        ("%d.%m.%Y %H:%M", "", "refused"),
        ("%Y-%m-%d %H:%M:%S.%f", "2025-06-15 10:00:00.25", "2025-06-15T10:00:00.250000"),
        ("%Y-%m-%dT%H:%M:%S%z", "2025-06-15T10:00:00+0200", "2025-06-15T08:00:00"),
        ("%Y-%m-%dT%H:%M:%S%z", "2025-06-15T10:00:00-05:30", "2025-06-15T15:30:00"),
        ("%Y-%m-%dT%H:%M:%S%z", "2025-06-15T10:00:00Z", "2025-06-15T10:00:00"),
        ("%Y-%m-%dT%H:%M:%S%z", "2025-06-15T10:00:00", "refused"),
        ("%Y-%m-%d %H:%M %Z", "2025-06-15 10:00 Europe/Berlin", "2025-06-15T08:00:00"),
        ("%m/%d/%y %I:%M %p", "06/15/25 10:00 PM", "2025-06-15T22:00:00"),
        ("it's %Y", "it's 2025", "2025-01-01T00:00:00"),
        ("%d.%m.%Y %H:%M", "15.06.25 10:05", "refused"),  # not of the year 25
        ("%d.%m.%Y %H:%M", "15.06.0825 10:05", "0825-06-15T10:05:00"),
        ("%d.%m.%Y %H:%M", "5.6.2025 1:05", "2025-06-05T01:05:00"),
        ("%d%m%Y", "5062025", "refused"),  # its 0 is lost: not 50 of a month, nor the year 25
        ("%d%m%Y", "05062025", "2025-06-05T00:00:00"),
        ("%Y%m%d%H%M", "20250615005", "refused"),
        ("%Y%m%d%H%M", "202506152400", "2025-06-16T00:00:00"),
        ("%Y-%m-%d %H%M", "2025-06-15 130", "refused"),  # half past one, not 13:00
        ("%Y-%m-%d %H%M", "2025-06-15 0130", "2025-06-15T01:30:00"),
        ("%Y-%m-%dT%H%M%S%z", "2025-06-15T013000+0200", "2025-06-14T23:30:00"),
        ("%d%b%Y", "5Jun2025", "2025-06-05T00:00:00"),
    ],
)
def test_own_formats(form: str, text: str, expected: str) -> None:
    assert times([text], format=form) == [expected]
    assert times([None, "junk 1", text, "junk"], format=form) == [None, "refused", expected, "refused"]


def test_dates() -> None:
    plain = FieldSpec(name="d", type="date")
    texts = [
        "2025-06-15",
        "2025-02-30",
        None,
        "0001-01-01",
        "9999-12-31",
        "2025-06-15T00:00:00",
        "15.06.2025",
        "epoch",
        "",
    ]
    found, bad = parse_dates(pa.array(texts), plain)
    assert bad.tolist() == [1, 5, 6, 7, 8]
    assert [d for d in found.to_pylist() if d] == [date(2025, 6, 15), date(1, 1, 1), date(9999, 12, 31)]
    found, bad = parse_dates(pa.array(["15.06.2025", "31.02.2025", "epoch", None]), FieldSpec(name="d", type="date", format="%d.%m.%Y"))  # fmt: skip
    assert bad.tolist() == [1, 2] and found.to_pylist() == [date(2025, 6, 15), None, None, None]


def test_a_date_with_an_offset_is_the_day_that_is_written() -> None:
    texts = ["2025-07-01T00:00:00+02:00", "2025-06-30T23:30:00-0500", "2025-07-01T00:00:00Z", "2025-07-01T00:00:00", "x", None,
             "2025-07-01T24:00:00+02:00"]  # fmt: skip
    found, bad = parse_dates(pa.array(texts), FieldSpec(name="day", type="date", format="%Y-%m-%dT%H:%M:%S%z"))
    days = [date(2025, 7, 1), date(2025, 6, 30), date(2025, 7, 1), None, None, None, date(2025, 7, 2)]
    assert found.to_pylist() == days and bad.tolist() == [3, 4]
    zoned = FieldSpec(name="day", type="date", format="%Y-%m-%d %Z %H%%")
    found, bad = parse_dates(pa.array(["2025-07-01 Europe/Berlin 00%", "2025-07-01 nowhere 00%"]), zoned)
    assert found.to_pylist() == [date(2025, 7, 1), None] and bad.tolist() == [1]


def test_years_beyond_1_to_9999() -> None:
    day = 86_400_000_000
    micros = pa.array(
        [-719_162 * day - 1, -719_162 * day, None, 2_932_897 * day - 1, 2_932_897 * day, 2**62],
        pa.timestamp("us", "UTC"),
    )
    assert beyond_years(micros).tolist() == [0, 4, 5]
    assert beyond_years(pa.array([-719_163, -719_162, None, 2_932_896, 2_932_897], pa.date32())).tolist() == [0, 4]
    assert beyond_years(pa.array([None], pa.date32())).tolist() == []


TEXTS: dict[str, dict[str, Any]] = {
    "int64": {"1": 1, " 1 ": 1, "-0": 0, "007": 7, "9223372036854775807": 2**63 - 1}
    | dict.fromkeys(["9223372036854775808", "1.0", "1e2", "0x1F", "0X1f", "1,000", "", " ", "٣", "nan", "1_0"]),
    "float64": {"1.5": 1.5, " 1.5 ": 1.5, "-1e-3": -0.001, "5": 5.0, "1e-400": 0.0}
    | dict.fromkeys(["nan", "NaN", "inf", "-Infinity", "1e400", "1,5", "0x10", "", "-", "1.5kWh"]),
    "decimal(10,2)": {"1.25": Decimal("1.25"), " 1.2 ": Decimal("1.20"), "99999999.99": Decimal("99999999.99"), "1.250": Decimal("1.25"), "1e2": Decimal("100.00")}
    | dict.fromkeys(["1.255", "100000000", "1e8", "nan", "", "1,25", "-"]),
    "bool": {"true": True, "FALSE": False, "1": True, "0": False, " true ": True} | dict.fromkeys(["yes", "t", "2", ""]),
    "string": {"": "", " x ": " x "},
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
def test_text_to_types_together_and_alone(kind: str) -> None:
    field, cases = FieldSpec(name="x", type=kind), TEXTS[kind]
    refused = [i for i, v in enumerate(cases.values()) if v is None]
    found, bad = parse_text(pa.array(list(cases)), field)
    assert (found.to_pylist(), sorted(bad.tolist())) == (list(cases.values()), refused)
    for text, expected in cases.items():
        found, bad = parse_text(pa.array([text]), field)
        assert (found.to_pylist(), len(bad)) == ([expected], int(expected is None)), text


@given(st.lists(st.sampled_from(["1", "x", "22", ""]), max_size=100))
def test_try_cast_finds_exactly_the_bad_ones(values: list[str]) -> None:
    found, bad = try_cast(pa.array(values, pa.string()), lambda a: a.cast(pa.int64()))
    assert bad.tolist() == [i for i, v in enumerate(values) if v in ("x", "")]
    assert found.to_pylist() == [None if v in ("x", "") else int(v) for v in values]


@pytest.mark.parametrize(
    ("kind", "form", "good"),
    [
        ("timestamp", None, "2025-06-15T12:00:00+02:00"),
        ("timestamp", "%d.%m.%Y %H:%M", "15.06.2025 12:00"),
        ("timestamp", "epoch_s", "1749981600"),
        ("date", None, "2025-06-15"),
        ("date", "%d.%m.%Y", "15.06.2025"),
    ],
)
def test_blanks_around_a_time_are_none_of_it(kind: str, form: str | None, good: str) -> None:
    field = FieldSpec(name="t", type=kind, format=form)
    texts = pa.array([good, f" {good}", f"{good}\t", "x", None, " x ", f" {good} "])
    typed, bad = parse_text(texts, field)
    assert bad.tolist() == [3, 5]
    values = typed.to_pylist()
    assert values[0] is not None and [values[n] for n in (1, 2, 6)] == [values[0]] * 3
    assert values[3:6] == [None] * 3


def test_a_word_that_spoils_half_a_column_is_tried_once() -> None:
    """Each text is cast once, however often it is there: with '?' in every second row a slice took minutes."""
    tried: list[int] = []

    def cast(texts: pa.Array) -> pa.Array:
        tried.append(len(texts))
        return pc.cast(texts, pa.float64())

    texts = pa.array(["?", "1.5", None, "-", "2"] * 10_000)
    values, bad = try_cast(texts, cast)
    assert values.to_pylist() == [None, 1.5, None, None, 2.0] * 10_000
    assert bad.tolist() == [n for n in range(50_000) if n % 5 in (0, 3)]
    assert len(tried) < 20, "and not once for every row"
