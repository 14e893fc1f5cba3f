"""Questions of a contract: a value that begins with ? is refused with what is asked, wherever one may stand."""

from __future__ import annotations

from typing import Any

import pytest

from data_sources.contract import ContractError, parse_contract

FIELDS: list[dict[str, Any]] = [{"name": "at", "type": "timestamp"}, {"name": "kwh", "type": "float64"}]


def contract(form: str = "csv", **words: Any) -> dict[str, Any]:
    return {"name": "f", "format": form, "event_time": "at", "dedup": {"key": ["at"]}, "fields": FIELDS} | words


def field(**words: Any) -> dict[str, Any]:
    return contract(fields=[{**FIELDS[0], **words}, FIELDS[1]])


@pytest.mark.parametrize(
    ("raw", "asked"),
    [
        (field(time_zone="?"), "field 'at', time_zone: is a question still: which clock"),
        (field(format="? %d/%m/%Y or %m/%d/%Y"), r"field 'at', format: .*\(%d/%m/%Y or %m/%d/%Y\)"),
        (field(type="?"), "field 'at', type: is a question still: what is it"),
        (field(on_dst="?"), "field 'at', on_dst: is a question still: which of two"),
        (contract(event_time="?"), "event_time: is a question still: which field"),
        (contract(dedup={"key": ["at", "? meter"]}), r"dedup.key: is a question still: .*\(meter\)"),
        (contract(csv={"decimal": "?"}), "csv.decimal: is a question still"),
        (contract(csv={"encoding": "?"}), "csv.encoding: is a question still"),
        (contract("json", json={"records": "?"}), "json.records: is a question still"),
        (contract("sqlite", sqlite={"table": "?"}), "sqlite.table: is a question still"),
        (contract("json", lake={"load": "cdc", "key": ["?"], "sequence_by": ["?"]}), "lake.sequence_by: is a question"),
    ],
)
def test_an_open_question_is_asked(raw: dict[str, Any], asked: str) -> None:
    with pytest.raises(ContractError, match=asked) as refused:
        parse_contract(raw, "c.toml")
    assert all(line.startswith("contract c.toml, ") for line in str(refused.value).splitlines())


def test_all_are_asked_at_once_and_a_question_mark_elsewhere_is_none() -> None:
    with pytest.raises(ContractError) as refused:
        parse_contract(field(time_zone="?", format="?"), "c.toml")
    assert len(str(refused.value).splitlines()) == 2
    found = parse_contract(contract(csv={"null": ["", "?"]}, description="? why"), "c.toml")
    assert found.csv.nulls == ["", "?"]


@pytest.mark.parametrize(
    "raw", [{"fields": 3}, {"fields": [3]}, {"dedup": 1, "lake": []}, {"csv": "?"}, {"dedup": {"key": "?"}}]
)
def test_what_is_no_contract_is_refused_as_ever(raw: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        parse_contract(contract() | raw, "c.toml")
