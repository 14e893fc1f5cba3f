"""Rejects of earlier commits judged again, under the contract of now: what holds is on time, the rest stays rejected.

    a file of 9 rejects       7 judged again (rule, source)          2 not asked for
                              5 on time        2 rejected again      2 as they were
    counts                    read 0 = on time 5 + rejected -5
    files                                      the new commit's file of rejects: 4

Guarantees: each reject of the file comes out as rows or in the new file, with the place and the commit it was read at.
`read` grows only where one reject becomes several records. Nothing is late: M at its time is not known any more.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec.structs import replace

from data_sources.decode.rejects import Decoded
from data_sources.sources import rejected as source
from data_sources.sources.rejected import Again
from data_sources.splits import PartitionPlan, RejectedSplit
from transforms.arrow import as_batch
from transforms.blocks import Slice
from transforms.dedup import ORDER
from transforms.judge import apply_rules
from transforms.read import SPLIT_BITS, Tally, held_rows, told, with_lineage
from transforms.shard import split_by_shard

TWICE = (
    "the local time comes twice, and which of the two it is was told by its place in the file, which a record judged "
    "again has no more; land a copy of the file under another name: what landed before is a copy there"
)

GONE = "the contract of now makes no record of it"


def rejected_again(partition: PartitionPlan, slice: Slice) -> Any:
    """Outputs of the rejects that the partition's splits name."""
    tally, were = Tally(partition), Counter[str]()
    for split in partition.splits:
        assert isinstance(split, RejectedSplit)
        rows = source.conform(pq.read_table(Path(slice.root) / split.path))
        mask = source.taken(rows, split)
        were.update(_rules(rows.filter(pa.array(mask))))
        left = [rows.filter(pa.array(~mask))]
        cut = mask & source.is_cut(rows)
        left.append(_rejected(rows.filter(pa.array(cut)), tally, split.number, slice))
        at, came_back = np.flatnonzero(mask & ~cut), np.zeros(rows.num_rows, bool)
        for again, decoded in source.groups(rows, at, split, slice.contract):
            on_time, rejects, from_rejects = _judged(again, decoded, rows, slice)
            came_back[from_rejects] = True
            left.append(_rejected(rejects, tally, split.number, slice))
            yield from _landing(on_time, tally, split.number, slice)
        gone = rows.take(pa.array(at[~came_back[at]]))
        left.append(_rejected(_because(gone, "undecodable", "columns", GONE), tally, split.number, slice))
        for some in left:
            if some.num_rows:
                yield beam.pvalue.TaggedOutput("aside", ("rejected", as_batch(some)))
    taken = sum(were.values())
    counts = tally.counts()
    by_rule = {rule: counts.rejected_by.get(rule, 0) - were.get(rule, 0) for rule in {*counts.rejected_by, *were}}
    yield told(
        replace(
            counts,
            read=counts.read - taken,
            rejected=counts.rejected - taken,
            rejected_by={rule: n for rule, n in sorted(by_rule.items()) if n},
        )
    )


def _judged(again: Again, decoded: Decoded, rows: pa.Table, slice: Slice) -> tuple[pa.Table, pa.Table, np.ndarray]:
    """Rows in the landed schema, rejects in the columns of their file, and which rejects either came from."""
    assert again.records.arrivals is not None
    ruled = apply_rules(_without_twice(decoded), again.records.arrivals, slice.contract)
    back = again.back(ruled.rows)
    from_rows, chosen = back.rejects, ruled.rows.take(pa.array(back.at))
    places, where = rows.take(pa.array(from_rows)), chosen.column_names.index("_position")
    chosen = chosen.set_column(where, "_position", pa.array(back.positions))
    sources = pc.dictionary_encode(places["_source"].combine_chunks())
    on_time = with_lineage(chosen, sources, places["_partition"].combine_chunks(), slice)

    back = again.back(ruled.rejected)
    why, kept = ruled.rejected.take(pa.array(back.at)), rows.take(pa.array(back.rejects))
    anew = pa.array(again.is_cut_anew[back.numbers])
    columns = {name: kept[name] for name in source.SCHEMA.names}
    columns |= {name: why[name] for name in ("cause", "rule", "reason")}
    columns["_position"] = pa.array(back.positions, pa.int64())
    columns["_half"] = pc.coalesce(why["_half"], kept["_half"])
    columns["raw"] = pc.if_else(anew, why["raw"], kept["raw"])
    return on_time, pa.table(columns, schema=source.SCHEMA), np.concatenate([from_rows, back.rejects])


def _without_twice(decoded: Decoded) -> Decoded:
    """Local times that come twice are rejects: see TWICE."""
    if decoded.twice is None or not len(decoded.twice):
        return decoded
    at = decoded.twice["_index"].to_numpy()
    for index, name in zip(at.tolist(), decoded.twice["field"].to_pylist(), strict=True):
        decoded.rejecting.add(index, "undecodable", f"time:{name}", f"{name}: {TWICE}")
    stays = ~np.isin(decoded.rows["_index"].to_numpy(), at)
    return decoded._replace(rows=decoded.rows.filter(pa.array(stays)), twice=None)


def _landing(on_time: pa.Table, tally: Tally, number: int, slice: Slice) -> Any:
    """Outputs of rows that are on time."""
    if not on_time.num_rows:
        return
    contract = slice.contract
    start = (number << SPLIT_BITS) + tally.running
    tally.running += on_time.num_rows
    tally.add(on_time, on_time.slice(0, 0), source.SCHEMA.empty_table(), np.zeros_like(tally.delays), number)
    ordered = on_time.append_column(ORDER, pa.array(np.arange(start, start + on_time.num_rows)))
    for shard, some in split_by_shard(ordered, contract.dedup.key, slice.shards):
        yield shard, as_batch(some)
    if contract.lake.load == "scd2":
        yield beam.pvalue.TaggedOutput(
            "aside", ("changes", as_batch(held_rows(on_time, on_time["_source"][0].as_py(), contract)))
        )


def _rejected(rejects: pa.Table, tally: Tally, number: int, slice: Slice) -> pa.Table:
    """The rejects, counted, with the mark that they were judged by this commit."""
    n, where = rejects.num_rows, rejects.column_names.index("_judged")
    nothing = pa.table({"_extra": pa.nulls(0, pa.string()), "_warnings": pa.nulls(0, pa.string())})
    tally.add(nothing, nothing, rejects, np.zeros_like(tally.delays), number)
    return rejects.set_column(where, "_judged", pa.repeat(pa.scalar(slice.commit, pa.int64()), n))


def _because(rejects: pa.Table, cause: str, rule: str, reason: str) -> pa.Table:
    """The rejects with another cause."""
    texts = zip(("cause", "rule", "reason"), (cause, rule, reason), strict=True)
    for at, (name, text) in enumerate(texts):
        rejects = rejects.set_column(at, name, pa.repeat(text, rejects.num_rows))
    return rejects


def _rules(rejects: pa.Table) -> list[str]:
    return [f"{c}/{r}" for c, r in zip(rejects["cause"].to_pylist(), rejects["rule"].to_pylist(), strict=True)]
