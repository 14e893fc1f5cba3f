"""Files of a table put together in another order, in process: what a topic that is followed for hours leaves behind.

    silver.FEED   [c1 s0][c1 s1][c1 s2][c1 s3][c2 s0] ... 32 small files ──► one, sorted by the cluster columns
    gold.WINDOW   |── 1 ──|── 2 ──|── 3 ──| ... |── 16 ──|  each two hours of all meters
                  |──────────────── a ───────────────────|  all 32 hours of a sixteenth of the meters
                  |──────────────── b ───────────────────|  ...
                  and two or more of what is left, until they are so many: |─ a ─|─ 3 ─|
                                                                           |─ b ─|

Changes no row: Delta takes it as an OPTIMIZE, and so do we. Appends and OPTIMIZE of others may meet it; where another
writer took rows out of one of the files first, nothing is done and the next round tries again. Clustering by space-
filling curve stays Spark's (`maintain`): these files have no cube, so it finds them. Windows are put in order of their
groups once they are final; one that changes after all has the files of its hours written in order of time again.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from beam_grid.crash import point
from beam_grid.lakehouse import data_files, delta_log, gold
from beam_grid.lakehouse.delta_log import Conflict
from beam_grid.lakehouse.duck import connect_again
from beam_grid.lakehouse.live import Live, LiveFile
from beam_grid.lakehouse.scan import selected
from beam_grid.lakehouse.spans import window_span
from beam_grid.lakehouse.tables import Table
from data_sources.identifiers import double_quoted

AT_LEAST = 32
"""So many small files cost every query more than putting them together costs once."""

SMALL_BYTES = 1 << 20
_MOST_ROWS = 2_000_000

RUN_ROWS = 16 * gold.FILE_ROWS
"""A question about one group then reads a sixteenth of the files, and a window that changes after all has so many written."""

SOME_ROWS = 2 * gold.FILE_ROWS
"""Of so many the newest are put in order too, to be so again with others."""

ORDERED = "BEAM_GRID_BY_GROUP"
"""The tag of a file of windows that is in order of its groups: `_DONE`, or what it has in common with others put in order
with it, which are to be so again."""

_DONE = "1"


def compact(table: Table, scratch: Path) -> int:
    """Put the small files of the table together where there are many; returns how many went."""
    at = delta_log.read(table.path)
    if at is None:
        return 0
    small, rows = [], 0
    for file in sorted((f for f in at.files if f.bytes < SMALL_BYTES and f.cube is None), key=_age):
        rows += file.rows or 0
        if rows > _MOST_ROWS:
            break
        small.append(file)
    if len(small) < AT_LEAST:
        return 0
    return _together(table, at, small, at.cluster_by, _MOST_ROWS, data_files.ROW_GROUP, scratch)


def by_group(table: Table, groups: Sequence[str], final_before: int | None, scratch: Path) -> int:
    """Put the oldest files of final windows that are worth it in order of their groups; returns how many went.

    final_before: of windows that start before it, in microseconds, all are final; None for all windows.
    """
    at = delta_log.read(table.path)
    if at is None or not groups:
        return 0
    files, is_done = _to_order(at, final_before)
    if not files:
        return 0
    order, tags = [*groups, "window_start"], {ORDERED: _DONE if is_done else secrets.token_hex(8)}
    return _together(table, at, files, order, gold.FILE_ROWS, data_files.SORTED_GROUP, scratch, tags)


def _to_order(at: Live, final_before: int | None) -> tuple[list[LiveFile], bool]:
    """Files that stand next to each other in time, and whether these are then done with: as many as a run has, or what lies
    between those that are; else some of the newest."""
    runs: dict[str, list[LiveFile]] = {}
    for file in sorted(at.files, key=window_span):
        tag = file.tags.get(ORDERED)
        runs.setdefault(file.path if tag in (None, _DONE) else tag, []).append(file)
    between: list[list[LiveFile]] = []
    loose: list[LiveFile] = []
    for run in runs.values():
        tag = run[0].tags.get(ORDERED)
        if tag == _DONE:
            if len(between) > 1:
                return _flat(between), True
            between, loose = [], []
            continue
        if final_before is not None and any(window_span(file)[1] >= final_before for file in run):
            break
        between.append(run)
        loose = [*loose, *run] if tag is None else []
        if _rows(_flat(between)) >= RUN_ROWS:
            return _flat(between), True
    return (loose, False) if len(loose) > 1 and _rows(loose) >= SOME_ROWS else ([], False)


def _flat(runs: Iterable[list[LiveFile]]) -> list[LiveFile]:
    return list(itertools.chain.from_iterable(runs))


def _rows(files: Iterable[LiveFile]) -> int:
    return sum(file.rows or 0 for file in files)


def _together(
    table: Table, at: Live, files: Sequence[LiveFile], order: Sequence[str], file_rows: int, row_group: int, scratch: Path,
    tags: dict[str, str] | None = None,
) -> int:  # fmt: skip
    """Put the rows of these files into others, in this order, in one commit; 0 where somebody else changed one first."""
    by = ", ".join(map(double_quoted, order))
    with connect_again(scratch) as engine:
        sql = f"SELECT * FROM {selected(engine, table.path, at, files)}"
        reader = engine.sql(sql + (f" ORDER BY {by}" if by else "")).to_arrow_reader(100_000)
        added = data_files.write(
            table.path, reader, delta_log.arrow_schema(at), file_rows, delta_log.statistics_columns(at),
            changes_rows=False, row_group=row_group, tags=tags,
        )  # fmt: skip
    point(f"publish:written-{table.name}")
    actions = [*(delta_log.removed(file, changes_rows=False) for file in files), *added]
    try:
        delta_log.put(table.path, at, actions, "OPTIMIZE")
    except Conflict:
        return 0
    return len(files)


def _age(file: LiveFile) -> tuple[int, str]:
    return file.action.get("modificationTime") or 0, file.path
