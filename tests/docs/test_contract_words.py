"""docs/contracts.md: each example gives the rows that the page shows, and no word of a file's layout lacks one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_sources.contract import CsvSpec, FieldSpec, JsonSpec, UnpivotSpec, WindowSpec
from tests.docs.examples import Example, check, examples

ROOT = Path(__file__).parents[2]
EXAMPLES = examples(ROOT / "docs" / "contracts.md")
PLAIN = {"name", "type", "nullable", "unit", "since", "description"}
"""Words of a field that say nothing of how its value is read."""


@pytest.mark.parametrize("number", range(len(EXAMPLES)), ids=[f"{n}-{e.heading}" for n, e in enumerate(EXAMPLES)])
def test_example(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(EXAMPLES[number], tmp_path, capsys)


def test_each_word_has_an_example() -> None:
    wanted = {
        "files",
        *(f"csv.{word}" for word in CsvSpec.model_fields),
        *(f"json.{word}" for word in JsonSpec.model_fields),
        *(f"unpivot.{word}" for word in UnpivotSpec.model_fields),
        *(f"fields.{word}" for word in set(FieldSpec.model_fields) - PLAIN),
        *(f"windows.{word}" for word in WindowSpec.model_fields if word in ("calendar", "time_zone")),
    }
    assert wanted - {word for example in EXAMPLES for word in _words(example.words)} == set()


def test_each_value_has_an_example() -> None:
    fields = [field for example in EXAMPLES for field in example.words["fields"]]
    said = {word: {str(field[word]) for field in fields if word in field} for word in ("on_dst", "format", "source")}
    assert {"reject", "earlier", "later", "in_order", "elapsed"} <= said["on_dst"]
    assert {"epoch_s", "epoch_ms", "epoch_us", "epoch_ns"} <= said["format"]
    assert all(any(kind in text for text in said["source"]) for kind in ("[", "#2", "power.solar.w", "$."))
    csv = [example.words.get("csv", {}) for example in EXAMPLES]
    assert {"waits", "whole"} <= {spec.get("last_line") for spec in csv}
    assert {False, "Datum;"} <= {spec.get("header") for spec in csv}
    assert {"energy.values", "."} <= {example.words.get("json", {}).get("records") for example in EXAMPLES}


def _words(words: dict[str, Any], above: str = "") -> set[str]:
    """The words used, `table.word`."""
    found = set()
    for word, value in words.items():
        found.add(above + word)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict) and not above:
                found |= _words(part, f"{word}.")
    return found


def test_a_page_whose_example_says_no_rows_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('# A\n```toml common\nname = "a"\n```\n```csv a.csv\nat\n```\n```toml\n[csv]\n```\n# B\n')
    with pytest.raises(AssertionError, match="without its rows"):
        examples(page)


def test_a_wrong_reject_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rejecting: Example = next(example for example in EXAMPLES if example.rejects)
    rejecting = Example(
        rejecting.heading, rejecting.files, rejecting.contract, [], [], rejecting.columns, rejecting.rows
    )
    with pytest.raises(AssertionError):
        check(rejecting, tmp_path, capsys)
