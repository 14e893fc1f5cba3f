"""What is committed of a batch's keys: read from landed files, skipping those that cannot hold any.

A file is skipped by the min and max of every key column and of the event time, kept in the manifest; a row group
by its Parquet statistics. Of the rest only key columns are read, and whole rows only where a key was met.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_sources.contract import Contract
from data_sources.durations import micros
from transforms.arrow import plain
from transforms.files import bound

Range = dict[str, tuple[Any, Any]]


def key_ranges(rows: pa.Table, contract: Contract) -> Range:
    """Per key column (and, with a horizon, event time) the least and greatest value a copy of a row could have."""
    ranges: Range = {}
    for name in contract.dedup.key:
        found = pc.min_max(plain(rows[name]))
        ranges[name] = bound(found["min"]), bound(found["max"], up=True)
    if contract.dedup.horizon is not None and contract.event_time not in contract.dedup.key:
        found = pc.min_max(rows[contract.event_time])
        least, greatest = bound(found["min"]), bound(found["max"])
        reach = micros(contract.dedup.horizon)
        if contract.field(contract.event_time).type == "date":
            reach = -(-reach // 86_400_000_000)
        ranges[contract.event_time] = least - reach, greatest + reach
    return ranges


def read_seen(files: list[dict[str, Any]], root: Path, rows: pa.Table, contract: Contract) -> pa.Table | None:
    """Landed rows (contract columns and lineage) whose key is among `rows`, from the files of their shard."""
    ranges = key_ranges(rows, contract)
    wanted = pl.DataFrame({k: pl.Series(plain(rows[k])) for k in contract.dedup.key})
    found = []
    for entry in files:
        if entry["rows"] and _overlaps(entry["min"], entry["max"], ranges):
            found += _read_matching(root / entry["path"], ranges, wanted, contract)
    if not found:
        return None
    return pa.concat_tables(found)


def read_counted(files: list[dict[str, Any]], root: Path, rows: pa.Table, contract: Contract) -> pa.Table | None:
    """Key columns of conflicts that were counted before and may concern `rows`; a key counts once, however far apart."""
    ranges = {name: span for name, span in key_ranges(rows, contract).items() if name in contract.dedup.key}
    hits = [e for e in files if e["rows"] and _overlaps(e["min"], e["max"], ranges)]
    if not hits:
        return None
    return pa.concat_tables([pq.read_table(root / e["path"], columns=contract.dedup.key) for e in hits])


def _overlaps(least: dict[str, Any], greatest: dict[str, Any], ranges: Range) -> bool:
    for name, (low, high) in ranges.items():
        if name in least and least[name] is not None and (least[name] > high or greatest[name] < low):
            return False
    return True


def _read_matching(path: Path, ranges: Range, wanted: pl.DataFrame, contract: Contract) -> list[pa.Table]:
    key, found = contract.dedup.key, []
    known = pq.ParquetFile(path)  # fields that came later are not in older files
    texts = {f.name for f in contract.landed_schema if pa.types.is_string(f.type)} - set(key)
    file = pq.ParquetFile(path, read_dictionary=sorted(texts & set(known.schema_arrow.names)), metadata=known.metadata)
    for group in range(file.metadata.num_row_groups):
        if not _group_overlaps(file, group, ranges):
            continue
        keys = pl.from_arrow(file.read_row_group(group, columns=key))
        assert isinstance(keys, pl.DataFrame)
        keys = keys.with_row_index("_row")
        if contract.event_time in key:  # cheap, and of files in the order of time leaves few to compare
            time = keys[contract.event_time].to_physical()
            low, high = ranges[contract.event_time]
            keys = keys.filter((time >= low) & (time <= high))
        rows = keys.join(wanted, on=key, how="semi")["_row"]
        if len(rows):
            whole = file.read_row_group(group).take(rows.cast(pl.Int64).to_arrow())
            found.append(conform(whole, contract))
    return found


def _group_overlaps(file: pq.ParquetFile, group: int, ranges: Range) -> bool:
    meta = file.metadata.row_group(group)
    for n in range(meta.num_columns):
        column = meta.column(n)
        if column.path_in_schema not in ranges or not column.is_stats_set or not column.statistics.has_min_max:
            continue
        kind = file.schema_arrow.field(column.path_in_schema).type
        low, high = ranges[column.path_in_schema]
        least, greatest = (bound(pa.scalar(v, kind)) for v in (column.statistics.min, column.statistics.max))
        if least > high or greatest < low:
            return False
    return True


def conform(rows: pa.Table, contract: Contract) -> pa.Table:
    """Landed rows of any age in today's schema: fields that came later are null."""
    columns = []
    for field in contract.landed_schema:
        present = field.name in rows.column_names
        columns.append(rows[field.name].cast(field.type) if present else pa.nulls(rows.num_rows, field.type))
    return pa.table(columns, schema=pa.schema([f.with_nullable(True) for f in contract.landed_schema]))
