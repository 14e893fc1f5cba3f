"""JSON by words: paths, joined names, patterns, other names, counts from 1970, unpivoted names; hostile records too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from data_sources.contract import Contract
from data_sources.decode.json_lines import decode_json
from data_sources.decode.rejects import Decoded
from data_sources.records import lines, messages
from tests.data_sources.decode import test_json_lines as plain
from tests.data_sources.decode.cases import FIELDS, contract, fate, fates

AT = {"name": "at", "type": "timestamp"}


def feed(*fields: dict[str, Any], **more: Any) -> Contract:
    return contract("json", [{"name": "id", "type": "string", "source": "n.id"}, *fields], **more)


def decode(records: list[Any], contract: Contract, constants: dict[str, str | None] | None = None) -> Decoded:
    raw = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    return decode_json(messages(raw, range(1, len(raw) + 1), [0] * len(raw)), contract, constants)


def one(record: Any, contract: Contract, constants: dict[str, str | None] | None = None) -> dict[str, str]:
    decoded = decode([record], contract, constants)
    rejects = decoded.rejecting.table().to_pylist()
    if rejects:
        return {"reject": rejects[0]["rule"], "reason": rejects[0]["reason"]}
    return {name: str(value) for name, value in decoded.rows.to_pylist()[0].items()}


BASE = {"n": {"id": "x"}, "at": "2025-01-01"}


def test_a_path_leads_into_the_record_and_what_nobody_reads_stays() -> None:
    deep = feed(
        AT,
        {"name": "w", "type": "float64", "source": "power.solar.w"},
        {"name": "p", "type": "float64", "source": "$.power.pf"},
    )
    row = one({**BASE, "power": {"solar": {"w": 5, "v": 230}, "pf": 0.9}, "note": [1]}, deep)
    assert (row["w"], row["p"], row["_extra"]) == ("5.0", "0.9", '{"note": [1], "power": {"solar": {"v": 230}}}')
    assert one({**BASE, "power": {"solar": {"w": 5}}}, deep)["_extra"] == "None"
    assert one({**BASE, "power.solar.w": 7, "power": {"solar": {"w": 5}}}, deep)["w"] == "7.0"  # literally
    for nowhere in ({}, {"power": 1}, {"power": None}, {"power": {"solar": [1]}}, {"power": {"solar.w": 1}}):
        assert one({**BASE, **nowhere}, deep)["w"] == "None"
    assert "does not" not in one({**BASE, "power": {"solar": {"w": "5"}}}, deep)["reason"]
    assert one({**BASE, "power": {"solar": {"w": "5"}}}, deep)["reject"] == "type:w"


def test_joined_names_patterns_and_other_names() -> None:
    words = feed(
        {**AT, "source": ["n.day", "hour"], "format": "%Y-%m-%d %H"},
        {"name": "kwh", "type": "decimal(10,3)", "pattern": "([0-9.]+)", "aliases": ["Verbrauch", "n.k"]},
        {"name": "note", "type": "string", "source": ["a", "b"]},
    )
    row = one({"n": {"id": "x", "day": "2025-01-01", "k": "no"}, "hour": 24, "Verbrauch": "$0.12"}, words)
    assert (row["at"], row["kwh"], row["note"]) == ("2025-01-02 00:00:00+00:00", "0.120", "None")
    row = one({"n": {"id": "x", "day": "2025-01-01", "k": 0.10}, "hour": "07", "b": True}, words)
    assert (row["kwh"], row["note"]) == ("0.100", "true")
    assert one({"n": {"id": "x", "day": "2025-01-01"}}, words)["reason"] == "at is missing: the record has no 'hour'"
    assert one({"n": {"id": "x", "day": "2025-01-01"}, "hour": None}, words)["reason"] == "at is null"
    assert one({"n": {"id": "x", "day": "2025-01-01"}, "hour": [1]}, words)["reject"] == "type:at"
    assert one({"n": {"id": "x", "day": "2025-01-01"}, "hour": 1, "kwh": "none"}, words)["reject"] == "pattern:kwh"
    assert one({"n": {"id": "x", "day": "2025-01-01"}, "hour": 1, "kwh": {"v": 1}}, words)["reject"] == "type:kwh"


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("epoch_s", "1735686000", "2024-12-31 23:00:00+00:00"),
        ("epoch_s", '"1735686000"', "2024-12-31 23:00:00+00:00"),
        ("epoch_s", "1735686000.123456", "2024-12-31 23:00:00.123456+00:00"),
        ("epoch_s", "1.735686E9", "2024-12-31 23:00:00+00:00"),
        ("epoch_ms", "1735686000123", "2024-12-31 23:00:00.123000+00:00"),
        ("epoch_us", "9007199254740993", "2255-06-05 23:47:34.740993+00:00"),
        ("epoch_ns", "1735686000123456789", "2024-12-31 23:00:00.123456+00:00"),
        ("epoch_s", "1735686000000", "reject"),
        ("epoch_s", '"soon"', "reject"),
        ("epoch_s", "true", "reject"),
        ("epoch_s", "[1]", "reject"),
        ("epoch_s", "null", "reject"),
    ],
)
def test_counts_from_1970(unit: str, value: str, expected: str) -> None:
    found = one(b'{"n": {"id": "x"}, "at": %s}' % value.encode(), feed({**AT, "format": unit}))
    assert found.get("at", "reject") == expected


def test_a_number_for_a_time_says_what_to_write() -> None:
    assert 'format = "epoch_s"' in one({"id": "x", "at": 1735686000}, contract("json", FIELDS[:2]))["reason"]


def test_a_record_becomes_several() -> None:
    words = feed(
        {**AT, "source": ["day", "slot"], "format": "%Y-%m-%d %H:%M"},
        {"name": "slot", "type": "string"},
        {"name": "kwh", "type": "float64"},
        unpivot={"columns": r"^\d\d:\d\d$", "into": ["slot", "kwh"]},
    )
    day = {"n": {"id": "x"}, "day": "2025-01-01", "00:00": 1.5, "note": "a", "00:30": None, "24:00": "2"}
    decoded = decode([day, {"n": {"id": "y"}}, b"[", {**day, "00:00": 2, "24:00": 3}], words)
    rows = decoded.rows.to_pylist()
    assert [(r["slot"], r["kwh"], r["_position"], r["_index"]) for r in rows] == [
        ("00:00", 1.5, 10003, 0), ("00:30", None, 10005, 1),
        ("00:00", 2.0, 40003, 5), ("00:30", None, 40005, 6), ("24:00", 3.0, 40006, 7)]  # fmt: skip
    assert {r["_extra"] for r in rows} == {'{"note": "a"}'} and rows[4]["at"].isoformat() == "2025-01-02T00:00:00+00:00"
    rejects = [(r["rule"], r["_position"], r["raw"][:12]) for r in decoded.rejecting.table().to_pylist()]
    assert rejects == [("type:kwh", 10006, b'{"n": {"id":'), ("columns", 20000, b'{"n": {"id":'), ("json", 30000, b"[")]
    assert decoded.parents is not None and decoded.parents.tolist() == [0, 0, 0, 1, 2, 3, 3, 3]


def test_constants_are_read_as_texts_and_stand_before_the_record() -> None:
    words = feed(
        {**AT, "source": ["day", "t"]},
        {"name": "day", "type": "date", "from_name": "(x)"},
        {"name": "site", "type": "int64", "source": "$.site"},
    )
    row = one({"n": {"id": "x"}, "t": "03:00", "site": 1}, words, {"day": "2025-01-01", "site": "7"})
    assert (row["at"], row["day"], row["site"]) == ("2025-01-01 03:00:00+00:00", "2025-01-01", "7")
    assert one({"n": {"id": "x"}, "t": "03:00"}, words, {"day": "2025-01-01", "site": "a"})["reject"] == "type:site"
    assert one({"n": {"id": "x"}, "t": "03:00", "site": 1}, words, {"day": "2025-01-01"})["site"] == "1"


WORDY = [{**field, "aliases": [f"other.{field['name']}"]} for field in FIELDS]


HOSTILE = {name: raw for name, (raw, _) in plain.HOSTILE.items() if name != "as long as may be"}
"""All but the record to the byte as long as may be: its flat form has other names and may be longer."""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_has_the_fate_it_has_without_words(name: str) -> None:
    raw = HOSTILE[name]
    expected = fate(decode_json(lines(raw + b"\n", 1), plain.CONTRACT), 1)
    assert fate(decode_json(lines(raw + b"\n", 1), contract("json", WORDY)), 1) == expected


def test_all_hostile_records_together_too() -> None:
    raw = list(HOSTILE.values())
    records = messages(raw, range(len(raw)), [0] * len(raw))
    assert fates(decode_json(records, contract("json", WORDY))) == fates(decode_json(records, plain.CONTRACT))
