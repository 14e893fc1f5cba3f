"""Stories: each folder's name is a sentence, `given/` what arrives, `then/` what must be there, `#why` says why.

    given/1_name.csv, given/2_name.csv   run after run, in the order of their names; columns as the contract's fields,
                                         and `raw` instead of them for a line as it is
    then/rows.csv, late.csv, rejected.csv, superseded.csv, conflicts.csv, windows.csv   as sets; columns may be left out
    then/fates.csv                       the counts over all runs
    contract.toml                        the feed; options.json: options of the runs, where they matter

A file under then/ that is missing claims nothing, but a story claims at least two things. After each run the tables
are brought up to date, in process; rows and windows are those of the tables (of the contract's first window).
"""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from beam_grid.commit import Fates
from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.refine import refine
from data_sources.contract import Contract, load_contract
from tests.properties.oracle import run

HERE = Path(__file__).parent
STORIES = sorted(p.name for p in HERE.iterdir() if (p / "given").is_dir())
NUMBERS = ("int64", "float64")


@pytest.mark.parametrize("story", STORIES)
def test_story(story: str, tmp_path: Path) -> None:
    folder = HERE / story
    feed = load_contract(folder / "contract.toml")
    options = json.loads((folder / "options.json").read_text()) if (folder / "options.json").exists() else {}
    if "now" in options:
        options["now"] = int(datetime.fromisoformat(options["now"]).timestamp() * 1e6)
    fates = Fates()
    for arriving in sorted((folder / "given").glob("*.csv")):
        lines = [_line(row, feed) for row in _rows(arriving)]
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{arriving.stem}.json").write_text("".join(line + "\n" for line in lines))
        done = run(tmp_path / "lake", feed, tmp_path / "in", **options)
        assert done.fates.read == len(lines), "the story was told"
        refine(Lake.open(tmp_path / "lake"), engine="embedded")
        fates += done.fates
    held = _held(Lake.open(tmp_path / "lake"), feed)
    claims = 0
    for then in sorted((folder / "then").glob("*.csv")):
        claims += 1
        wanted = _rows(then)
        found = [{k: str(v) for k, v in fates.by_name().items()}] if then.stem == "fates" else held[then.stem]
        columns = list(wanted[0]) if wanted else _columns(then)
        assert _set(found, columns) == _set(wanted, columns), then.name
    assert claims >= 2


def test_there_are_stories_and_each_says_why() -> None:
    assert len(STORIES) >= 8
    for story in STORIES:
        for file in (HERE / story).rglob("*.csv"):
            assert "#why" in file.read_text().splitlines()[0], file
        assert any("#why" in row and row["#why"] for file in (HERE / story).rglob("*.csv") for row in _raw(file)), story


def _raw(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def _rows(file: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "#why"} for row in _raw(file)]


def _columns(file: Path) -> list[str]:
    return [c for c in file.read_text().splitlines()[0].split(",") if c != "#why"]


def _line(row: dict[str, str], feed: Contract) -> str:
    if row.get("raw"):
        return row["raw"]
    record: dict[str, Any] = {}
    for field in feed.fields:
        text = row.get(field.name, "")
        record[field.name] = None if text == "" else json.loads(text) if field.type in NUMBERS else text
    return json.dumps(record)


def _held(lake: Lake, feed: Contract) -> dict[str, list[dict[str, Any]]]:
    log = lake.feed(feed.name)
    held: dict[str, list[dict[str, Any]]] = {k: [] for k in ("late", "rejected", "superseded", "conflicts")}
    for commit in log.commits():
        for entry in commit.files:
            if entry.kind in held:
                held[entry.kind] += pq.read_table(log.path / entry.path).to_pylist()
    held["rows"] = query(lake, f"SELECT * FROM silver.{feed.name}").to_pylist()
    held["windows"] = query(lake, f"SELECT * FROM gold.{feed.windows[0].name}").to_pylist()
    return held


def _set(rows: list[dict[str, Any]], columns: list[str]) -> list[tuple[str, ...]]:
    return sorted(tuple(_text(row[c]) for c in columns) for row in rows)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, str) and value.replace(".", "", 1).replace("-", "", 1).isdigit():
        return f"{float(value):.12g}"
    return str(value)
