"""Rows sorted by series, cut between series: what a function of whole series is given, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

GROUP = 1 << 17
"""Rows that are given together, where series are shorter."""


def whole_series(batches: Iterable[pa.RecordBatch], series: str) -> Iterator[pa.Table]:
    """Tables of whole series, of GROUP rows or more; the last of fewer."""
    waiting: list[pa.RecordBatch] = []
    count, enough = 0, GROUP
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        if count < enough:
            continue
        rows = pa.Table.from_batches(waiting)
        begun = _length_of_last(rows[series])
        if begun < count:
            yield rows.slice(0, count - begun)
        waiting, count = rows.slice(count - begun).to_batches(), begun
        enough = max(GROUP, 2 * begun)  # of a series that is longer than a group, not after each batch
    if count:
        yield pa.Table.from_batches(waiting)


def _length_of_last(named: pa.ChunkedArray) -> int:
    """How many rows the series at the end has so far."""
    last = named[len(named) - 1]
    return pc.sum(pc.equal(named, last)).as_py() if last.is_valid else named.null_count
