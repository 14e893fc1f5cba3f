"""Master data and changes: which files are full snapshots and which are not, and the date a snapshot speaks of."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data_sources.durations import micros
from data_sources.splits import Role

if TYPE_CHECKING:
    from data_sources.contract import Contract, LakeSpec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def role(name: str, lake: LakeSpec) -> Role:
    """`snapshot` or `delta`, by the file's name relative to the source; ValueError where neither list has it.

    A name on both lists is a change file: the narrower pattern is the one for changes. With one list, what is not
    on it is of the other kind.
    """
    if _matches(name, lake.delta_files):
        return "delta"
    if _matches(name, lake.snapshot_files):
        return "snapshot"
    if lake.snapshot_files and lake.delta_files:
        raise ValueError("is neither among lake.snapshot_files nor lake.delta_files; name it in one of them")
    return "snapshot" if lake.delta_files else "delta"


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) or fnmatch(name, f"*/{pattern}") for pattern in patterns)


def parse_as_of(text: str) -> tuple[str, str, str | None]:
    """`column:NAME` or `name:REGEX:%Y%m%d` as (kind, name or regex, format); ValueError for anything else."""
    kind, _, rest = text.partition(":")
    if kind == "column" and rest:
        return kind, rest, None
    if kind == "name" and ":%" in rest:
        pattern, _, form = rest.rpartition(":%")
        try:
            groups = re.compile(pattern).groups
        except re.error as cause:
            raise ValueError(f"lake.as_of: {pattern!r} is not a regular expression ({cause})") from cause
        if groups <= 1:
            return kind, pattern, f"%{form}"
    raise ValueError(
        f"lake.as_of: {text!r} is not column:NAME or name:REGEX:%Y%m%d (the regular expression with at most one group)"
    )


def as_of_name(name: str, lake: LakeSpec) -> int | None:
    """The date in a snapshot's file name, microseconds since the epoch; None where as_of is a column.

    Raises ValueError where the name holds none.
    """
    if lake.as_of is None:
        return None
    kind, pattern, form = parse_as_of(lake.as_of)
    if kind == "column" or form is None:
        return None
    found = re.search(pattern, name)
    if found is None:
        raise ValueError(f"its name holds no date as lake.as_of = {lake.as_of!r} has it")
    text = found[1] if found.re.groups else found[0]
    try:
        return micros(datetime.strptime(text, form).replace(tzinfo=UTC) - _EPOCH)
    except ValueError as cause:
        raise ValueError(f"the date in its name, {text!r}, is not {form}") from cause


def as_of_rows(rows: pa.Table, contract: Contract, name: str) -> np.ndarray:
    """Per row what it says of its snapshot's date, microseconds; a snapshot's date is the greatest."""
    import pyarrow.compute as pc  # here: a contract alone is read without the kernels

    lake = contract.lake
    if (named := as_of_name(name, lake)) is not None:
        return np.full(rows.num_rows, named, np.int64)
    column = parse_as_of(lake.as_of)[1] if lake.as_of else (lake.effective_from or contract.event_time)
    times = pc.cast(pc.cast(rows[column], pa.timestamp("us", "UTC")), pa.int64())
    return pc.fill_null(times, np.iinfo(np.int64).min).to_numpy()
