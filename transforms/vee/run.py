"""Checks and estimates as one table: a row an interval."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from transforms.vee.checks import Check, failed
from transforms.vee.estimate import METHODS, estimated
from transforms.vee.intervals import Intervals

STATUSES = ("valid", "warned", "estimated", "missing", "edited")

SCHEMA = pa.schema(
    [
        ("series", pa.string()),
        ("interval_start", pa.timestamp("us", "UTC")),
        ("value", pa.float64()),
        ("status", pa.string()),
        ("rules", pa.string()),
        ("method", pa.string()),
        ("read", pa.float64()),
        ("place", pa.int64()),
    ]
)
"""value: what to reckon with, NULL where nothing was read and nothing can be estimated; status: valid, warned (a check
found fault, the value is what was read), estimated, missing, edited; rules: the checks that found fault, comma-separated; method:
how it was estimated, with `scaled` where the register said how much it came to; read: what was read; place: its row in
the table given, NULL for none."""


def validated(
    intervals: Intervals,
    checks: Sequence[Check],
    *,
    linear_up_to: int,
    holidays: Collection[date] = (),
    rolls_over_at: float | None = None,
    edits: Mapping[int, float] = MappingProxyType({}),
) -> pa.Table:
    """As SCHEMA says, in order of series and time. linear_up_to: microseconds; edits: values that somebody gave, by row of
    the intervals: no check judges them, and estimates are made of them as of what was read."""
    read, is_edited = intervals.value, np.zeros(len(intervals), bool)
    if edits:
        rows = np.fromiter(edits, np.int64)
        is_edited[rows] = True
        given = read.copy()
        given[rows] = list(edits.values())
        intervals = replace(intervals, value=given)
    found = {kind: mask & ~is_edited for kind, mask in failed(intervals, checks, rolls_over_at=rolls_over_at).items()}
    wanted = np.zeros(len(intervals), bool)
    for check in checks:
        if check.estimate:
            wanted |= found[check.kind]
    made = estimated(intervals, wanted, linear_up_to=linear_up_to, holidays=holidays, rolls_over_at=rolls_over_at)
    is_made = np.isfinite(made.value)
    faults = np.zeros(len(intervals), bool)
    for mask in found.values():
        faults |= mask
    status = np.select(
        [is_edited, is_made, intervals.is_missing, faults | made.conflicts | wanted],
        [4, 2, 3, 1],
        0,
    )
    rules = [*found.items(), ("register_exceeded", made.conflicts)]
    names = np.full(len(intervals), "", object)
    for rule, mask in rules:
        names[mask] = [f"{name},{rule}" if name else rule for name in names[mask]]
    methods = np.array([None, *METHODS[1:]], object)[made.method]
    methods[made.is_scaled] = [f"{name}, scaled" for name in methods[made.is_scaled]]
    value = np.where(is_made, made.value, intervals.value)
    return pa.table(
        [
            intervals.names.take(pa.array(intervals.series)).cast(pa.string()),
            pa.array(intervals.start, pa.int64()).cast(pa.timestamp("us", "UTC")),
            pa.array(value, from_pandas=True),
            pa.array(np.array(STATUSES, object)[status], pa.string()),
            pa.array([name or None for name in names], pa.string()),
            pa.array(methods, pa.string()),
            pa.array(read, from_pandas=True),
            pa.array(intervals.place, pa.int64(), mask=intervals.place < 0),
        ],
        schema=SCHEMA,
    )
