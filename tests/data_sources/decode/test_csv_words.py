"""CSV files as people have them, described by a contract's words: the right values, or a reject that says why."""

from __future__ import annotations

from typing import Any

import pytest

from data_sources.contract import Contract
from data_sources.decode.csv_lines import decode_csv, header_names, split_csv
from data_sources.decode.rejects import Decoded
from tests.data_sources.decode.cases import contract

AT = {"name": "at", "type": "timestamp"}
LOCAL = {**AT, "format": "%d.%m.%Y %H:%M", "time_zone": "Europe/Berlin"}
KWH = {"name": "kwh", "type": "decimal(12,3)"}


def feed(*fields: dict[str, Any], csv: dict[str, Any] | None = None, **more: Any) -> Contract:
    names = [field["name"] for field in fields]
    return contract("csv", list(fields), csv={"delimiter": ";", **(csv or {})}, dedup={"key": names[:2]}, **more)


def decode(text: str, contract: Contract, constants: dict[str, str | None] | None = None) -> Decoded:
    """A whole file, its header first."""
    head, _, body = text.partition("\n")
    names = header_names(head.encode(), contract)
    records, used = split_csv(body.encode(), 2, contract, True)
    assert used == len(body.encode())
    return decode_csv(records, contract, names, constants)


def column(decoded: Decoded, name: str) -> list[str]:
    """The column's values in words; where records were rejected, the rules instead."""
    rules = decoded.rejecting.table()["rule"].to_pylist()
    return [str(value) for value in decoded.rows[name].to_pylist()] + [f"reject {rule}" for rule in rules]


def reason(decoded: Decoded) -> str:
    return str(decoded.rejecting.table()["reason"][0])


GERMAN = {"decimal": ",", "thousands": "."}
NUMBERS: list[tuple[dict[str, Any], str, str]] = [
    (GERMAN, "12,250", "12.250"),
    (GERMAN, "8", "8.000"),
    (GERMAN, "1.250", "1250.000"),
    (GERMAN, '"1.204,5"', "1204.500"),
    (GERMAN, "-1.000.000,25", "-1000000.250"),
    (GERMAN, " 1.250 ", "1250.000"),
    (GERMAN, "1,5E3", "1500.000"),
    (GERMAN, ",5", "0.500"),
    (GERMAN, "", "None"),
    *((GERMAN, bad, "reject type:kwh") for bad in ("1.2,5", "12.34", "1.2345", "1.20.300", "1..200", "1.204.", ".500", "1,2,3")),
    *((GERMAN, bad, "reject type:kwh") for bad in ("€ 1,5", "1,5 kWh", "1,5€", "0x1F", "1 204,5", "--1", "1,2345")),
    ({"decimal": ","}, "12,5", "12.500"),
    ({"decimal": ","}, "12.5", "reject type:kwh"),
    ({"decimal": ","}, "1.250", "reject type:kwh"),
    ({"thousands": ","}, "1,204.5", "1204.500"),
    ({"thousands": ","}, "12,34", "reject type:kwh"),
    ({"thousands": ","}, "0,125", "reject type:kwh"),  # not 125: somebody's decimal comma
    (GERMAN, "-0.125", "reject type:kwh"),
    (GERMAN, "0,125", "0.125"),
    ({"thousands": "'"}, "1'204.50", "1204.500"),
    ({"thousands": "'"}, "1\u2019204.50", "1204.500"),
    ({"thousands": " ", "decimal": ","}, "1 204,5", "1204.500"),
    ({"thousands": " ", "decimal": ","}, "1\u00a0204,5", "1204.500"),
    ({"thousands": " ", "decimal": ","}, "12\u202f345", "12345.000"),
    ({"thousands": " ", "decimal": ","}, "12 34", "reject type:kwh"),
    ({"delimiter": ",", "thousands": ","}, '"1,204.5"', "1204.500"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "text", "expected"), NUMBERS)
def test_numbers_as_they_are_written(words: dict[str, Any], text: str, expected: str) -> None:
    for kind, shown in (("decimal(12,3)", expected), ("float64", None)):
        given = feed({"name": "id", "type": "string"}, AT, {**KWH, "type": kind}, csv=words)
        mark = given.csv.delimiter
        lines = [f"a{mark}2025-01-01{mark}{text}", f"b{mark}2025-01-02{mark}7"]
        decoded = decode("\n".join([mark.join(["id", "at", "kwh"]), *lines, ""]), given)
        found = column(decoded, "kwh")
        if shown is not None:
            assert found == ([shown, "7.000"] if "reject" not in shown else ["7.000", shown])
        elif "reject" not in expected and expected != "None":
            assert [float(v) for v in found] == [float(expected), 7.0]
        elif text != "1,2345":  # which fits a float
            assert found == (["None", "7.0"] if expected == "None" else ["7.0", expected])


def test_whole_numbers_and_counts_from_1970_are_written_so_too() -> None:
    fields = {"name": "n", "type": "int64"}, {**AT, "format": "epoch_s"}
    decoded = decode("n;at\n1.204;1735686000,5\n12.34;1735686000\n", feed(*fields, csv=GERMAN))
    assert column(decoded, "n") == ["1204", "reject type:n"]
    assert column(decoded, "at")[0] == "2024-12-31 23:00:00.500000+00:00"


def test_columns_are_found_with_blanks_by_number_and_by_other_names() -> None:
    fields = (
        {"name": "id", "type": "string", "source": " Meter"},
        {**AT, "aliases": ["Zeit", "Datum"]},
        {**KWH, "source": "Usage#2"},
        {"name": "first", "type": "decimal(12,3)", "source": "Usage#1"},
    )
    decoded = decode("Meter ;Datum;Usage;Note;Note;Usage\nm;2025-01-01;1;x;y;2\n", feed(*fields))
    assert [column(decoded, name) for name in ("id", "kwh", "first")] == [["m"], ["2.000"], ["1.000"]]
    assert column(decoded, "_extra") == ['{"Note": "x", "Note#2": "y"}']
    assert column(decode("Meter;Datum;Zeit;Usage;Usage\nm;no;2025-01-01;1;2\n", feed(*fields)), "id") == ["m"]
    with pytest.raises(ValueError, match=r"'Usage' twice.*'Usage#1' or 'Usage#2'"):
        decode("at;Usage;Usage\n", feed({**AT}, {**KWH, "source": "Usage"}))


def test_a_column_of_that_very_name_comes_first() -> None:
    fields = {**AT}, {**KWH, "source": "Usage#2"}
    assert column(decode("at;Usage#2;Usage;Usage\n2025-01-01;5;6;7\n", feed(*fields)), "kwh") == ["5.000"]


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        ("16.12.2006", "17:24", "2006-12-16 16:24:00+00:00"),
        (" 16.12.2006", "17:24 ", "2006-12-16 16:24:00+00:00"),
        ("16.12.2006", "24:00", "2006-12-16 23:00:00+00:00"),
        ("31.12.2006", "24:00", "2006-12-31 23:00:00+00:00"),
        ("16.12.2006", "24:01", "reject time:at"),
        ("16.12.2006", "", "reject null:at"),
        ("", "17:24", "reject null:at"),
        ("16.12.2006", "noon", "reject time:at"),
    ],
)
def test_a_time_of_two_columns(date: str, time: str, expected: str) -> None:
    fields = {**LOCAL, "source": ["Datum", "Zeit"]}, KWH
    assert column(decode(f"Datum;Zeit;kwh\n{date};{time};1\n", feed(*fields)), "at") == [expected]


def test_texts_of_two_columns_need_not_both_be_there() -> None:
    fields = (
        AT,
        AT | {"name": "t", "source": "at", "pattern": "(.*)"},
        {"name": "place", "type": "string", "source": ["Street", "No"]},
    )
    decoded = decode("Street;No;at\nMain;;2025-01-01\n;7;2025-01-02\n;;2025-01-03\nMain;7;2025-01-04\n", feed(*fields))
    assert column(decoded, "place") == ["Main", "7", "None", "Main 7"]


def test_a_pattern_takes_a_part_and_no_match_is_a_reject() -> None:
    fields = (
        {"name": "id", "type": "string", "pattern": '="(.*)"'},
        {**LOCAL, "source": "Zeitraum", "pattern": "^(.*?) - "},
        {"name": "until", "source": "Zeitraum", "type": "timestamp", "format": "%d.%m.%Y %H:%M", "pattern": " - (.*)$"},
        {**KWH, "pattern": "([0-9,]+) ?kWh"},
    )
    text = (
        'id;Zeitraum;kwh\n"=""0012""";01.07.2025 00:00 - 01.07.2025 01:00;ca. 0,12 kWh\nx;01.07.2025 00:00 - y;1 kWh\n'
    )
    decoded = decode(text, feed(*fields, csv={"decimal": ","}))
    assert column(decoded, "id") == ["0012", "reject pattern:id"] and column(decoded, "kwh")[0] == "0.120"
    assert column(decoded, "at")[0] == "2025-06-30 22:00:00+00:00"
    assert column(decoded, "until")[0] == "2025-07-01 01:00:00+00:00"
    assert "'x'" in reason(decoded) and "is not found" in reason(decoded)


def test_what_a_pattern_takes_may_be_a_word_for_null() -> None:
    decoded = decode(
        "at;n;kwh\n2025-01-01;1;kWh: -\n2025-01-02;1;kWh: 5\n",
        feed(AT, {"name": "n", "type": "string"}, {**KWH, "pattern": "kWh: (.*)"}, csv={"null": ["", "-"]}),
    )
    assert column(decoded, "kwh") == ["None", "5.000"]


def test_counts_from_1970() -> None:
    def read(unit: str, *texts: str, **more: Any) -> list[str]:
        body = "".join(f"{text};{n}\n" for n, text in enumerate(texts))
        return column(decode("at;kwh\n" + body, feed({**AT, "format": unit, **more}, KWH)), "at")

    assert read("epoch_s", "1735686000", "-1", "1735686000.000001") == [
        "2024-12-31 23:00:00+00:00", "1969-12-31 23:59:59+00:00", "2024-12-31 23:00:00.000001+00:00"]  # fmt: skip
    assert read("epoch_ms", "1735686000123", "1735686000123.4") == [
        "2024-12-31 23:00:00.123000+00:00", "2024-12-31 23:00:00.123400+00:00"]  # fmt: skip
    assert read("epoch_us", "1735686000123456") == ["2024-12-31 23:00:00.123456+00:00"]
    assert read("epoch_us", "1735686000123456.5", "1.735686e15", "-1.5") == [
        "2024-12-31 23:00:00.123457+00:00", "2024-12-31 23:00:00+00:00", "1969-12-31 23:59:59.999999+00:00",
    ], "a neighbour with an exponent changes nothing"  # fmt: skip
    assert read("epoch_ns", "1735686000123456789", "-1") == [
        "2024-12-31 23:00:00.123456+00:00", "1969-12-31 23:59:59.999999+00:00"]  # fmt: skip
    assert read("epoch_ms", "253402214400000") == ["9999-12-31 00:00:00+00:00"]
    assert read("epoch_s", "1735686000123", "x", "", "1e30", "99999999999999999999") == [
        "reject time:at", "reject time:at", "reject null:at", "reject time:at", "reject time:at"]  # fmt: skip
    assert read("epoch_s", "1735686000", time_zone="Europe/Berlin") == ["2024-12-31 22:00:00+00:00"]
    assert read("epoch_s", "1761445800", time_zone="Europe/Berlin") == ["reject time:at"]  # 02:30 comes twice


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("25.10.2025 24:00", "2025-10-25 22:00:00+00:00"),
        ("26.10.2025 00:15", "2025-10-25 22:15:00+00:00"),
        ("26.10.2025 02:30", "2025-10-26 00:30:00+00:00"),
        ("26.10.2025 03:30", "2025-10-26 01:30:00+00:00"),
        ("26.10.2025 25:00", "2025-10-26 23:00:00+00:00"),
        ("26.10.2025 25:01", "reject time:at"),
        ("30.03.2025 02:30", "2025-03-30 01:30:00+00:00"),
        ("30.03.2025 23:00", "2025-03-30 22:00:00+00:00"),
        ("30.03.2025 24:00", "reject time:at"),
        ("27.10.2025 25:00", "reject time:at"),
    ],
)
def test_hours_that_count_from_the_local_midnight(text: str, expected: str) -> None:
    decoded = decode(f"at;kwh\n{text};1\n", feed({**LOCAL, "on_dst": "elapsed"}, KWH))
    assert column(decoded, "at") == [expected]


def test_a_day_that_begins_at_one() -> None:
    fields = {**AT, "time_zone": "America/Santiago", "on_dst": "elapsed", "format": "%Y-%m-%d %H"}, KWH
    decoded = decode("at;kwh\n2024-09-08 00;1\n2024-09-08 23;2\n", feed(*fields))
    assert column(decoded, "at") == ["2024-09-08 04:00:00+00:00", "2024-09-09 03:00:00+00:00"]


def test_a_local_time_that_is_refused_says_why_and_what_to_write() -> None:
    twice = decode("at;kwh\n26.10.2025 02:30;1\n", feed(LOCAL, KWH))
    never = decode("at;kwh\n30.03.2025 02:30;1\n", feed({**LOCAL, "on_dst": "earlier"}, KWH))
    assert "comes twice in Europe/Berlin" in reason(twice) and 'on_dst = "earlier"' in reason(twice)
    assert "does not exist in Europe/Berlin" in reason(never) and "on_dst" in reason(never)


def test_shifts_are_added_after_reading() -> None:
    fields = {**LOCAL, "shift": "-15m"}, KWH, {"name": "day", "type": "date", "shift": "-1d"}
    decoded = decode("at;kwh;day\n01.07.2025 24:00;1;2025-03-01\n", feed(*fields))
    assert column(decoded, "at") == ["2025-07-01 21:45:00+00:00"] and column(decoded, "day") == ["2025-02-28"]
    first = decode("at;kwh;day\n01.07.2025 00:00;1;0001-01-01\n", feed(*fields))
    assert column(first, "at") == ["reject time:day"]


def test_rows_of_nothing_are_no_records_and_positions_stay() -> None:
    text = 'at;kwh;n\n2025-01-01;1;a\n\n;;\n ; ;\t\n"";"";""\n2025-01-02;2;"x\n;;\ny"\n;;b\n'
    fields = AT, KWH, {"name": "n", "type": "string"}
    for csv in ({}, {"short_rows": "null"}):
        decoded = decode(text, feed(*fields, csv=csv))
        assert decoded.rows["_position"].to_pylist() == [2, 7] and decoded.rows["n"].to_pylist() == ["a", "x\n;;\ny"]
        assert decoded.rejecting.table()["_position"].to_pylist() == [10]


def test_short_rows_are_null_at_their_end_and_long_rows_are_rejects() -> None:
    text = 'at;kwh;n\n2025-01-01;1\n2025-01-02\n2025-01-03;"3"\n2025-01-04;4;d\n2025-01-05;5;e;f\n'
    fields = (
        {"name": "id", "type": "string", "source": "at", "pattern": "(.*)"},
        AT,
        KWH,
        {"name": "n", "type": "string"},
    )
    assert column(decode(text, feed(*fields)), "n") == ["d"] + ["reject columns"] * 4
    for nulls in ("", "-"):
        decoded = decode(text, feed(*fields, csv={"short_rows": "null", "null": nulls}))
        assert column(decoded, "n") == ["None", "None", "None", "d", "reject columns"]
        assert column(decoded, "kwh")[:4] == ["1.000", "None", "3.000", "4.000"]


WIDE = (
    {"name": "meter", "type": "string", "source": "Meter"},
    {**AT, "source": ["Day", "slot"], "format": "%d/%m/%y %H:%M"},
    {"name": "slot", "type": "string"},
    KWH,
)
UNPIVOT = {"columns": r"^\d\d:\d\d$", "into": ["slot", "kwh"]}


def test_a_row_that_holds_several_records() -> None:
    text = "Meter;Day;00:00;Total;00:30;24:00\nm;08/10/24;1.5;9;;2\nshort;1\nn;x;1;2;3;y\n"
    decoded = decode(text, feed(*WIDE, unpivot=UNPIVOT))
    assert column(decoded, "slot")[:3] == ["00:00", "00:30", "24:00"]
    assert column(decoded, "kwh")[:3] == ["1.500", "None", "2.000"]
    assert column(decoded, "at")[2] == "2024-10-09 00:00:00+00:00"
    assert decoded.rows["_position"].to_pylist() == [20003, 20005, 20006]
    assert set(column(decoded, "_extra")[:3]) == {'{"Total": "9"}'}
    rejects = decoded.rejecting.table().to_pylist()
    assert [(r["rule"], r["_position"]) for r in rejects] == [
        ("columns", 30000), ("time:at", 40003), ("time:at", 40005), ("time:at", 40006)]  # fmt: skip
    assert [r["raw"] for r in rejects] == [b"short;1"] + [b"n;x;1;2;3;y"] * 3
    assert decoded.parents is not None and decoded.parents.tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert decoded.rows["_index"].to_pylist() == [0, 1, 2]


def test_names_of_unpivoted_columns_and_their_values_have_words_too() -> None:
    words = {"name": "slot", "type": "string", "pattern": r"(\d\d:\d\d)"}
    fields = (*WIDE[:2], words, {**KWH, "pattern": "([0-9,]+)"})
    text = "Meter;Day;kWh 00:00;kWh 00:30;kWh 00:30\nm;08/10/24;1,5 kWh;kWh 2;3\n"
    decoded = decode(text, feed(*fields, unpivot={**UNPIVOT, "columns": "^kWh"}, csv={"decimal": ","}))
    assert column(decoded, "slot") == ["00:00", "00:30", "00:30"] and column(decoded, "kwh") == [
        "1.500",
        "2.000",
        "3.000",
    ]
    assert column(decoded, "at")[1] == "2024-10-08 00:30:00+00:00"


def test_a_column_that_a_field_reads_is_not_unpivoted() -> None:
    decoded = decode("Meter;Day;00:00\nm;08/10/24;1\n", feed(*WIDE, unpivot={**UNPIVOT, "columns": "."}))
    assert column(decoded, "slot") == ["00:00"]


def test_no_column_to_unpivot_costs_no_row_silently() -> None:
    decoded = decode("Meter;Day;x\nm;08/10/24;1\n", feed(*WIDE, unpivot=UNPIVOT))
    assert column(decoded, "slot") == ["reject columns"] and "no column matches" in reason(decoded)


def test_constants_are_read_as_columns_are() -> None:
    fields = (
        {"name": "meter", "type": "string", "from_name": "(x)"},
        {"name": "factor", "type": "decimal(12,3)", "from_preamble": "(x)"},
        {"name": "day", "type": "date", "from_name": "(x)"},
        {**AT, "source": ["day", "Zeit"], "format": "%Y-%m-%d %H:%M"},
    )
    given = feed(*fields, csv={"decimal": ",", "header": "Zeit"})
    constants: dict[str, str | None] = {"meter": "M1", "factor": "1,5", "day": "2025-07-01"}
    decoded = decode("Zeit;x\n00:15;1\n24:00;2\n", given, constants)
    assert column(decoded, "meter") == ["M1", "M1"] and column(decoded, "factor") == ["1.500", "1.500"]
    assert column(decoded, "at") == ["2025-07-01 00:15:00+00:00", "2025-07-02 00:00:00+00:00"]
    assert column(decode("Zeit;x\n00:15;1\n", given, {**constants, "factor": "1.5"}), "meter") == ["reject type:factor"]
    assert column(decode("Zeit;x\n00:15;1\n", given, {**constants, "day": None}), "meter") == ["reject null:at"]


def test_missing_and_null_are_told_apart() -> None:
    fields = AT, {**KWH, "nullable": False}
    assert reason(decode("at;kWh\n2025-01-01;1\n", feed(*fields))) == "kwh is missing: the file has no column 'kwh'"
    assert reason(decode("at;kwh\n2025-01-01;\n", feed(*fields))) == "kwh is null"
