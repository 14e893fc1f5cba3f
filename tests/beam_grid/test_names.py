"""Fields called as our own SQL may call something: they mean what they mean under any other name."""

from __future__ import annotations

import json
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.trace import trace
from beam_grid.optimize.propose import optimize
from data_sources.contract import Contract, parse_contract
from tests.beam_grid.growing import Feed, Row

START = datetime(2026, 3, 2, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
NAMES = [
    *string.ascii_lowercase,
    "at",
    "row",
    "rows",
    "high",
    "low",
    "edits",
    "every",
    "newest",
    "merged",
    "touched",
    "landed",
]


def contract(roles: tuple[str, str, str, str]) -> Contract:
    """time, series, value and key are called as in `roles`; all other names are texts."""
    time, series, value, key = roles
    kinds = {time: "timestamp", value: "float64", key: "int64", "version": "int64"}
    kinds |= {name: "string" for name in [series, *NAMES] if name not in kinds}
    texts = [name for name, kind in kinds.items() if kind == "string"]
    measures = {"total": f"sum({value})", "spread": f"stddev({value})", "latest": f"last({texts[0]})"}
    columns = {
        "total": f"sum({value}) over 4 rows",
        "few": f"count_if({series} = 'a') over 1h",
        "twice": "2 * total",
        "days": f"count({value}) over history",
    }
    return parse_contract(
        {
            "name": "f", "format": "json", "event_time": time, "file_order": "name", "allowed_lateness": "1d",
            "dedup": {"key": [key], "keep": "latest", "order_by": ["version"]},
            "windows": [
                {"name": "sliding", "size": "1h", "every": "30m", "by": texts, "measures": measures},
                {"name": "hourly", "size": "1h", "by": [key], "measures": dict.fromkeys(texts, "count()")},
            ],
            "detections": [{"name": "scores", "series": series, "values": [value], "detectors": ["median_mad"]}],
            "features": [{"name": "told", "series": series, "columns": columns}],
            "vee": [
                {"name": "whole", "series": series, "value": value, "interval": "15m", "checks": [{"kind": "gap", "estimate": True}]}
            ],
            "now": {"name": "newest_of_each", "sensor": series, "values": [value], "silent_after": "1h"},
            "fields": [{"name": name, "type": kind} for name, kind in kinds.items()],
        },
        "the test",
    )  # fmt: skip


@pytest.mark.parametrize("roles", [("t", "g", "n", "k"), ("n", "r", "v", "s")])
def test_short_names(roles: tuple[str, str, str, str], tmp_path: Path) -> None:
    """Landed and published three times; the second has a reading that comes late, the third supersedes one."""
    time, _, value, key = roles
    feed = Feed(tmp_path, contract(roles))
    texts = {field.name: "a" for field in feed.feed.fields if field.type == "string"}

    def reading(number: int, quarter: int, version: int = 0) -> Row:
        at = (START + quarter * QUARTER).isoformat()
        return {**texts, time: at, value: float(number), key: number, "version": version}

    def asked(sql: str) -> list[list[Any]]:
        return [list(row.values()) for row in query(feed.lake, sql).to_pylist()]

    feed.add(reading(n, n) for n in (0, 1, 4, 5, 6))
    feed.add([reading(7, 7), reading(2, 2)])
    feed.add([reading(1, 3, version=1)])
    assert asked("SELECT total, revision FROM gold.sliding ORDER BY window_start") == [[0, 2], [3, 3], [12, 3], [22, 2], [13, 2]]  # fmt: skip
    (counted,) = asked(f"SELECT {', '.join(f'sum({name})' for name in texts)} FROM gold.hourly")
    assert counted == [7] * len(texts)
    assert asked(f"SELECT {key}, total, few, twice, days FROM gold.told ORDER BY {time}") == [
        [0, 0, 1, 0, 0], [2, 2, 2, 4, 0], [1, 3, 3, 6, 0], [4, 7, 4, 14, 0], [5, 12, 4, 24, 0], [6, 16, 5, 32, 0],
        [7, 22, 5, 44, 0],
    ]  # fmt: skip
    assert asked("SELECT count(*), sum(value) FROM gold.scores") == [[7, 25]]
    assert asked("SELECT value, status FROM gold.whole ORDER BY interval_start") == [
        [value, "estimated" if n == 1 else "valid"] for n, value in enumerate([0, 1, 2, 1, 4, 5, 6, 7])
    ]
    assert asked("SELECT * FROM gold.newest_of_each")[0][4] == 7
    assert optimize(feed.lake.feed("f"), 0.5).records == 8


def test_conflicts_and_lineage_of_short_names(tmp_path: Path) -> None:
    kinds = {"id": "string", "at": "date", "rows": "string", "low": "date", "high": "string"}
    window = {"name": "daily", "calendar": "day", "time_zone": "Europe/Berlin", "by": ["low", "high"]}
    of = {
        "name": "f", "format": "json", "event_time": "at", "dedup": {"key": ["id"]},
        "windows": [{**window, "measures": {"n": "count()"}}],
        "fields": [{"name": name, "type": kind} for name, kind in kinds.items()],
    }  # fmt: skip
    feed = Feed(tmp_path, parse_contract(of, "the test"))
    row = {"id": "1", "at": "2026-03-02", "rows": "a", "low": "2026-01-01", "high": "h"}
    feed.add([row, {**row, "rows": "b"}])
    (conflict,) = query(feed.lake, "SELECT kept FROM bronze.conflicts").to_pylist()
    assert json.loads(conflict["kept"]) == row
    assert [row["positions"] for row in trace(feed.lake, "gold.daily").to_pylist()] == ["1"]
