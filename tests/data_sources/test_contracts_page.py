"""docs/contracts.md: its worked examples give the rows they show, and every word of a layout is on the page."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from data_sources.contract import CsvSpec, FieldSpec, UnpivotSpec, parse_contract
from data_sources.decode.csv_lines import decode_csv, header_names, split_csv
from data_sources.decode.json_lines import decode_json
from data_sources.records import lines

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "contracts.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Files as people have them")[2].partition("\n## ")[0]
EXAMPLE = re.compile(r"```toml\n(.*?)```\n```(csv|json)\n(.*?)```\n```json\n(.*?)```", re.S)
EXAMPLES = EXAMPLE.findall(SECTION)


@pytest.mark.parametrize("n", range(len(EXAMPLES)))
def test_an_example_gives_the_rows_it_shows(n: int) -> None:
    words, form, text, shown = EXAMPLES[n]
    given = {"name": "t", "format": form, "event_time": "at", "dedup": {"key": ["at"]}, **tomllib.loads(words)}
    contract = parse_contract(given, "docs/contracts.md")
    if form == "csv":
        head, _, body = text.partition("\n")
        records, _ = split_csv(body.encode(), 2, contract, True)
        decoded = decode_csv(records, contract, header_names(head.encode(), contract))
    else:
        decoded = decode_json(lines(text.encode(), 1), contract)
    fates: list[tuple[int, Any]] = [
        (row["_position"], [plain(row[field.name]) for field in contract.fields]) for row in decoded.rows.to_pylist()
    ]
    fates += [(reject["_position"], reject["rule"]) for reject in decoded.rejecting.table().to_pylist()]
    assert [fate for _, fate in sorted(fates, key=lambda found: found[0])] == json.loads(shown)


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return float(value) if isinstance(value, Decimal) else value


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6 and SECTION.count("```toml") == len(EXAMPLES)


def test_every_word_is_on_the_page() -> None:
    for model in (FieldSpec, CsvSpec, UnpivotSpec):
        assert {word for word in model.model_fields if word not in PAGE} <= {"from_preamble", "last_line", "sheet"}
