"""Commits and their parts as tests write them: what a test does not say is as plain as can be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from beam_grid.commit import FORMAT, Commit, Fates, PartitionStatistics
from data_sources.splits import FileEnd
from transforms.manifest import DELAY_BOUNDS_S, Kind, LandedFile


def commit(number: int = 1, feed: str = "f", **said: Any) -> Commit:
    plain: dict[str, Any] = {
        "format": FORMAT, "attempt": f"attempt-{number}", "created_at": datetime(2026, 1, 1, tzinfo=UTC), "now": 0,
        "contract": "", "source": "in", "runner": "direct", "shards": 1, "plan": (), "partitions": (), "fates": Fates(),
        "rejected_by": {}, "warned_by": {}, "delay_bounds_s": DELAY_BOUNDS_S, "delays": (), "watermark": None,
        "files": (), "problems": (),
    }  # fmt: skip
    return Commit(number=number, feed=feed, **(plain | said))


def partition(key: str, **said: Any) -> PartitionStatistics:
    plain: dict[str, Any] = {"read": 0, "late": 0, "rejected": 0, "landed": 0, "duplicates": 0}
    return PartitionStatistics(key=key, **(plain | said))


def file(kind: Kind, path: str, rows: int = 1, **said: Any) -> LandedFile:
    return LandedFile(kind=kind, path=path, rows=rows, **({"bytes": 1} | said))


def file_end(path: str, **said: Any) -> FileEnd:
    plain: dict[str, Any] = {"name": path.rsplit("/", 1)[-1], "offset": 0, "line": 1, "size": 0, "mtime": 0}
    return FileEnd(path=path, **(plain | said))
