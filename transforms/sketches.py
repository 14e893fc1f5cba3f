"""Sketches: small summaries of many values that merge, for quantiles and counts of distinct values (Apache DataSketches).

    quantile   KLL of doubles, k = 200: the rank of the answer is within KLL_RANK_ERROR of the one asked for, with 99 %
               confidence; exact while nothing was compacted, which takes about 200 values
    distinct   HLL of type HLL_8, 2^12 buckets: within HLL_ERROR of the true count, with 99.7 % confidence; exact (but for
               one in 10^5) up to some 380 values

Bytes are the library's: `kll_merge_agg_double` and `hll_union_agg` of Spark 4.2 read them, and what Spark's own
`kll_sketch_agg_double` and `hll_sketch_agg` write is read here; whole numbers and texts hash alike on both sides.
Guaranteed: merging in any order and grouping stays within the same bounds. Not guaranteed: equal bytes or equal last
digits; KLL tosses coins as it compacts, and an HLL that was merged is estimated another way than one that was not.

Updating takes whole arrays (KLL) or runs in C over the distinct values (HLL, whose library takes one at a time): what
Python does is per group.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import duckdb

KLL_K = 200
KLL_RANK_ERROR = 0.0133
HLL_LG_K = 12
HLL_ERROR = 0.05

_LOCK = threading.Lock()


def prepare(engine: duckdb.DuckDBPyConnection) -> None:
    """Teach the engine, for as long as its database lives, to make, merge and read sketches.

    kll_of(DOUBLE[]), hll_of_whole(BIGINT[]), hll_of_text(VARCHAR[]) -> BLOB; kll_merged(BLOB[]), hll_merged(BLOB[]) ->
    BLOB; kll_quantile(BLOB, DOUBLE) -> DOUBLE; hll_count(BLOB) -> BIGINT. No values are NULL, of which hll_count is 0.
    """
    import duckdb
    from duckdb.func import FunctionNullHandling, PythonUDFType

    functions: dict[str, tuple[Callable[..., pa.Array], list[Any], str]] = {
        "kll_of": (_kll_of, ["DOUBLE[]"], "BLOB"),
        "kll_merged": (_kll_merged, ["BLOB[]"], "BLOB"),
        "kll_quantile": (_kll_quantile, ["BLOB", "DOUBLE"], "DOUBLE"),
        "hll_of_whole": (_hll_of, ["BIGINT[]"], "BLOB"),
        "hll_of_text": (_hll_of, ["VARCHAR[]"], "BLOB"),
        "hll_merged": (_hll_merged, ["BLOB[]"], "BLOB"),
        "hll_count": (_hll_count, ["BLOB"], "BIGINT"),
    }
    with _LOCK:
        for name, (function, given, returned) in functions.items():
            try:
                engine.create_function(
                    name,
                    function,
                    given,
                    returned,
                    type=PythonUDFType.ARROW,
                    null_handling=FunctionNullHandling.SPECIAL,
                    side_effects=True,  # so that no condition of a contract may call it
                )
            except (duckdb.CatalogException, duckdb.NotImplementedException):  # taught before, on any cursor
                return


def _kll_of(values: pa.ChunkedArray) -> pa.Array:
    from datasketches import kll_doubles_sketch

    lists = _one(values)
    numbers = np.array(lists.values.to_numpy(zero_copy_only=False), np.float64)  # the library takes no read-only array
    found: list[bytes | None] = []
    for start, end in _bounds(lists):
        if end == start:
            found.append(None)
            continue
        sketch = kll_doubles_sketch(KLL_K)
        sketch.update(numbers[start:end])
        found.append(None if sketch.is_empty() else sketch.serialize())  # it passes NaN over
    return pa.array(found, pa.binary())


def _kll_merged(values: pa.ChunkedArray) -> pa.Array:
    from datasketches import kll_doubles_sketch

    def merge(parts: list[bytes]) -> bytes:
        whole = kll_doubles_sketch.deserialize(parts[0])
        for part in parts[1:]:
            whole.merge(kll_doubles_sketch.deserialize(part))
        return whole.serialize()

    return _merged(values, merge)


def _kll_quantile(sketches: pa.ChunkedArray, ranks: pa.ChunkedArray) -> pa.Array:
    """The least value whose rank, itself included, is the one asked for or more: SQL's percentile_disc."""
    from datasketches import kll_doubles_sketch

    return pa.array(
        [
            None if sketch is None else kll_doubles_sketch.deserialize(sketch).get_quantile(rank, True)
            for sketch, rank in zip(sketches.to_pylist(), ranks.to_pylist(), strict=True)
        ],
        pa.float64(),
    )


def _hll_of(values: pa.ChunkedArray) -> pa.Array:
    from datasketches import hll_sketch

    lists = _one(values)
    items = lists.values.to_pylist()
    found: list[bytes | None] = []
    for start, end in _bounds(lists):
        if end == start:
            found.append(None)
            continue
        sketch = hll_sketch(HLL_LG_K)
        deque(map(sketch.update, items[start:end]), maxlen=0)
        found.append(sketch.serialize_compact())
    return pa.array(found, pa.binary())


def _hll_merged(values: pa.ChunkedArray) -> pa.Array:
    from datasketches import hll_sketch, hll_union, tgt_hll_type

    def merge(parts: list[bytes]) -> bytes:
        whole = hll_union(HLL_LG_K)
        for part in parts:
            whole.update(hll_sketch.deserialize(part))
        return whole.get_result(tgt_hll_type.HLL_8).serialize_compact()

    return _merged(values, merge)


def _hll_count(sketches: pa.ChunkedArray) -> pa.Array:
    from datasketches import hll_sketch

    counts = [0 if s is None else round(hll_sketch.deserialize(s).get_estimate()) for s in sketches.to_pylist()]
    return pa.array(counts, pa.int64())


def _merged(values: pa.ChunkedArray, merge: Callable[[list[bytes]], bytes]) -> pa.Array:
    lists = _one(values)
    parts = lists.values.to_pylist()
    found: list[bytes | None] = []
    for start, end in _bounds(lists):
        if end - start > 1:
            found.append(merge(parts[start:end]))
        else:
            found.append(parts[start] if end > start else None)
    return pa.array(found, pa.binary())


def _one(values: pa.ChunkedArray) -> pa.ListArray:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _bounds(lists: pa.ListArray) -> list[tuple[int, int]]:
    """Where each list begins and ends in the values; a NULL is an empty one."""
    starts = lists.offsets.to_pylist()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_pylist()
    return [(start, start + length) for start, length in zip(starts, lengths, strict=False)]
