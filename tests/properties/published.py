"""What the tables say, in the oracle's words: silver, the windows and bronze, read through `query` as a user reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.refine import refine
from data_sources.contract import Contract
from tests.properties.oracle import as_sorted, assert_same_windows


def assert_published(lake: Path, feed: Contract, wanted: dict[str, Any]) -> None:
    """The tables are the oracle's, and they are again once they were deleted and made anew."""
    opened = Lake.open(lake)
    if not opened.feeds:  # nothing was ever read
        return
    refine(opened)
    assert_tables(opened, feed, wanted)
    shutil.rmtree(lake / "tables")
    refine(opened)
    assert_tables(opened, feed, wanted)


def assert_tables(lake: Lake, feed: Contract, wanted: dict[str, Any]) -> None:
    names = ", ".join(f'"{f.name}"' for f in feed.fields)
    assert _rows(lake, f"SELECT {names} FROM silver.{feed.name}") == wanted["rows"]
    for window in feed.windows:
        columns = ", ".join(f'"{name}"' for name in [*window.by, "window_start", *window.measures])
        rows = _rows(lake, f"SELECT {columns} FROM gold.{window.name}")
        keys = len(window.by) + 1
        found = {row[:keys]: row[keys:] for row in rows}
        assert len(found) == len(rows), "a window stands in the table once"
        assert_same_windows(found, wanted["windows"])
    rejected = _rows(lake, "SELECT _source, _position, cause, raw_text FROM bronze.rejected")
    assert rejected == wanted["rejected"]
    late = query(lake, "SELECT _source, _position, record FROM bronze.late").to_pylist()
    assert as_sorted((r["_source"], r["_position"], json.loads(r["record"])["id"]) for r in late) == wanted["late_at"]
    (conflicts,) = _rows(lake, "SELECT count(*) FROM bronze.conflicts WHERE counted")
    assert conflicts == (wanted["counts"]["conflicts"],)


def _rows(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    table = query(lake, sql)
    columns = [column.to_pylist() for column in table.columns]
    return as_sorted(zip(*columns, strict=True))
