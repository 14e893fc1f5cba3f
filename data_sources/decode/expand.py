"""Rows that hold several records: where each record of an unpivoted row stands.

rows      r0 (good)     r1 (a reject)   r2 (good)          unpivoted columns 3 and 4 (from 0)
records   0      1      2               3      4
parents   0      0      1               2      2
position  10004  10005  20000           30004  30005       = line * 10,000 + column (from 1)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data_sources.decode.columns import Binding
from data_sources.decode.rejects import Rejecting
from data_sources.records import Records


class Expanded(NamedTuple):
    """Of each record: its row among the good ones and which unpivoted column it is; its index among all records. Of
    all records: position, and the place of the row they came from."""

    rows: np.ndarray
    places: np.ndarray
    at: np.ndarray
    positions: np.ndarray
    parents: np.ndarray


def expand(
    records: Records,
    good: np.ndarray,
    binding: Binding,
    rejecting: Rejecting,
    raw: Callable[[int], bytes] | None = None,
) -> tuple[Rejecting, Expanded]:
    """Make a record of each unpivoted column of the rows at `good`; a row that is a reject stays one record.

    raw: the bytes of a row, where they are not the records' own.
    """
    row = raw or records.raw
    columns = np.asarray(binding.unpivoted, np.int64)
    if not len(columns):
        reason = "no column matches [unpivot] columns"
        rejecting.add_all(good.tolist(), "undecodable", "columns", reason)
        good = good[:0]
    counts = np.ones(len(records), np.int64)
    counts[good] = len(columns)
    starts = np.cumsum(counts) - counts
    parents = np.repeat(np.arange(len(records), dtype=np.int64), counts)
    positions = records.positions[parents] * 10_000
    index = (starts[good][:, None] + np.arange(len(columns))[None, :]).ravel()
    places = np.tile(np.arange(len(columns), dtype=np.int64), len(good))
    positions[index] += columns[places] + 1
    moved = rejecting.moved(lambda i: row(int(parents[i])), positions, starts)
    rows = np.repeat(np.arange(len(good), dtype=np.int64), len(columns))
    return moved, Expanded(rows, places, index, positions, parents)
