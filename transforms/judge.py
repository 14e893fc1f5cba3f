"""Judging records: rules, future, lateness, in this order; row by row inside the batch, by vectorised functions.

Guarantees: each record handed in ends as exactly one of on time, late, rejected. What is late depends only on
the records before it in its own partition: neither on slicing, nor on other partitions, nor on the clock.

    M: greatest event time before a record in its partition, rejects not counted
    ------|--------------------|-----------------|----> event time
          M - (ooo + lateness)  M - ooo           M
     late |            on time
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import Contract, RuleSpec
from data_sources.decode.casting import UTC_MICROS
from data_sources.decode.rejects import Decoded
from data_sources.durations import micros
from data_sources.expressions import sandbox
from transforms.manifest import DELAY_BOUNDS_S

NO_TIME = np.iinfo(np.int64).min
"""M before the first record."""


class Ruled(NamedTuple):
    """Rows that may land, with `_warnings` (comma-separated ids or null), and a table of REJECT_SCHEMA."""

    rows: pa.Table
    rejected: pa.Table


class Judged(NamedTuple):
    """One batch's on-time rows, late rows (with `_behind`, microseconds behind M), the partition's new M, and
    the delays (M - event time, not below 0) of both, counted by DELAY_BOUNDS_S."""

    on_time: pa.Table
    late: pa.Table
    max_event_time: int
    delays: np.ndarray


def event_micros(rows: pa.Table, contract: Contract) -> np.ndarray:
    """Event time as int64 microseconds since the epoch; a date stands for its midnight, UTC; a tombstone has NO_TIME."""
    times = pc.cast(pc.cast(rows[contract.event_time], UTC_MICROS), pa.int64())
    return (pc.fill_null(times, NO_TIME) if times.null_count else times).to_numpy()


def apply_rules(decoded: Decoded, arrivals: np.ndarray | int, contract: Contract) -> Ruled:
    """Reject what breaks a rejecting rule, then what comes from the future; note which warning rules others break.

    arrivals: microseconds when each record handed to the decoder arrived, or one time for all.
    """
    rows, rejecting = decoded.rows, decoded.rejecting
    index = rows["_index"].to_numpy()
    keep = np.ones(rows.num_rows, bool)
    noted = np.full(rows.num_rows, "", object)
    warned = False
    rules = contract.all_rules
    broken = _broken(rows, contract, rules) if rules and rows.num_rows else []
    for rule, mask in zip(rules, broken, strict=bool(broken)):
        if not mask.any():
            continue
        if rule.on_fail == "reject":
            rejecting.add_all(index[mask], "rule_broken", rule.id, f"breaks {rule.check}")
            keep &= ~mask
        else:
            noted[mask] = [f"{text},{rule.id}" if text else rule.id for text in noted[mask]]
            warned = True
    if contract.max_future is not None:
        handed_in = index if decoded.parents is None else decoded.parents[index]
        arrived = arrivals if isinstance(arrivals, int) else arrivals[handed_in]
        future = keep & (event_micros(rows, contract) > arrived + micros(contract.max_future))
        reason = "the event time lies further ahead of its arrival than max_future"
        rejecting.add_all(index[future], "from_the_future", "max_future", reason)
        keep &= ~future
    warnings = (
        pa.array([text or None for text in noted.tolist()], pa.string())
        if warned
        else pa.nulls(rows.num_rows, pa.string())
    )
    rows = rows.drop_columns(["_index"]).append_column("_warnings", warnings)
    return Ruled(rows if keep.all() else rows.filter(pa.array(keep)), rejecting.table())


def _broken(rows: pa.Table, contract: Contract, rules: list[RuleSpec]) -> list[np.ndarray]:
    """Per rule the mask of rows that break it. A rule that is NULL passes; one that fails to compute is broken."""
    fields = rows.select([f.name for f in contract.fields])
    cursor = sandbox().cursor()
    cursor.register("row", fields)
    try:
        checks = ", ".join(f"coalesce(({rule.check}\n), true) AS r{n}" for n, rule in enumerate(rules))
        passed = cursor.sql(f"SELECT {checks} FROM row").to_arrow_table()
        return [~passed[f"r{n}"].to_numpy() for n in range(len(rules))]
    except Exception:  # a check that cannot be computed for some row: find which, one by one
        return [_broken_singly(fields, rule.check) for rule in rules]
    finally:
        cursor.close()


def _broken_singly(fields: pa.Table, check: str) -> np.ndarray:
    cursor = sandbox().cursor()
    cursor.register("row", fields)
    try:
        tried = cursor.sql(f"SELECT coalesce(TRY(coalesce(({check}\n), true)), false) FROM row").to_arrow_table()
        return ~tried.column(0).to_numpy()
    finally:
        cursor.close()


def judge(rows: pa.Table, max_event_time: int, contract: Contract, ordered: bool) -> Judged:
    """Split a batch, in its partition's order, by lateness. max_event_time: M so far; ordered: see `may_be_late`."""
    times = event_micros(rows, contract)
    late = np.zeros(len(times), bool)
    delays = np.zeros(len(DELAY_BOUNDS_S) + 1, np.int64)
    behind = np.zeros(len(times), np.int64)
    if len(times):
        before = np.maximum.accumulate(np.concatenate([[max_event_time], times[:-1]]))
        known = (before != NO_TIME) & (times != NO_TIME)
        behind[known] = np.maximum(before[known] - times[known], 0)
        if ordered:
            late = behind > micros(contract.lateness)
        bounds = np.asarray(DELAY_BOUNDS_S, np.int64) * 1_000_000
        delays = np.bincount(np.searchsorted(bounds, behind, side="left"), minlength=len(delays))
        max_event_time = max(int(before[-1]), int(times[-1]))
    if not late.any():
        empty = rows.slice(0, 0).append_column("_behind", pa.array([], pa.int64()))
        return Judged(rows, empty, max_event_time, delays)
    late_rows = rows.filter(pa.array(late)).append_column("_behind", pa.array(behind[late]))
    return Judged(rows.filter(pa.array(~late)), late_rows, max_event_time, delays)


def may_be_late(contract: Contract, is_log: bool) -> bool:
    """Whether the order of arrival says something: in a Kafka partition and in files that form one log, not in a
    file that is whole in itself. Changes and master rows have an order of their own."""
    return contract.lake.load == "append" and (is_log or contract.file_order == "name")
