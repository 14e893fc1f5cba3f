"""What is committed of a batch's keys: read from landed files, skipping those that cannot hold any.

A file is skipped by the min and max of every key column and of the event time, kept in the manifest, then by the
sorted hashes of its keys, kept beside it; a row group by its Parquet statistics. Of the rest only key columns are
read, and whole rows only where a key was met.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_sources.contract import Contract
from data_sources.durations import micros
from transforms.arrow import in_shape, plain
from transforms.files import bound
from transforms.manifest import LandedFile, Ranges, meet
from transforms.shard import key_hashes
from transforms.synced import synced_file


def key_ranges(rows: pa.Table, contract: Contract) -> Ranges:
    """Per key column (and, with a horizon, event time) the least and greatest value a copy of a row could have."""
    ranges: Ranges = {}
    for name in contract.prune_by:
        column = plain(rows[name])
        if column.null_count:  # bounds say nothing of nulls
            continue
        found = pc.min_max(column)
        ranges[name] = bound(found["min"]), bound(found["max"], up=True)
    if contract.dedup.horizon is not None and contract.event_time not in contract.dedup.key:
        found = pc.min_max(rows[contract.event_time])
        least, greatest = bound(found["min"]), bound(found["max"])
        reach = micros(contract.dedup.horizon)
        if contract.field(contract.event_time).type == "date":
            reach = -(-reach // 86_400_000_000)
        assert isinstance(least, int) and isinstance(greatest, int)  # a time
        ranges[contract.event_time] = least - reach, greatest + reach
    return ranges


def write_hashes(path: Path, rows: pa.Table, key: list[str]) -> str:
    """Write the sorted hashes of the rows' keys beside their file; returns the name."""
    return write_keys(path, np.sort(key_hashes(rows, key)))


def write_keys(path: Path, hashes: np.ndarray) -> str:
    """Write sorted hashes (uint64, little-endian) beside the file of the rows they are of; returns the name."""
    beside = path.with_suffix(".keys")
    with synced_file(beside) as out:
        out.write(hashes.astype("<u8").tobytes())
    return beside.name


def _met(file: LandedFile, root: Path, hashes: np.ndarray) -> np.ndarray:
    """Mask of sorted `hashes`: which keys the file may hold; all, where it has no hashes to say so.

    The file's hashes are mapped, not read: a few keys look at a few pages of it.
    """
    if file.keys is None:
        return np.ones(len(hashes), bool)
    there = np.memmap((root / file.path).with_name(file.keys), "<u8", mode="r")
    if len(there) != file.rows:
        raise ValueError(f"{file.keys} holds {len(there)} keys of {file.rows}: the lake's files were changed")
    return there[np.minimum(np.searchsorted(there, hashes), len(there) - 1)] == hashes


def read_seen(files: Iterable[LandedFile], root: Path, rows: pa.Table, contract: Contract) -> pa.Table | None:
    """Landed rows (contract columns and lineage) whose key is among `rows`, from the files of their shard."""
    ranges = key_ranges(rows, contract)
    near = [file for file in files if file.rows and file.may_hold(ranges)]
    if not near:
        return None
    wanted = pa.table({k: plain(rows[k]) for k in contract.dedup.key})
    hashes = key_hashes(rows, contract.dedup.key)
    order = np.argsort(hashes)
    hashes, found = hashes[order], []
    reach, times = _reach(contract), None if _reach(contract) is None else _times(rows, contract)[order]
    for file in near:
        place = _in_reach(
            file, times, reach, contract
        )  # of a slice with one record an hour late one looks that far back
        met = _met(file, root, hashes[place])
        if met.any():
            found += _read_matching(root / file.path, ranges, wanted.take(pa.array(order[place][met])), contract)
    if not found:
        return None
    return pa.concat_tables(found)


def _reach(contract: Contract) -> int | None:
    """How far in event time a copy may be from its record, in the event time's own unit; None where there is no bound."""
    if contract.event_time in contract.dedup.key:
        return 0
    if contract.dedup.horizon is None:
        return None
    reach = micros(contract.dedup.horizon)
    return -(-reach // 86_400_000_000) if contract.field(contract.event_time).type == "date" else reach


_NO_TIME = np.iinfo(np.int64).min
"""Of a record without an event time, as a tombstone of changes is: bounds say nothing of it."""


def _times(rows: pa.Table, contract: Contract) -> np.ndarray:
    """Event times as bounds have them: microseconds, or days, since the epoch; _NO_TIME for null."""
    column = plain(rows[contract.event_time])
    is_date = contract.field(contract.event_time).type == "date"
    times = column.cast(pa.int32()).cast(pa.int64()) if is_date else column.cast(pa.int64())
    return np.asarray(times.fill_null(_NO_TIME), np.int64)


def _in_reach(file: LandedFile, times: np.ndarray | None, reach: int | None, contract: Contract) -> np.ndarray | slice:
    """Which of the rows may have a copy in the file, by event time."""
    low, high = file.min.get(contract.event_time), file.max.get(contract.event_time)
    if times is None or reach is None or not isinstance(low, int) or not isinstance(high, int):
        return slice(None)
    return np.flatnonzero(((times >= low - reach) & (times <= high + reach)) | (times == _NO_TIME))


def read_counted(files: Iterable[LandedFile], root: Path, rows: pa.Table, contract: Contract) -> pa.Table | None:
    """Key columns of conflicts that were counted before and may concern `rows`; a key counts once, however far apart."""
    ranges = {name: span for name, span in key_ranges(rows, contract).items() if name in contract.prune_by}
    hits = [file for file in files if file.rows and file.may_hold(ranges)]
    if not hits:
        return None
    return pa.concat_tables([pq.read_table(root / file.path, columns=contract.dedup.key) for file in hits])


def _read_matching(path: Path, ranges: Ranges, wanted: pa.Table, contract: Contract) -> list[pa.Table]:
    key, found = contract.dedup.key, []
    known = pq.ParquetFile(path)  # fields that came later are not in older files
    texts = {f.name for f in contract.landed_schema if pa.types.is_string(f.type)} - set(key)
    file = pq.ParquetFile(path, read_dictionary=sorted(texts & set(known.schema_arrow.names)), metadata=known.metadata)
    for group in range(file.metadata.num_row_groups):
        if not _group_overlaps(file, group, ranges):
            continue
        read = file.read_row_group(group, columns=[k for k in key if k in known.schema_arrow.names])
        if read.num_columns < len(key):
            read = conform(read, contract).select(key)
        rows = _matching(read, ranges, wanted, contract)
        if len(rows):
            found.append(conform(file.read_row_group(group).take(rows), contract))
    return found


def _matching(keys: pa.Table, ranges: Ranges, wanted: pa.Table, contract: Contract) -> pa.Array:
    """Numbers of the rows whose key is among the wanted: by a look at one field first, which leaves few to compare."""
    key, time = contract.dedup.key, contract.event_time
    if time in key[1:] and time in ranges:  # of files in the order of time the cheapest
        times = _times(keys, contract)
        low, high = ranges[time]
        near = pa.array((times >= low) & (times <= high))
    else:
        near = pc.is_in(_without_sign_of_zero(keys[key[0]]), value_set=_without_sign_of_zero(wanted[key[0]]))
    rows = pc.indices_nonzero(near)
    if len(key) == 1 or not len(rows):
        return rows
    some, sought = pl.from_arrow(keys.take(rows)), pl.from_arrow(wanted)
    assert isinstance(some, pl.DataFrame) and isinstance(sought, pl.DataFrame)
    met = some.with_row_index("_row").join(sought, on=key, how="semi", nulls_equal=True)["_row"]
    return rows.take(met.cast(pl.Int64).to_arrow())


def _without_sign_of_zero(column: pa.ChunkedArray) -> pa.Array:
    """-0.0 is 0.0 as a key, as everywhere but in pc.is_in."""
    column = plain(column)
    return pc.add(column, 0.0) if pa.types.is_floating(column.type) else column


def _group_overlaps(file: pq.ParquetFile, group: int, ranges: Ranges) -> bool:
    meta = file.metadata.row_group(group)
    for n in range(meta.num_columns):
        column = meta.column(n)
        if column.path_in_schema not in ranges or not column.is_stats_set or not column.statistics.has_min_max:
            continue
        kind = file.schema_arrow.field(column.path_in_schema).type
        held = bound(pa.scalar(column.statistics.min, kind)), bound(pa.scalar(column.statistics.max, kind))
        if not meet(held, ranges[column.path_in_schema]):
            return False
    return True


def conform(rows: pa.Table, contract: Contract) -> pa.Table:
    """Landed rows of any age in today's schema: fields that came later are null."""
    return in_shape(rows, contract.landed_schema)
