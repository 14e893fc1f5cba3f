"""Fifty slices of one input in one process: does a slice cost what the slice is, or what came before it?"""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path

import duckdb

from beam_grid.feeds import built_in
from beam_grid.land import Landed, Options, land
from beam_grid.landing import Lake
from beam_grid.plan import Plan
from data_sources.contract import parse_contract

SLICES = 50


def slices(folder: Path, source: str, order: str) -> float:
    """Median seconds of the last ten slices over the first ten's (the very first, which warms up, left out)."""
    ordered = folder / f"ordered-{order}"
    if not ordered.exists():
        ordered.mkdir()
        by = {"time": "filename, timestamp", "meter": "meter_id, timestamp"}[order]
        duckdb.execute(
            f"""COPY (SELECT * EXCLUDE filename FROM read_json('{source}/*.json', format = 'newline_delimited',
                      filename = true, columns = {{event_id: 'VARCHAR', meter_id: 'VARCHAR', customer_id: 'VARCHAR',
                      timestamp: 'VARCHAR', reading_kwh: 'DOUBLE', voltage_v: 'DOUBLE', current_a: 'DOUBLE',
                      power_factor: 'DOUBLE', frequency_hz: 'DOUBLE', meter_status: 'VARCHAR', region: 'VARCHAR',
                      state: 'VARCHAR', grid_zone: 'VARCHAR', is_anomaly_flag: 'BOOLEAN'}}) ORDER BY {by})
                TO '{ordered}/readings.json' (FORMAT json)"""
        )
    # ordered by meter the log's clock would make all later meters late: each file is whole in itself then
    contract = parse_contract({**built_in()["smart_meter_readings"].to_dict(), "file_order": "none"}, "bench")
    lake = folder / f"out-slices-{order}"
    shutil.rmtree(lake, ignore_errors=True)
    rows = duckdb.execute(
        f"SELECT count(*) FROM read_csv('{ordered}/readings.json', header = false, delim = '\\x01', columns = {{l: 'VARCHAR'}})"
    ).fetchall()[0][0]
    seconds: list[float] = []
    last = time.perf_counter()

    def progress(done: Landed, plan: Plan) -> None:
        nonlocal last
        seconds.append(time.perf_counter() - last)
        last = time.perf_counter()

    opened = Lake.open(lake)
    with opened.lock("land"):
        land(opened, contract, Options(source=str(ordered), slice_rows=-(-rows // SLICES)), progress)
    return statistics.median(seconds[-10:]) / statistics.median(seconds[1:11])
