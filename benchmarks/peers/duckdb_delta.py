"""DuckDB and delta-rs making the meter readings' tables: SOURCE OUT.

Silver (rows that break no rejecting rule, of each key the first, sorted) and each window table, as Delta tables
OUT/silver, OUT/meter_15min and OUT/energy_hourly. Left out is what peers/duckdb_feed.py leaves out.
"""

import sys
from pathlib import Path

import duckdb
from deltalake import WriterProperties, write_deltalake

from beam_grid.feeds import built_in
from benchmarks.peers.duckdb_feed import measure_sql, rows_sql
from data_sources.durations import micros

_BATCH_ROWS = 100_000


def main(source: str, out: Path) -> None:
    """Read once, keep the rows in memory, write three tables."""
    contract = built_in()["smart_meter_readings"]
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute(f"CREATE TEMP TABLE rows AS {rows_sql(contract, f'{source}/*.json')}")

    def write(name: str, sql: str) -> None:
        reader = con.sql(sql).to_arrow_reader(_BATCH_ROWS)
        write_deltalake(str(out / name), reader, writer_properties=WriterProperties(compression="ZSTD"))

    write("silver", f"SELECT * FROM rows ORDER BY {', '.join(contract.sort_by)}")
    for window in contract.windows:
        size = micros(window.size)
        measures = ", ".join(f"{measure_sql(m, contract.event_time)} AS {m.name}" for m in window.parsed)
        start = f"make_timestamptz(epoch_us({contract.event_time}) // {size} * {size})"
        by = ", ".join(window.by)
        write(window.name, f"SELECT {by}, {start} AS window_start, {measures} FROM rows GROUP BY ALL")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
