"""gold.WINDOW: one row per group and window, the merge of the tiles of all commits.

The method keeps no state beside the landing zone. For the windows that new commits touch, the tiles of *all* commits
are read (only files whose span of cells overlaps), merged, and put in place of what was there in one MERGE:

    new commits' tiles ──► touched windows ──┐
    all commits' tiles, overlapping files ───┴► merge ──► MERGE INTO gold
    rows now current (if a row ever was superseded) ──► tiles ──┘ in place of the commits' tiles

Once a row of the feed was superseded, its tiles cannot tell which part of an extreme or a sum is still current. So
the touched windows (the old row's group and the new one's) are computed from the rows that landed and were not
superseded; a window left empty goes. The same MERGE brings `final` up to date in windows no commit touched.
`revision` counts commits, so it is the same however refine batched them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from beam_grid.errors import GridError
from beam_grid.lakehouse import recompute
from beam_grid.lakehouse.spans import Span, event_span, may_meet, timestamp_sql
from beam_grid.lakehouse.tables import Batch, State, Table, columns_ddl, create, listed, quoted, read, replace, spark_type, transaction
from beam_grid.lakehouse.windows import definition, expanded_sql, final_sql, gold_schema, merged_sql
from data_sources.durations import micros
from transforms.tiles import tile_schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from data_sources.contract import Contract, WindowSpec

_FILE_BYTES = 32 << 20


def application(table: Table, contract: Contract, window: WindowSpec) -> str:
    """Delta's transaction id; the definition is part of it, so a window that means something else starts from commit 0."""
    return table.application(contract.name, definition(contract, window))


def prepare(spark: SparkSession, table: Table, state: State, contract: Contract, window: WindowSpec) -> None:
    """Make the table where it is missing; raises GridError where another feed's window has its name."""
    owner = state.properties.get("beam_grid.feed", contract.name)
    if owner != contract.name:
        raise GridError(f"window {window.name!r}: {table.name} belongs to feed {owner}; rename the window in the contract of {contract.name}")
    if state.version is None:
        create(spark, table, gold_schema(contract, window), ["window_start"], {"beam_grid.feed": contract.name})


def has_work(batch: Batch) -> bool:
    """Whether the new commits can change the table: the first time; rows, superseded rows, or a watermark that moved."""
    if not batch.applied:
        return True
    return bool(batch.files("rows") or batch.files("superseded")) or batch.commits[batch.applied - 1].get("watermark") != batch.watermark


def apply(spark: SparkSession, table: Table, batch: Batch, window: WindowSpec, scratch: Path) -> None:
    """Take in the batch's commits in one Delta transaction."""
    contract = batch.contract
    source = _source(spark, batch, window, scratch)
    by = [quoted(name) for name in window.by]
    size = micros(window.size)
    names = gold_schema(contract, window).names
    source.createOrReplaceTempView("gold_merged")
    rows = spark.sql(
        f"SELECT timestamp_micros(__start) AS window_start, timestamp_micros(__start + {size}L) AS window_end, "
        f"{''.join(f'{b}, ' for b in by)}{''.join(f'{quoted(m)}, ' for m in window.measures)}"
        f"{final_sql(contract, batch.watermark, f'(__start + {size}L)')} AS final, revision, "
        f"CASE WHEN __rows > 0 THEN 'put' ELSE 'drop' END AS __do FROM gold_merged"
    )
    marked = application(table, contract, window)
    if not batch.applied:
        rows = rows.where("__do = 'put'").select(*map(quoted, names))
        weight = batch.bytes("tiles")
        rows = rows.repartitionByRange(-(-weight // _FILE_BYTES), "window_start") if weight > _FILE_BYTES else rows.coalesce(1)
        replace(rows.sortWithinPartitions("window_start", *by), table, marked, batch.target)
        return
    span = _touched_span(batch, window)
    flips, flip_span = _flips(spark, table, batch, window)
    rows = rows.unionByName(flips)
    rows.createOrReplaceTempView("gold_source")
    within = ""
    if span is not None and flip_span is not None:
        low, high = min(span[0], flip_span[0]), max(span[1], flip_span[1])
        within = f" AND t.window_start >= {timestamp_sql(low)} AND t.window_start <= {timestamp_sql(high)}"
    same = "".join(f" AND t.{b} <=> s.{b}" for b in by)
    columns = ", ".join(map(quoted, names))
    values = ", ".join(f"s.{quoted(name)}" for name in names)
    put = ", ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in names)
    with transaction(spark, marked, batch.target):
        spark.sql(
            f"MERGE INTO {table.sql} t USING gold_source s ON t.window_start = s.window_start{same}{within} "
            f"WHEN MATCHED AND s.__do = 'drop' THEN DELETE "
            f"WHEN MATCHED AND s.__do = 'final' THEN UPDATE SET t.final = s.final "
            f"WHEN MATCHED AND s.__do = 'put' THEN UPDATE SET {put} "
            f"WHEN NOT MATCHED AND s.__do = 'put' THEN INSERT ({columns}) VALUES ({values})"
        )


def _source(spark: SparkSession, batch: Batch, window: WindowSpec, scratch: Path) -> DataFrame:
    """Touched windows as they should be: group, `__start`, measures, `__rows`, `revision`."""
    contract, schema = batch.contract, tile_schema(batch.contract, window)
    span = _cell_span(batch, window)
    marks: list[str] = []
    new: list[str] = []
    for commit in batch.commits:
        fresh = commit["commit"] > batch.applied
        tiles = _tiles_of(commit, batch, window, scratch, span, fresh)
        voids = recompute.superseded(commit, batch, window, scratch, span if not fresh else None)
        marks += tiles + voids
        new += tiles + voids if fresh else []
    view = "gold_tiles"
    _view(spark, read(spark, marks, schema) if marks else spark.createDataFrame([], columns_ddl(schema)), view, span)
    if not any(commit["fates"].get("superseded") for commit in batch.commits):
        expanded = expanded_sql(view, window)
    else:
        parts = recompute.current(batch, window, scratch, span, new)
        _view(spark, read(spark, parts, schema) if parts else spark.createDataFrame([], columns_ddl(schema)), "gold_current", span)
        nothing = {name: "NULL" for name in schema.names if name not in {*window.by, "_cell", "_commit"}}
        pick = ", ".join(f"CAST({nothing[f]} AS {t}) AS {quoted(f)}" if f in nothing else quoted(f) for f, t in ((f.name, spark_type(f.type)) for f in schema))
        expanded = expanded_sql(f"(SELECT {pick} FROM {view} UNION ALL SELECT * FROM gold_current)", window)
    if batch.applied:
        keys = [quoted(name) for name in window.by] + ["__start"]
        read(spark, new, schema).createOrReplaceTempView("gold_new") if new else spark.createDataFrame([], columns_ddl(schema)).createOrReplaceTempView("gold_new")
        spark.sql(f"SELECT DISTINCT {', '.join(keys)} FROM ({expanded_sql('gold_new', window)})").createOrReplaceTempView("gold_touched")
        same = " AND ".join(f"x.{key} <=> k.{key}" for key in keys)
        expanded = f"SELECT x.* FROM ({expanded}) x LEFT SEMI JOIN gold_touched k ON {same}"
    return spark.sql(merged_sql(f"({expanded})", contract, window))


def _tiles_of(commit: dict, batch: Batch, window: WindowSpec, scratch: Path, span: Span | None, fresh: bool) -> list[str]:  # type: ignore[type-arg]
    """The commit's tiles of this window; made from its rows where it landed under a contract that had no such window."""
    known = batch.log.contract(commit["contract"]) if commit["contract"] != batch.commits[-1]["contract"] else batch.contract
    if any(w.name == window.name and definition(known, w) == definition(batch.contract, window) for w in known.windows):
        entries = [e for e in listed(commit, "tiles") if e.get("window") == window.name]
        return [batch.path(e) for e in entries if fresh or may_meet(e, batch.contract, span)]
    return recompute.landed(commit, batch, window, scratch, None if fresh else span)


def _view(spark: SparkSession, frame: DataFrame, name: str, span: Span | None) -> None:
    if span is not None:
        frame = frame.where(f"_cell >= {timestamp_sql(span[0])} AND _cell <= {timestamp_sql(span[1])}")
    frame.createOrReplaceTempView(name)


def _new_span(batch: Batch, window: WindowSpec) -> Span | None:
    """From the first touched instant to the last, by the manifests of the new commits; None where they do not say."""
    entries = [e for c in batch.new for kind in ("rows", "superseded") for e in listed(c, kind)]
    span = event_span(entries, batch.contract)
    if span is None:
        return None
    cell = micros(window.cell)
    return span[0] - span[0] % cell, span[1]


def _cell_span(batch: Batch, window: WindowSpec) -> Span | None:
    """The cells that the touched windows are made of."""
    span = _new_span(batch, window) if batch.applied else None
    return None if span is None else (span[0] - micros(window.size), span[1] + micros(window.size))


def _touched_span(batch: Batch, window: WindowSpec) -> Span | None:
    """First and last start a touched window can have. Nothing touched is an empty span, not an unknown one."""
    if not batch.files("rows") and not batch.files("superseded"):
        return (1 << 62, -(1 << 62))
    span = _new_span(batch, window)
    return None if span is None else (span[0] - micros(window.size), span[1])


def _flips(spark: SparkSession, table: Table, batch: Batch, window: WindowSpec) -> tuple[DataFrame, Span | None]:
    """Windows that nothing touched and whose `final` the watermark changed, and the span of their starts."""
    contract = batch.contract
    size, lateness = micros(window.size), micros(contract.allowed_lateness)
    last = batch.commits[batch.applied - 1]
    before, now = last.get("watermark"), batch.watermark
    span: Span | None = None
    where = ""
    if before is not None and now is not None and last["contract"] == batch.commits[-1]["contract"]:
        span = (min(before, now) - lateness - size, max(before, now) - lateness - size)
        where = f" AND g.window_start >= {timestamp_sql(span[0])} AND g.window_start <= {timestamp_sql(span[1])}"
    elif before is None and now is None:
        span, where = (1 << 62, -(1 << 62)), " AND false"
    names = [quoted(name) for name in gold_schema(contract, window).names if name != "final"]
    wanted = final_sql(contract, now, "unix_micros(g.window_end)")
    untouched = "".join(f" AND g.{quoted(b)} <=> k.{quoted(b)}" for b in window.by)
    flips = spark.sql(
        f"SELECT {', '.join(f'g.{n}' for n in names)}, {wanted} AS final, 'final' AS __do FROM {table.sql} g "
        f"LEFT ANTI JOIN gold_touched k ON unix_micros(g.window_start) = k.__start{untouched} "
        f"WHERE g.final <> {wanted}{where}"
    )
    return flips, span
