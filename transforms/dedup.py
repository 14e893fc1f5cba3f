"""Dedup: never lets a copy pass. One pure step over what was seen and what comes.

    dedup(seen, batch, ...) -> rows, duplicates, conflicts, superseded

Guarantees: equality is on the key. Of a key's records exactly one stays (keep = first: the first to arrive;
keep = latest: the greatest by `order_by`, then by all fields in the contract's order, null least). With a
horizon a record is a copy of a landed one of its key whose event time is at most the horizon away. Cutting the
input into steps changes nothing: folded through `dedup`, the steps' rows (less the superseded ones) are the
batch's. Not guaranteed: with keep = first, which payload of a conflict stays depends on arrival; with a horizon,
which records of a chain longer than the horizon land.

Rows carry `_order` (int64): their arrival over all partitions of a slice, part number << 40 | running number.
"""

from __future__ import annotations

import bisect
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from data_sources.contract import Contract
from data_sources.durations import micros
from data_sources.expressions import sandbox
from transforms.arrow import plain_table

ORDER = "_order"
_SEEN = "_seen"
_STAYS = "_stays"


class Deduped(NamedTuple):
    """What one step makes of a batch.

    rows: what lands, with `_order`; duplicates: `_order` of each copy; conflicts: rows that did not stay although
    their payload differs from the one that did, with `_kept` (JSON of the row that stays) and `_counted` (true on
    one row of a key whose conflict was not known before); superseded: rows of `seen` that a landed row replaces.
    """

    rows: pa.Table
    duplicates: pa.Array
    conflicts: pa.Table
    superseded: pa.Table


def dedup(seen: pa.Table | None, batch: pa.Table, contract: Contract, counted: pa.Table | None = None) -> Deduped:
    """Decide which rows of `batch` land.

    seen: landed rows (the batch's columns but `_order`), at least those whose key is in the batch and, with a
    horizon, whose event time is in reach; superseded ones may be among them. counted: key columns of the
    conflicts known already. Neither is changed.
    """
    key = contract.dedup.key
    keys = _frame(batch.select([*key, ORDER]))
    if not keys[ORDER].is_sorted():
        batch = batch.take(keys[ORDER].arg_sort().to_arrow())
        keys = keys.sort(ORDER)
    before = None if seen is None or not seen.num_rows else _frame(seen)
    doubtful = _doubtful(before, keys, key)
    if not doubtful.any():
        return Deduped(batch, pa.array([], pa.int64()), *_nothing(batch.schema))
    some = _frame(batch.filter(doubtful.to_arrow())).with_columns(pl.lit(False).alias(_SEEN))
    known = some.clear()
    if before is not None:
        known = before.join(some.select(key), on=key, how="semi", nulls_equal=True).with_columns(
            pl.lit(-1, pl.Int64).alias(ORDER), pl.lit(True).alias(_SEEN)
        )
    some = pl.concat([known.select(some.columns), some]).with_row_index("_row")
    if contract.dedup.keep == "latest":
        stays = _greatest(some, contract)
    elif contract.dedup.horizon is not None and contract.event_time not in key:
        stays = _nearest(some, contract)
    else:
        stays = some.select("_row", pl.col("_row").first().over(key).alias(_STAYS))
    some = some.join(stays, on="_row", maintain_order="left")
    lands = some.filter(~pl.col(_SEEN) & (pl.col("_row") == pl.col(_STAYS)))
    copies = some.filter(~pl.col(_SEEN) & (pl.col("_row") != pl.col(_STAYS)))
    gone = some.clear()
    if contract.dedup.keep == "latest":
        current = some.filter(pl.col(_SEEN)).sort(_total_order(contract)).unique(subset=key, keep="last")
        gone = (
            current.join(lands.select(key), on=key, how="semi", nulls_equal=True)
            .drop(_STAYS)
            .join(lands.select(*key, _STAYS), on=key, how="left", nulls_equal=True)
        )
    stayed = ~np.isin(keys[ORDER].to_numpy(), copies[ORDER].to_numpy())
    conflicts = _conflicts(pl.concat([copies, gone.select(copies.columns)]), some, contract, counted)
    return Deduped(
        batch.filter(pa.array(stayed)) if copies.height else batch,
        copies[ORDER].to_arrow().cast(pa.int64()),
        _as_batch(conflicts, conflict_schema(batch.schema)),
        _as_batch(gone, _without_order(batch.schema)),
    )


def _doubtful(before: pl.DataFrame | None, came: pl.DataFrame, key: list[str]) -> pl.Series:
    """Mask of rows whose key stands twice in the batch or was seen: a hash finds candidates, so it may be too wide."""
    hashes = came.select(key).hash_rows()
    doubtful = hashes.is_duplicated()
    if before is not None:
        met = np.isin(hashes.to_numpy(), before.select(key).hash_rows().to_numpy())
        doubtful = doubtful | pl.Series(met)
    return doubtful


def _total_order(contract: Contract) -> list[str]:
    return [*contract.dedup.order_by, *(f.name for f in contract.fields if f.name not in contract.dedup.order_by)]


def _greatest(some: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """keep = latest: per row, which row stays; of equal ones the one seen, else the first to arrive."""
    key = contract.dedup.key
    order = some.sort([*_total_order(contract), "_row"], descending=[False] * len(contract.fields) + [True])
    return order.select("_row", pl.col("_row").last().over(key).alias(_STAYS))


def _nearest(some: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """With a horizon: rows in order of arrival; one with a landed row of its key in reach is a copy of it."""
    horizon = micros(contract.dedup.horizon) if contract.dedup.horizon is not None else 0
    landed: dict[tuple[object, ...], list[tuple[int, int]]] = {}
    stays: list[int] = []
    times = (
        some[contract.event_time]
        .cast(
            pl.Datetime("us", None) if contract.field(contract.event_time).type == "date" else pl.Datetime("us", "UTC")
        )
        .to_physical()
        .to_list()
    )
    for row, (key, seen, time) in enumerate(
        zip(some.select(contract.dedup.key).rows(), some[_SEEN].to_list(), times, strict=True)
    ):
        near = landed.setdefault(key, [])
        at = bisect.bisect_left(near, (time, -1))
        reach = [near[i] for i in (at - 1, at) if 0 <= i < len(near) and abs(near[i][0] - time) <= horizon]
        if seen or not reach:
            near.insert(at, (time, row))
            stays.append(row)
        else:
            stays.append(min(reach, key=lambda r: (abs(r[0] - time), r[1]))[1])
    return pl.DataFrame(
        {"_row": pl.Series(range(len(stays)), dtype=pl.UInt32), _STAYS: pl.Series(stays, dtype=pl.UInt32)}
    )


def _conflicts(losers: pl.DataFrame, some: pl.DataFrame, contract: Contract, counted: pa.Table | None) -> pl.DataFrame:
    """Losers whose payload differs from the row that stays."""
    key = contract.dedup.key
    payload = [f.name for f in contract.fields if f.name not in key]
    kept = some.select(pl.col("_row").alias(_STAYS), *(pl.col(p).alias(f"_kept {p}") for p in payload))
    paired = losers.join(kept, on=_STAYS, how="left", maintain_order="left")
    differs = paired.filter(
        pl.any_horizontal([pl.col(p).ne_missing(pl.col(f"_kept {p}")) for p in payload] or [pl.lit(False)])
    )
    if not differs.height:
        return losers.clear().with_columns(pl.lit(None, pl.String).alias("_kept"), pl.lit(False).alias("_counted"))
    stayed = differs.select(pl.col(_STAYS).alias("_row")).join(some, on="_row", how="left", maintain_order="left")
    names = [f.name for f in contract.fields]
    first = pl.struct(key).is_first_distinct()
    if counted is not None and counted.num_rows:
        known = _frame(counted).select(key).unique().with_columns(pl.lit(True).alias("_known"))
        differs = differs.join(known, on=key, how="left", maintain_order="left")
        first = first & pl.col("_known").is_null()
    kept_json = pl.Series("_kept", to_json(stayed.select(names).to_arrow()).to_pylist(), dtype=pl.String)
    return differs.with_columns(first.alias("_counted"), kept_json)


def to_json(rows: pa.Table) -> pa.ChunkedArray:
    """Each row as one JSON object, times in ISO form."""
    cursor = sandbox().cursor()
    cursor.register("__rows", rows)
    found = cursor.sql("SELECT CAST(to_json(__rows) AS VARCHAR) AS j FROM __rows").to_arrow_table()
    cursor.close()
    return found["j"]


def conflict_schema(schema: pa.Schema) -> pa.Schema:
    """Columns of a conflict: the batch's without `_order`, then `_kept` and `_counted`."""
    return pa.schema([*_without_order(schema), pa.field("_kept", pa.string()), pa.field("_counted", pa.bool_())])


def _without_order(schema: pa.Schema) -> pa.Schema:
    plainly = (f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in schema)
    return pa.schema([f for f in plainly if f.name != ORDER])


def _nothing(schema: pa.Schema) -> tuple[pa.Table, pa.Table]:
    return conflict_schema(schema).empty_table(), _without_order(schema).empty_table()


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(plain_table(table))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _as_batch(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    return frame.select(schema.names).to_arrow().cast(schema)
