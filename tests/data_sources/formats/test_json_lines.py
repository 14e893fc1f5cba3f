"""A file of JSON is an object a line; one that is a document is told so, with the path to its records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_sources.contract import Contract
from data_sources.sources import source_at
from tests.transforms.making import contract

FIELDS: list[dict[str, Any]] = [
    {"name": "at", "source": "interval_start", "type": "timestamp"},
    {"name": "kwh", "source": "usage.kwh", "type": "float64"},
]
FEED = contract(fields=FIELDS, windows=[], rules=[], dedup={"key": ["at"]})
RECORD = '{"interval_start": "2025-07-01T00:00Z", "usage": {"kwh": 0.25}}'


def problems(folder: Path, text: str, feed: Contract = FEED) -> list[str]:
    (folder / "a.json").write_text(text, encoding="utf-8")
    listing = source_at(str(folder)).plan(feed, {}, 100)
    assert len(listing.splits) + len(listing.problems) == 1
    return listing.problems


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"count": 1, "next": null, "results": [%s]}', "results"),
        ('{"count": 1, "next": null, "results": [%s]}\n', "results"),
        ('\ufeff{"site": {"id": 1}, "energy": {"values": [%s]}, "tags": ["a"]}\n\n', "energy.values"),
        ('{\n "site": {"id": 1},\n "energy": {"values": [%s]}}\n', "energy.values"),
        ('{"deep": {"deeper": [%s]},\n "near": [{"a": 1}]}', "near"),
    ],
)
def test_a_document_is_told_with_the_path_to_its_records(tmp_path: Path, text: str, path: str) -> None:
    (problem,) = problems(tmp_path, text % RECORD)
    assert "is one JSON document" in problem and f'records = "{path}"' in problem
    told = contract(fields=FIELDS, windows=[], rules=[], dedup={"key": ["at"]}, json={"records": path})
    assert problems(tmp_path, text % RECORD, told) == []


@pytest.mark.parametrize(
    "text",
    [
        RECORD,
        RECORD + "\n",
        '{"kwh": 1, "tags": [{"a": 1}]}\n',  # nothing the contract reads and yet no document: it has but that name
        '{"interval_start": null, "readings": [{"a": 1}]}\n',
        '{"usage": null, "readings": [{"a": 1}]}\n',
        '{"other": 1}\n',
        '{"other": [1, 2]}\n',
        '{"results": [{"a": 1}]}\n{"results": [{"a": 2}]}\n',
        '{"broken": [{"a": 1}\n' + RECORD + "\n",
    ],
)
def test_lines_are_taken_for_lines(tmp_path: Path, text: str) -> None:
    feed = contract(fields=[*FIELDS, {"name": "v", "source": "kwh", "type": "float64"}], windows=[], rules=[], dedup={"key": ["at"]})  # fmt: skip
    assert problems(tmp_path, text, feed) == []


def test_changes_may_come_in_envelopes(tmp_path: Path) -> None:
    feed = contract(
        fields=[*FIELDS, {"name": "op", "type": "int64"}], windows=[], rules=[],
        lake={"load": "cdc", "key": ["at"], "operation": "op", "sequence_by": ["at"]}, dedup={"key": ["at", "kwh", "op"]},
    )  # fmt: skip
    assert problems(tmp_path, '{"payload": {"op": "c", "after": {}}, "schema": {"fields": [{"a": 1}]}}\n', feed) == []
