"""The words of an expectation: what is read, and what is said of a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_grid.feeds import built_in
from data_sources.contract import ContractError, load_contract
from data_sources.expectations import Expectation, parse_expectation
from data_sources.faces import markdown

HEAD = """
name = "bays"
format = "json"
event_time = "at"
dedup = { key = ["id"] }
fields = [{ name = "id", type = "string" }, { name = "at", type = "timestamp" }]
"""


@pytest.mark.parametrize(
    ("text", "kind", "columns", "feed", "to", "condition"),
    [
        ("unique(a, b)", "unique", ("a", "b"), None, (), None),
        (" not_null( a ) ", "not_null", ("a",), None, (), None),
        ("references(a, b) in things(c, d)", "references", ("a", "b"), "things", ("c", "d"), None),
        ("check(a > (b + 1) * 2)", "check", (), None, (), "a > (b + 1) * 2"),
    ],
)
def test_each_kind_is_read(
    text: str, kind: str, columns: tuple[str, ...], feed: str | None, to: tuple[str, ...], condition: str | None
) -> None:
    assert parse_expectation("E", text, "warn") == Expectation("E", text, kind, columns, "warn", feed, to, condition)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("uniqe(a)", "is not an expectation; write unique"),
        ("unique", "is not an expectation"),
        ("unique()", "names no column"),
        ("references(a)", "a reference is written"),
        ("unique(a) in things(b)", "only it has an `in`"),
        ("references(a, b) in things(c)", "2 columns refer to 1"),
        ("references(a) in Things; DROP(c)", "a reference is written"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_expectation("E", text, "warn")


def test_which_of_two_equal_keys_to_drop_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="which of two equal keys to drop"):
        parse_expectation("E", "unique(a)", "drop")


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        ('{ id = "E", expect = "unique(idd)" }', "expectation 'E': there is no field 'idd' (did you mean 'id'?)"),
        ('{ id = "E", expect = "check(id > 1)" }', "is a rule"),
        ('{ id = "E", expect = "unique(id)", on_fail = "drop" }', "'drop' is not one of 'warn' or 'fail'"),
        ('{ id = "E", expects = "unique(id)" }', "unknown word (did you mean 'expect'?)"),
        ('{ id = "E", expect = "not_null(id)" }, { id = "E", expect = "unique(id)" }', "declared twice"),
    ],
)
def test_a_contract_says_what_is_wrong_with_its_own(tmp_path: Path, expectation: str, said: str) -> None:
    path = tmp_path / "bays.toml"
    path.write_text(f"{HEAD}expectations = [{expectation}]\n")
    with pytest.raises(ContractError) as caught:
        load_contract(path)
    assert said in str(caught.value)
    assert "bays.toml" in str(caught.value)


def test_they_are_shown_with_the_contract() -> None:
    shown = markdown(built_in()["smart_meter_readings"])
    assert "| SM-E2 | `references(customer_id) in customers(customer_id)` | warn |" in shown


def test_built_in_references_name_fields_that_are_there() -> None:
    known = built_in()
    for contract in known.values():
        for one in contract.expectations:
            if one.parsed.feed:
                assert set(one.parsed.to) <= set(known[one.parsed.feed].schema.names), (contract.name, one.id)
