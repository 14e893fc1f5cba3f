"""Shards: all copies of a key meet in one of a few groups, today and in any later run.

The hash is our own, so that no library's new version moves a key: 64-bit words of the canonical key are mixed in
by multiplication and shift, with the constants of SplitMix64 (Steele, Lea, Flood 2014). `HASH` names it in the
lake. Two to four shards are best on two cores, a few dozen on a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.arrow import plain

HASH = "splitmix-words-v1"
DEFAULT_SHARDS = 4

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def key_hashes(rows: pa.Table, key: list[str]) -> np.ndarray:
    """The key of each row as uint64. A null adds nothing, so that a field that comes later moves no older row."""
    state = np.zeros(rows.num_rows, np.uint64)
    for name in key:
        column = plain(rows[name])
        if column.null_count:
            there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
            state[there] = _mixed(state[there], column.take(pa.array(there)))
        else:
            state = _mixed(state, column)
    return state


def row_hashes(rows: pa.Table, fields: list[str]) -> np.ndarray:
    """All fields of each row as uint64, whatever their order: equal rows have equal hashes, in any later run.

    A null adds nothing; the field's name takes part, so that a value that moved to another field is seen.
    """
    total = np.zeros(rows.num_rows, np.uint64)
    for name in fields:
        column = plain(rows[name])
        there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        if len(there):
            named = _mix_text(np.zeros(1, np.uint64), pa.array([name], pa.string()))
            with np.errstate(over="ignore"):
                total[there] += _mixed(np.repeat(named, len(there)), column.take(pa.array(there)))
    return total


def _mixed(state: np.ndarray, column: pa.Array) -> np.ndarray:
    return _mix_text(state, column) if _text(column.type) else _mix(state, _word(column))


def shard_of(rows: pa.Table, key: list[str], shards: int) -> np.ndarray:
    """Shard number of each row, int64 in [0, shards)."""
    return (key_hashes(rows, key) % np.uint64(shards)).astype(np.int64)


def _text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_decimal(kind)


def _mix(state: np.ndarray, word: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = (state ^ word) + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _MIX_1
        state = (state ^ (state >> np.uint64(27))) * _MIX_2
        return state ^ (state >> np.uint64(31))


def _mix_text(state: np.ndarray, column: pa.Array) -> np.ndarray:
    """Mix in UTF-8 bytes, eight at a time, and the length: "ab","c" and "a","bc" differ."""
    text = (
        pc.cast(column, pa.large_binary())
        if pa.types.is_string(column.type)
        else pc.cast(pc.cast(column, pa.string()), pa.large_binary())
    )
    _, offset_buffer, data_buffer = text.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64, len(text) + 1, text.offset * 8)
    data = np.zeros((data_buffer.size if data_buffer else 0) + 8, np.uint8)
    if data_buffer:
        data[:-8] = np.frombuffer(data_buffer, np.uint8)
    words = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))  # the word that begins at each byte
    starts, lengths = offsets[:-1], np.diff(offsets)
    state = _mix(state, lengths.astype(np.uint64))
    longest = int(lengths.max()) if len(lengths) else 0
    shortest = int(lengths.min()) if len(lengths) else 0
    for at in range(0, longest, 8):
        if at + 8 <= shortest:
            state = _mix(state, words[starts + at])
            continue
        rows = np.flatnonzero(lengths > at)
        bits = (np.minimum(lengths[rows] - at, 8) * 8).astype(np.uint64)
        mask = np.where(bits == 64, ~np.uint64(0), (np.uint64(1) << (bits % np.uint64(64))) - np.uint64(1))
        state[rows] = _mix(state[rows], words[starts[rows] + at] & mask)
    return state


def _word(column: pa.Array) -> np.ndarray:
    """The whole number that stands for a value: microseconds, days, bits of a double (-0 as 0)."""
    kind = column.type
    if pa.types.is_floating(kind):
        return (column.to_numpy(zero_copy_only=False) + 0.0).view(np.uint64)
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.int8())
    elif pa.types.is_date(kind):
        column = pc.cast(column, pa.int32())
    return pc.cast(column, pa.int64()).to_numpy(zero_copy_only=False).view(np.uint64)


def split_by_shard(rows: pa.Table, key: list[str], shards: int) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each shard that has any, in their order: slices of one table sorted by shard."""
    at = shard_of(rows, key, shards)
    rows = rows.take(pa.array(np.argsort(at, kind="stable")))
    start = 0
    for shard, count in enumerate(np.bincount(at, minlength=shards).tolist()):
        if count:
            yield shard, rows.slice(start, count)
        start += count
