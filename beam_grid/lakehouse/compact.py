"""Small files of a table put together, in process: what a topic that is followed for hours leaves behind.

    silver.FEED   [c1 s0][c1 s1][c1 s2][c1 s3][c2 s0] ... 32 small files ──► one, sorted by the cluster columns

Changes no row: Delta takes it as an OPTIMIZE, and so do we. Appends and OPTIMIZE of others may meet it; where another
writer took rows out of one of the files first, nothing is done and the next round tries again. Clustering by space-
filling curve stays Spark's (`maintain`): these files have no cube, so it finds them.
"""

from __future__ import annotations

from pathlib import Path

from beam_grid.crash import point
from beam_grid.lakehouse import data_files, delta_log
from beam_grid.lakehouse.delta_log import Conflict
from beam_grid.lakehouse.duck import connect_again
from beam_grid.lakehouse.live import LiveFile
from beam_grid.lakehouse.scan import selected
from beam_grid.lakehouse.tables import Table
from data_sources.identifiers import double_quoted

AT_LEAST = 32
"""So many small files cost every query more than putting them together costs once."""

SMALL_BYTES = 1 << 20
_MOST_ROWS = 2_000_000


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
    schema = delta_log.arrow_schema(at)
    order = ", ".join(double_quoted(name) for name in at.cluster_by)
    with connect_again(scratch) as engine:
        sql = f"SELECT * FROM {selected(engine, table.path, at, small)}"
        reader = engine.sql(sql + (f" ORDER BY {order}" if order else "")).to_arrow_reader(100_000)
        added = data_files.write(
            table.path, reader, schema, _MOST_ROWS, delta_log.statistics_columns(at), changes_rows=False
        )
    point(f"publish:written-{table.name}")
    actions = [*(delta_log.removed(file, changes_rows=False) for file in small), *added]
    try:
        delta_log.put(table.path, at, actions, "OPTIMIZE")
    except Conflict:
        return 0
    return len(small)


def _age(file: LiveFile) -> tuple[int, str]:
    return file.action.get("modificationTime") or 0, file.path
