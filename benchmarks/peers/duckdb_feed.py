"""DuckDB doing by SQL what a contract asks of a feed of JSON lines: FEED SOURCE OUT.

Rows that break no rejecting rule, of each key the first, sorted, and each window table, as Parquet. It leaves out what
DuckDB has no word for: lateness, positions, rejects as records, warnings, what is not declared, any run but the first.
"""

import sys
from pathlib import Path

import duckdb

from beam_grid.feeds import built_in
from data_sources.contract import Contract, Measure
from data_sources.durations import micros

TYPES = {"string": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE", "bool": "BOOLEAN", "date": "DATE", "timestamp": "TIMESTAMPTZ"}  # fmt: skip


def rows_sql(contract: Contract, source: str) -> str:
    columns = ", ".join(f"{f.input_name}: '{TYPES.get(f.type, f.type.upper())}'" for f in contract.fields)
    names = ", ".join(f'"{f.input_name}" AS "{f.name}"' for f in contract.fields)
    sound = " AND ".join(f"coalesce({rule.check}, true)" for rule in contract.rules if rule.on_fail == "reject")
    key = ", ".join(contract.dedup.key)
    return f"""SELECT {names} FROM read_json('{source}', format = 'newline_delimited', columns = {{{columns}}})
               WHERE {sound or "true"} QUALIFY row_number() OVER (PARTITION BY {key}) = 1"""


def measure_sql(measure: Measure, time: str) -> str:
    if measure.function in ("first", "last"):
        return f"arg_{'min' if measure.function == 'first' else 'max'}({measure.argument}, {time})"
    return f"{measure.function}({measure.argument or '*'})"


def main(feed: str, source: str, out: Path) -> None:
    """Write OUT/rows.parquet and OUT/WINDOW.parquet."""
    contract = built_in()[feed]
    out.mkdir(parents=True)
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute(f"CREATE TEMP TABLE rows AS {rows_sql(contract, source)}")
    order = ", ".join(contract.sort_by)
    con.execute(f"COPY (SELECT * FROM rows ORDER BY {order}) TO '{out}/rows.parquet' (CODEC zstd)")
    for window in contract.windows:
        by = "".join(f"{name}, " for name in window.by)
        measures = ", ".join(f"{measure_sql(m, contract.event_time)} AS {m.name}" for m in window.parsed)
        con.execute(
            f"COPY (SELECT {by}epoch_us({contract.event_time}) // {micros(window.size)} AS cell, {measures} FROM rows GROUP BY ALL) "
            f"TO '{out}/{window.name}.parquet' (CODEC zstd)"
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
