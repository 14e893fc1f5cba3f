"""bronze.rejected, bronze.late, bronze.conflicts: one row a record that did not land, or met a copy unlike itself.

Shared by all feeds, so `feed` comes first. The tables exist when empty. They are plain Delta tables without
clustering, which delta-rs makes without Spark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid.lakehouse.tables import Batch, Table, append, quoted, read
from data_sources.contract import LINEAGE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from data_sources.contract import Contract
    from transforms.manifest import Kind

KINDS: dict[str, Kind] = {"rejected": "rejected", "late": "late", "conflicts": "conflicts"}
"""Table to the kind of landed file it is made from."""

_TIME = pa.timestamp("us", "UTC")
_PLACE = [
    (name, kind)
    for name, kind in LINEAGE.items()
    if name in ("_source", "_partition", "_position", "_ingested_at", "_commit")
]
_REJECTED = [("cause", pa.string()), ("rule", pa.string()), ("reason", pa.string())]

SCHEMAS = {
    "rejected": pa.schema([("feed", pa.string()), *_REJECTED, ("raw_text", pa.string()), ("raw", pa.binary()), *_PLACE]),
    "late": pa.schema(
        [("feed", pa.string()), ("event_time", _TIME), ("behind_seconds", pa.float64()), ("record", pa.string()), *LINEAGE.items()]
    ),
    "conflicts": pa.schema(
        [
            ("feed", pa.string()), ("key", pa.string()), ("event_time", _TIME), ("kept", pa.string()),
            ("dropped", pa.string()), ("counted", pa.bool_()), *LINEAGE.items(),
        ]
    ),
}  # fmt: skip


def prepare(table: Table) -> None:
    """Make the table where it is missing."""
    from deltalake import DeltaTable

    kind = table.name.removeprefix("bronze.")
    table.path.parent.mkdir(parents=True, exist_ok=True)
    DeltaTable.create(str(table.path), SCHEMAS[kind], mode="ignore", name=table.name)


def apply(spark: SparkSession, table: Table, batch: Batch) -> None:
    """Append what the batch's commits list of this kind, in one Delta transaction."""
    kind = table.name.removeprefix("bronze.")
    files = batch.files(KINDS[kind])
    if not files:
        return
    contract = batch.contract
    rows = read(spark, files, _file_schema(kind, contract)).selectExpr(*_columns(kind, contract))
    append(rows.coalesce(max(1, len(files) // 64)), table, table.application(contract.name), batch.target)


def _file_schema(kind: str, contract: Contract) -> pa.Schema:
    if kind == "rejected":
        return pa.schema([*_REJECTED, ("raw", pa.binary()), *_PLACE])
    own = {"late": [("_behind", pa.int64())], "conflicts": [("_kept", pa.string()), ("_counted", pa.bool_())]}[kind]
    return pa.schema([*contract.landed_schema, *(pa.field(n, t) for n, t in own)])


def _columns(kind: str, contract: Contract) -> list[str]:
    feed = f"'{contract.name}' AS feed"
    if kind == "rejected":
        place = [name for name, _ in _PLACE]
        return [feed, "cause", "rule", "reason", "make_valid_utf8(CAST(raw AS STRING)) AS raw_text", "raw", *place]
    time = f"CAST({quoted(contract.event_time)} AS TIMESTAMP) AS event_time"
    record = _json(contract.schema.names)
    if kind == "late":
        return [feed, time, "_behind / 1000000D AS behind_seconds", f"{record} AS record", *LINEAGE]
    return [
        feed,
        f"{_json(contract.dedup.key)} AS key",
        time,
        "_kept AS kept",
        f"{record} AS dropped",
        "_counted AS counted",
        *LINEAGE,
    ]


def _json(names: list[str]) -> str:
    """The columns as one JSON object, nulls written out, times with microseconds and Z."""
    options = "map('ignoreNullFields', 'false', 'timestampFormat', \"yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX\")"
    return f"to_json(struct({', '.join(map(quoted, names))}), {options})"
