"""What gold.NAME of [now] must show, said as SQL over the raw lines: judged, one of each key kept, compared by hour."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from data_sources.contract import Contract
from data_sources.contract.now import HOUR
from data_sources.durations import micros

_VALID = (
    "coalesce(temperature_c BETWEEN -60 AND 500, true) AND coalesce(pressure_kpa >= 0, true) AND coalesce(vibration_mm_s >= 0, true) "
    "AND sensor_id IS NOT NULL AND t IS NOT NULL AND t < TIMESTAMPTZ '2090-01-01 00:00:00Z'"
)


def sensors_now(files: Iterable[Path], feed: Contract, *, keeps_late: bool = False) -> list[dict[str, Any]]:
    """One row per sensor and value, in order of both. files: in the order of the log.

    keeps_late: late rows have landed after all.
    """
    now = feed.now
    assert now is not None
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'; CREATE SEQUENCE place")
    engine.execute("CREATE TABLE lines (file INT, n BIGINT, doc JSON)")
    for rank, path in enumerate(files):
        texts = path.read_bytes().decode(errors="surrogateescape").splitlines()
        good = [(rank, n, text) for n, text in enumerate(texts) if _is_whole(text)]
        if good:
            _insert(engine, good)
    values = [*now.values, *now.beside]
    columns = ", ".join(
        f"TRY_CAST(doc->>'{f.name}' AS {'DOUBLE' if f.is_numeric else 'VARCHAR'}) AS {f.name}"
        for f in feed.fields
        if f.type != "timestamp"
    )
    behind = f"to_microseconds({micros(feed.lateness)})"
    was_late = (
        f"coalesce(t < max(t) OVER (ORDER BY file, n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) - {behind}, false)"
        if feed.file_order == "name"
        else "false"
    )
    newer = "".join(f"{name} DESC, " for name in feed.dedup.order_by)
    back = -(-now.recent // HOUR)
    local = f"timezone('{now.time_zone}', date_trunc('hour', %s))"
    engine.execute(f"""
        CREATE TABLE seen AS
        WITH read AS (SELECT file, n, CAST(doc->>'timestamp' AS TIMESTAMPTZ) AS t, {columns} FROM lines),
        good AS (SELECT *, {was_late} AS was_late FROM read WHERE {_VALID})
        SELECT t, sensor_id, {", ".join(values)}
        FROM good WHERE NOT was_late OR {keeps_late}
        QUALIFY row_number() OVER (PARTITION BY sensor_id, t ORDER BY {newer}was_late, file, n) = 1""")
    engine.execute(f"""
        CREATE TABLE clock AS SELECT max(t) AS now, date_trunc('hour', max(t)) - INTERVAL {back} HOURS AS upto FROM seen;
        CREATE TABLE live AS
        SELECT sensor_id, max(t) AS last_at, date_trunc('hour', t) AS hour,
               {", ".join(f"arg_max({v}, t) FILTER ({v} IS NOT NULL) AS {v}" for v in values)}
        FROM seen, clock WHERE t >= upto GROUP BY sensor_id, date_trunc('hour', t)
        QUALIFY row_number() OVER (PARTITION BY sensor_id ORDER BY hour DESC) = 1;
        CREATE TABLE history AS
        SELECT seen.* FROM seen, clock
        WHERE t < upto AND t >= upto - INTERVAL {now.history // HOUR} HOURS;
        CREATE TABLE gone AS
        SELECT sensor_id, max(t) AS last_at,
               {", ".join(f"arg_max({v}, t) FILTER ({v} IS NOT NULL AND date_trunc('hour', t) = h) AS {v}" for v in now.beside)}
        FROM (SELECT *, date_trunc('hour', max(t) OVER (PARTITION BY sensor_id)) AS h FROM history)
        WHERE sensor_id NOT IN (SELECT sensor_id FROM live) GROUP BY sensor_id""")
    is_recent = f"last_at >= now - to_microseconds({micros(now.recent)})"
    shown = []
    for value in now.values:
        beside = ", ".join(now.beside)
        enough = f"count({value}) >= {now.least_values} AND count(DISTINCT date_trunc('hour', t)) FILTER ({value} IS NOT NULL) >= {now.least_hours}"
        stats = f"count({value}), count(DISTINCT date_trunc('hour', t)) FILTER ({value} IS NOT NULL), favg({value}), stddev_samp({value})"
        shown += (
            engine.sql(f"""
            WITH like_it AS (
                SELECT l.sensor_id, h.t, h.{value}, hour(a) = hour(b) AS is_day,
                       hour(a) = hour(b) AND isodow(a) = isodow(b) AS is_week
                FROM (SELECT *, {local % "hour"} AS a FROM live) l
                JOIN (SELECT *, {local % "t"} AS b FROM history) h USING (sensor_id)
            ),
            bases AS (
                SELECT sensor_id, 1 AS rank, 'hour_of_week' AS basis, {stats}, {enough} FROM like_it WHERE is_week GROUP BY 1
                UNION ALL
                SELECT sensor_id, 2, 'hour_of_day', {stats}, {enough} FROM like_it WHERE is_day GROUP BY 1
                UNION ALL
                SELECT sensor_id, 3, 'all', {stats}, count({value}) >= {now.least_values} FROM like_it GROUP BY 1
                UNION ALL
                SELECT sensor_id, 4, 'none', count({value}),
                       count(DISTINCT date_trunc('hour', t)) FILTER ({value} IS NOT NULL), NULL, NULL, true
                FROM like_it GROUP BY 1
            ),
            best AS (
                SELECT * FROM bases AS b(sensor_id, rank, basis, n, hours, mean, stddev, is_enough) WHERE is_enough
                QUALIFY row_number() OVER (PARTITION BY sensor_id ORDER BY rank) = 1
            )
            SELECT sensor_id, {beside}, '{value}' AS value_name, last_at, now, {value} AS value, mean, stddev,
                   last_at < now - to_microseconds({micros(now.silent_after)}) AS is_silent,
                   coalesce(basis, 'none') AS basis, coalesce(n, 0) AS history_values, coalesce(hours, 0) AS history_hours
            FROM live LEFT JOIN best USING (sensor_id), clock WHERE {is_recent}
            UNION ALL
            SELECT sensor_id, {beside}, '{value}', last_at, now, NULL, NULL, NULL, true, 'none', 0, 0
            FROM (SELECT sensor_id, {beside}, last_at FROM gone UNION ALL SELECT sensor_id, {beside}, last_at FROM live), clock
            WHERE NOT {is_recent}
        """)
            .to_arrow_table()
            .to_pylist()
        )
    return sorted(map(_judged, shown), key=lambda row: (row["sensor_id"], row["value_name"]))


def _judged(row: dict[str, Any]) -> dict[str, Any]:
    """With deviation, score and state, in plain Python."""
    is_silent, value, mean, stddev = row.pop("is_silent"), row["value"], row["mean"], row["stddev"]
    deviation = score = percent = None
    if mean is not None and stddev is not None and stddev < 1e-11 * abs(mean):
        row["stddev"] = stddev = 0.0
    if value is not None and mean is not None:
        deviation = 0.0 if abs(value - mean) < 1e-11 * abs(mean) else value - mean
        percent = 100 * deviation / abs(mean) if mean else None
        score = deviation / stddev if stddev else (0.0 if deviation == 0 else None)
    if is_silent or value is None:
        state = "SILENT"
    elif row["basis"] == "none":
        state = "NO_HISTORY"
    elif score is None or abs(score) > 3:
        state = "CRITICAL_ANOMALY"
    else:
        state = "WARNING" if abs(score) > 2 else "NORMAL"
    return {**row, "deviation": deviation, "deviation_percent": percent, "z_score": score, "state": state}


def _is_whole(line: str) -> bool:
    """Whether it is a record of the types that the contract wants, as far as the generators break them."""
    try:
        line.encode()
        record = json.loads(line)
        return (
            isinstance(record, dict)
            and all(isinstance(record.get(name), str) for name in ("sensor_id", "timestamp"))
            and record["timestamp"][:2] == "20"
            and all(isinstance(record.get(n), str | None) for n in ("status",))
            and all(
                record.get(n) is None or (isinstance(record[n], int | float) and not isinstance(record[n], bool))
                for n in ("temperature_c", "pressure_kpa", "vibration_mm_s")
            )
        )
    except ValueError:
        return False


def _insert(engine: duckdb.DuckDBPyConnection, rows: list[tuple[int, int, str]]) -> None:
    table = pa.table({"file": [r[0] for r in rows], "n": [r[1] for r in rows], "doc": [r[2] for r in rows]})
    engine.register("given", table)
    engine.execute("INSERT INTO lines SELECT file, n, doc::JSON FROM given")
    engine.unregister("given")
