"""Stories: each folder's name is a sentence, `given/` what arrives, `then/` what must be there, `#why` says why.

    given/1_name.csv, given/2_name.csv   run after run, in the order of their names; columns as the contract's fields,
                                         and `raw` instead of them for a line as it is
    then/rows.csv, late.csv, rejected.csv, superseded.csv, conflicts.csv, windows.csv   as sets; columns may be left out
    then/fates.csv                       the counts over all runs
    contract.toml                        the feed; options.json: options of the runs, where they matter

A file under then/ that is missing claims nothing, but a story claims at least two things. Windows are those of the
first window of the contract, sliding ones put together from their tiles.
"""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_grid.commit import Fates
from beam_grid.landing import Lake
from data_sources.contract import Contract, load_contract
from tests.properties.oracle import run
from transforms.tiles import merge_tiles, tile_rows

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
    tables: dict[str, list[pa.Table]] = {k: [] for k in ("rows", "late", "rejected", "superseded", "conflicts")}
    for commit in log.commits():
        for entry in commit.files:
            if entry.kind in tables:
                tables[entry.kind].append(pq.read_table(log.path / entry.path))
    held = {k: [row for t in found for row in t.to_pylist()] for k, found in tables.items()}
    gone = {(r["_commit"], r["_source"], r["_position"]) for r in held["superseded"]}
    everything = pa.concat_tables(tables["rows"])
    stays = [(r["_commit"], r["_source"], r["_position"]) not in gone for r in everything.to_pylist()]
    current = everything.filter(pa.array(stays))
    held["rows"] = current.to_pylist()
    held["windows"] = _windows(current, feed)
    return held


def _windows(current: pa.Table, feed: Contract) -> list[dict[str, Any]]:
    """Windows from tiles of cells: each is the merge of the cells it covers."""
    window = feed.windows[0]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    at = current.column_names.index("_commit")
    tiles = tile_rows(current.set_column(at, "_commit", pa.array([0] * current.num_rows, pa.int64())), feed, window)
    cell_column = tiles.column_names.index("_cell")
    out = []
    starts = set()
    for cell in set(tiles["_cell"].to_pylist()):
        first = epoch + window.offset + (cell - window.size - epoch - window.offset) // window.step * window.step
        while first <= cell:
            if first + window.size > cell:
                starts.add(first)
            first += window.step
    for start in sorted(starts):
        inside = tiles.filter(pa.array([start <= c < start + window.size for c in tiles["_cell"].to_pylist()]))
        whole = inside.set_column(cell_column, "_cell", pa.array([start] * inside.num_rows, pa.timestamp("us", "UTC")))
        for tile in merge_tiles(whole, feed, window).to_pylist():
            out.append({**tile, "window_start": start, "window_end": start + window.size})
    assert all(w["window_end"] - w["window_start"] == window.size > timedelta(0) for w in out)
    return out


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
