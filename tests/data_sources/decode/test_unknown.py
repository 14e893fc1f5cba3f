"""Unknown fields: a block at a time they are what they are record by record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_sources.contract import parse_contract
from data_sources.decode import json_lines
from data_sources.decode.json_lines import decode_json
from data_sources.decode.strict import decode_extra
from data_sources.records import messages
from tests.conftest import examples

FEED = parse_contract(
    {
        "name": "f", "format": "json", "event_time": "at", "dedup": {"key": ["id"]},
        "fields": [{"name": "id", "type": "int64"}, {"name": "at", "type": "timestamp"}],
    },
    "tests",
)  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.integers(0, 5), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6), st.sampled_from(["2025-06-15", "2025-06-15T14:00:00Z", "2025-06-15 14:00", "12:00", "1.50", "true", "", '"\\', "\x7f\u2028"]),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.sampled_from("xy"), st.integers(), max_size=2),
)  # fmt: skip
NAMES = st.sampled_from(["a", "b", "with blank", 'quo"te', "quo'te", "ü", "_x"])


def encoded(rows: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps({"id": n, "at": "2025-01-01T00:00:00Z", **row}, ensure_ascii=False).encode() for n, row in enumerate(rows)]  # fmt: skip


def extras(raw: list[bytes]) -> list[str | None]:
    found = decode_json(messages(raw, range(len(raw)), [0] * len(raw)), FEED)
    assert not len(found.rejecting)
    return found.rows["_extra"].to_pylist()


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=8))
def test_a_block_gives_what_each_record_gives_alone(rows: list[dict[str, Any]]) -> None:
    raw = encoded(rows)
    for told, line in zip(extras(raw), raw, strict=True):
        expected = decode_extra(line, {"id", "at"})
        assert (told is None) == (expected is None)
        assert told == expected


@pytest.mark.parametrize(
    "values",
    [[1, 2], [1.5, 100.0, -0.0, 3, 1e-7, 0.1, 123456.789e-10], [True, None], ["x", 'q"\\/', "ünï"], ["2025-06-15T14:00:00.10Z", "2025-06-15 14:00:00"]],
)  # fmt: skip
def test_simple_values_take_the_fast_way_and_read_the_same(values: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    raw = encoded([{"b": v, "a": 1} for v in values])
    expected = [decode_extra(line, {"id", "at"}) for line in raw]

    def never(*_: Any) -> Any:
        raise AssertionError("record by record")

    monkeypatch.setattr(json_lines, "decode_extra", never)
    assert extras(raw) == expected
    assert extras(raw) == expected  # and once it is known which names hold text that looks like a time


def test_a_name_whose_kind_changes_from_block_to_block_is_kept() -> None:
    for value in ("2025-06-15T14:00:00Z", 7, "2025-06-15", [1], 2.5, "text"):
        assert extras(encoded([{"odd": value}])) == [json.dumps({"odd": value})]
