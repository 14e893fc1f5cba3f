"""What `contracts suggest` prints is what one adds to the contract, and then the fields are columns."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from beam_grid.errors import GridError
from beam_grid.landing import Lake
from beam_grid.suggest import lines, unknown_fields
from data_sources.contract import parse_contract
from tests.beam_grid.test_land_changes import run

FEED: dict[str, Any] = {
    "name": "plants", "format": "json", "event_time": "at", "dedup": {"key": ["id"]},
    "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "mw", "type": "float64"}],
}  # fmt: skip


def write(path: Path, *more: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = [{"id": f"{path.name}{n}", "at": "2025-06-15T10:00:00Z", "mw": 1, **m} for n, m in enumerate(more)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def test_types_counts_and_first_files(tmp_path: Path) -> None:
    source = tmp_path / "in"
    write(source / "a.json", {}, {"n": 1, "flag": True, "day": "2025-06-15"})
    write(source / "b.json", {"n": 2.5, "at2": "2025-06-15T10:00:00Z", "text": "x", "deep": {"a": 1}}, {"n": 2, "day": "2025-06-16"})  # fmt: skip
    write(source / "c.json", {"flag": None, "big": 2**62, "day": "2025-06-17", "odd name": 1, "mix": 1}, {"mix": "x", "MW": 3})  # fmt: skip
    contract = parse_contract(FEED, "tests")
    run(tmp_path / "lake", contract, source, slice_rows=3)
    lake = Lake.open(tmp_path / "lake")
    found = {u.name: (u.kind, u.rows, u.file) for u in unknown_fields(lake, "plants")}
    assert found == {
        "n": ("float64", 3, "a.json"), "flag": ("bool", 1, "a.json"), "day": ("date", 3, "a.json"),
        "at2": ("timestamp", 1, "b.json"), "text": ("string", 1, "b.json"), "deep": ("nested", 1, "b.json"),
        "big": ("int64", 1, "c.json"), "odd name": ("int64", 1, "c.json"), "mix": ("mixed", 2, "c.json"), "MW": ("int64", 1, "c.json"),
    }  # fmt: skip
    text = lines(lake.feed("plants").contract(), unknown_fields(lake, "plants"))
    added = tomllib.loads(text)
    assert added["version"] == "2" and all(f["since"] == "2" for f in added["fields"])
    assert {f.get("source", f["name"]) for f in added["fields"]} == set(found) - {"deep", "mix"}
    grown = parse_contract({**FEED, "version": added["version"], "fields": [*FEED["fields"], *added["fields"]]}, "tests")  # fmt: skip
    write(source / "d.json", {"n": 9.5, "odd name": 4, "MW": 5, "day": "2025-01-01"})
    assert run(tmp_path / "lake", grown, source).fates.landed == 1
    assert {u.name for u in unknown_fields(lake, "plants")} == set(found)  # what landed before stays where it is


def test_nothing_unknown_and_no_such_feed(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.json", {})
    run(tmp_path / "lake", parse_contract(FEED, "tests"), tmp_path / "in")
    lake = Lake.open(tmp_path / "lake")
    assert unknown_fields(lake, "plants") == [] and lines(lake.feed("plants").contract(), []) == ""
    with pytest.raises(GridError, match="landed: plants"):
        unknown_fields(lake, "plant")
