"""S1's five tables from its raw files (JSON lines and SQLite), with no code of the project's: what any run must come to.

DuckDB judges the lines, stdlib's sqlite3 reads the tables; the four feeds are made under their names in the lake
(`silver.half_hourly_readings`, ...), and TABLES are SQL over these. Moments are aware, days London's.
"""

from __future__ import annotations

import sqlite3
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

ZONE = "'Europe/London'"
FEEDS = {
    "half_hourly_readings": ["interval_start", "meterpoint_id", "consumption_delta", "recorded_at"],
    "agreements": ["agreement_id", "account_id", "meterpoint_id", "product_id", "valid_from", "valid_to", "updated_at"],
    "products": ["product_id", "display_name", "is_variable", "updated_at"],
    "meterpoints": ["meterpoint_id", "region", "updated_at"],
}

_SUPPLIED = """
    WITH supplied AS (
        SELECT r.interval_start, r.meterpoint_id, r.consumption_delta, a.product_id
        FROM silver.half_hourly_readings r
        JOIN silver.agreements a ON a.meterpoint_id = r.meterpoint_id
            AND a.valid_from <= r.interval_start AND (a.valid_to IS NULL OR r.interval_start < a.valid_to)
        QUALIFY row_number() OVER (
            PARTITION BY r.interval_start, r.meterpoint_id ORDER BY a.valid_from DESC, a.agreement_id DESC) = 1)"""
"""Each reading with the product of the agreement that is valid at its interval_start; of two that overlap the one that
began later, so that nothing counts twice. A reading without one belongs to no product."""

_PER_HALF_HOUR = """
    SELECT interval_start, sum(consumption_delta) AS total_kwh, count(DISTINCT meterpoint_id) AS meterpoint_count
    FROM silver.half_hourly_readings GROUP BY interval_start"""

TABLES = {
    "active_agreements": f"""
        SELECT a.agreement_id, a.account_id, a.meterpoint_id, m.region, a.product_id, p.display_name, p.is_variable,
            a.valid_from, a.valid_to
        FROM silver.agreements a
        LEFT JOIN silver.products p ON p.product_id = a.product_id
        LEFT JOIN silver.meterpoints m ON m.meterpoint_id = a.meterpoint_id
        WHERE a.valid_from <= timezone({ZONE}, CAST($as_of AS TIMESTAMP))
            AND (a.valid_to IS NULL OR timezone({ZONE}, CAST($as_of AS TIMESTAMP)) < a.valid_to)""",
    "total_consumption_half_hour": _PER_HALF_HOUR,
    "consumption_per_product_per_day": f"""{_SUPPLIED}
        SELECT s.product_id, p.display_name, CAST(timezone({ZONE}, s.interval_start) AS DATE) AS day,
            sum(s.consumption_delta) AS total_kwh, count(DISTINCT s.meterpoint_id) AS meterpoint_count
        FROM supplied s LEFT JOIN silver.products p ON p.product_id = s.product_id GROUP BY ALL""",
    "gold_aggregate_per_half_hour": _PER_HALF_HOUR,
    "gold_avg_half_hour_by_product": f"""{_SUPPLIED}
        SELECT s.product_id, p.display_name, s.interval_start, avg(s.consumption_delta) AS avg_kwh
        FROM supplied s LEFT JOIN silver.products p ON p.product_id = s.product_id GROUP BY ALL""",
}
"""By name; $as_of is a date, of which the midnight counts."""


def five_tables(source: Path, as_of: date, now: datetime) -> dict[str, list[dict[str, Any]]]:
    """Rows of each table, in the order of their columns; now: the clock the future is judged by."""
    with silver(source, now) as connection:
        return {
            name: _rows(connection, f"SELECT * FROM ({sql}) ORDER BY ALL", {"as_of": as_of} if "$as_of" in sql else {})
            for name, sql in TABLES.items()
        }


def feed_rows(source: Path, feed: str, now: datetime) -> list[dict[str, Any]]:
    """The rows of a feed that count, in the order of their columns."""
    with silver(source, now) as connection:
        return _rows(connection, f"SELECT * FROM silver.{feed} ORDER BY ALL", {})


def silver(source: Path, now: datetime) -> duckdb.DuckDBPyConnection:
    """A database with the four feeds under `silver`: of each key the one record that counts."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("CREATE SCHEMA silver")
    connection.execute("CREATE MACRO text(j, p) AS CASE WHEN json_type(j, p) = 'VARCHAR' THEN j ->> p END")
    # without an offset it is the clock on the wall, unless that shows no such time, or shows it twice
    connection.execute(f"""
        CREATE MACRO london(t) AS CASE
            WHEN regexp_matches(t, '(Z|[+-]\\d\\d(:?\\d\\d)?)$') AND t LIKE '%:%' THEN try_cast(t AS TIMESTAMPTZ)
            WHEN timezone({ZONE}, timezone({ZONE}, try_cast(t AS TIMESTAMP))) = try_cast(t AS TIMESTAMP)
                AND timezone({ZONE}, timezone({ZONE}, try_cast(t AS TIMESTAMP)) + INTERVAL 1 HOUR) <> try_cast(t AS TIMESTAMP)
                AND timezone({ZONE}, timezone({ZONE}, try_cast(t AS TIMESTAMP)) - INTERVAL 1 HOUR) <> try_cast(t AS TIMESTAMP)
            THEN timezone({ZONE}, try_cast(t AS TIMESTAMP)) END""")
    connection.register("lines", _lines(source))
    connection.execute(
        """
        CREATE TABLE silver.half_hourly_readings AS
        WITH docs AS (SELECT CASE WHEN json_valid(line) THEN line END AS doc FROM lines),
        parsed AS (
            SELECT london(text(doc, '$.interval_start')) AS interval_start, text(doc, '$.meterpoint_id') AS meterpoint_id,
                CASE WHEN json_type(doc, '$.consumption_delta') IN ('DOUBLE', 'UBIGINT', 'BIGINT')
                    THEN CAST(doc ->> '$.consumption_delta' AS DOUBLE) END AS consumption_delta,
                try_cast(text(doc, '$.recorded_at') AS TIMESTAMPTZ) AS recorded_at,
                coalesce(json_type(doc, '$.recorded_at'), 'NULL') = 'NULL' AS unstamped
            FROM docs)
        SELECT * EXCLUDE (unstamped) FROM parsed
        WHERE (recorded_at IS NOT NULL OR unstamped) AND interval_start <= CAST($now AS TIMESTAMPTZ) + INTERVAL 1 HOUR AND meterpoint_id IS NOT NULL
            AND consumption_delta BETWEEN 0 AND 1000
        QUALIFY row_number() OVER (PARTITION BY interval_start, meterpoint_id
            ORDER BY recorded_at DESC NULLS LAST, consumption_delta DESC) = 1""",
        {"now": now},
    )
    for feed in ("agreements", "products", "meterpoints"):
        names = FEEDS[feed]
        connection.register("extract", _extract(source, feed, names))
        zoned = {"valid_from": "london(valid_from)", "valid_to": "london(valid_to)"}
        typed = ", ".join(f"{zoned.get(n, n)} AS {n}" for n in names if n != "updated_at")
        order = ", ".join(f"p.{n} DESC NULLS LAST" for n in ["updated_at", *names])
        whole = " AND ".join(f"p.{n} IS NOT NULL" for n in ("valid_from", "meterpoint_id", "product_id"))
        of_agreements = f"AND (e.valid_to IS NULL OR p.valid_to >= p.valid_from) AND {whole}"
        connection.execute(
            f"""
            CREATE TABLE silver.{feed} AS
            WITH e AS (SELECT row_number() OVER () AS n, * FROM extract),
            p AS (SELECT n, {typed}, try_cast(updated_at AS TIMESTAMPTZ) AS updated_at FROM e)
            SELECT p.* EXCLUDE (n) FROM e JOIN p ON e.n = p.n
            WHERE p.{names[0]} IS NOT NULL AND p.updated_at <= CAST($now AS TIMESTAMPTZ) + INTERVAL 1 DAY
                {of_agreements if feed == "agreements" else ""}
            QUALIFY row_number() OVER (PARTITION BY p.{names[0]} ORDER BY {order}) = 1""",
            {"now": now},
        )
    return connection


def _lines(source: Path) -> pa.Table:
    found = []
    for path in sorted(source.glob("data/readings/*.json")):
        for line in path.read_bytes().split(b"\n"):
            try:
                found.append(line.decode("utf-8"))
            except UnicodeDecodeError:
                continue
    return pa.table({"line": pa.array([line for line in found if line.strip()], pa.string())})


def _extract(source: Path, table: str, names: list[str]) -> pa.Table:
    """Rows whose values are what they must be: text, for is_variable 0 and 1."""
    rows: list[tuple[Any, ...]] = []
    for path in sorted(source.glob("data/case_study*.db")):
        database = sqlite3.connect(path)
        database.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        rows += database.execute(f"SELECT {', '.join(names)} FROM {table}").fetchall()
        database.close()
    columns = {name: pa.bool_() if name == "is_variable" else pa.string() for name in names}
    fit = [row for row in rows if all(_fits(v, columns[n]) for n, v in zip(names, row, strict=True))]
    return pa.table({n: pa.array([_as(row[i], columns[n]) for row in fit], columns[n]) for i, n in enumerate(names)})


def _as(value: Any, kind: pa.DataType) -> Any:
    return bool(value) if kind == pa.bool_() and value is not None else value


def _fits(value: Any, kind: pa.DataType) -> bool:
    if kind == pa.bool_():
        return value is None or (isinstance(value, int) and value in (0, 1))
    return value is None or (isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value))


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    found = connection.execute(sql, given)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
