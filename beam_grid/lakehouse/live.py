"""What a Delta table's log says: its live files with size, rows, bounds and cube, and who changed it. Without Spark.

    _delta_log   N.checkpoint.parquet ─► files live at N
                 N+1.json, N+2.json   ─► + add, - remove ─► files live now

A *cube* (Delta's ZCUBE_ID tag) is the set of files that one OPTIMIZE sorted together by the cluster columns; a file
without one is not clustered. delta-rs reads the same log but does not tell the tags.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from beam_grid.errors import GridError


@dataclass(frozen=True)
class LiveFile:
    """One data file: `rows` as written and how many of them are `deleted` since, both None where nobody counted."""

    path: str
    bytes: int
    cube: str | None = None
    rows: int | None = None
    deleted: int = 0
    least: dict[str, Any] = field(default_factory=dict)
    greatest: dict[str, Any] = field(default_factory=dict)
    nulls: dict[str, int] = field(default_factory=dict)

    @property
    def live_bytes(self) -> int:
        """Its size without the deleted rows' share: what Delta weighs a cube by."""
        return self.bytes * (self.rows - self.deleted) // self.rows if self.rows else self.bytes

    def is_bounded(self, column: str) -> bool:
        """Whether a query may skip the file by this column: least and greatest are known, or it is null throughout."""
        return (column in self.least and column in self.greatest) or (
            self.rows is not None and self.nulls.get(column) == self.rows
        )

    def may_hold(self, column: str, low: Any, high: Any) -> bool:
        """Whether a value from `low` to `high`, both inside, may be in the file; times are aware datetimes."""
        least, greatest = self.least.get(column), self.greatest.get(column)
        if least is None or greatest is None:
            return not self.is_bounded(column)
        if isinstance(low, datetime):
            least, greatest = datetime.fromisoformat(least), datetime.fromisoformat(greatest)
        return least <= high and low <= greatest


@dataclass(frozen=True)
class Live:
    """A table at its newest version; `log_files` counts the commits behind its newest checkpoint."""

    version: int
    files: list[LiveFile]
    cluster_by: list[str]
    log_files: int

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.files)


def live(table: Path) -> Live:
    """Read the log. Raises GridError for one that lacks a commit or has a checkpoint of a form not known here."""
    log = table / "_delta_log"
    start, adds = -1, {}
    clustering: list[str] = []
    if (last := log / "_last_checkpoint").exists():
        start = int(json.loads(last.read_text(encoding="utf-8"))["version"])
        for action in _checkpoint(log, start):
            adds.update(_added(action))
            clustering = _clustering(action, clustering)
    versions = sorted(int(p.stem) for p in log.glob("[0-9]*.json") if p.stem.isdigit() and int(p.stem) > start)
    if versions != list(range(start + 1, start + 1 + len(versions))):
        raise GridError(f"{table}: its log lacks a commit after {start}; move the table away and run refine")
    for version in versions:
        for action in commit(table, version):
            if gone := action.get("remove"):
                adds.pop(_identity(gone), None)
            adds.update(_added(action))
            clustering = _clustering(action, clustering)
    return Live(start + len(versions), list(adds.values()), clustering, len(versions))


def commit(table: Path, version: int) -> Iterator[dict[str, Any]]:
    """The actions of one version."""
    with (table / "_delta_log" / f"{version:020d}.json").open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _checkpoint(log: Path, version: int) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    wanted = {
        "add": ("path", "size", "tags", "stats", "deletionVector"),
        "domainMetadata": ("domain", "configuration"),
        "sidecar": ("path",),
    }
    columns = [f"{action}.{name}" for action, names in wanted.items() for name in names]
    parts = sorted(log.glob(f"{version:020d}.checkpoint*.parquet"))
    for part in parts:
        for batch in pq.ParquetFile(part).iter_batches(columns=columns):
            for action in batch.to_pylist():
                if action.get("sidecar"):
                    raise GridError(
                        f"{part}: a checkpoint with files beside it is not read here; "
                        "set the table's delta.checkpointPolicy to classic"
                    )
                yield action
    if not parts:
        raise GridError(f"{log}: its checkpoint {version} is missing; move the table away and run refine")


def _identity(action: dict[str, Any]) -> tuple[str, str]:
    vector = action.get("deletionVector") or {}
    return action["path"], f"{vector.get('storageType')}{vector.get('pathOrInlineDv')}@{vector.get('offset')}"


def _added(action: dict[str, Any]) -> dict[tuple[str, str], LiveFile]:
    add = action.get("add")
    if not add:
        return {}
    stats = json.loads(add.get("stats") or "{}")
    tags = dict(add.get("tags") or {})
    told = LiveFile(
        add["path"],
        add["size"],
        tags.get("ZCUBE_ID"),
        stats.get("numRecords"),
        (add.get("deletionVector") or {}).get("cardinality") or 0,
        stats.get("minValues") or {},
        stats.get("maxValues") or {},
        stats.get("nullCount") or {},
    )
    return {_identity(add): told}


def _clustering(action: dict[str, Any], before: list[str]) -> list[str]:
    """The cluster columns after the action; none where a replacement of the table's columns took them away."""
    said = action.get("domainMetadata")
    if not said or said.get("domain") != "delta.clustering":
        return before
    return [".".join(path) for path in json.loads(said["configuration"])["clusteringColumns"]]
