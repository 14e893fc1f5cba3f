"""A look into the landing zone: rejects, late rows, conflicts, commits, and where rows came from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_grid.errors import GridError
from beam_grid.landing import FeedLog, Lake

WHAT = ("rejected", "late", "conflicts", "commits", "lineage")


def inspect(lake: Lake, what: str, feed: str | None = None) -> pa.Table:
    """One row a record (rejected, late, conflicts), a commit, or a part of a source read (lineage)."""
    if feed is not None and feed not in lake.feeds:
        raise GridError(
            f"feed {feed!r}: nothing of it has landed in {lake.path} (landed: {', '.join(lake.feeds) or 'none yet'})"
        )
    logs = [lake.feed(name) for name in ([feed] if feed else lake.feeds)]
    if what == "commits":
        return pa.Table.from_pylist([_commit_row(commit) for log in logs for commit in log.commits()])
    if what == "lineage":
        return pa.Table.from_pylist([row for log in logs for commit in log.commits() for row in _lineage_rows(commit)])
    tables = [table for log in logs for table in _records(log, what)]
    if not tables:
        return pa.table({"feed": pa.array([], pa.string())})
    return pa.concat_tables(tables, promote_options="permissive")


def _records(log: FeedLog, kind: str) -> list[pa.Table]:
    found = []
    for commit in log.commits():
        for entry in commit["files"]:
            if entry["kind"] == kind and entry["rows"]:
                table = pq.read_table(log.path / entry["path"])
                found.append(table.add_column(0, "feed", pa.repeat(log.name, table.num_rows)))
    return found


def _commit_row(commit: dict[str, Any]) -> dict[str, Any]:
    return {
        "feed": commit["feed"],
        "commit": commit["commit"],
        "created_at": commit["created_at"],
        "source": commit["source"],
        "runner": commit["runner"],
        **commit["fates"],
        "watermark": _time(commit["watermark"]),
        "files": len(commit["files"]),
        "bytes": sum(entry["bytes"] for entry in commit["files"]),
        "problems": "; ".join(commit["problems"]) or None,
    }


def _lineage_rows(commit: dict[str, Any]) -> list[dict[str, Any]]:
    """What of each source a commit read: lines, rows or offsets [from, to)."""
    rows = []
    ends = {
        end.get("path") or f"{end['topic']}/{end['partition']}": end for p in commit["partitions"] for end in p["ends"]
    }
    for partition in commit["plan"]:
        for part in partition["parts"]:
            if "late" in part:
                came = f"late rows of commit {part['commit']}"
                rows.append(
                    {
                        "feed": commit["feed"],
                        "commit": commit["commit"],
                        "source": came,
                        "path": None,
                        "partition": None,
                        "from": 0,
                        "to": part["rows"],
                    }
                )
                continue
            key = part.get("path") or f"{part['topic']}/{part['partition']}"
            end = ends.get(key, {})
            rows.append(
                {
                    "feed": commit["feed"],
                    "commit": commit["commit"],
                    "source": part.get("source") or part.get("name") or part["topic"],
                    "path": part.get("path"),
                    "partition": part.get("partition"),
                    "from": part["line"] if "path" in part else part["start"],
                    "to": end.get("line") if "path" in part else end.get("offset"),
                }
            )
    return rows


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1_000_000, UTC)
