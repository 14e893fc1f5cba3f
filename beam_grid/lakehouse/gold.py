"""gold.WINDOW: one row per group and window, the merge of the tiles of all commits, made in process.

The method keeps no state beside the landing zone. For the windows that new commits touch, the tiles of *all* commits
are read (only files whose span of cells overlaps), merged in DuckDB, and put in place of what was there:

    new commits' tiles ──► touched windows ──┐
    all commits' tiles, overlapping files ───┴► merge ──┐       in parts, where they are many (parts.py)
    files of the table that hold such windows ──────────┴► rewritten in order of time, one Delta commit
    rows now current (if a row ever was superseded) ──► tiles ──┘ in place of the commits' tiles

    window_start   |── file 1 ──|── file 2 ──|─ 3 ─|          touched: some of 2, new ones after 3
    rewritten                    |── file 4 ──|── file 5 ──|

The table is unclustered and its files are disjoint in time: a batch rewrites the newest one, a late row the one it falls
into. Windows that became final get files of their own, so a batch rewrites little beside those that are being filled. Those of final windows are put in order of their groups, many hours at once, by a run that follows and by `maintain`
(compact.py). Once a row of the feed was superseded, its tiles cannot tell which part of an extreme or a sum is still current. So
the touched windows (the old row's group and the new one's) are computed from the rows that landed and were not
superseded; a window left empty goes. The same commit brings `final` up to date in windows no commit touched.
`revision` counts commits, so it is the same however refine batched them. gold_spark.py does the same on Spark.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from beam_grid.crash import point
from beam_grid.errors import GridError
from beam_grid.lakehouse import data_files, delta_log, open_windows, recompute
from beam_grid.lakehouse.duck import batches, connect_again, parquet
from beam_grid.lakehouse.live import Live, LiveFile
from beam_grid.lakehouse.parts import Part, parts_of
from beam_grid.lakehouse.scan import selected
from beam_grid.lakehouse.spans import Span, event_span, may_meet, window_span
from beam_grid.lakehouse.tables import Batch, State, Table
from beam_grid.lakehouse.windows import definition, had
from data_sources.durations import micros
from data_sources.identifiers import double_quoted
from transforms import measures
from transforms.cells import Instants, cells_of
from transforms.tiles import tile_schema
from transforms.windows import MANY_TILES, ONE_TILE, window_schema, windows_sql

if TYPE_CHECKING:
    import duckdb

    from beam_grid.segments import Held
    from data_sources.contract import Contract, WindowSpec

FILE_ROWS = 200_000
"""Windows a file holds: so many are rewritten where one of them changes, in about a tenth of a second."""

_SMALL = FILE_ROWS // 4

_COLD = FILE_ROWS // 8
"""So many final windows are worth a file of their own: those still being filled are written again with each batch."""


def application(table: Table, contract: Contract, window: WindowSpec) -> str:
    """Delta's transaction id; the definition is part of it, so a window that means something else starts from commit 0."""
    return table.application(contract.name, definition(contract, window))


def prepare(table: Table, state: State, contract: Contract, window: WindowSpec) -> None:
    """Make the table where it is missing; raises GridError where another feed's window has its name."""
    owner = state.properties.get("beam_grid.feed", contract.name)
    if owner != contract.name:
        raise GridError(
            f"window {window.name!r}: {table.name} belongs to feed {owner}; rename the window in the contract of {contract.name}"
        )
    schema = window_schema(contract, window)
    delta_log.create(table.path, schema, name=table.name, properties={"beam_grid.feed": contract.name})


def has_work(batch: Batch) -> bool:
    """Whether the new commits can change the table: the first time; rows, superseded rows, a watermark that moved, a
    contract whose lateness may be another."""
    if not batch.applied:
        return True
    last, newest = batch.commits[batch.applied - 1], batch.commits[-1]
    return (
        bool(batch.files("rows") or batch.files("superseded"))
        or last.watermark != newest.watermark
        or last.contract != newest.contract
    )


def publish(table: Table, batch: Batch, window: WindowSpec, scratch: Path) -> None:
    """Take in the batch's commits in one Delta commit."""
    if not has_work(batch):
        return
    delta_log.again_on_conflict(table.path, lambda at: _publish(table, at, batch, window, scratch))


def _publish(table: Table, at: Live, batch: Batch, window: WindowSpec, scratch: Path) -> None:
    contract = batch.contract
    marked = (application(table, contract, window), batch.target)
    is_others = is_of_others(at.transactions, marked[0])
    batch = replace(batch, applied=0) if is_others else batch.at(at, marked[0])
    if batch.applied >= batch.target:
        return
    schema = window_schema(contract, window)
    with connect_again(scratch) as engine:
        measures.prepare(engine, contract, window)
        engine.register("no_tiles", tile_schema(contract, window).empty_table())
        is_plain = cells_of(contract, window).are_windows and not batch.was_superseded
        is_had = had_window(batch, window)
        before = open_windows.known(table.path, marked[0], batch, window, is_had) if is_plain else None
        found = _gone_on(engine, before, batch, window) if before is not None else _merged(batch, window, scratch)
        parts = parts_of(found.files, cells_of(contract, window), window.by)
        for number, part in enumerate(parts if batch.applied else []):
            begin = "CREATE TEMP TABLE merged AS" if number == 0 else "INSERT INTO merged"
            engine.execute(f"{begin} {found.windows(batch, window, part)}")
        touched = _touched(engine) if batch.applied else None  # a first batch replaces all, and is read once
        rewritten = at.files if touched is None else _rewritten(engine, table, at, batch, touched[0])
        replaced = {file.path for file in rewritten}
        kept = [file for file in at.files if file.path not in replaced]
        measured = delta_log.statistics_columns(at)
        cold = None if touched is None else _cold(engine, table, at, rewritten, batch, window)
        rows = (
            _rows(engine, table, at, rewritten, batch, window, part)
            if batch.applied
            else _ordered(f"({found.windows(batch, window, part)})", batch, window)
            for part in parts
        )
        merged = itertools.chain.from_iterable(batches(engine, sql, rows=FILE_ROWS) for sql in rows)
        added = [
            action
            for piece in _between(merged, kept, cold)
            for action in data_files.write(
                table.path,
                piece,
                schema,
                FILE_ROWS,
                measured,
                row_group=data_files.SORTED_GROUP,
                is_brief=touched is not None,
            )
        ]
        # others are in the rewritten files, and were there before
        put = sum(map(delta_log.rows_of, added)) if touched is None else touched[1]
        is_followed = is_plain and batch.applied > 0
        still_open = open_windows.opened(engine, batch, window, marked[0], before, is_had) if is_followed else None
        point(f"publish:written-{table.name}")
    columns = delta_log.with_columns(at, schema, table.name)
    if not (columns or added or rewritten or is_others or at.transactions.get(marked[0]) == 0):
        return
    open_windows.keep(table.path, None)
    # what other definitions had taken in is gone: should one come back, it begins anew
    actions = [*columns, *map(delta_log.removed, rewritten), *added, *_forgotten(at, but=marked[0])]
    delta_log.put(table.path, at, actions, "WRITE" if not rewritten else "MERGE", marked, rows=put)
    open_windows.keep(table.path, still_open)
    delta_log.checkpoint(table.path, at)


def is_of_others(transactions: dict[str, int], marked: str) -> bool:
    """Whether windows of another definition are in the table, or may be: of two that are not forgotten nobody knows which."""
    return any(commit and name != marked for name, commit in transactions.items())


def forget_all(table: Table) -> None:
    """In a commit of its own, ahead of one that puts a definition's windows in place of all that the table holds."""

    def forget(at: Live) -> None:
        if actions := _forgotten(at):
            delta_log.put(table.path, at, actions, "WRITE")

    delta_log.again_on_conflict(table.path, forget)


def _forgotten(at: Live, but: str | None = None) -> list[delta_log.Action]:
    return [delta_log.applied(name, 0) for name, commit in at.transactions.items() if commit and name != but]


class _Tiles(NamedTuple):
    """What the touched windows are made of: tiles as they stand in a FROM, and the files they are in."""

    sql: str
    files: list[str]
    commits: str
    """As of `windows_sql`."""

    def windows(self, batch: Batch, window: WindowSpec, part: Part) -> str:
        """SQL of the touched windows of the part: the columns of `windows_sql`; `__rows` is 0 of one that is left empty."""
        reach, _ = cells_of(batch.contract, window).touching
        tiles = f"(SELECT * FROM {self.sql} WHERE {part.cells(reach, window.by)})"
        windows = windows_sql(tiles, batch.contract, window, commits=self.commits)
        return f"SELECT * FROM ({windows}) WHERE __newest > {batch.applied} AND {part.starts(window.by)}"


def _gone_on(engine: duckdb.DuckDBPyConnection, before: open_windows.Open, batch: Batch, window: WindowSpec) -> _Tiles:
    """As `_merged`, from what is kept of windows still open and the new commits' tiles."""
    new = [batch.path(file) for file in open_windows.tiles_of(batch, window)]
    if not new:
        return _Tiles("no_tiles", [], ONE_TILE)
    open_windows.touched(engine, before, new, window)
    tiles = open_windows.with_new(new, window, tile_schema(batch.contract, window).names, "touched_tiles")
    return _Tiles(f"({tiles})", new, f"CAST(sum({open_windows.COMMITS}) AS BIGINT)")


def _merged(batch: Batch, window: WindowSpec, scratch: Path) -> _Tiles:
    """The tiles of all commits, those of the touched windows among them."""
    contract, span = batch.contract, cell_span(batch, window)
    marks, new = marks_of(batch, window, scratch, span)
    names = tile_schema(contract, window).names
    parts = _tiles(marks, batch, window, names, new)
    was_superseded, current = batch.was_superseded, list[str]()
    if was_superseded:
        current = recompute.current(batch, window, scratch, span, new)
        kept = marks_columns(contract, window)
        bare = ", ".join(double_quoted(name) if name in kept else f"NULL AS {double_quoted(name)}" for name in names)
        parts = f"SELECT {bare} FROM ({parts})"
        if current:
            parts += f" UNION ALL SELECT {', '.join(map(double_quoted, names))} FROM {parquet(current)}"
    is_plain = (
        cells_of(contract, window).are_windows
        and not was_superseded
        and not any(str(scratch) in file for file in marks)
    )
    return _Tiles(f"({parts})", marks + current, ONE_TILE if is_plain else MANY_TILES)


def marks_columns(contract: Contract, window: WindowSpec) -> set[str]:
    """What of a tile says which window it touches in which commit."""
    return {*window.by, "_cell", *cells_of(contract, window).columns, "_commit"}


def marks_of(batch: Batch, window: WindowSpec, scratch: Path, span: Span | None) -> tuple[list[str], list[str]]:
    """Files of tiles that say which windows which commit touched, of all commits within the span, and of the new ones:
    tiles of rows that landed, and of rows that were superseded."""
    marks: list[str] = []
    new: list[str] = []
    is_had = had_window(batch, window)
    for held in batch.index.held("rows", "tiles"):
        is_new = held.last > batch.applied  # of a segment on both sides old tiles are taken for new, and change nothing
        tiles = tiles_of(held, batch, window, scratch, None if is_new else span, is_had(held.contract))
        marks += tiles
        new += tiles if is_new else []
    voids = [held for held in batch.index.held("superseded") if held.last > batch.applied]
    old = [held for held in batch.index.held("superseded") if held.last <= batch.applied]
    fresh = recompute.superseded(voids, batch, window, scratch, None)
    return marks + fresh + recompute.superseded(old, batch, window, scratch, span), new + fresh


def _tiles(files: list[str], batch: Batch, window: WindowSpec, names: Sequence[str], new: list[str]) -> str:
    """SQL of the tiles in the files; after the first batch those alone that the touched windows are made of."""
    columns = ", ".join(f"t.{double_quoted(name)}" for name in names)
    if not files or (batch.applied and not new):
        return "SELECT * FROM no_tiles"
    if not batch.applied:
        return f"SELECT {columns} FROM {parquet(files)} t"
    same = "".join(f" AND t.{double_quoted(by)} IS NOT DISTINCT FROM c.{double_quoted(by)}" for by in window.by)
    return (
        f"SELECT {columns} FROM {parquet(files)} t SEMI JOIN ({recompute.touched_cells(new, batch.contract, window)}) c "
        f"ON c.__cell = epoch_us(t._cell){same}"
    )


def _touched(engine: duckdb.DuckDBPyConnection) -> tuple[Instants, int]:
    """The starts of the windows that changed, in order; and how many are not left empty."""
    sql = "SELECT epoch_us(window_start) AS __s, count(*) FILTER (__rows > 0) AS __n FROM merged GROUP BY __s ORDER BY __s"
    found = engine.sql(sql).fetchnumpy()
    return found["__s"], int(found["__n"].sum())


def _rewritten(
    engine: duckdb.DuckDBPyConnection, table: Table, at: Live, batch: Batch, starts: Instants
) -> list[LiveFile]:
    """The files that hold a touched window, or one whose `final` changes; and small ones before windows in no file."""
    chosen: list[LiveFile] = []
    rest: list[LiveFile] = []
    for file in at.files:
        low, high = window_span(file)
        is_touched = np.searchsorted(starts, low) < np.searchsorted(starts, high, side="right")
        (chosen if is_touched else rest).append(file)
    flipped = _flipped(engine, table, at, rest, batch)
    in_order = sorted(at.files, key=window_span)
    before = np.searchsorted([window_span(file)[0] for file in in_order], starts, side="right") - 1
    small = [
        file for file in (in_order[n] for n in np.unique(before[before >= 0])) if (file.rows or FILE_ROWS) < _SMALL
    ]
    return chosen + flipped + [file for file in small if file in rest and file not in flipped]


def _cold(
    engine: duckdb.DuckDBPyConnection, table: Table, at: Live, rewritten: list[LiveFile], batch: Batch, window: WindowSpec
) -> int | None:  # fmt: skip
    """The last start of windows that are final, where many of these are to be rewritten: the last time, with their own files."""
    last = final_before(batch.contract, window, batch.watermark)
    if last is None or sum(file.rows or 0 for file in rewritten) < _COLD:
        return None
    rows = selected(engine, table.path, at, rewritten)
    ((count,),) = engine.sql(f"SELECT count(*) FROM {rows} WHERE epoch_us(window_start) <= {last}").fetchall()
    return last if count >= _COLD else None


def _between(
    rows: Iterable[pa.RecordBatch], kept: list[LiveFile], cold: int | None = None
) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rows, in order of time, in parts: a part has no file that is kept in its midst, nor the time `cold`.

    kept             |─ 2 ─|      |──── 4 ────|
    rows       ··· ··       · ···              · ·        three parts
    """
    lows = np.array([*(window_span(file)[0] for file in kept), *([] if cold is None else [cold])], np.int64)
    lows.sort()

    return data_files.parted(
        rows, lambda batch: np.searchsorted(lows, batch.column("window_start").cast(pa.int64()).to_numpy(), side="left")
    )


def _flipped(
    engine: duckdb.DuckDBPyConnection, table: Table, at: Live, files: list[LiveFile], batch: Batch
) -> list[LiveFile]:
    """The files with a window whose `final` the watermark, or the contract, changed.

    After every batch `final` is right for that batch's watermark, so only windows between the two can change.
    """
    contract, last = batch.contract, batch.commits[batch.applied - 1]
    before, now = last.watermark, batch.watermark
    is_same = last.contract == batch.commits[-1].contract
    if before == now and is_same:
        return []
    if before is not None and now is not None and is_same:
        lateness = micros(contract.allowed_lateness)
        longest = max(cells_of(contract, window).longest for window in contract.windows)
        low, high = before - lateness - longest, now - lateness
        files = [file for file in files if window_span(file)[0] <= high and low <= window_span(file)[1]]
    wanted = final_sql(contract, now, "epoch_us(window_end)")
    found = []
    for file in files:
        rows = selected(engine, table.path, at, [file])
        if engine.sql(f"SELECT 1 FROM {rows} WHERE final <> {wanted} LIMIT 1").fetchall():
            found.append(file)
    return found


def _rows(
    engine: duckdb.DuckDBPyConnection, table: Table, at: Live, files: list[LiveFile], batch: Batch, window: WindowSpec,
    part: Part,
) -> str:  # fmt: skip
    """SQL of the part of the files' rows, the touched windows in place of what they were, in order of time."""
    is_in = part.starts(window.by)
    merged = f"(FROM merged WHERE {is_in})"
    if not files:
        return _ordered(merged, batch, window)
    same = "".join(f" AND g.{double_quoted(by)} IS NOT DISTINCT FROM m.{double_quoted(by)}" for by in window.by)
    in_time = part._replace(shares=1).starts(window.by)
    others = (
        f"(SELECT g.*, 1 AS __rows FROM (FROM {selected(engine, table.path, at, files)} WHERE {is_in}) g "
        f"ANTI JOIN (FROM merged WHERE {in_time}) m ON g.window_start = m.window_start{same})"
    )
    return _ordered(merged, batch, window, others)


def _ordered(merged: str, batch: Batch, window: WindowSpec, *others: str) -> str:
    """SQL of windows, as they stand in a FROM, as rows of the table, in order of time; none that was left empty."""
    contract = batch.contract
    final = final_sql(contract, batch.watermark, "epoch_us(window_end)")
    names = window_schema(contract, window).names
    columns = ", ".join(f"{final} AS final" if name == "final" else double_quoted(name) for name in names)
    rows = " UNION ALL ".join(f"SELECT {columns} FROM {one} WHERE __rows > 0" for one in (merged, *others))
    return f"SELECT * FROM ({rows}) ORDER BY {', '.join(['window_start', *map(double_quoted, window.by)])}"


def final_sql(contract: Contract, watermark: int | None, end: str) -> str:
    """Whether nothing on time can still come into a window with this end (SQL for microseconds)."""
    if watermark is None:
        return "true"
    return f"({end} + {micros(contract.allowed_lateness)} <= {watermark})"


def final_before(contract: Contract, window: WindowSpec, watermark: int | None) -> int | None:
    """A start up to which all windows are final, in microseconds; None where all are."""
    return (
        None
        if watermark is None
        else watermark - micros(contract.allowed_lateness) - cells_of(contract, window).longest
    )


def had_window(batch: Batch, window: WindowSpec) -> Callable[[str], bool]:
    """Whether the contract with a hash has the very window, and so tiles of it."""
    defined, newest = definition(batch.contract, window), batch.commits[-1].contract
    return lambda digest: digest == newest or had(batch.log, digest, window.name, defined)


def tiles_of(held: Held, batch: Batch, window: WindowSpec, scratch: Path, span: Span | None, is_had: bool) -> list[str]:
    """The file, where it holds tiles of this window within the span; made from it, where it holds rows that landed under
    a contract that had no such window."""
    file = held.file
    if is_had:
        is_wanted = file.kind == "tiles" and file.window == window.name and may_meet(file, batch.contract, span)
        return [batch.path(file)] if is_wanted else []
    return recompute.landed(held, batch, window, scratch, span) if file.kind == "rows" else []


def cell_span(batch: Batch, window: WindowSpec) -> Span | None:
    """The cells that the touched windows are made of, and the event times in them."""
    span = event_span(batch.landed("rows", "superseded"), batch.contract) if batch.applied else None
    if span is None:
        return None
    cells = cells_of(batch.contract, window)
    reach, _ = cells.touching
    return cells.cell_of(span[0])[0] - reach - cells.early, cells.cell_of(span[1])[1] + reach


def touched_span(batch: Batch, window: WindowSpec) -> Span | None:
    """First and last start a touched window can have. Nothing touched is an empty span, not an unknown one."""
    if not batch.files("rows") and not batch.files("superseded"):
        return (1 << 62, -(1 << 62))
    span = event_span(batch.landed("rows", "superseded"), batch.contract)
    if span is None:
        return None
    cells = cells_of(batch.contract, window)
    reach, _ = cells.touching
    return cells.cell_of(span[0])[0] - reach, cells.cell_of(span[1])[0]
