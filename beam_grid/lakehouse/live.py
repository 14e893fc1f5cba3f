"""What a Delta table's log says: its live files with size, rows, bounds and cube, and who changed it. Without Spark.

    _delta_log   N.checkpoint.parquet ─► files live at N
                 N+1.json, N+2.json   ─► + add, - remove ─► files live now

A *cube* (Delta's ZCUBE_ID tag) is the set of files that one OPTIMIZE sorted together by the cluster columns; a file
without one is not clustered. delta-rs reads the same log but does not tell the tags.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from beam_grid.errors import GridError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveFile:
    """One data file: `rows` as written and how many of them are `deleted` since, by `vector`; None where nobody
    counted."""

    path: str
    bytes: int
    cube: str | None = None
    rows: int | None = None
    deleted: int = 0
    least: dict[str, Any] = field(default_factory=dict)
    greatest: dict[str, Any] = field(default_factory=dict)
    nulls: dict[str, int] = field(default_factory=dict)
    vector: dict[str, Any] | None = None
    action: dict[str, Any] = field(default_factory=dict, repr=False)
    """The log's own words, for who takes the file out or gives it another vector."""

    @classmethod
    def of(cls, add: dict[str, Any]) -> LiveFile:
        """The file of an add action."""
        stats = json.loads(add.get("stats") or "{}")
        vector = add.get("deletionVector")
        return cls(
            unquote(add["path"]),
            add["size"],
            dict(add.get("tags") or {}).get("ZCUBE_ID"),
            stats.get("numRecords"),
            (vector or {}).get("cardinality") or 0,
            stats.get("minValues") or {},
            stats.get("maxValues") or {},
            stats.get("nullCount") or {},
            vector,
            add,
        )

    @property
    def tags(self) -> dict[str, str]:
        """What writers said of the file, by their own names."""
        return dict(self.action.get("tags") or {})

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
    """A table at one version; `log_files` counts the commits behind the newest checkpoint before it."""

    version: int
    files: list[LiveFile]
    cluster_by: list[str]
    log_files: int
    id: str = ""
    schema: str = ""
    """The columns as the log has them: JSON of Delta's struct type."""
    properties: dict[str, str] = field(default_factory=dict)
    transactions: dict[str, int] = field(default_factory=dict)
    """By transaction id the last version that it brought."""
    features: frozenset[str] = frozenset()
    """What a reader or writer of the table must know, beyond Delta's first version."""

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.files)


def newest_version(table: Path) -> int | None:
    """The newest version in the log; None where there is no table."""
    log = table / "_delta_log"
    if (known := _KNOWN.get(log)) is not None and known.mark == _mark(log, known.version):
        return _last_after(log, known.version)
    names = [entry.name for entry in os.scandir(log)] if log.is_dir() else []
    numbers = [
        int(name[:20]) for name in names if name[:20].isdigit() and (name[20:] == ".json" or ".checkpoint" in name)
    ]
    return max(numbers, default=None)


def live(table: Path, version: int | None = None) -> Live:
    """Read the log up to a version, the newest if none is given. Raises GridError for one that lacks a commit or has
    a checkpoint of a form not known here."""
    log = table / "_delta_log"
    start, summed_up, seen = _begun(log, version)
    seen_before = log in _KNOWN and _KNOWN[log].version == start
    if seen_before:  # a run that follows does not list a log that grows
        numbers = list(range(start + 1, _last_after(log, start, version) + 1))
    else:
        numbers = sorted(
            int(p[:20]) for p in os.listdir(log) if p[20:] == ".json" and p[:20].isdigit() and int(p[:20]) > start
        )
    if version is not None:
        numbers = [number for number in numbers if number <= version]
    last = start + len(numbers)
    if numbers != list(range(start + 1, last + 1)) or (version is not None and last != version):
        raise GridError(f"{table}: its log lacks a commit after {start}; move the table away and run refine")
    for number in numbers:
        for action in commit(table, number):
            seen.add(action)
    known = _KNOWN.get(log)
    if version is None or known is None or known.version < version or known.mark != _mark(log, known.version):
        _remember(log, last, summed_up, seen)
    return Live(
        last, list(seen.files.values()), seen.cluster_by, last - summed_up, seen.id, seen.schema, seen.properties,
        seen.transactions, frozenset(seen.features),
    )  # fmt: skip


def _begun(log: Path, version: int | None) -> tuple[int, int, _Replay]:
    """Where to begin: the version that is known already, the checkpoint behind it, and what the log comes to there."""
    known = _KNOWN.get(log)
    is_before = known is not None and (version is None or known.version <= version)
    if known is not None and is_before and known.mark == _mark(log, known.version):
        newest = _checkpoint_before(log, None) if version is None else known.summed_up
        return known.version, max(known.summed_up, newest), known.replay.copy()
    start, seen = _checkpoint_before(log, version), _Replay()
    while start >= 0:
        try:
            for action in _checkpoint(log, start):
                seen.add(action)
            break
        except (OSError, ValueError) as cause:  # a loss of power tore it; what it sums up may be there still
            logger.warning("%s: checkpoint %d cannot be read (%s), an earlier one is", log.parent, start, cause)
            start, seen = _checkpoint_before(log, start - 1), _Replay()
    return start, start, seen


class _Known(NamedTuple):
    """What this process read of a table: its log up to a version, which is still the same one where its file is."""

    version: int
    summed_up: int
    mark: tuple[int, int, int] | None
    replay: _Replay


_KNOWN: dict[Path, _Known] = {}
"""By log. A run that follows so reads each commit once; a process that asks once gains nothing and loses nothing."""


def _last_after(log: Path, version: int, most: int | None = None) -> int:
    """The newest version, of those up to `most`, where this one is there: they have no gap."""
    while version != most and (log / f"{version + 1:020d}.json").exists():
        version += 1
    return version


def _remember(log: Path, version: int, summed_up: int, seen: _Replay) -> None:
    if (mark := _mark(log, version)) is not None:
        _KNOWN[log] = _Known(version, summed_up, mark, seen.copy())


def _mark(log: Path, version: int) -> tuple[int, int, int] | None:
    try:
        found = os.stat(log / f"{version:020d}.json")
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class _Replay:
    """What the actions of a log come to, one after the other."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], LiveFile] = {}
        self.transactions: dict[str, int] = {}
        self.properties: dict[str, str] = {}
        self.features: set[str] = set()
        self.cluster_by: list[str] = []
        self.id = self.schema = ""

    def copy(self) -> _Replay:
        """The same, to be gone on with."""
        other = _Replay()
        other.files, other.transactions = dict(self.files), dict(self.transactions)
        other.properties, other.features, other.cluster_by = self.properties, self.features, self.cluster_by
        other.id, other.schema = self.id, self.schema
        return other

    def add(self, action: dict[str, Any]) -> None:
        if (gone := action.get("remove")) is not None:
            self.files.pop(_identity(gone), None)
        elif (add := action.get("add")) is not None:
            self.files[_identity(add)] = LiveFile.of(add)
        elif (txn := action.get("txn")) is not None:
            self.transactions[txn["appId"]] = txn["version"]
        elif (said := action.get("metaData")) is not None:
            self.id, self.schema = said["id"], said["schemaString"]
            self.properties = dict(said.get("configuration") or {})
        elif (protocol := action.get("protocol")) is not None:
            self.features = set(protocol.get("writerFeatures") or ()) | set(protocol.get("readerFeatures") or ())
            if protocol["minWriterVersion"] < 7:
                self.features = _features_of(protocol["minWriterVersion"])
        elif (domain := action.get("domainMetadata")) is not None and domain.get("domain") == "delta.clustering":
            named = json.loads(domain["configuration"])["clusteringColumns"]
            self.cluster_by = [] if domain.get("removed") else [".".join(path) for path in named]


def _features_of(writer_version: int) -> set[str]:
    """What the numbered versions of writers stood for, before features had names."""
    by_version = {
        2: ("appendOnly", "invariants"), 3: ("checkConstraints",), 4: ("changeDataFeed", "generatedColumns"),
        5: ("columnMapping",), 6: ("identityColumns",),
    }  # fmt: skip
    return {name for version, names in by_version.items() if version <= writer_version for name in names}


def commit(table: Path, version: int) -> Iterator[dict[str, Any]]:
    """The actions of one version."""
    with (table / "_delta_log" / f"{version:020d}.json").open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def checkpoints(log: Path) -> list[int]:
    """The versions that a checkpoint sums up, in order."""
    return sorted({int(p.name[:20]) for p in log.glob("*.checkpoint*.parquet") if p.name[:20].isdigit()})


def _checkpoint_before(log: Path, version: int | None) -> int:
    """The newest checkpoint that is not after `version`; -1 for none."""
    if version is None:
        try:
            return int(json.loads((log / "_last_checkpoint").read_bytes())["version"])
        except FileNotFoundError:
            return -1
        except (ValueError, KeyError, TypeError):  # it is a hint, and a loss of power may have torn it
            pass
    return max((number for number in checkpoints(log) if version is None or number <= version), default=-1)


def _checkpoint(log: Path, version: int) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    wanted = {
        "add": ("path", "size", "modificationTime", "tags", "stats", "deletionVector"),
        "domainMetadata": ("domain", "configuration", "removed"),
        "txn": ("appId", "version"),
        "metaData": ("id", "schemaString", "configuration"),
        "protocol": ("minWriterVersion", "writerFeatures", "readerFeatures"),
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
                for name in ("add", "metaData"):
                    for inner in ("tags", "configuration"):
                        if action.get(name) and isinstance(action[name].get(inner), list):
                            action[name][inner] = dict(action[name][inner])
                yield action
    if not parts:
        raise GridError(f"{log}: its checkpoint {version} is missing; move the table away and run refine")


def _identity(action: dict[str, Any]) -> tuple[str, str]:
    vector = action.get("deletionVector") or {}
    return action["path"], f"{vector.get('storageType')}{vector.get('pathOrInlineDv')}@{vector.get('offset')}"
