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
