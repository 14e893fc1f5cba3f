"""The words for layouts: each with each wrong value is refused with field and remedy, and costs no hash where unused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from data_sources.contract import Contract, ContractError, parse_contract
from data_sources.durations import format_shift, parse_shift

FIELDS = [{"name": "m", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "v", "type": "float64"}]
BERLIN = {"time_zone": "Europe/Berlin"}


def feed(changes: dict[str, dict[str, Any]] | None = None, **top: Any) -> Contract:
    """A contract; changes: words by field."""
    fields = [{**field, **(changes or {}).get(field["name"], {})} for field in FIELDS]
    given = {"name": "f", "format": "csv", "event_time": "at", "dedup": {"key": ["m", "at"]}, "fields": fields}
    return parse_contract({**given, "csv": {"delimiter": ";"}, **top}, "F")


def csv(**words: Any) -> dict[str, Any]:
    return {"csv": {"delimiter": ";", **words}}


def unpivot(columns: Any = "x", into: Any = ("m", "v"), **top: Any) -> dict[str, Any]:
    return {"unpivot": {"columns": columns, "into": list(into) if isinstance(into, tuple) else into}, **top}


LAYOUT: dict[str, tuple[dict[str, Any], str, str]] = {
    "decimal as delimiter": (csv(delimiter=",", decimal=","), "csv: decimal and delimiter", 'delimiter = ";"'),
    "decimal of two": (csv(decimal=",,"), "csv.decimal", '"," or "."'),
    "decimal a digit": (csv(decimal="1"), "csv.decimal", '"," or "."'),
    "decimal a blank": (csv(decimal=" "), "csv.decimal", '"," or "."'),
    "decimal as quote": (csv(decimal="'", quote="'"), "csv: decimal and quote", "must differ"),
    "thousands as decimal": (csv(thousands="."), "csv: decimal and thousands", 'decimal = ","'),
    "no thousands": (csv(thousands=""), "csv.thousands", "write"),
    "thousands a sign": (csv(thousands="-"), "csv.thousands", "write"),
    "no header text": (csv(header=" "), "csv.header", 'header = "Datum;"'),
    "a header of two lines": (csv(header="a\nb"), "csv.header", "first characters"),
    "a header by number": (csv(header=3), "csv.header", "true, false"),
    "last line": (csv(last_line="hole"), "csv.last_line", "did you mean 'whole'"),
    "short rows": (csv(short_rows="nul"), "csv.short_rows", "did you mean 'null'"),
    "a sheet without workbooks": (csv(sheet="a"), "csv.sheet", 'files = ["*.xlsx"]'),
    "a sheet without a name": (csv(sheet=" "), "csv.sheet", "leave it out"),
    "decimal of JSON": ({"format": "json", **csv(decimal=",")}, "csv.decimal", 'for format = "csv"'),
    "header of JSON": ({"format": "json", **csv(header="a")}, "csv.header", 'for format = "csv"'),
    "records of CSV": ({"json": {"records": "."}}, "json.records", "leave [json] out"),
    "a path with a hole": ({"format": "json", "csv": {}, "json": {"records": "a..b"}}, "json.records", "energy.values"),
    "no records": ({"format": "json", "csv": {}, "json": {}}, "json.records", "is missing"),
    "a misspelt records": ({"format": "json", "json": {"record": "a"}}, "json.record", "did you mean 'records'"),
    "into one field": (unpivot(into=("v",)), "unpivot.into", '["slot", "kwh"]'),
    "into one field twice": (unpivot(into=("v", "v")), "unpivot.into", '["slot", "kwh"]'),
    "into no field": (unpivot(into=("m", "w")), "unpivot.into", "there is no field 'w'"),
    "into text": (unpivot(into="m"), "unpivot.into", "list"),
    "columns that are no pattern": (unpivot("("), "unpivot.columns", "RE2"),
    "a misspelt columns": (
        {"unpivot": {"column": "x", "into": ["m", "v"]}},
        "unpivot.column",
        "did you mean 'columns'",
    ),
    "unpivot without a header": (unpivot(csv={"header": False}), "unpivot: columns", "leave one out"),
    "unpivot of master data": (
        unpivot(lake={"load": "scd2", "key": ["m"]}, dedup={"key": ["m", "at", "v"]}),
        "unpivot",
        "leave [unpivot] out",
    ),
}

FIELD: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "a pattern without a group": ("v", {"pattern": "abc"}, "pattern", "put ( ) around"),
    "a pattern that is none": ("v", {"pattern": "(a"}, "pattern", "RE2"),
    "a pattern with look-ahead": ("v", {"pattern": "(?=a)(b)"}, "pattern", "no look-around"),
    "a pattern with a back-reference": ("v", {"pattern": r"(a)\1"}, "pattern", "no back-references"),
    "an empty pattern": ("v", {"pattern": ""}, "pattern", "is empty"),
    "a name's pattern without a group": ("v", {"from_name": "abc"}, "from_name", "put ( ) around"),
    "a preamble without a header": ("v", {"from_preamble": "(a)"}, "from_preamble", "[csv] header"),
    "a list of one": ("v", {"source": ["a"]}, "source", 'source = "Date"'),
    "a list of numbers": ("v", {"source": [1, 2]}, "source", '["Date", "Time"]'),
    "a source of blanks": ("v", {"source": ["a", " "]}, "source", "leave it out"),
    "aliases as text": ("v", {"aliases": "x"}, "aliases", '["Verbrauch", "kWh"]'),
    "an alias twice": ("v", {"aliases": ["x", "x"]}, "aliases", "once is enough"),
    "an alias of another field": ("v", {"aliases": ["m"]}, "input field 'm'", "declared twice"),
    "aliases of a list": ("v", {"source": ["a", "b"], "aliases": ["c"]}, "aliases", "leave one of them out"),
    "a name and a source": ("v", {"from_name": "(x)", "source": "a"}, "from_name and source", "leave one of them out"),
    "a name and a pattern": ("v", {"from_name": "(x)", "pattern": "(a)"}, "from_name and pattern", "whole pattern"),
    "a name and a preamble": ("v", {"from_name": "(x)", "from_preamble": "(y)"}, "from_name and", "leave one"),
    "a JSON path in CSV": ("v", {"source": "$.x"}, "source", 'format is "csv"'),
    "a shift of a number": ("v", {"shift": "1h"}, "shift", "not for float64"),
    "a shift that is none": ("at", {"shift": "15 minutes"}, "shift", "-15m"),
    "a shift with two signs": ("at", {"shift": "--15m"}, "shift", "-15m"),
    "no shift": ("at", {"shift": "0s"}, "shift", "leave it out"),
    "half a day's shift of a date": ("at", {"type": "date", "shift": "-12h"}, "shift", "whole days"),
    "elapsed in UTC": ("at", {"on_dst": "elapsed"}, "elapsed", "time_zone"),
    "elapsed without hours": ("at", {"on_dst": "elapsed", "format": "%Y", **BERLIN}, "elapsed", "%H"),
    "elapsed since 1970": ("at", {"on_dst": "elapsed", "format": "epoch_s", **BERLIN}, "elapsed", "%H"),
    "in order with offsets": ("at", {"on_dst": "in_order", "format": "%Y%z", **BERLIN}, "in_order", "leave on_dst out"),
    "in order of a number": ("v", {"on_dst": "in_order"}, "on_dst", "not for float64"),
    "a misspelt on_dst": ("at", {"on_dst": "in_ordr"}, "on_dst", "did you mean 'in_order'"),
    "a format of a number": ("v", {"format": "epoch_s"}, "format", "not for float64"),
    "a misspelt epoch": ("at", {"format": "epoch_m"}, "format", "epoch_ms"),
    "a year twice": ("at", {"format": "%Y %H:%M - %Y"}, "format", "pattern"),
    "a month in two ways": ("at", {"format": "%Y-%m %b"}, "format", "%m and %b"),
    "a day in two ways": ("at", {"format": "%Y %d %-d"}, "format", "day of the month twice"),
    "a time without its date": ("at", {"format": "%H:%M"}, "format", 'source = ["Date", "Time"]'),
    "hours of twelve": ("at", {"format": "%Y-%m-%d %I:%M"}, "format", "%p"),
}


@pytest.mark.parametrize("name", LAYOUT)
def test_a_wrong_layout_is_refused(name: str) -> None:
    top, place, remedy = LAYOUT[name]
    with pytest.raises(ContractError) as error:
        feed(**top)
    assert place in str(error.value) and remedy in str(error.value)


@pytest.mark.parametrize("name", FIELD)
def test_a_wrong_field_is_refused(name: str) -> None:
    field, words, place, remedy = FIELD[name]
    with pytest.raises(ContractError) as error:
        feed({field: words})
    assert f"{field!r}" in str(error.value) or "input field" in place
    assert place in str(error.value) and remedy in str(error.value)


def test_in_order_needs_a_time_in_the_key_and_an_order() -> None:
    words = {"at": {"on_dst": "in_order", **BERLIN}}
    assert feed(words).field("at").on_dst == "in_order"
    with pytest.raises(ContractError, match=r"add 'at' to dedup\.key"):
        feed(words, dedup={"key": ["m"]})
    with pytest.raises(ContractError, match="no order of their own"):
        feed(words, format="sqlite", sqlite={"table": "t"})


def test_a_path_from_the_document_may_be_a_part_of_a_time() -> None:
    words = {"v": {"source": ["$.day", "t"], "type": "string"}}
    for document in ({}, {"json": {"records": "a"}}):  # in a message of one record $ is the record
        assert feed(words, format="json", csv={}, **document).field("v").input_name == "v"
    with pytest.raises(ContractError, match="is not a path"):
        feed({"v": {"source": "$."}}, format="json", csv={})


def test_what_is_right_is_taken() -> None:
    given = feed(
        {"v": {"pattern": "([0-9]+)", "aliases": ["kWh"]}}, **csv(decimal=",", thousands=".", encoding="utf-16")
    )
    assert given.csv.is_transcoded and not given.csv.writes_numbers_plainly
    assert not feed(**csv(encoding="cp1252")).csv.is_transcoded and feed(**csv(encoding="gbk")).csv.is_transcoded
    assert feed(**csv(delimiter=".", thousands=".", decimal=",")).csv.thousands == "."  # where values are quoted
    assert feed(format="json", csv={}, json={"records": "a.b"}).document.records == "a.b"  # type: ignore[union-attr]
    both = feed({"m": {"source": "Zeit", "pattern": "(.*) - "}, "v": {"source": "Zeit"}})
    assert both.field("m").input_name == both.field("v").input_name


def test_the_hash_is_that_of_the_words_used() -> None:
    plain = feed()
    spelt = feed({"v": {"aliases": []}}, **csv(decimal=".", last_line="waits", short_rows="reject", header=True))
    assert plain.hash == spelt.hash
    others = [
        feed({"v": {"aliases": ["x"]}}),
        feed(**csv(decimal=",")),
        feed({"at": {"shift": "-15m"}}),
        feed(**unpivot()),
    ]
    assert len({plain.hash, *(other.hash for other in others)}) == 5
    for contract in others:
        assert parse_contract(contract.to_dict(), "again").hash == contract.hash
    document = feed(format="json", csv={}, json={"records": "a"})
    assert parse_contract(document.to_dict(), "again") == document


@pytest.mark.parametrize(("text", "minutes"), [("-15m", -15), ("+1h", 60), ("1h", 60), ("-1d", -1440)])
def test_a_shift_is_a_duration_with_a_sign(text: str, minutes: int) -> None:
    assert parse_shift(text) == timedelta(minutes=minutes)
    assert parse_shift(format_shift(parse_shift(text))) == timedelta(minutes=minutes)
