"""bronze.rejected, bronze.late, bronze.conflicts: one row a record that did not land, or met a copy unlike itself.

Shared by all feeds, so `feed` comes first. The tables exist when empty. They are plain Delta tables without
clustering, made and written without Spark, whichever engine makes the others.

bronze.late and bronze.conflicts are records of what was: rows are only ever added. bronze.rejected holds what is rejected
now, as the ledger counts it: with a commit that judged rejects again the feed's rows are those of its current files.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_grid.interrupt import interruptible
from beam_grid.lakehouse import data_files, delta_log
from beam_grid.lakehouse.duck import literal
from beam_grid.lakehouse.live import Live
from beam_grid.lakehouse.tables import Batch, Table
from data_sources.contract import LINEAGE
from data_sources.expressions import sandbox
from data_sources.identifiers import double_quoted
from transforms.arrow import in_shape

if TYPE_CHECKING:
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


FILE_ROWS = 1_000_000


def prepare(table: Table) -> None:
    """Make the table where it is missing."""
    kind = table.name.removeprefix("bronze.")
    delta_log.create(table.path, SCHEMAS[kind], name=table.name)


def publish(table: Table, batch: Batch) -> None:
    """Append what the batch's commits list of this kind, in one Delta commit."""
    prepare(table)
    delta_log.again_on_conflict(table.path, lambda at: _publish(table, at, batch))


def _publish(table: Table, at: Live, batch: Batch) -> None:
    kind = table.name.removeprefix("bronze.")
    application = (table.application(batch.contract.name), batch.target)
    batch = batch.at(at, application[0])
    if kind == "rejected" and any(commit.judged_again for commit in batch.new):
        _publish_current(table, at, batch, application)
        return
    files = batch.files(KINDS[kind])
    if not files:
        return
    rows = _rejected(files, batch.contract) if kind == "rejected" else _records(files, kind, batch.contract)
    actions = data_files.write(table.path, rows, SCHEMAS[kind], FILE_ROWS, delta_log.statistics_columns(at))
    rows_written = sum(file.rows for file in batch.landed(KINDS[kind]))
    delta_log.put(table.path, at, actions, "WRITE", application, rows=rows_written)
    delta_log.checkpoint(table.path, at)


def _publish_current(table: Table, at: Live, batch: Batch, application: tuple[str, int]) -> None:
    """Put the feed's current rejects in place of those the table has of it."""
    gone = {split.path for commit in batch.commits for split in commit.judged_again}  # rare enough to read them all
    current = [file for file in batch.landed("rejected", new_only=False) if file.path not in gone]
    removed, others = [], list[pa.Table]()
    for file in at.files:
        rows = pq.read_table(table.path / file.path)
        is_mine = pc.equal(rows["feed"], batch.contract.name)
        if pc.any(is_mine).as_py():
            removed.append(delta_log.removed(file))
            others.append(rows.filter(pc.invert(is_mine)).select(SCHEMAS["rejected"].names).cast(SCHEMAS["rejected"]))
    kept = (some for rows in others for some in rows.to_batches())
    mine = _rejected([batch.path(file) for file in current], batch.contract)
    measured = delta_log.statistics_columns(at)
    actions = data_files.write(table.path, itertools.chain(kept, mine), SCHEMAS["rejected"], FILE_ROWS, measured)
    if not (removed or actions):
        return
    delta_log.put(table.path, at, [*removed, *actions], "WRITE", application, rows=sum(map(delta_log.rows_of, actions)))
    delta_log.checkpoint(table.path, at)


def _rejected(files: list[str], contract: Contract) -> Iterator[pa.RecordBatch]:
    schema = SCHEMAS["rejected"]
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches():
            columns = {name: batch.column(name) for name in batch.schema.names}
            columns["feed"] = pa.repeat(contract.name, batch.num_rows)
            columns["raw_text"] = _text(columns["raw"])
            yield pa.record_batch([columns[f.name].cast(f.type) for f in schema], schema=schema)


def _text(raw: pa.Array) -> pa.Array:
    """The bytes as text, what is none replaced; one by one only where one of the batch is not UTF-8."""
    try:
        return raw.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array(
            [None if one is None else one.decode("utf-8", "replace") for one in raw.to_pylist()], pa.string()
        )


def _records(files: list[str], kind: str, contract: Contract) -> Iterator[pa.RecordBatch]:
    own = {"late": [("_behind", pa.int64())], "conflicts": [("_kept", pa.string()), ("_counted", pa.bool_())]}[kind]
    shape = pa.schema([*contract.landed_schema, *(pa.field(n, t) for n, t in own)])
    columns = ", ".join(_columns(kind, contract))
    with interruptible(sandbox().cursor()) as engine:  # an engine of its own would cost more than the rows do
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches(50_000):
                engine.register("landed", in_shape(pa.Table.from_batches([batch]), shape))
                yield from engine.sql(f"SELECT {columns} FROM landed").to_arrow_table().to_batches()


def _columns(kind: str, contract: Contract) -> list[str]:
    feed = f"{literal(contract.name)} AS feed"
    time = f"CAST({double_quoted(contract.event_time)} AS TIMESTAMPTZ) AS event_time"
    record = _json(contract, contract.schema.names)
    lineage = [double_quoted(name) for name in LINEAGE]
    if kind == "late":
        return [feed, time, "_behind / 1000000 AS behind_seconds", f"{record} AS record", *lineage]
    key = _json(contract, contract.dedup.key)
    return [feed, f"{key} AS key", time, "_kept AS kept", f"{record} AS dropped", "_counted AS counted", *lineage]


def _json(contract: Contract, names: list[str]) -> str:
    """The columns as one JSON object, nulls written out, times with microseconds and Z."""
    return f"CAST(to_json(struct_pack({', '.join(_packed(contract, name) for name in names)})) AS VARCHAR)"


def _packed(contract: Contract, name: str) -> str:
    value = double_quoted(name)
    if pa.types.is_timestamp(contract.field(name).arrow):
        value = f"strftime(timezone('UTC', {value}), '%Y-%m-%dT%H:%M:%S.%fZ')"
    return f"{double_quoted(name)} := {value}"
