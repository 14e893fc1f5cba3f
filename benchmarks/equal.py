"""Whether what a variant wrote is what DuckDB makes of the raw input: rows one by one, measures within 1e-9.

A time counts only after this: every check raises SystemExit with what differs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from beam_grid.feeds import built_in
from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from data_sources.contract import WindowSpec
from data_sources.durations import micros

CONTRACT = built_in()["smart_meter_readings"]
WINDOWS = {window.name: window for window in CONTRACT.windows}

Ask = Callable[[str, str], Any]
"""Columns, as SQL, of a table by its short name (`silver`, `meter_15min`, `energy_hourly`), as an Arrow stream."""


def make_oracle(source: str, out: Path) -> Path:
    """Distinct rows and each window table, by DuckDB over the raw input, made once."""
    if not out.exists():
        draft = out.with_name(f"{out.name}-draft")
        shutil.rmtree(draft, ignore_errors=True)
        command = [sys.executable, "-m", "benchmarks.peers.duckdb_feed", CONTRACT.name, f"{source}/*.json", str(draft)]
        subprocess.run(command, check=True)
        draft.rename(out)
    return out


def lake_tables(lake: Path, feed: str) -> Ask:
    """The product's tables of a feed, at the newest set, as its users read them."""

    def ask(table: str, columns: str) -> Any:
        name = f"silver.{feed}" if table == "silver" else f"gold.{table}"
        return query(Lake.open(lake, create=False), f"SELECT {columns} FROM {name}")

    return ask


def delta_tables(folder: Path) -> Ask:
    """Delta tables that lie side by side in a folder."""

    def ask(table: str, columns: str) -> Any:
        engine = QueryBuilder().register("t", DeltaTable(str(folder / table)))
        return pa.RecordBatchReader.from_stream(engine.execute(f"SELECT {columns} FROM t"))

    return ask


def check_tables(ask: Ask, oracle: Path, whole: bool = True) -> str:
    """Silver and both window tables; where not `whole`, the last windows may be missing."""
    verdict = check_rows(ask("silver", _names()), oracle)
    for window in CONTRACT.windows:
        start = f"window_start, {', '.join([*window.by, *(m.name for m in window.parsed)])}"
        verdict += f", {_check_window(ask(window.name, start), window, oracle, whole)}"
    return verdict


def check_landed(lake: Path, feed: str, oracle: Path) -> str:
    """Rows of a landing zone, and the tiles of the 15-minute windows, of which each is one cell."""
    data = f"{lake}/landing/{feed}/data/*"
    tiles = f"""SELECT meter_id, _cell AS window_start, sum(readings) AS readings, sum(kwh) AS kwh, max(peak_kwh) AS peak_kwh,
                       sum(mean_voltage_v__sum) / sum(mean_voltage_v__n) AS mean_voltage_v
                FROM '{data}/tiles-meter_15min-*.parquet' GROUP BY ALL"""
    rows = check_rows(_stream(f"SELECT {_names()} FROM '{data}/rows-*.parquet'"), oracle)
    return f"{rows}, {_check_window(_stream(tiles), WINDOWS['meter_15min'], oracle, whole=True)}"


def check_files(folder: Path, oracle: Path, rows: bool) -> str:
    """Parquet files as peers/duckdb_feed.py writes them; without `rows` the 15-minute windows alone."""
    windows = CONTRACT.windows if rows else [WINDOWS["meter_15min"]]
    verdict = [check_rows(_stream(f"FROM '{folder}/rows.parquet'"), oracle)] if rows else []
    for window in windows:
        start = f"make_timestamptz(cell * {micros(window.size)}) AS window_start"
        written = _stream(f"SELECT *, {start} FROM '{folder}/{window.name}.parquet'")
        verdict.append(_check_window(written, window, oracle, whole=True))
    return ", ".join(verdict)


def check_rows(written: Any, oracle: Path) -> str:
    """The declared columns, as often as they ought to be there."""
    con = _engine()
    con.execute(f"CREATE TEMP TABLE written AS SELECT {_names()} FROM written")
    expected = f"SELECT {_names()} FROM '{oracle}/rows.parquet'"
    differ = _one(con, f"SELECT count(*) FROM (FROM written EXCEPT ALL {expected})")[0]
    counts = [_one(con, f"SELECT count(*) FROM ({sql})")[0] for sql in ("FROM written", expected)]
    if differ or counts[0] != counts[1]:
        raise SystemExit(f"rows: {differ:,} of {counts[0]:,} differ from the oracle's {counts[1]:,}")
    return "rows equal"


def _check_window(written: Any, window: WindowSpec, oracle: Path, whole: bool) -> str:
    con, size = _engine(), micros(window.size)
    con.execute(f"CREATE TEMP TABLE written AS SELECT *, epoch_us(window_start) // {size} AS cell FROM written")
    same = " AND ".join(f"w.{name} IS NOT DISTINCT FROM e.{name}" for name in (*window.by, "cell"))
    wrong, absent, count = _one(
        con,
        f"""SELECT count(*) FILTER (WHERE e.readings IS NULL OR w.readings IS NOT NULL AND ({_differs(window)})),
                   count(*) FILTER (WHERE w.readings IS NULL), count(*)
            FROM written w FULL JOIN '{oracle}/{window.name}.parquet' e ON {same}""",
    )
    if wrong or (whole and absent) or absent > count / 10:
        raise SystemExit(f"{window.name}: {wrong:,} windows wrong, {absent:,} missing of {count:,}")
    return f"{window.name} equal" + (f" ({absent:,} of {count:,} left out)" if absent else "")


def _differs(window: WindowSpec) -> str:
    """Whether a measure is NULL on one side only, or off by more than 1e-9 of itself."""
    off = [
        f"(w.{m.name} IS NULL) <> (e.{m.name} IS NULL) "
        f"OR abs(w.{m.name} - e.{m.name}) > 1e-9 * greatest(abs(w.{m.name}), abs(e.{m.name}))"
        for m in window.parsed
    ]
    return " OR ".join(off)


def _names() -> str:
    return ", ".join(CONTRACT.schema.names)


def _stream(sql: str) -> Any:
    """On an engine of its own, because one with an open result answers nothing else."""
    relation = _engine().sql(sql)
    assert relation is not None
    return relation.to_arrow_reader()


def _engine() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    return con


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = con.execute(sql).fetchone()
    assert row is not None
    return row
