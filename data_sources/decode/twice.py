"""Local times that come twice, told apart by their order in a file: `on_dst = "in_order"`.

    file    02:00 a   02:15 a   02:00 a   02:15 a   02:00 b        a, b: dedup key without the times
            first     first     second    second    first
    UTC     00:00     00:15     01:00     01:15     00:00

Decoders read each such time as the earlier instant and list it (`Decoded.twice`, rejects included, in the order of
the records). `in_order` goes through the lists of one file block after block and makes a time that was there before
the later instant. What was seen is the file's state: it goes on where the file goes on in another slice.
Not told apart: a first occurrence that is missing from the file, and a third, which is taken for the second again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import Contract
from data_sources.decode.rejects import Decoded

TWICE_SCHEMA = pa.schema(
    [
        ("_index", pa.int64()),  # as in Decoded.rows
        ("field", pa.string()),
        ("occurrence", pa.uint64()),  # a hash of field, dedup key without the times, and local time
        ("later", pa.timestamp("us", "UTC")),  # the later instant, shifted as the field is
    ]
)


def find_twice(
    columns: Mapping[str, pa.Array], later: Mapping[str, pa.Array], index: np.ndarray, contract: Contract
) -> pa.Table | None:
    """The local times among a block's `columns` that come twice; None for a contract that does not ask.

    later: per field with on_dst = "in_order" its instants, unshifted, taken for the later ones.
    """
    if not later:
        return None
    parts = []
    keys = [contract.field(name) for name in contract.dedup.key]
    key = [columns[f.name] for f in keys if f.on_dst != "in_order"]
    for name, second in later.items():
        field = contract.field(name)
        moved = second if field.shift is None else _shifted(second, field.shift)
        at = np.flatnonzero(pc.not_equal(moved, columns[name]).fill_null(False).to_numpy(zero_copy_only=False))
        places = pa.array(at)
        local = pc.cast(
            pc.local_timestamp(pc.cast(second.take(places), pa.timestamp("us", field.time_zone))), pa.int64()
        )
        values = zip(local.to_pylist(), *(column.take(places).to_pylist() for column in key), strict=True)
        occurrences = [_hash(name, row) for row in values]
        parts.append(
            pa.table(
                [index[at], [name] * len(at), pa.array(occurrences, pa.uint64()), moved.take(places)],
                schema=TWICE_SCHEMA,
            )
        )
    return pa.concat_tables(parts).sort_by("_index")


def in_order(decoded: Decoded, seen: Set[int]) -> tuple[Decoded, set[int]]:
    """Make each time that was seen before the later instant; returns the corrected block and what is seen now."""
    now = set(seen)
    if decoded.twice is None or not len(decoded.twice):
        return decoded, now
    rows = decoded.rows
    index = rows["_index"].to_numpy()
    for name in pc.unique(decoded.twice["field"]).to_pylist():
        mine = decoded.twice.filter(pc.equal(decoded.twice["field"], name))
        second = np.zeros(len(mine), bool)
        for n, occurrence in enumerate(mine["occurrence"].to_pylist()):
            second[n] = occurrence in now
            now.add(occurrence)
        second &= np.isin(mine["_index"].to_numpy(), index)  # not of rejects, which only count
        if not second.any():
            continue
        mine = mine.filter(pa.array(second))
        mask = np.isin(index, mine["_index"].to_numpy())
        at = rows.column_names.index(name)
        times = rows[name].combine_chunks()
        times = pa.concat_arrays(times.chunks) if isinstance(times, pa.ChunkedArray) else times
        later = pa.concat_arrays(mine["later"].chunks)
        rows = rows.set_column(at, rows.schema.field(at), pc.replace_with_mask(times, pa.array(mask), later))
    return decoded._replace(rows=rows, twice=None), now


def _shifted(times: pa.Array, by: object) -> pa.Array:
    return pc.add(times, pa.scalar(by, pa.duration("us")))


def _hash(name: str, values: tuple[object, ...]) -> int:
    """Stable across versions: it is kept between runs."""
    return int.from_bytes(hashlib.blake2b(repr((name, *values)).encode(), digest_size=8).digest(), "big")
