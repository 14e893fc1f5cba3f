"""The mix of questions put to a lake of grid sensors, and those who put them: clients of the server, DuckDB.

Each question is one SELECT with an order that leaves no two rows in doubt, so that answers can be compared row by row.
"""

from __future__ import annotations

import http.client
import itertools
import json
import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from beam_grid.lakehouse import query_log, scan
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.landing import Lake
from benchmarks.sensors import FEED, REGIONS
from data_sources.identifiers import double_quoted
from transforms import sketches

_MEASURES = "count(*) AS readings, avg(temperature_c) AS mean_c, max(vibration_mm_s) AS peak_mm_s"

QUESTIONS = {
    "now, a region": """SELECT value_name, state, count(*) AS sensors, avg(z_score) AS mean_z FROM gold.sensor_now
        WHERE region = {region} GROUP BY value_name, state ORDER BY value_name, state""",
    "now, a sensor": "SELECT * FROM gold.sensor_now WHERE sensor_id = {sensor} ORDER BY value_name",
    "an hour by minute": f"""SELECT region, date_trunc('minute', timestamp) AS minute, {_MEASURES} FROM silver.{FEED}
        WHERE timestamp >= {{hour_ago}} GROUP BY region, date_trunc('minute', timestamp) ORDER BY region, minute""",
    "all days by hour": f"""SELECT region, date_trunc('hour', timestamp) AS hour, {_MEASURES} FROM silver.{FEED}
        GROUP BY region, date_trunc('hour', timestamp) ORDER BY region, hour""",
    "values, a sensor": f"""SELECT timestamp, temperature_c, pressure_kpa, vibration_mm_s, status FROM silver.{FEED}
        WHERE sensor_id = {{sensor}} AND timestamp >= {{days_ago}} ORDER BY timestamp""",
    "features, a sensor": """SELECT window_start, temperature_c_mean, temperature_c_stddev,
        avg(temperature_c_mean) OVER (ORDER BY window_start ROWS BETWEEN 23 PRECEDING AND CURRENT ROW) AS moving_c,
        temperature_c_mean - lag(temperature_c_mean) OVER (ORDER BY window_start) AS change_c
        FROM gold.sensor_now_hourly WHERE sensor_id = {sensor} AND window_start >= {days_ago} ORDER BY window_start""",
    "anomalies, last hour": """SELECT sensor_id, value_name, value, mean, z_score, state FROM gold.sensor_now
        WHERE state IN ('WARNING', 'CRITICAL_ANOMALY') ORDER BY abs(z_score) DESC, sensor_id, value_name LIMIT 100""",
    "report of queries": "SELECT * FROM gold.query_report ORDER BY hour DESC LIMIT 24",
}
"""The seed's mix, and the dashboard's: the last hour by region, one sensor, what is odd, how fast answers were."""

TIMEOUT_S = 120
"""Of a statement: without reflections some take longer than the server lets them by itself."""

LOG = "report of queries"
"""Its table grows with each question, so no two answers are equal."""

REFLECTIONS = f"""\
[[reflections]]
name = "by_minute"
table = "silver.{FEED}"
dimensions = ["region", "minute(timestamp)"]
measures = ["count()", "avg(temperature_c)", "max(vibration_mm_s)"]

[[reflections]]
name = "by_hour"
table = "silver.{FEED}"
dimensions = ["region", "hour(timestamp)"]
measures = ["count()", "avg(temperature_c)", "max(vibration_mm_s)"]

[[reflections]]
name = "last_week"
table = "silver.{FEED}"
raw = {{ days = 7, time = "timestamp", sort = ["sensor_id", "timestamp"] }}
"""
"""What is declared for the mix."""


class Filled(NamedTuple):
    """A question about something: values are bound, as the dashboard binds them."""

    sql: str
    """With $1, $2 and so on."""
    parameters: tuple[str, ...]

    @property
    def text(self) -> str:
        """With the values in it, for who cannot bind."""
        return re.sub(r"\$(\d)", lambda place: f"'{self.parameters[int(place[1]) - 1]}'", self.sql)


def filled(name: str, sensors: int, rng: np.random.Generator, now: datetime | None = None) -> Filled:
    """The question about some sensor or region, and the time before now."""
    minute = (now or datetime.now(UTC)).replace(second=0, microsecond=0)
    values = {
        "sensor": f"GS-{rng.integers(1, sensors + 1):06d}",
        "region": REGIONS[rng.integers(len(REGIONS))],
        "hour_ago": _text(minute - timedelta(hours=1)),
        "days_ago": _text((minute - timedelta(days=6)).replace(minute=0)),
    }
    asked = [key for key in values if f"{{{key}}}" in QUESTIONS[name]]
    places = {key: f"${number}" for number, key in enumerate(asked, start=1)}
    return Filled(QUESTIONS[name].format(**places), tuple(values[key] for key in asked))


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Client:
    """One connection to the server, kept open."""

    port: int
    with_reflections: bool = True
    answered_by: dict[str, set[str]] = field(default_factory=dict)
    """By question."""

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2 * TIMEOUT_S)

    def __call__(self, name: str, question: Filled) -> None:
        """Ask and read the answer, as the dashboard does: JSON. Raises RuntimeError for anything but an answer."""
        self._post(name, question, "application/json", {})

    def table(self, name: str, question: Filled, number: int) -> pa.Table:
        """The answer at a version set."""
        return pa.ipc.open_stream(
            self._post(name, question, "application/vnd.apache.arrow.stream", {"set": number})
        ).read_all()

    def _post(self, name: str, question: Filled, accept: str, more: dict[str, int]) -> bytes:
        # no reflection answers what is not one SELECT over one table
        text = question.sql if self.with_reflections else f"WITH asked AS ({question.sql}) SELECT * FROM asked"
        headers = {"Content-Type": "application/json", "Accept": accept}
        asked = {"sql": text, "parameters": question.parameters, **more}
        self._connection.request("POST", "/api/v1/sql", json.dumps(asked), headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{name}: {answer.status} {body[:500]!r}")
        by = answer.headers.get("Beam-Grid-Answered-By")
        if by is not None and not self.with_reflections:
            raise RuntimeError(f"{name}: {by} answered what no reflection was to answer")
        self.answered_by.setdefault(name, set()).add(by or "table")
        return body


def by_duckdb(lake: Lake, found: TableSet) -> duckdb.DuckDBPyConnection:
    """A DuckDB that has views over the Parquet files of the version set, and no more limits than by itself."""
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
    sketches.prepare(engine)
    for schema in ("silver", "gold", "bronze"):
        engine.execute(f"CREATE SCHEMA {schema}")
    log = scan.relation(engine, lake.path / query_log.FOLDER) if query_log.exists(lake) else f"({query_log.EMPTY})"
    made = {f"silver.{FEED}", "gold.sensor_now_hourly", "gold.sensor_now_usual"}
    selects = {name: f"FROM {scan.relation(engine, lake.path / t.path, t.version)}" for name, t in found.tables.items() if name in made}  # fmt: skip
    selects |= {
        query_log.TABLE: f"FROM {log}",
        **query_log.VIEWS,
        "gold.sensor_now": found.views["gold.sensor_now"].sql,
    }
    for name, select in selects.items():
        schema, _, table = name.partition(".")
        engine.execute(f"CREATE VIEW {schema}.{double_quoted(table)} AS {select}")
    return engine


Asks = Callable[[str, Filled], pa.Table | None]
"""Puts a question, by its name, and takes the whole answer, which some return."""


def put(
    asks: list[Asks], sensors: int, seconds: float, names: Sequence[str] = tuple(QUESTIONS)
) -> dict[str, list[float]]:
    """All clients ask one question after another for so long, each kind in turn; seconds by kind. Raises what a client
    raised."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    wrong: list[BaseException] = []
    until = time.monotonic() + seconds

    def go_on(number: int, ask: Asks) -> None:
        rng = np.random.default_rng(number)
        try:
            for name in itertools.islice(itertools.cycle(names), number % len(names), None):
                if time.monotonic() >= until or wrong:
                    return
                question = filled(name, sensors, rng)
                began = time.perf_counter()
                ask(name, question)
                taken[name].append(time.perf_counter() - began)
        except BaseException as cause:
            wrong.append(cause)

    clients = [threading.Thread(target=go_on, args=(n, ask)) for n, ask in enumerate(asks)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    if wrong:
        raise wrong[0]
    return taken


def differs(one: pa.Table, other: pa.Table) -> str:
    """What is not equal, in order, floats within 1e-9; nothing where all is."""
    if one.column_names != other.column_names or one.num_rows != other.num_rows:
        return f"{one.num_rows} rows of {one.column_names} beside {other.num_rows} of {other.column_names}"
    for n, (mine, theirs) in enumerate(zip(one.to_pylist(), other.to_pylist(), strict=True)):
        for name, value in mine.items():
            if not _equal(value, theirs[name]):
                return f"row {n}, {name}: {value!r} beside {theirs[name]!r}"
    return ""


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)
