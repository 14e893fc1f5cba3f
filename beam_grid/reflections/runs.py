"""Which files of a reflection are put together: those of many small runs, so that a question reads few files.

    each publish ─► a run: one sorted stretch of rows, in files one after the other
    8 runs of less than 50,000 rows ─► one run; 8 of less than 400,000 ─► one; less than 3,200,000, as many as make that ─► one

So a row is written again three or four times once it is in a run of 50,000, and what is left unmerged of n rows is some
runs of each size and one for every three to six million. (An LSM's size-tiered compaction.)
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable

from beam_grid.lakehouse.live import LiveFile

FILE_ROWS = 200_000

MANY = 8
"""So many runs of a size are put together."""

SIZES = (FILE_ROWS // 4, 2 * FILE_ROWS, 16 * FILE_ROWS)
"""Rows; a run of the last or more stays as it is: it would hold a publish up."""

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
    for least, most in reversed(list(itertools.pairwise((0, *SIZES)))):
        there = [count for count in rows.values() if least <= count < most]
        if len(there) >= MANY or (most == SIZES[-1] and sum(there) >= most):
            return _smallest(runs, rows, most)
    return []


def _smallest(runs: dict[str, list[LiveFile]], rows: dict[str, int], most: int) -> list[LiveFile]:
    """The files of runs of less than so many rows, the smallest first, until they are a large one: a publish waits."""
    chosen: list[LiveFile] = []
    total = 0
    for run in sorted((run for run in runs if rows[run] < most), key=rows.__getitem__):
        if total >= SIZES[-1]:
            break
        chosen += runs[run]
        total += rows[run]
    return chosen
