"""DuckDB writing the same two outputs: deduplicated rows, sorted, and 15-minute windows per meter, as Parquet."""

import sys
from pathlib import Path

import duckdb

from benchmarks.columns import DUCKDB

source, out = sys.argv[1], Path(sys.argv[2])
out.mkdir(parents=True)
con = duckdb.connect()
con.execute("SET TimeZone = 'UTC'")
columns = ", ".join(f"{name}: '{kind}'" for name, kind in DUCKDB.items())
con.execute(
    f"""CREATE TEMP TABLE rows AS
        SELECT * FROM read_json('{source}/*.json', format = 'newline_delimited', columns = {{{columns}}})
        WHERE reading_kwh BETWEEN 0 AND 1000
        QUALIFY row_number() OVER (PARTITION BY event_id, timestamp) = 1"""
)
con.execute(f"COPY (SELECT * FROM rows ORDER BY meter_id, timestamp) TO '{out}/rows.parquet' (CODEC zstd)")
con.execute(
    f"""COPY (SELECT meter_id, epoch_us(timestamp) // 900000000 AS cell, count(*) AS readings, sum(reading_kwh) AS kwh,
                     max(reading_kwh) AS peak_kwh, avg(voltage_v) AS mean_voltage_v
              FROM rows GROUP BY ALL) TO '{out}/windows.parquet' (CODEC zstd)"""
)
