"""Each word of a file's layout with a wrong value, and words that contradict: refused with the field and the remedy."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from data_sources.contract import ContractError, parse_contract

RIGHT: dict[str, Any] = {
    "name": "t",
    "format": "csv",
    "event_time": "at",
    "dedup": {"key": ["meter", "at"]},
    "csv": {"delimiter": ";"},
    "fields": [
        {"name": "meter", "type": "string"},
        {"name": "at", "type": "timestamp"},
        {"name": "kwh", "type": "float64"},
    ],
}
BERLIN = {"time_zone": "Europe/Berlin", "format": "%Y-%m-%d %H:%M"}

CSV = [
    *(("decimal", wrong, 'write "," or "."') for wrong in ("", ",,", "5", "-", '"', "\n")),
    ("decimal", ";", "must differ|name the delimiter"),
    *(("thousands", wrong, 'write "." or') for wrong in ("", "..", "-", "e", "\t")),
    ("thousands", ".", 'write decimal = ","'),
    *(("header", wrong, "Datum;") for wrong in ("", " ", "a\nb", 1, [])),
    *(("encoding", wrong, "try utf-8") for wrong in ("", "utf8x", "hex", "rot13", "idna", "base64", "undefined")),
    ("last_line", "Whole", "did you mean 'whole'"),
    ("last_line", True, "waits, whole"),
    ("short_rows", "NULL", "reject, null"),
    ("sheet", " ", "leave it out for the first"),
    ("sheet", "X", r'files = \["\*.xlsx"\]'),
]
FIELD = [
    ("meter", {"source": []}, "Date"),
    ("meter", {"source": ["a"]}, "two columns or more"),
    ("meter", {"source": ["a", ""]}, "leave it out"),
    ("meter", {"source": "$.a"}, "path of JSON"),
    ("meter", {"aliases": "a"}, "Verbrauch"),
    ("meter", {"aliases": ["a", "a"]}, "once is enough"),
    ("meter", {"aliases": ["kwh"]}, "declared twice"),
    ("meter", {"source": ["a", "b"], "aliases": ["c"]}, "leave one of them out"),
    *(("meter", {"pattern": wrong}, "pattern") for wrong in ("", "abc", "(", r"(a)\1", "(?=x)(a)", "(?:a)")),
    ("meter", {"from_name": "abc"}, r"put \( \) around"),
    ("meter", {"from_name": "(a)", "source": "x"}, "leave one of them out"),
    ("meter", {"from_name": "(a)", "from_preamble": "(b)"}, "leave one of them out"),
    ("meter", {"from_preamble": "(a)"}, r"\[csv\] header ="),
    ("meter", {"format": "epoch_s"}, "for dates and timestamps"),
    ("meter", {"on_dst": "earlier"}, "leave it out"),
    ("meter", {"shift": "15m"}, "for dates and timestamps"),
    *(("at", {"format": wrong}, "epoch_ms|strptime|no year|twice|%p|no %V|no month") for wrong in (
        "epoch", "epoch_m", "", "%Q", "%H:%M", "%d.%m", "%Y-%Y", "%Y %j %m", "%Y-%m-%d %I:%M", "%Y-%m-%d %H:%M:%S.%f%f",
        "%G", "%G-%m-%d", "%Y-%d", "%Y %d %H:%M")),
    *(("at", {"shift": wrong}, "15m|leave it out|longest") for wrong in ("15", "-15", "-1M", "0s", "", "--15m", "100000d")),
    *(("at", {"on_dst": wrong}, "time_zone") for wrong in ("in_order", "elapsed")),
    ("at", {"on_dst": "in order", **BERLIN}, "did you mean 'in_order'"),
    ("at", {"on_dst": "elapsed", **BERLIN, "format": "%Y-%m-%d"}, "must have %H"),
    ("at", {"on_dst": "elapsed", **BERLIN, "format": "epoch_s"}, "must have %H"),
    ("at", {"on_dst": "in_order", **BERLIN, "format": "%Y-%m-%d %H:%M%z"}, "leave on_dst out"),
]  # fmt: skip
INTO = {"columns": "a", "into": ["meter", "kwh"]}
TOP = [
    *(({"format": "json", "csv": {"delimiter": ";", word: value}}, f"csv.{word}: is for format")
      for word, value in (("encoding", "latin-1"), ("decimal", ","), ("short_rows", "null"), ("header", "Datum"))),
    *(({"format": "json", "csv": {}, "json": {"records": wrong}}, '"." where the document')
      for wrong in ("", "..", "a..b", "$", "$.", ".a", "a.", " ")),
    ({"format": "json", "csv": {}, "json": {}}, "records: is missing"),
    ({"json": {"records": "a"}}, r"leave \[json\] out"),
    ({"csv": {"header": False}, "unpivot": INTO}, "leave one out"),
    ({"unpivot": {**INTO, "into": ["kwh"]}}, "name two fields"),
    ({"unpivot": {**INTO, "into": ["kwh", "kwh"]}}, "name two fields"),
    ({"unpivot": {**INTO, "into": ["x", "kwh"]}}, "there is no field 'x'"),
    ({"unpivot": {**INTO, "columns": "("}}, "not a regular expression"),
    ({"unpivot": {"columns": "a"}}, "into: is missing"),
    *(({"files": [wrong]}, "files: .* matches no file") for wrong in ("", "/data/*.csv", "../*.csv", "./a.csv")),
]  # fmt: skip


def refusal(**over: Any) -> str:
    with pytest.raises(ContractError) as refused:
        parse_contract({**copy.deepcopy(RIGHT), **over}, "t.toml")
    return str(refused.value)


def matches(text: str, pattern: str) -> None:
    assert re.search(pattern, text), text


@pytest.mark.parametrize(("word", "wrong", "remedy"), CSV)
def test_words_of_csv(word: str, wrong: Any, remedy: str) -> None:
    text = refusal(csv={**RIGHT["csv"], word: wrong})
    matches(text, remedy)
    assert "csv" in text and word in text


@pytest.mark.parametrize(("name", "words", "remedy"), FIELD)
def test_words_of_fields(name: str, words: dict[str, Any], remedy: str) -> None:
    fields = [{**field, **words} if field["name"] == name else field for field in RIGHT["fields"]]
    text = refusal(fields=fields)
    matches(text, remedy)
    assert name in text or "kwh" in text


@pytest.mark.parametrize(("over", "remedy"), TOP)
def test_words_that_contradict(over: dict[str, Any], remedy: str) -> None:
    matches(refusal(**over), remedy)


def test_aliases_need_a_header_and_one_kind_of_place() -> None:
    fields = [{**RIGHT["fields"][0], "aliases": ["x"]}, *RIGHT["fields"][1:]]
    matches(refusal(csv={"header": False}, fields=fields), "names of a header")
    fields = [{**RIGHT["fields"][0], "source": "$.a", "aliases": ["x"]}, *RIGHT["fields"][1:]]
    matches(refusal(format="json", csv={}, json={"records": "d"}, fields=fields), "from the document's root")


def test_what_is_right_passes() -> None:
    parse_contract(copy.deepcopy(RIGHT), "t.toml")
    parse_contract(
        {**RIGHT, "csv": {"delimiter": ";", "decimal": ",", "thousands": " ", "encoding": "utf-16"}}, "t.toml"
    )
