"""Which files of a reflection are put together: those of many small runs, so that a question reads few files.

    each publish ─► a run: one sorted stretch of rows, in files one after the other
    8 runs of less than 50,000 rows ─► one run; 8 of less than 400,000 ─► one; 8 of less than 3,200,000 ─► one

So a row is written again at most about three times, and what is left unmerged of n rows is some runs of each size and
one for every three million. (An LSM's size-tiered compaction.)
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from beam_grid.lakehouse.live import LiveFile

FILE_ROWS = 200_000

MANY = 8
"""So many runs of a size are put together."""

SIZES = (FILE_ROWS // 4, 2 * FILE_ROWS, 16 * FILE_ROWS)
"""Rows; a run of more than the last stays as it is: it would hold a publish up."""

_TAG = "BEAM_GRID_RUN"


def tags() -> dict[str, str]:
    """For the files of one run."""
    return {_TAG: secrets.token_hex(8)}


def to_merge(files: Iterable[LiveFile]) -> list[LiveFile]:
    """The files to put together with what comes next; none where no size has many runs."""
    runs: dict[str, list[LiveFile]] = {}
    for file in files:
        run = file.tags.get(_TAG)  # a version before this one wrote none: its large files are of nobody knows what run
        if run is not None or (file.rows or 0) < SIZES[0]:
            runs.setdefault(run or file.path, []).append(file)
    rows = {run: sum(file.rows or 0 for file in each) for run, each in runs.items()}
    for least, most in reversed(list(zip((0, *SIZES), SIZES, strict=False))):
        if sum(least <= count < most for count in rows.values()) >= MANY:
            return [file for run, each in runs.items() if rows[run] < most for file in each]
    return []
