"""Commits to a Delta table without Spark, by Delta's published protocol: a new version is one file, put if absent.

    read ─► Live (version 12) ─► actions ─► 13.json is there already? ─► what is in it? ─► 14.json
                                                                   its columns, or what ours is made of, changed:
                                                                   Conflict, read again
                                                                   our own transaction: done before
                                                                   other files added, OPTIMIZE: commutes, go on

Guarantees: a version is whole or not there; a transaction id brings a version once; a table with a feature other than
those we set is refused; timestamps are INT64 microseconds. Files come before the entry that names them, synced.
Not guaranteed: that a file of a run that was cut off goes; no version lists it, VACUUM takes it.
Why by ourselves: docs/decisions/0006-publish-without-spark.md.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from beam_grid import durable
from beam_grid.crash import point
from beam_grid.errors import GridError
from beam_grid.lakehouse import statistics, vectors
from beam_grid.lakehouse.live import Live, LiveFile, checkpoints, commit, live, newest_version
from beam_grid.lakehouse.vectors import Vector

Action = dict[str, Any]

CLUSTERED = ("deletionVectors", "domainMetadata", "invariants", "changeDataFeed", "appendOnly", "clustering")
"""Writer features of a table that is clustered; a plain one has none that are named."""

_KNOWN = frozenset(CLUSTERED)
_ENGINE = "beam-grid"


_ATTEMPTS = 5


class Conflict(Exception):
    """Another writer's commit came first and changed what this one was computed from: read again."""


def again_on_conflict(table: Path, work: Callable[[Live], None]) -> None:
    """Do the work on the table as it is now; anew, on what it is then, when another writer's commit came first."""
    for attempt in range(_ATTEMPTS):
        try:
            work(live(table))
            return
        except Conflict:
            if attempt == _ATTEMPTS - 1:
                raise


def delta_type(kind: pa.DataType) -> Any:
    """Delta's name of an Arrow type, of those a contract can have."""
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_struct(kind):
        return struct_type(pa.schema(list(kind)))
    return {
        pa.string(): "string", pa.int32(): "integer", pa.int64(): "long", pa.float64(): "double", pa.bool_(): "boolean",
        pa.date32(): "date", pa.binary(): "binary",
    }[kind]  # fmt: skip


def struct_type(schema: pa.Schema) -> dict[str, Any]:
    """A table's columns as the log has them; all may be null."""
    fields = [{"name": f.name, "type": delta_type(f.type), "nullable": True, "metadata": {}} for f in schema]
    return {"type": "struct", "fields": fields}


def arrow_schema(at: Live) -> pa.Schema:
    """A table's columns as Arrow has them."""
    return pa.schema([(field["name"], arrow_type(field["type"])) for field in json.loads(at.schema)["fields"]])


def arrow_type(said: Any) -> pa.DataType:
    """The Arrow type that Delta's name stands for; KeyError for one that we do not make."""
    if isinstance(said, dict):
        return pa.struct([(field["name"], arrow_type(field["type"])) for field in said["fields"]])
    if said.startswith("decimal"):
        precision, scale = said.removeprefix("decimal(").rstrip(")").split(",")
        return pa.decimal128(int(precision), int(scale))
    return {
        "string": pa.string(), "integer": pa.int32(), "long": pa.int64(), "double": pa.float64(), "boolean": pa.bool_(),
        "date": pa.date32(), "binary": pa.binary(), "timestamp": pa.timestamp("us", "UTC"),
    }[said]  # fmt: skip


def create(
    table: Path, schema: pa.Schema, *, name: str, cluster_by: Sequence[str] = (), properties: Mapping[str, str] | None = None
) -> None:  # fmt: skip
    """Make an empty table where there is none; with cluster columns a liquid-clustered one, as Spark would make it."""
    if newest_version(table) is not None:
        return
    (table / "_delta_log").mkdir(parents=True, exist_ok=True)
    protocol: Action = {"minReaderVersion": 1, "minWriterVersion": 2}
    domain: list[Action] = []
    if cluster_by:
        protocol = {
            "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"],
            "writerFeatures": list(CLUSTERED),
        }  # fmt: skip
        said = {"clusteringColumns": [[column] for column in cluster_by], "domainName": "delta.clustering"}
        domain = [
            {"domainMetadata": {"domain": "delta.clustering", "configuration": json.dumps(said), "removed": False}}
        ]
    actions = [
        _info("CREATE TABLE", {"clusterBy": json.dumps(list(cluster_by))}, blind=True),
        {"protocol": protocol},
        _metadata(str(uuid.uuid4()), schema, dict(properties or {}), name),
        *domain,
    ]
    try:
        durable.create_once(_entry(table, 0), _lines(actions))
    except FileExistsError:  # another run made it
        return


def put(
    table: Path, at: Live, actions: Iterable[Action], operation: str, application: tuple[str, int] | None = None,
    *, rows: int = 0,
) -> int:  # fmt: skip
    """Commit the actions to the table, which was read as `at`; returns the version that holds them.

    rows: how many it brings, as the table's history tells. application: Delta's transaction id and version; where a commit that came between brought it, nothing is written.
    Raises Conflict, and GridError for a table with a feature that is not known here.
    """
    check_features(table, at)
    chosen = list(actions)
    blind = not any("remove" in action or "metaData" in action for action in chosen)
    body = [_info(operation, {}, blind=blind, read=at.version, rows=rows)]
    if application is not None:
        body.append(applied(*application))
    content = _lines([*body, *chosen])
    number = at.version + 1
    while True:
        try:
            durable.create_once(_entry(table, number), content)
            point(f"publish:entry-{table.parent.name}.{table.name}")
            return number
        except FileExistsError:
            if _brings(table, number, application):
                return number
            _check_commutes(table, number, chosen, application)
            number += 1


def applied(application: str, version: int) -> Action:
    """A txn action: what of an application's commits the table holds."""
    return {"txn": {"appId": application, "version": version, "lastUpdated": _now()}}


def check_features(table: Path, at: Live) -> None:
    """Raise GridError for a table that only a writer with other features may write to."""
    foreign = sorted(at.features - _KNOWN)
    foreign += [name for name in at.properties if name.startswith("delta.constraints.")]
    foreign += ["delta.appendOnly"] if at.properties.get("delta.appendOnly", "").lower() == "true" else []
    foreign += ["delta.invariants"] if '"delta.invariants"' in at.schema else []
    if foreign:
        raise GridError(
            f"table {table.parent.name}.{table.name}: somebody set the feature {foreign[0]!r}, which Beam Grid does not; "
            f"move {table} away and run refine, which makes the table anew from the commits"
        )


def added(
    name: str, size: int, stats: str, *, vector: Vector | None = None, changes_rows: bool = True, modified: int | None = None,
    tags: dict[str, str] | None = None,
) -> Action:  # fmt: skip
    """An add action for a file in the table's folder. Names are ours: no character of them needs escaping."""
    action: Action = {
        "path": name, "partitionValues": {}, "size": size, "modificationTime": modified or _now(),
        "dataChange": changes_rows, "stats": stats,
    }  # fmt: skip
    if vector is not None:
        action["deletionVector"] = vector
    if tags:
        action["tags"] = tags
    return {"add": action}


def rows_of(action: Action) -> int:
    """How many rows the file of an add action holds."""
    return int(json.loads(action["add"]["stats"])["numRecords"])


def removed(file: LiveFile, *, changes_rows: bool = True) -> Action:
    """A remove action for a live file."""
    action: Action = {
        "path": file.action["path"], "deletionTimestamp": _now(), "dataChange": changes_rows, "extendedFileMetadata": True,
        "partitionValues": {}, "size": file.bytes,
    }  # fmt: skip
    if file.vector is not None:
        action["deletionVector"] = _plain(file.vector)
    return {"remove": action}


def revectored(file: LiveFile, vector: Vector) -> list[Action]:
    """The actions that take more rows out of a live file: the same file, with another vector."""
    stats = statistics.loads(file.action.get("stats") or "{}")
    again = {
        **{k: v for k, v in file.action.items() if v is not None and k in ("path", "size", "modificationTime", "tags")},
        "partitionValues": {}, "dataChange": True, "deletionVector": vector,
        "stats": statistics.dumps({**stats, "tightBounds": False}),
    }  # fmt: skip
    if again.get("tags"):
        again["clusteringProvider"] = "liquid"
    return [removed(file), {"add": again}]


def with_columns(at: Live, schema: pa.Schema, name: str) -> list[Action]:
    """The action that gives the table these columns; none where it has them."""
    if json.loads(at.schema) == struct_type(schema):
        return []
    return [_metadata(at.id, schema, at.properties, name)]


def statistics_columns(at: Live) -> list[str]:
    """The columns that the table's files have statistics of: those it names, else the first 32."""
    named = at.properties.get("delta.dataSkippingStatsColumns")
    if named is None:
        return [field["name"] for field in json.loads(at.schema)["fields"]][:32]
    return [part.strip("`").replace("``", "`") for part in _split_names(named)]


CHECKPOINT_EVERY = 50
"""So many commits behind the last checkpoint cost readers more than a checkpoint costs to make."""

LOG_KEPT_S = 7 * 86_400
"""How long entries of the log stay that a checkpoint sums up: the retention of data files."""


def checkpoint(table: Path, at: Live) -> None:
    """Sum the log up where many commits stand behind its last checkpoint; of old ones some go."""
    if at.log_files < CHECKPOINT_EVERY:
        return
    point("publish:before-checkpoint")
    sum_up(table)
    point("publish:after-checkpoint")
    forget_old(table)


def sum_up(table: Path) -> None:
    """Make a checkpoint of the table as it is."""
    from deltalake import DeltaTable

    log = table / "_delta_log"
    with durable.step("checkpoint", table):
        delta = DeltaTable(str(table))
        delta.create_checkpoint()
    for path in (*log.glob(f"{delta.version():020d}.checkpoint*.parquet"), log / "_last_checkpoint"):
        durable.sync(path)
    durable.sync_folder(log)


def forget_old(table: Path, older_than_s: float = LOG_KEPT_S) -> int:
    """Remove entries of the log that are older than that and before a checkpoint that stays, and of the checkpoints all
    but the newest and one of every thousand versions; returns how many. Every version that young can still be read."""
    log = table / "_delta_log"
    known = checkpoints(log)
    milestones = {min(n for n in known if n // 1000 == k) for k in {n // 1000 for n in known}}
    kept = milestones | set(known[-3:])
    gone = [path for n in known if n not in kept for path in log.glob(f"{n:020d}.checkpoint*")]
    newest_old = [n for n in sorted(kept) if _is_older(log / f"{n:020d}.json", older_than_s)]
    if newest_old:
        entries = (p for p in log.glob("*.json") if p.stem.isdigit() and int(p.stem) < newest_old[-1])
        gone += [path for path in entries if _is_older(path, older_than_s)]
    for path in gone:
        durable.remove(path)
    return len(gone)


def dead_files(table: Path, older_than_s: float) -> list[str]:
    """Data files and deletion vectors, older than that, that no version so young has, by their paths in the table: what a writer that
    died left, and what a checkpoint no longer says was removed. Without those that the log still says were removed."""
    log = table / "_delta_log"
    entries, known = sorted(int(path.stem) for path in log.glob("*.json") if path.stem.isdigit()), checkpoints(log)
    first = min((n for n in [0, *known] if n >= entries[0] - 1), default=None)
    if first is None:  # no earlier version can be read
        return []
    oldest = max([first, *(n for n in entries if _is_older(log / f"{n:020d}.json", older_than_s))])
    kept = {name for at in (live(table, oldest), live(table)) for file in at.files for name in _names(file)}
    kept |= _removed(table, max(known, default=-1), entries)
    found = []
    for folder, folders, names in os.walk(table):
        folders[:] = [name for name in folders if name == "_change_data" or not name.startswith(("_", "."))]
        for path in (Path(folder, name) for name in names if name.endswith((".parquet", ".bin"))):
            name = str(path.relative_to(table))
            if name not in kept and not path.name.startswith(".") and _is_older(path, older_than_s):
                found.append(name)
    return sorted(found)


def _names(file: LiveFile) -> list[str]:
    """Of its data and of its deletion vector, where that is a file of its own."""
    path = vectors.path_of(file.vector)
    return [file.path, *([path] if path is not None else [])]


def _removed(table: Path, checkpoint: int, entries: Iterable[int]) -> set[str]:
    """Paths of data files that a checkpoint, and the entries after it, say were removed."""
    import pyarrow.parquet as pq

    found = set()
    for part in (table / "_delta_log").glob(f"{checkpoint:020d}.checkpoint*.parquet"):
        for row in pq.read_table(part, columns=["remove.path"]).to_pylist():  # no such column where nothing was
            found |= {row["remove"]["path"]} if row.get("remove") else set()
    for number in entries:
        if number > checkpoint:
            found |= {action["remove"]["path"] for action in commit(table, number) if "remove" in action}
    return set(map(unquote, found))


def _is_older(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime > seconds
    except FileNotFoundError:
        return False


def _split_names(listed: str) -> list[str]:
    """Names between commas; a comma between backticks belongs to its name."""
    names, current, quoted = [], "", False
    for sign in listed:
        quoted ^= sign == "`"
        if sign == "," and not quoted:
            names.append(current.strip())
            current = ""
        else:
            current += sign
    return [*names, current.strip()]


def _brings(table: Path, version: int, application: tuple[str, int] | None) -> bool:
    txns = [a["txn"] for a in commit(table, version) if "txn" in a]
    return application is not None and any(
        t["appId"] == application[0] and t["version"] >= application[1] for t in txns
    )


def _check_commutes(table: Path, version: int, ours: list[Action], application: tuple[str, int] | None) -> None:
    """Raise Conflict unless what came between and our actions give the same table in either order.

    A commit that changes rows was computed from all that were there: rows that came between might have changed it.
    """
    mine = {action["remove"]["path"]: action["remove"]["dataChange"] for action in ours if "remove" in action}
    for action in commit(table, version):
        if application is not None and "txn" in action and action["txn"]["appId"] == application[0]:
            raise Conflict(f"{table}: version {version} brought a part of the same commits")
        if any(mine.values()) and "add" in action and action["add"]["dataChange"]:
            raise Conflict(f"{table}: version {version} brought rows")
        if "metaData" in action or "protocol" in action or "domainMetadata" in action:
            raise Conflict(f"{table}: version {version} changed the table's columns or features")
        if "remove" in action and action["remove"]["path"] in mine:
            raise Conflict(f"{table}: version {version} rewrote {action['remove']['path']}")


def _plain(vector: Vector) -> Vector:
    return {name: value for name, value in vector.items() if value is not None}


def _metadata(id: str, schema: pa.Schema, properties: Mapping[str, str], name: str) -> Action:
    return {
        "metaData": {
            "id": id, "name": name, "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps(struct_type(schema)), "partitionColumns": [], "configuration": dict(properties),
            "createdTime": _now(),
        }
    }  # fmt: skip


def _info(
    operation: str, parameters: Mapping[str, Any], *, blind: bool, read: int | None = None, rows: int = 0
) -> Action:
    told: Action = {
        "timestamp": _now(), "operation": operation, "operationParameters": dict(parameters),
        "isBlindAppend": blind, "engineInfo": _ENGINE, "operationMetrics": {"numOutputRows": str(rows)},
    }  # fmt: skip
    return {"commitInfo": told if read is None else {**told, "readVersion": read}}


def _lines(actions: Iterable[Action]) -> bytes:
    return "".join(json.dumps(action, separators=(",", ":"), ensure_ascii=False) + "\n" for action in actions).encode()


def _entry(table: Path, version: int) -> Path:
    return table / "_delta_log" / f"{version:020d}.json"


def _now() -> int:
    return int(time.time() * 1000)


def read(table: Path) -> Live | None:
    """The table as it is now; None where there is none."""
    return None if newest_version(table) is None else live(table)
