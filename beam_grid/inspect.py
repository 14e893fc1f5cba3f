"""A look into the landing zone: rejects, late rows, conflicts, commits, and where rows came from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from beam_grid import history, progress
from beam_grid.commit import Commit
from beam_grid.landing import FeedLog, Lake
from beam_grid.segments import LandedIndex
from data_sources.splits import FileEnd, FileSplit, KafkaSplit, LateSplit, RejectedSplit
from transforms.manifest import Kind

WHAT = ("rejected", "late", "conflicts", "commits", "lineage", "sets")


def inspect(lake: Lake, what: str, feed: str | None = None) -> pa.Table:
    """One row a record (rejected, late, conflicts), a commit, a part of a source read (lineage), or a version set."""
    if what == "sets":
        return _sets(lake, feed)
    logs = [lake.landed(feed)] if feed is not None else [lake.feed(name) for name in lake.feeds]
    if what == "commits":
        return pa.Table.from_pylist([_commit_row(line) for log in logs for line in history.read(log)])
    if what == "lineage":
        return pa.Table.from_pylist([row for log in logs for commit in log.commits() for row in _lineage_rows(commit)])
    tables = [table for log in logs for table in _records(log, cast(Kind, what))]
    if not tables:
        return pa.table({"feed": pa.array([], pa.string())})
    return pa.concat_tables(tables, promote_options="permissive")


def _sets(lake: Lake, feed: str | None) -> pa.Table:
    """Newest first: of each set what it brought, what was done for it, and what that took."""
    of = [one for one in progress.newest_first(lake) if feed is None or feed in one.commits]
    seconds, count = pa.float64(), pa.int64()
    kinds = pa.schema(
        [("set", count), ("created_at", pa.string()), ("commits", pa.string()), ("land_s", seconds), ("publish_s", seconds),
         ("analyses_s", seconds), ("alerts_s", seconds), ("raised", count), ("delivered_s", seconds), ("steps", pa.string())]
    )  # fmt: skip
    return pa.Table.from_pylist([_set_row(one) for one in of], schema=kinds)


def _set_row(one: progress.SetProgress) -> dict[str, Any]:
    spans = {f: str(last) if first == last else f"{first}-{last}" for f, (first, last) in one.commits.items()}
    row = {
        word: getattr(one, word)
        for word in ("set", "land_s", "publish_s", "analyses_s", "alerts_s", "raised", "delivered_s")
    }
    return row | {
        "created_at": one.created_at.isoformat(),
        "commits": ", ".join(f"{name} {span}" for name, span in spans.items()) or None,
        "steps": ", ".join(f"{name} {took:g}" for name, took in one.seconds.items()) or None,
    }


def _records(log: FeedLog, kind: Kind) -> list[pa.Table]:
    gone: set[str] = set()
    if kind == "rejected":  # those left are in a later file
        gone = {path for line in history.read(log) for path in line.judged_again}
    found = []
    for file in LandedIndex(log).upto(log.last).files(kind):
        if file.path not in gone:
            table = pq.read_table(log.path / file.path)
            found.append(table.add_column(0, "feed", pa.repeat(log.name, table.num_rows)))
    return found


def _commit_row(line: history.Line) -> dict[str, Any]:
    return {
        "feed": line.feed,
        "commit": line.number,
        "created_at": line.created_at.isoformat(),
        "source": line.source,
        "runner": line.runner,
        **line.fates.by_name(),
        "watermark": _time(line.watermark),
        "files": line.files,
        "bytes": line.bytes,
        "problems": "; ".join(line.problems) or None,
    }


def _lineage_rows(commit: Commit) -> list[dict[str, Any]]:
    """What of each source a commit read: lines, rows or offsets [from, to)."""
    ends = {end.key: end for partition in commit.partitions for end in partition.ends}
    rows = []
    for split in (split for partition in commit.plan for split in partition.splits):
        row: dict[str, Any] = {
            "feed": commit.feed, "commit": commit.number, "source": None, "path": None, "partition": None,
        }  # fmt: skip
        end = ends.get(split.key)
        match split:
            case LateSplit():
                row |= {"source": f"late rows of commit {split.commit}", "from": 0, "to": split.rows}
            case RejectedSplit():
                row |= {"source": f"rejects of commit {split.commit}", "from": 0, "to": split.rows}
            case FileSplit():
                line = end.line if isinstance(end, FileEnd) else None
                row |= {"source": split.lineage, "path": split.path, "from": split.line, "to": line}
            case KafkaSplit():
                offset = None if end is None or isinstance(end, FileEnd) else end.offset
                row |= {"source": split.topic, "partition": split.partition, "from": split.start, "to": offset}
        rows.append(row)
    return rows


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1_000_000, UTC)
