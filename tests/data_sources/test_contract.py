"""Contracts: every kind of mistake is named with file, field and remedy; what is right means the same however laid out."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data_sources.contract import LINEAGE, Contract, ContractError, load_contract, parse_contract, parse_measure

TOML = """
name = "energy"
format = "json"
event_time = "ts"
out_of_orderness = "10m"
allowed_lateness = "1h"

[dedup]
key = ["id", "ts"]

[lake]
cluster_by = ["meter", "ts"]

[csv]
delimiter = ";"
null = ["NA", "-"]

[[windows]]
name = "by_hour"
size = "1h"
every = "15m"
by = ["meter"]
measures = { n = "count()", kwh = "sum(kwh)", high = "count_if(kwh > 5)" }

[[rules]]
id = "E-1"
check = "kwh >= 0"

[[fields]]
name = "id"
type = "string"
nullable = false

[[fields]]
name = "ts"
type = "timestamp"
format = "%d.%m.%Y %H:%M"
time_zone = "Europe/Berlin"

[[fields]]
name = "meter"
type = "string"
source = "Meter No"

[[fields]]
name = "kwh"
type = "decimal(12, 3)"
unit = "kWh"
since = 2
"""


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "energy.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def error(tmp_path: Path, text: str | bytes) -> str:
    path = written(tmp_path, text)
    with pytest.raises(ContractError) as found:
        load_contract(path)
    said = str(found.value)
    assert all(line.startswith(f"contract {path}") for line in said.splitlines()), said
    return said.replace(f"contract {path}", "contract F")


def plain() -> dict[str, Any]:
    import tomllib

    return tomllib.loads(TOML)


# old text, new text, what must be said
MISTAKES: dict[str, tuple[str, str, list[str]]] = {
    "typo in a top word": ("out_of_orderness", "out_of_orderliness", ["F, out_of_orderliness: unknown word", "did you mean 'out_of_orderness'?"]),
    "typo in a field's word": ("nullable = false", "nulable = false", ["field 'id', nulable: unknown word", "'nullable'"]),
    "typo in a window's word": ('every = "15m"', 'evry = "15m"', ["window 'by_hour', evry: unknown word", "'every'"]),
    "typo in a rule's word": ('check = "kwh', 'chek = "kwh', ["rule 'E-1', chek: unknown word", "rule 'E-1', check: is missing; add it"]),
    "typo in dedup": ("key = [", "keys = [", ["dedup.keys: unknown word", "'key'", "dedup.key: is missing"]),
    "typo in csv": ("null =", "nulls =", ["csv.nulls: unknown word", "'null'"]),
    "typo in lake": ("cluster_by", "clusterby", ["lake.clusterby: unknown word", "'cluster_by'"]),
    "unknown section": ("[lake]", "[lakes]", ["lakes: unknown word", "'lake'"]),
    "unknown type": ('"decimal(12, 3)"', '"flaot64"', ["field 'kwh', type: unknown type 'flaot64' (did you mean 'float64'?)"]),
    "type of another tongue": ('"decimal(12, 3)"', '"int"', ["field 'kwh', type: unknown type 'int' (did you mean 'int64'?)"]),
    "type of nowhere": ('"decimal(12, 3)"', '"blob"', ["unknown type 'blob'"]),
    "decimal without digits": ('"decimal(12, 3)"', '"decimal"', ["unknown type 'decimal'", "decimal("]),
    "decimal too wide": ('"decimal(12, 3)"', '"decimal(39,3)"', ["'decimal(39,3)' needs 1 <= p <= 38 and s <= p"]),
    "decimal with more behind than in all": ('"decimal(12, 3)"', '"decimal(2,3)"', ["needs 1 <= p <= 38 and s <= p"]),
    "type not text": ('"decimal(12, 3)"', "64", ["field 'kwh', type: 64:"]),
    "bad duration": ('"10m"', '"10 minutes"', ["out_of_orderness: '10 minutes' is not a duration; write it as 10s, 15m, 1h or 2d"]),
    "number as duration": ('"10m"', "600", ["out_of_orderness: 600 is not a duration"]),
    "negative duration": ('"1h"\n\n[dedup]', '"-1h"\n\n[dedup]', ["allowed_lateness: '-1h' is not a duration"]),
    "endless duration": ('"10m"', '"99999999d"', ["the longest is 36500d"]),
    "a measure in another's way": (
        'n = "count()", kwh = "sum(kwh)"',
        'kwh = "avg(kwh)", kwh__n = "count()"',
        ["window 'by_hour': 'kwh__n' is needed for 'kwh'; choose another name"],
    ),
    "window of no length": ('size = "1h"', 'size = "0s"', ["window 'by_hour'", "longer than 0s"]),
    "window of a million cells": ('size = "1h"', 'size = "1d"\noffset = "1s"', ["window 'by_hour'", "made of 86400 cells; choose size, every and offset with a greater common divisor"]),
    "unknown format": ('format = "json"', 'format = "jsonl"', ["format: 'jsonl' is not one of", "did you mean 'json'?"]),
    "missing name": ('name = "energy"', "", ["F, name: is missing; add it"]),
    "name of no table": ('name = "energy"', 'name = "Energy Readings"', ["name: 'Energy Readings' cannot name a table; use lower-case letters"]),
    "name with a path": ('name = "energy"', 'name = "../energy"', ["cannot name a table"]),
    "missing key": ('key = ["id", "ts"]', "", ["dedup.key: is missing"]),
    "empty key": ('["id", "ts"]', "[]", ["dedup.key:"]),
    "unknown field in key": ('["id", "ts"]', '["idd", "ts"]', ["dedup.key: there is no field 'idd' (did you mean 'id'?)"]),
    "unknown event time": ('event_time = "ts"', 'event_time = "tss"', ["event_time: there is no field 'tss' (did you mean 'ts'?)"]),
    "event time that is no time": ('event_time = "ts"', 'event_time = "meter"', ["event_time: field 'meter' is a string, not a time"]),
    "unknown field in by": ('by = ["meter"]', 'by = ["metre"]', ["window 'by_hour', by: there is no field 'metre' (did you mean 'meter'?)"]),
    "unknown field in cluster_by": ('["meter", "ts"]', '["meterr"]', ["lake.cluster_by: there is no field 'meterr' (did you mean 'meter'?)"]),
    "five cluster columns": ('["meter", "ts"]', '["meter", "ts", "id", "kwh", "id"]', ["lake.cluster_by"]),
    "unknown field in a measure": ("sum(kwh)", "sum(kw)", ["window 'by_hour', measure 'kwh': there is no field 'kw' (did you mean 'kwh'?)"]),
    "sum of text": ("sum(kwh)", "sum(meter)", ["measure 'kwh': sum needs a number, 'meter' is a string"]),
    "average of a time": ("sum(kwh)", "avg(ts)", ["avg needs a number, 'ts' is a timestamp"]),
    "unknown measure": ("sum(kwh)", "summ(kwh)", ["measure 'kwh': 'summ(kwh)' is not one of", "did you mean 'sum'?"]),
    "measure of another tongue": ("sum(kwh)", "median(kwh)", ["is not one of count(), count_if(), sum()"]),
    "measure without a field": ("sum(kwh)", "sum()", ["sum() needs a field, as in sum(kwh)"]),
    "measure that is no call": ("sum(kwh)", "kwh", ["'kwh' is not one of"]),
    "measure of a sum of two": ("sum(kwh)", "sum(kwh + kwh)", ["there is no field 'kwh + kwh'"]),
    "no measures": ('{ n = "count()", kwh = "sum(kwh)", high = "count_if(kwh > 5)" }', "{}", ["window 'by_hour', measures:"]),
    "measure that is no text": ('n = "count()"', "n = 3", ["window 'by_hour', measures.n: 3:"]),
    "condition of a measure": ("kwh > 5", "kwhh > 5", ["measure 'high': 'kwhh > 5': there is no field 'kwhh' (did you mean 'kwh'?)"]),
    "measure named as a by column": ("n = ", "meter = ", ["column of window 'by_hour' 'meter' is declared twice"]),
    "measure named as a window column": ("n = ", "Final = ", ["'final' is declared twice"]),
    "measure with a blank": ("n = ", '"n n" = ', ["measure 'n n': cannot name a column"]),
    "unknown field in a rule": ("kwh >= 0", "kw >= 0", ["rule 'E-1': 'kw >= 0': there is no field 'kw' (did you mean 'kwh'?)"]),
    "rule that is not boolean": ('"kwh >= 0"', '"kwh + 1"', ["rule 'E-1'", "not true or false"]),
    "rule with a subquery": ('"kwh >= 0"', '"kwh > (SELECT 1)"', ["rule 'E-1'", "subqueries"]),
    "rule on the clock": ('"kwh >= 0"', '"ts < now()"', ["rule 'E-1'", "now() is not allowed"]),
    "rule of chance": ('"kwh >= 0"', '"random() > 0.1"', ["random() is not allowed"]),
    "rule that reads": ('"kwh >= 0"', "\"read_text('/etc/passwd') = ''\"", ["read_text() is not allowed"]),
    "rule with a syntax error": ('"kwh >= 0"', '"kwh >= "', ["rule 'E-1'", "is not a condition"]),
    "empty rule": ('"kwh >= 0"', '" "', ["rule 'E-1'", "is empty"]),
    "rule id with a comma": ('"E-1"', '"E,1"', ["rule 'E,1', id"]),
    "rule that warns otherwise": ('check = "kwh >= 0"', 'check = "kwh >= 0"\non_fail = "warning"', ["rule 'E-1', on_fail: 'warning' is not one of", "did you mean 'warn'?"]),
    "latest without order": ('["id", "ts"]', '["id", "ts"]\nkeep = "latest"', ['dedup.keep: "latest" needs order_by']),
    "latest with horizon": ('["id", "ts"]', '["id"]\nkeep = "latest"\norder_by = ["ts"]\nhorizon = "1h"', ["dedup.horizon: cannot be combined with keep"]),
    "order without latest": ('["id", "ts"]', '["id", "ts"]\norder_by = ["ts"]', ["dedup.order_by: is for keep"]),
    "unknown order": ('["id", "ts"]', '["id"]\nkeep = "latest"\norder_by = ["seq"]', ["dedup.order_by: there is no field 'seq'"]),
    "unknown keep": ('["id", "ts"]', '["id", "ts"]\nkeep = "last"', ["dedup.keep: 'last' is not one of", "did you mean"]),
    "a field twice": ('name = "kwh"', 'name = "ID"', ["field 'id' is declared twice", "upper or lower case"]),
    "an input field twice": ('source = "Meter No"', 'source = "id"', ["input field 'id' is declared twice"]),
    "a rule twice": ("[[rules]]", '[[rules]]\nid = "E-1"\ncheck = "kwh > 1"\n[[rules]]', ["rule 'E-1' is declared twice"]),
    "a lineage name": ('name = "kwh"', 'name = "_commit"', ["field '_commit', name:", "only lineage columns", "source = '_commit'"]),
    "a name with a blank": ('name = "kwh"', 'name = "energy used"', ["'energy used' cannot name a column", "source = 'energy used'"]),
    "a name with a quote": ('name = "kwh"', "name = 'a\"b'", ["cannot name a column"]),
    "an empty name": ('name = "kwh"', 'name = ""', ["cannot name a column"]),
    "a field without a name": ('name = "kwh"', "", ["field number 4, name: is missing; add it"]),
    "unknown zone": ("Europe/Berlin", "Europe/Berlinn", ["field 'ts', time_zone: unknown time zone 'Europe/Berlinn'"]),
    "unknown on_dst": ('"Europe/Berlin"', '"Europe/Berlin"\non_dst = "early"', ["on_dst: 'early' is not one of", "did you mean 'earlier'?"]),
    "not a strptime format": ("%d.%m.%Y %H:%M", "%d.%m.%Q", ["field 'ts'", "'%d.%m.%Q' is not a strptime format"]),
    "format of a number": ("unit = ", 'format = "%d"\nunit = ', ["field 'kwh': `format` is for dates and timestamps, not for decimal(12,3)"]),
    "delimiter of two": ('delimiter = ";"', 'delimiter = ";;"', ["csv.delimiter: ';;' is not one plain character"]),
    "delimiter as quote": ('delimiter = ";"', "delimiter = '\"'", ["csv: delimiter and quote are both '\"'"]),
    "unknown encoding": ("[csv]", '[csv]\nencoding = "utf-88"', ["csv.encoding: unknown encoding 'utf-88'; try utf-8, latin-1, cp1252 or utf-16"]),
    "an encoding of no file": ("[csv]", '[csv]\nencoding = "rot13"', ["csv.encoding: unknown encoding 'rot13'"]),
    "an encoding of names": ("[csv]", '[csv]\nencoding = "idna"', ["csv.encoding: 'idna' is no encoding of files"]),
    "a dedup where copies are equal in all fields": ("[lake]", '[lake]\nload = "scd2"', ['[dedup]: load = "scd2" has none']),
    "unknown load": ("[lake]", '[lake]\nload = "merge"', ["lake.load: 'merge' is not one of"]),
    "not TOML": ('name = "energy"', "name = energy", ["F: is not TOML: ", "line 2"]),
    "a key twice": ('name = "energy"', 'name = "energy"\nname = "e"', ["F: is not TOML: "]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_file_field_and_remedy(tmp_path: Path, name: str) -> None:
    old, new, expected = MISTAKES[name]
    assert old in TOML
    said = error(tmp_path, TOML.replace(old, new, 1))
    for words in expected:
        assert words in said


def test_the_contract_the_mistakes_are_made_in_is_right(tmp_path: Path) -> None:
    contract = load_contract(written(tmp_path, TOML))
    assert contract.lateness == timedelta(minutes=70) and contract.windows[0].cell == timedelta(minutes=15)
    assert contract.field("kwh").arrow == pa.decimal128(12, 3) and contract.field("kwh").since == "2"
    assert contract.field("meter").input_name == "Meter No" and contract.csv.nulls == ["NA", "-"]
    assert contract.required == ["id", "ts"] and contract.sort_by == ["meter", "ts"]
    assert contract.landed_schema.names == ["id", "ts", "meter", "kwh", *LINEAGE]
    assert [f.nullable for f in contract.schema] == [False, False, True, True]
    with pytest.raises(KeyError):
        contract.field("none")


def test_files_that_are_no_contract(tmp_path: Path) -> None:
    for path, said in [
        (tmp_path / "no.toml", "no such file; give the path"),
        (tmp_path, "is a folder; give the path of the TOML file in it"),
    ]:
        with pytest.raises(ContractError) as found:
            load_contract(path)
        assert str(found.value) == f"contract {path}: {said}" + (" of a TOML contract" if "no such" in said else "")
    assert "is not UTF-8 text (byte 8); save it as UTF-8" in error(tmp_path, b'name = "\xe4"')
    assert "name: is missing" in error(tmp_path, "")
    assert "is not TOML" in error(tmp_path, b"\x89PNG\r\n\x1a\n".replace(b"\x89", b""))


def test_several_mistakes_are_all_named(tmp_path: Path) -> None:
    said = error(
        tmp_path,
        TOML.replace('"10m"', '"ten"').replace('"decimal(12, 3)"', '"number"').replace("event_time", "eventtime"),
    )
    assert len(said.splitlines()) == 4
    assert all(
        w in said
        for w in ("out_of_orderness: 'ten'", "field 'kwh', type", "eventtime: unknown word", "event_time: is missing")
    )


@pytest.mark.parametrize("wrong", [3, "x", [], [3], ["x"], {}, {"a": 1}, None, True, 1.5])
@pytest.mark.parametrize(
    "word",
    ["name", "fields", "windows", "rules", "dedup", "lake", "csv", "event_time", "out_of_orderness", "files", "format"],
)
def test_values_of_any_other_type_end_in_a_contract_error(word: str, wrong: Any) -> None:
    raw = {**plain(), word: wrong}
    try:
        parse_contract(raw, "F")
    except ContractError as cause:
        assert str(cause).startswith("contract F")
        return
    fine = {
        "name": ("x",),
        "windows": ([],),
        "rules": ([],),
        "lake": ({},),
        "csv": ({},),
        "files": ([], ["x"]),
        "fields": (),
        "event_time": (),
        "dedup": (),
    }
    assert wrong in fine.get(word, ())


def test_windows_as_one_table_say_where(tmp_path: Path) -> None:
    said = error(tmp_path, TOML.replace("[[windows]]", "[windows]"))
    assert said.startswith("contract F, windows:")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert load_contract(written(tmp_path, b"\xef\xbb\xbf" + TOML.encode())).name == "energy"


def test_what_is_remembered_reads_back_the_same() -> None:
    contract = parse_contract(plain(), "F")
    again = parse_contract(contract.to_dict(), "lake")
    assert again == contract and again.hash == contract.hash and again.to_dict() == contract.to_dict()
    assert contract.to_dict()["windows"][0]["size"] == "1h"


def test_the_hash_is_of_the_declaration_and_not_of_its_layout(tmp_path: Path) -> None:
    first = load_contract(written(tmp_path, TOML)).hash
    relaid = "# a comment\n" + TOML.replace('"10m"', '"600s"').replace("decimal(12, 3)", "decimal(12,3)").replace(
        "since = 2", 'since = "2"'
    )
    relaid = relaid.replace('event_time = "ts"\n', "").replace(
        'name = "energy"', 'event_time = "ts"\nname = "energy"\nversion = 1', 1
    )
    assert load_contract(written(tmp_path, relaid)).hash == first
    seen = {first}
    for old, new in [
        ('"10m"', '"11m"'),
        ("kwh >= 0", "kwh > 0"),
        ("unit = ", "description = "),
        ('["id", "ts"]', '["ts", "id"]'),
        ("by_hour", "hourly"),
    ]:
        seen.add(load_contract(written(tmp_path, TOML.replace(old, new, 1))).hash)
    assert len(seen) == 6


def test_odd_but_right_names() -> None:
    raw = plain()
    raw["fields"] += [{"name": n, "type": "int64"} for n in ("größe", "a.b", "select", "Ünïcode", "x-y", "1st")]
    raw["fields"] += [{"name": "mine", "source": "_extra", "type": "string"}, {"name": "row", "type": "int64"}]
    raw["rules"].append({"id": "odd", "check": '"a.b" > 0 AND "select" < 3 AND "row" = 1 AND größe > 1'})
    raw["windows"].append(
        {
            "name": "odd",
            "size": "1h",
            "by": ["a.b"],
            "measures": {"größe.sum": "sum(größe)", "s": 'sum("select")', "c": "count(*)"},
        }
    )
    contract = parse_contract(raw, "F")
    assert [(m.function, m.argument) for m in contract.windows[1].parsed] == [
        ("sum", "größe"),
        ("sum", "select"),
        ("count", None),
    ]


def test_measures_as_they_may_be_written() -> None:
    for text, expected in {"count()": ("count", None), " count ( * ) ": ("count", None), "first( kwh )": ("first", "kwh"), 'max("a b")': ("max", "a b"),
                           "count_if(a IN (1, 2))": ("count_if", "a IN (1, 2)"), 'count_if("a" > 1 AND "b" > 1)': ("count_if", '"a" > 1 AND "b" > 1')}.items():  # fmt: skip
        assert (parse_measure("m", text).function, parse_measure("m", text).argument) == expected
    for text in ("", "sum", "SUM(x)", "sum(x", "count_if()", "first()"):
        with pytest.raises(ValueError, match="measure 'm'"):
            parse_measure("m", text)


def warned(**changes: Any) -> str:
    return " ".join(parse_contract({**plain(), **changes}, "F").warnings)


def test_second_thoughts() -> None:
    assert "max_future is not set" in warned()
    assert "make the rest of its partition late" in warned(max_future="2h", file_order="name")
    assert "make the rest of its partition late" in warned(max_future="2h", topic="t")
    assert warned(max_future="2h") == "" and warned(max_future="70m", topic="t") == ""
    assert "no [[windows]]" in warned(windows=[])


def test_the_built_in_contracts_are_right() -> None:
    root = Path(__file__).resolve().parents[2] / "data_sources"
    paths = list(root.glob("*/contract.toml"))
    assert paths
    for path in paths:
        contract = load_contract(path)
        assert isinstance(contract, Contract) and contract.name == path.parent.name
        assert parse_contract(copy.deepcopy(contract.to_dict()), "again") == contract


def test_a_copy_has_the_columns_of_its_own_fields(tmp_path: Path) -> None:
    (path := tmp_path / "c.toml").write_text(TOML)
    whole = load_contract(path)
    assert whole.landed_schema.names[: len(whole.fields)] == [f.name for f in whole.fields]
    fewer = whole.model_copy(update={"fields": whole.fields[:-1]})
    assert fewer.schema.names == [f.name for f in whole.fields[:-1]] == fewer.landed_schema.names[: len(fewer.fields)]
    assert set(fewer.required) <= set(fewer.schema.names)
