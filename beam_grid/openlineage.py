"""What a run read and wrote, as OpenLineage events (spec 2-0-2): a JSON line each, in LAKE/lineage/openlineage.jsonl.

    land.FEED      source (a topic, a folder's name) ──► landing.FEED
    reinject.FEED  landing.FEED (late rows, rejects) ──► landing.FEED
    refine         landing.FEED ...                  ──► silver.X, gold.Y, bronze.Z

A run that finds work writes START and, with row counts, schemas and versions, COMPLETE; FAIL with the error, or ABORT
where it was interrupted; a run that finds nothing new writes nothing. Any OpenLineage server takes the lines as they
are. Datasets of the lake have the namespace beam-grid/ID-OF-THE-LAKE; no event holds a password or a path of this
machine. Not guaranteed: that an event is written where the disk is full (it is logged), or that a killed run ends.
Beyond 32 MiB the file becomes openlineage.1.jsonl, in place of the one before.

Written by hand: the official client brings an HTTP stack of seven packages, and appends a line in several writes.
"""

from __future__ import annotations

import json
import logging
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from beam_grid import durable
from beam_grid.landing import Lake, utc_now

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_grid.lakehouse.tables import State, Table

log = logging.getLogger(__name__)

Dataset = dict[str, Any]

LARGEST = 32 << 20

_SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = {
    "jobType": "2-0-4/JobTypeJobFacet",
    "processing_engine": "1-1-1/ProcessingEngineRunFacet",
    "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "schema": "1-2-0/SchemaDatasetFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet",
    "inputStatistics": "1-0-0/InputStatisticsInputDatasetFacet",
    "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet",
}


class Run:
    """One run of a job; `start` says that there is work, and is heard once. inputs, outputs: what the last event tells."""

    def __init__(self, lake: Lake, job: str, engine: str) -> None:
        self._lake, self._job, self._engine = lake, job, engine
        self._id = str(uuid.uuid4())
        self._started = False
        self.inputs: list[Dataset] = []
        self.outputs: list[Dataset] = []

    def start(self, inputs: Iterable[Dataset], outputs: Iterable[Dataset]) -> None:
        if not self._started:
            self._started = True
            self.inputs, self.outputs = list(inputs), list(outputs)
            self._tell("START")

    def end(self, how: str, cause: BaseException | None = None) -> None:
        if self._started:
            self._tell(how, cause)

    def _tell(self, how: str, cause: BaseException | None = None) -> None:
        facets = {"processing_engine": _facet("processing_engine", name=self._engine, version=_version(self._engine))}
        if how == "FAIL" and cause is not None:
            facets["errorMessage"] = _facet(
                "errorMessage", message=_without_paths(str(cause) or type(cause).__name__), programmingLanguage="PYTHON"
            )
        job_type = _facet("jobType", processingType="BATCH", integration="BEAM_GRID", jobType="JOB")
        _append(
            self._lake,
            {
                "eventType": how,
                "eventTime": utc_now().isoformat().replace("+00:00", "Z"),
                "producer": _producer(),
                "schemaURL": _SPEC,
                "run": {"runId": self._id, "facets": facets},
                "job": {"namespace": namespace(self._lake), "name": self._job, "facets": {"jobType": job_type}},
                "inputs": self.inputs,
                "outputs": self.outputs,
            },
        )


@contextmanager
def run(lake: Lake, job: str, engine: str) -> Iterator[Run]:
    """A run of a job, told of at its end as it ended. engine: the package that does the work."""
    told = Run(lake, job, engine)
    try:
        yield told
    except BaseException as cause:
        told.end("FAIL" if isinstance(cause, Exception) else "ABORT", cause)
        raise
    told.end("COMPLETE")


def namespace(lake: Lake) -> str:
    return f"beam-grid/{lake.id}"


def source(address: str, *, rows: int | None = None, files: int | None = None) -> Dataset:
    """A topic under its servers' names; of files the name of the file, folder or glob, not where it is."""
    from data_sources.sources import kafka

    if kafka.is_kafka(address):
        servers, topic = kafka.parse_source(address)
        where = {"namespace": f"kafka://{servers}", "name": topic}
    else:
        where = {"namespace": "file", "name": PurePath(address).name or "."}
    return {**where, **_statistics("input", rowCount=rows, fileCount=files)}


def landing(
    lake: Lake,
    feed: str,
    side: str,
    schema: pa.Schema | None = None,
    *,
    rows: int | None = None,
    size: int | None = None,
) -> Dataset:
    """A feed's landing zone, as `input` or `output`."""
    fields = [(f.name, str(f.type)) for f in schema] if schema is not None else []
    return {
        "namespace": namespace(lake),
        "name": f"landing.{feed}",
        **_facets_of(fields),
        **_statistics(side, rowCount=rows, size=size),
    }


def table(made: Table, before: State | None = None) -> Dataset:
    """A table; with what it was before the run, also its columns, its version and the rows that were written to it."""
    named = {"namespace": namespace(made.lake), "name": made.name}
    if before is None:
        return named
    from beam_grid.lakehouse.live import commit, live

    try:
        now = live(made.path)
        fields = [
            (f["name"], f["type"] if isinstance(f["type"], str) else "struct") for f in json.loads(now.schema)["fields"]
        ]
        first = 0 if before.version is None else before.version + 1
        told = [
            a["commitInfo"] for v in range(first, now.version + 1) for a in commit(made.path, v) if "commitInfo" in a
        ]
    except Exception as cause:  # the tables are made and published: what tells of them must not undo that
        log.warning("lineage: %s cannot be described (%s)", made.name, cause)
        return named
    written = sum(map(_rows, told))
    return {**named, **_facets_of(fields, now.version), **_statistics("output", rowCount=written)}


def _rows(entry: dict[str, Any]) -> int:
    """Rows that one entry of a table's history brought or changed; OPTIMIZE does neither."""
    metrics = entry.get("operationMetrics") or {}
    counted = {"WRITE": ["numOutputRows"], "MERGE": ["numTargetRowsInserted", "numTargetRowsUpdated"]}
    if entry.get("engineInfo") == "beam-grid":
        counted["MERGE"] = ["numOutputRows"]
    return sum(int(metrics.get(name, 0)) for name in counted.get(str(entry.get("operation")), []))


def _facets_of(fields: list[tuple[str, str]], number: int | None = None) -> Dataset:
    facets = {}
    if fields:
        facets["schema"] = _facet("schema", fields=[{"name": name, "type": kind} for name, kind in fields])
    if number is not None:
        facets["version"] = _facet("version", datasetVersion=str(number))
    return {"facets": facets} if facets else {}


def _statistics(side: str, **counts: int | None) -> Dataset:
    known = {name: count for name, count in counts.items() if count is not None}
    return {f"{side}Facets": {f"{side}Statistics": _facet(f"{side}Statistics", **known)}} if known else {}


def _facet(name: str, /, **said: Any) -> dict[str, Any]:
    number, _, kind = _FACETS[name].partition("/")
    where = f"https://openlineage.io/spec/facets/{number}/{kind}.json#/$defs/{kind}"
    return {"_producer": _producer(), "_schemaURL": where, **said}


def _producer() -> str:
    return f"urn:beam-grid:{_version('beam-grid')}"


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "unknown"


def _without_paths(text: str) -> str:
    """One line of a message, of each absolute path in it the last name, and no password of an address."""
    line = re.sub(r"(?<=://)[^\s/@]+@", "", (text.strip().splitlines() or [""])[0])
    return re.sub(r"(?<![\w./:])/(?:[^\s/'\"]+/)+", "", line)[:500]


def _append(lake: Lake, event: dict[str, Any]) -> None:
    """One write a line, so that land and refine, which may run together, do not mix theirs."""
    path = lake.path / "lineage" / "openlineage.jsonl"
    line = (json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
    try:
        path.parent.mkdir(exist_ok=True)
        if path.exists() and path.stat().st_size > LARGEST:
            durable.rename(path, path.with_name("openlineage.1.jsonl"))
        with durable.step("append", path):
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)
    except OSError as cause:
        log.warning("lineage %s: an event could not be written (%s)", path, cause.strerror or cause)
