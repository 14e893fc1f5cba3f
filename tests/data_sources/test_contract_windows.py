"""Windows of a calendar in a contract: what is refused, with field and remedy, and what the contract says of the rest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from data_sources import faces
from data_sources.contract import Contract, ContractError, parse_contract


def contract(**window: Any) -> Contract:
    return parse_contract(
        {
            "name": "feed", "format": "json", "event_time": "at", "dedup": {"key": ["at"]}, "fields": [{"name": "at", "type": "timestamp"}],
            "windows": [{"name": "w", "measures": {"n": "count()"}, **window}],
        },
        "F",
    )  # fmt: skip


DAY = {"calendar": "day", "time_zone": "Europe/Berlin"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({}, 'size: is missing; add size = "1h", or calendar = "day" (or week, month, year) with time_zone for local days'),
    "both": ({**DAY, "size": "1d"}, 'size: calendar = "day" says how long windows are and when they begin; leave it out'),
    "a size of nothing": ({**DAY, "size": "0s"}, 'size: calendar = "day" says'),
    "every": ({**DAY, "every": "1h"}, 'every: calendar = "day" says'),
    "offset": ({**DAY, "offset": "6h"}, 'offset: calendar = "day" says'),
    "no offset at all": ({**DAY, "offset": "0s"}, 'offset: calendar = "day" says'),
    "no zone": ({"calendar": "month"}, 'time_zone: calendar = "month" needs one, such as time_zone = "Europe/Berlin" (or "UTC")'),
    "a zone of a size": ({"size": "1d", "time_zone": "Europe/Berlin"}, 'time_zone: windows of a size are aligned in UTC; leave it out, or write calendar = "day" (or week, month, year) instead of size'),
    "a zone alone": ({"time_zone": "Europe/Berlin"}, "time_zone: windows of a size are aligned in UTC"),
    "an unknown zone": ({**DAY, "time_zone": "Europe/Wien"}, "time_zone: unknown time zone 'Europe/Wien'; use a name like UTC or Europe/Berlin"),
    "an offset as zone": ({**DAY, "time_zone": "+01:00"}, "time_zone: unknown time zone '+01:00'"),
    "no zone's name": ({**DAY, "time_zone": ""}, "time_zone: unknown time zone ''"),
    "a path as zone": ({**DAY, "time_zone": "../../etc/passwd"}, "time_zone: unknown time zone"),
    "a number as zone": ({**DAY, "time_zone": 1}, "time_zone: 1: "),
    "an unknown calendar": ({**DAY, "calendar": "days"}, "calendar: 'days' is not one of 'day', 'week', 'month' or 'year' (did you mean 'day'?)"),
    "a calendar in capitals": ({**DAY, "calendar": "Month"}, "calendar: 'Month' is not one of 'day', 'week', 'month' or 'year' (did you mean 'month'?)"),
    "a calendar of quarters": ({**DAY, "calendar": "quarter"}, "calendar: 'quarter' is not one of 'day', 'week', 'month' or 'year'"),
    "a number as calendar": ({**DAY, "calendar": 1}, "calendar: 1 is not one of"),
    "a list as calendar": ({**DAY, "calendar": ["day"]}, "calendar: ['day'] is not one of"),
    "a misspelt word": ({"calender": "day", "time_zone": "UTC"}, "calender: unknown word (did you mean 'calendar'?)"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_contradicts_is_refused_with_field_and_remedy(what: str) -> None:
    window, said = REFUSED[what]
    with pytest.raises(ContractError) as found:
        contract(**window)
    assert f"contract F, window 'w', {said}" in str(found.value).replace("window 'w': ", "window 'w', ")


@pytest.mark.parametrize("calendar", ["day", "week", "month", "year"])
def test_a_calendar_and_a_zone_are_enough(calendar: str) -> None:
    of = contract(calendar=calendar, time_zone="America/Sao_Paulo")
    (window,) = of.windows
    assert not window.overlap and window.length == window.step > timedelta(0)
    assert parse_contract(of.to_dict(), "kept") == of, "a lake remembers it"
    assert f"| gold.w | {calendar} in America/Sao_Paulo | {calendar} |" in faces.markdown(of)


def test_the_hash_of_windows_of_a_size_is_what_it_was() -> None:
    """Lakes that are there know their contracts by it."""
    assert contract(size="1h").to_dict()["windows"] == [{"name": "w", "size": "1h", "measures": {"n": "count()"}}]
    assert contract(size="1h").hash != contract(**DAY).hash


@pytest.mark.parametrize(
    ("zone", "window", "is_said"),
    [
        ("UTC", {"size": "1d", "offset": "22h"}, True),
        ("UTC", {"size": "7d", "offset": "4d"}, False),
        ("Europe/Lisbon", {"size": "1d"}, True),
        ("Europe/Lisbon", {"size": "15m"}, False),
        ("Europe/Lisbon", {"size": "1d", "every": "1h"}, False),
        ("Europe/Lisbon", {"calendar": "day", "time_zone": "Europe/Lisbon"}, False),
    ],
)
def test_days_of_utc_that_are_meant_to_be_local_are_warned_of(zone: str, window: dict[str, Any], is_said: bool) -> None:
    raw = contract(**window).to_dict()
    raw["fields"][0]["time_zone"] = zone
    said = " ".join(parse_contract(raw, "F").warnings)
    assert ("window 'w': days of 24 hours in UTC" in said) == is_said
    assert not is_said or f'time_zone = "{zone if zone != "UTC" else "Europe/Berlin"}" instead of size' in said


SENSORS = {
    "name": "probes",
    "format": "json",
    "event_time": "at",
    "dedup": {"key": ["probe", "at"]},
    "fields": [
        {"name": "probe", "type": "string"},
        {"name": "at", "type": "timestamp"},
        {"name": "heat", "type": "float64"},
        {"name": "heat_mean", "type": "float64"},
        {"name": "k", "type": "float64"},
        {"name": "state", "type": "string"},
    ],
    "now": {"name": "probe_now", "sensor": "probe", "values": ["heat"]},
}


def test_now_brings_a_window_once_and_a_lake_remembers_it() -> None:
    contract = parse_contract(SENSORS, "probes.toml")
    assert [window.name for window in contract.windows] == ["probe_now_hourly"]
    again = parse_contract(contract.to_dict(), "the lake")
    assert again == contract and again.hash == contract.hash


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"sensor": "prob"}, r"now.sensor: there is no field 'prob' \(did you mean 'probe'\?\)"),
        ({"values": ["state"]}, "'state' is no number; name it in beside"),
        ({"values": []}, r"now\.values"),
        ({"beside": ["heat"]}, "'heat' is named twice"),
        ({"beside": ["state"]}, "has a column 'state' of its own"),
        ({"values": ["heat", "heat_mean"]}, "has a column 'heat_mean' of its own"),
        ({"values": ["heat", "k"]}, "has a column 'k' of its own"),
        ({"silent_after": "2d"}, "at most 1d"),
        ({"history": "36h"}, "whole days"),
        ({"time_zone": "Mars"}, "unknown time zone 'Mars'"),
        ({"values_": ["heat"]}, "unknown word"),
    ],
)
def test_a_now_that_cannot_be_is_refused(now: dict[str, object], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        parse_contract({**SENSORS, "now": {**SENSORS["now"], **now}}, "probes.toml")  # type: ignore[dict-item]


def test_a_window_of_the_same_name_is_refused() -> None:
    window = {"name": "probe_now_hourly", "size": "1h", "by": ["probe"], "measures": {"n": "count()"}}
    with pytest.raises(ContractError, match=r"\[now\] makes a window of this name"):
        parse_contract({**SENSORS, "windows": [window]}, "probes.toml")
