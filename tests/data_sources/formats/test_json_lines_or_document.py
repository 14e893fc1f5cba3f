"""A file of JSON lines whose first line is broken is not taken for a document, nor a document for lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_sources.formats import format_of
from data_sources.sources.files import plan_files
from data_sources.sources.finding import find_files
from tests.data_sources.decode.cases import contract

GOOD = '{"id": "a", "at": "2025-06-15T12:00:00Z"}'
TORN = ['{"id": "a"', '{"id": 7', '{"id": "a",', '{"id": ', '{"id', '{"id": {"x": 1', "[1]", "[1", '["x"', "[]"]


def told(folder: Path, text: str) -> tuple[int, list[str]]:
    """Lines that a slice would read, and what a person is told."""
    (folder / "a.json").write_text(text)
    feed = contract("json")
    assert format_of(feed).grows
    listing = plan_files(find_files(str(folder), feed, own_globs=False), {}, feed, 10**6)
    return sum(split.rows for split in listing.splits), listing.problems


@pytest.mark.parametrize("torn", TORN)
@pytest.mark.parametrize("good", [1, 2, 3])
def test_a_broken_first_line_is_a_broken_record(tmp_path: Path, torn: str, good: int) -> None:
    assert told(tmp_path, "\n".join([torn, *[GOOD] * good, ""])) == (good + 1, [])


@pytest.mark.parametrize(
    "text",
    [
        f"[{GOOD},\n{GOOD}]\n",
        f"[\n{GOOD},\n{GOOD}\n]",
        f"[\n{GOOD}\n]\n",
        f"[{GOOD}, {GOOD}]",
        f'{{"data": [\n{GOOD},\n{GOOD}\n]}}\n',
        f'{{"data": [\n{GOOD},\n{GOOD}',
        f"[\n{GOOD},\n{GOOD}",
        '{\n  "id": "a",\n  "data": [\n    {"x": 1}\n  ]\n}\n',
        f"\ufeff[{GOOD},\n{GOOD}]\n",
    ],
)
def test_a_document_is_told(tmp_path: Path, text: str) -> None:
    rows, problems = told(tmp_path, text)
    assert rows == 0 and len(problems) == 1 and "not a JSON object a line" in problems[0]
