"""Elements of an array, cut out of a JSON text in blocks, are those that a JSON parser finds there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_sources.formats.json_scan import ScanError, Scanner

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["a", "b", 'q"', "x.y", "é", "\\"])


def scan(
    text: bytes, path: tuple[str, ...] | None, size: int = 1 << 20, wanted: Any = ()
) -> tuple[list[bytes], Scanner]:
    scanner, found = Scanner(path, wanted), []
    for at in range(0, len(text), size):
        found += scanner.feed(text[at : at + size])
    scanner.finish()
    return found, scanner


@given(
    st.lists(VALUES, max_size=4),
    st.lists(NAMES, max_size=3),
    st.integers(1, 7),
    st.sampled_from([None, 1, "\t"]),
    VALUES,
)
def test_elements_are_those_of_the_array(elements: Any, names: Any, size: int, indent: Any, beside: Any) -> None:
    document: Any = elements
    for name in reversed(names):
        document = {"before": beside, name: document, "after": [beside]}
    text = json.dumps(document, indent=indent, ensure_ascii=False).encode()
    found, scanner = scan(text, tuple(names), size)
    assert [json.loads(element) for element in found] == elements
    assert scanner.arrays == 1 and not any(b"\n" in element for element in found)


def test_names_lead_through_arrays_and_one_text_may_follow_another() -> None:
    text = b'{"series": [{"v": [1, 2]}, {"v": []}, {"w": [9], "v": [3]}]}\n{"series": [{"v": [4]}]}'
    assert scan(text, ("series", "v"), 5)[0] == [b"1", b"2", b"3", b"4"]


def test_values_of_the_root_are_kept_before_and_after_the_array() -> None:
    text = b'{"site": {"id": 7, "tags": ["x"]}, "values": [{"id": 1}], "unit": "kWh", "deep": [{"id": 8}]}'
    _, scanner = scan(text, ("values",), 3, {("site", "id"), ("unit",), ("deep", "id"), ("site", "tags")})
    assert scanner.values == {("site", "id"): b"7", ("unit",): b'"kWh"'}
    with pytest.raises(ScanError, match=r"two values at \$\.id"):
        scan(b'{"id": 1, "v": [1]} {"id": 2, "v": [1]}', ("v",), 99, {("id",)})


@pytest.mark.parametrize("end", range(1, 60))
def test_a_text_cut_in_half_is_told(end: int) -> None:
    text = b'{"energy": {"unit": "Wh", "values": [{"a": 1}, {"a": "]}"}]}, "x": 1}'
    assert end < len(text)
    with pytest.raises(ScanError):
        scan(text[:end], ("energy", "values"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"   ",
        b'"text"',
        b"[1, 2}",
        b'{"a": 1]',
        b"]",
        b'{"a": {"b" {}}}',
        b"{} , {}",
        b'{"a" 1 {"b": 2}}',
        b"hello",
    ],
)
def test_what_is_no_json_is_told(text: bytes) -> None:
    with pytest.raises(ScanError):
        scan(text, ())


def test_a_path_that_leads_nowhere_or_to_an_object() -> None:
    assert scan(b'{"a": {"b": 1}}', ("a", "c"))[1].arrays == 0
    assert scan(b'{"a": {"b": 1}}', ("a",))[1].led_to_object


def test_a_line_break_within_a_text_is_left_to_the_decoder() -> None:
    assert scan(b'[{"a": "x\ny"}, {"a":\n1}]', ())[0] == [b'{"a": "x\ny"}', b'{"a": 1}']
