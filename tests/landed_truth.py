"""A run on generated files, counted in the words of truth.json, so that a generator's promise can be compared with it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from beam_grid.feeds import built_in
from beam_grid.inspect import inspect
from beam_grid.land import SLICE_ROWS
from beam_grid.landing import Lake
from beam_grid.ledger import ledger
from tests.properties.oracle import run

NOW = 1_767_225_600_000_000
"""2026-01-01, microseconds since the epoch."""


def truth_of(out: Path, feed: str) -> dict[str, Any]:
    """What the generator says a run must count."""
    return json.loads((out / "truth.json").read_text())[feed]


def landed_truth(out: Path, feed: str, lake: Path, slice_rows: int = SLICE_ROWS) -> dict[str, Any]:
    """What a run over `out`, with the feed's own globs, did count; fails if a file was left out or the ledger is off."""
    done = run(lake, built_in()[feed], out, now=NOW, own_globs=True, slice_rows=slice_rows)
    assert done.problems == []
    opened = Lake.open(lake)
    (row,) = (r for r in ledger(opened).to_pylist() if r["feed"] == feed)
    assert row["balanced"], row
    causes = dict.fromkeys(("undecodable", "rule_broken", "from_the_future"), 0)
    if row["rejected"]:
        causes |= Counter(inspect(opened, "rejected", feed)["cause"].to_pylist())
    return {
        "read": row["read"],
        "rejected": row["rejected"],
        "late": row["late"],
        "landed - superseded": row["landed"] - row["superseded"],
        "duplicates + superseded": row["duplicates"] + row["superseded"],
        "conflicts": row["conflicts"],
        "rejected_by_cause": causes,
    }


def landed_rows(lake: Path, feed: str) -> list[dict[str, Any]]:
    """All rows that landed, superseded ones included."""
    log = Lake.open(lake).feed(feed)
    files = (file.path for commit in log.commits() for file in commit.listed("rows"))
    return [row for path in files for row in pq.read_table(log.path / path).to_pylist()]
