"""What `[now]` of a contract asks for: gold.NAME_usual, an analysis, and gold.NAME, a view; docs/sensor-now.md.

    gold.NAME_hourly   |── history ─────────────────────|── recent ──|
                                                        upto         newest hour
    gold.NAME_usual    per sensor and hour from `upto` on: mean and deviation of history's hours like it
    gold.NAME          each sensor's newest values in the recent hours, beside what is usual then

`upto` is the newest hour that has a reading less the recent hours: no value is part of its own history, and the table is
made anew when the clock of the data strikes, and for the sensors of late rows in between. The next hour is in it already.
A basis is the first of hour of week, hour of day and all hours that has values enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from beam_grid.analyses import Analysis, Clock
from beam_grid.lakehouse.duck import literal
from data_sources.contract.now import HOUR
from data_sources.identifiers import backticked, double_quoted

if TYPE_CHECKING:
    from data_sources.contract import Contract, NowSpec

BASES = ("hour_of_week", "hour_of_day", "all", "none")

_FLAT = "1e-12"
"""Of its mean: what is below is a float's error."""

_STATS = ("n", "hours", "s", "q")
"""Values, hours they are from, sum of their distances from a pivot, sum of squares of these."""


def tables(contracts: Iterable[Contract]) -> list[Analysis]:
    """The analyses of the contracts with [now]."""
    return [_usual(contract.now) for contract in contracts if contract.now is not None]


def view(now: NowSpec, parameters: Mapping[str, str]) -> tuple[str, tuple[str, ...], str]:
    """SQL of gold.NAME for DataFusion and DuckDB, what it reads, and what it shows.

    parameters: those that gold.NAME_usual was made with. The hour in them is there for engines to skip files by; that it
    lies behind the newest readings changes nothing but the age of the history.
    """
    upto = datetime.fromisoformat(parameters["upto"])
    sql = _view(now, upto, upto + _back(now))
    description = (
        f"Each {now.sensor}'s newest {', '.join(now.values)} beside what is usual for it at that hour: z_score, deviation "
        "and state."
    )
    return sql, (f"gold.{now.hourly}", f"gold.{now.usual}"), description


def _back(now: NowSpec) -> timedelta:
    """From the newest hour back to the end of the history: what is recent, in whole hours."""
    return -(-now.recent // HOUR) * HOUR


def _usual(now: NowSpec) -> Analysis:
    used = [now.sensor, "window_start", "last_at", *now.beside]
    used += [name for value in now.values for name in (f"{value}_values", f"{value}_mean", f"{value}_stddev")]
    return Analysis(
        f"gold.{now.usual}",
        f"What is usual for each {now.sensor} in the hour from `hour` on: mean and deviation of its values in like hours.",
        _usual_sql(now),
        (f"gold.{now.hourly}",),
        cluster_by=("hour", now.sensor),  # the view reads one hour of all sensors
        key=(now.sensor, "hour"),
        touched=backticked(now.sensor),
        clock=Clock(f"gold.{now.hourly}", _back(now)),
        settled="window_start < :upto",
        watched=tuple(used),
    )


def _usual_sql(now: NowSpec) -> str:
    history = now.history // HOUR
    last = history + _back(now) // HOUR + 1
    hour = "hour" if now.time_zone == "UTC" else f"from_utc_timestamp(hour, '{now.time_zone}')"
    sensor = backticked(now.sensor)
    beside = [backticked(name) for name in now.beside]
    numbers = range(len(now.values))
    names = [(backticked(f"{v}_values"), backticked(f"{v}_mean"), backticked(f"{v}_stddev")) for v in now.values]
    hours = (  # written out where it is read: named once, DuckDB would keep all of it
        f"(SELECT * FROM gold.{now.hourly} WHERE :touched AND {sensor} IS NOT NULL "
        f"AND window_start >= :upto - INTERVAL {history} HOURS AND window_start < :upto)"
    )
    apart = ", ".join(
        f"h.{n} AS n{k}, h.{mean} - p.p{k} AS d{k}, coalesce(h.{stddev}, CAST(0 AS DOUBLE)) AS e{k}"
        for k, (n, mean, stddev) in enumerate(names)
    )
    lacks = " OR ".join(f"NOT {_enough(now, f'd.day{k}')}" for k in numbers)
    best = ", ".join(_best(now, k) for k in numbers)
    shown = ", ".join(_shown(value, k) for k, value in enumerate(now.values))
    return f"""
WITH slots AS (
    SELECT n, hour,
           CAST((unix_micros({hour}) + 120960000000000000) DIV 3600000000 % 168 AS INT) AS slot
    FROM (SELECT n, timestamp_micros(unix_micros(:upto) + (n - {history}) * 3600000000) AS hour
          FROM (SELECT explode(sequence(0, {last})) AS n))
),
alike AS (
    SELECT a.hour AS at, b.hour AS hour, max(CASE WHEN a.slot = b.slot THEN 1 ELSE 0 END) = 1 AS is_week
    FROM slots a JOIN slots b ON a.slot % 24 = b.slot % 24
    WHERE a.n < {history} AND b.n >= {history}
    GROUP BY a.hour, b.hour
),
sensors AS (
    SELECT p.sensor, h.last_at{"".join(f", h.{b} AS b{k}" for k, b in enumerate(beside))}
           {"".join(f", coalesce(h.{mean}, CAST(0 AS DOUBLE)) AS p{k}" for k, (_, mean, _) in enumerate(names))}
    FROM (SELECT {sensor} AS sensor, max(window_start) AS newest FROM {hours} GROUP BY {sensor}) p
    JOIN {hours} h ON h.{sensor} = p.sensor AND h.window_start = p.newest
),
by_hour AS (
    SELECT sensor, hour, {", ".join(_sums(k, basis) for k in numbers for basis in ("week", "day"))}
    FROM (SELECT p.sensor, h.hour, h.is_week, {apart}
          FROM (SELECT h.*, m.hour, m.is_week FROM {hours} h JOIN alike m ON h.window_start = m.at) h
          LEFT JOIN sensors p ON h.{sensor} = p.sensor)
    GROUP BY sensor, hour
),
targets AS (SELECT p.sensor, t.hour FROM sensors p CROSS JOIN slots t WHERE t.n >= {history}),
lacking AS (
    SELECT DISTINCT t.sensor
    FROM targets t LEFT JOIN by_hour d ON t.sensor = d.sensor AND t.hour = d.hour
    WHERE {lacks}
),
in_all AS (
    SELECT sensor, {", ".join(_sums(k, "all") for k in numbers)}
    FROM (SELECT p.sensor, {apart}
          FROM (SELECT * FROM {hours} h WHERE h.{sensor} IN (SELECT sensor FROM lacking)) h
          LEFT JOIN sensors p ON h.{sensor} = p.sensor)
    GROUP BY sensor
),
best AS (
    SELECT t.sensor, t.hour, {best}
    FROM targets t LEFT JOIN by_hour d ON t.sensor = d.sensor AND t.hour = d.hour LEFT JOIN in_all a ON t.sensor = a.sensor
)
SELECT b.sensor AS {sensor}, b.hour, p.last_at
       {"".join(f", p.b{k} AS {name}" for k, name in enumerate(beside))}, {shown}
FROM best b JOIN sensors p ON b.sensor = p.sensor"""


def _sums(value: int, basis: str) -> str:
    """The statistics of one value over rows of `n`, `d` (distance from the pivot) and `e` (deviation)."""
    n, d, e = f"n{value}", f"d{value}", f"e{value}"
    where = f" FILTER (WHERE {n} > 0{' AND is_week' if basis == 'week' else ''})"
    name = f"{basis}{value}"
    return (
        f"CAST(coalesce(sum({n}){where}, 0) AS BIGINT) AS {name}_n, count(*){where} AS {name}_hours, "
        f"sum({n} * {d}){where} AS {name}_s, sum(({n} - 1) * {e} * {e} + {n} * {d} * {d}){where} AS {name}_q"
    )


def _enough(now: NowSpec, place: str) -> str:
    return f"(coalesce({place}_n, 0) >= {now.least_values} AND coalesce({place}_hours, 0) >= {now.least_hours})"


def _best(now: NowSpec, value: int) -> str:
    """Which basis has values enough, and its statistics."""
    week, day, every = f"d.week{value}", f"d.day{value}", f"a.all{value}"
    cases = [(_enough(now, week), week, BASES[0]), (_enough(now, day), day, BASES[1])]
    whens = " ".join(f"WHEN {condition} THEN '{basis}'" for condition, _, basis in cases)
    in_all = f"coalesce({every}_n, 0) >= {now.least_values}"
    parts = [f"CASE {whens} WHEN {in_all} THEN '{BASES[2]}' ELSE '{BASES[3]}' END AS basis{value}"]
    for stat in _STATS:
        chosen = " ".join(f"WHEN {condition} THEN {place}_{stat}" for condition, place, _ in cases)
        parts.append(f"CASE {chosen} ELSE {every}_{stat} END AS {stat}{value}")
    return ", ".join(parts)


def _shown(value: str, k: int) -> str:
    """The columns of one value. A deviation below a trillionth of the mean is a float's error, as is what is left of the
    squares below a trillionth of them."""
    mean = f"p.p{k} + b.s{k} / b.n{k}"
    squares = f"greatest(b.q{k} - b.s{k} * b.s{k} / b.n{k}, CAST(0 AS DOUBLE))"
    stddev = f"sqrt({squares} / (b.n{k} - 1))"
    is_used = f"b.basis{k} <> '{BASES[3]}'"
    flat = f"{stddev} <= {_FLAT} * abs({mean}) OR {squares} <= {_FLAT} * b.q{k}"
    columns = {
        "basis": f"b.basis{k}",
        "values": f"coalesce(b.n{k}, 0)",
        "hours": f"coalesce(b.hours{k}, 0)",
        "mean": f"CASE WHEN {is_used} THEN {mean} END",
        "stddev": f"CASE WHEN {is_used} THEN CASE WHEN {flat} THEN CAST(0 AS DOUBLE) ELSE {stddev} END END",
    }
    return ", ".join(f"{sql} AS {backticked(f'{value}_{name}')}" for name, sql in columns.items())


def _view(now: NowSpec, upto: datetime, newest: datetime) -> str:
    sensor = double_quoted(now.sensor)
    beside = [double_quoted(name) for name in now.beside]
    values = [double_quoted(value) for value in now.values]
    usual = [
        double_quoted(f"{v}_{part}") for v in now.values for part in ("basis", "values", "hours", "mean", "stddev")
    ]
    recent, silent = (f"INTERVAL '{span // timedelta(seconds=1)} seconds'" for span in (now.recent, now.silent_after))
    by_value = {
        "value_name": [literal(v) for v in now.values],
        "value": values,
        **{part: [double_quoted(f"{v}_{part}") for v in now.values] for part in _KINDS},
    }
    numbers = " UNION ALL ".join(f"SELECT {k} AS k" for k in range(len(now.values)))
    unpivoted = ", ".join(
        f"CASE k {' '.join(f'WHEN {k} THEN {one}' for k, one in enumerate(choices))} END AS {_COLUMN[name]}"
        for name, choices in by_value.items()
    )
    far = "abs(z_score)"
    return f"""
WITH recent AS (
    SELECT {", ".join([sensor, "window_start", "last_at", *beside])},
           {", ".join(f"CAST({value} AS DOUBLE) AS {value}" for value in values)}
    FROM gold.{now.hourly} WHERE window_start >= '{_literal(upto)}'
),
clock AS (
    SELECT now, now - {silent} AS silent_before, now - {recent} AS recent_after FROM (SELECT max(last_at) AS now FROM recent) c
),
newest AS (SELECT {sensor} AS s, max(window_start) AS h FROM recent GROUP BY {sensor}),
placed AS (
    SELECT {", ".join(f"r.{name}" for name in [sensor, "last_at", *beside, *values])},
           {", ".join(f"u.{name}" for name in usual)}
    FROM recent r JOIN newest n ON r.{sensor} = n.s AND r.window_start = n.h
    LEFT JOIN gold.{now.usual} u ON r.{sensor} = u.{sensor} AND r.window_start = u.hour
    UNION ALL
    SELECT {", ".join(f"u.{name}" for name in [sensor, "last_at", *beside])},
           {", ".join(f"CAST(NULL AS DOUBLE) AS {name}" for name in values)},
           {", ".join(f"CAST(NULL AS {kind}) AS {double_quoted(f'{v}_{part}')}" for v in now.values for part, kind in _KINDS.items())}
    FROM gold.{now.usual} u
    WHERE u.hour = '{_literal(newest)}' AND NOT EXISTS (SELECT 1 FROM recent r WHERE r.{sensor} = u.{sensor})
),
named AS (
    SELECT {", ".join([sensor, "last_at", *beside])}, now, last_at < silent_before AS is_silent, last_at >= recent_after AS is_recent,
           {unpivoted}
    FROM placed CROSS JOIN clock CROSS JOIN ({numbers}) numbers
),
apart AS (
    SELECT *, CASE WHEN abs(value - mean) <= {_FLAT} * abs(mean) THEN CAST(0 AS DOUBLE) ELSE value - mean END AS deviation
    FROM (SELECT {", ".join([sensor, "last_at", *beside])}, now, is_silent, value_name,
                 {", ".join(f"CASE WHEN is_recent THEN {name} END AS {name}" for name in ("value", "mean", "stddev"))},
                 CASE WHEN is_recent THEN coalesce(basis, '{BASES[3]}') ELSE '{BASES[3]}' END AS basis,
                 {", ".join(f"CASE WHEN is_recent THEN coalesce({name}, 0) ELSE 0 END AS {name}" for name in ("history_values", "history_hours"))}
          FROM named) valued
),
scored AS (
    SELECT *, CASE WHEN stddev > 0 THEN deviation / stddev WHEN deviation = 0 THEN CAST(0 AS DOUBLE) END AS z_score
    FROM apart
)
SELECT {", ".join([sensor, *beside])}, value_name, last_at, now, value, mean, stddev, deviation,
       100 * deviation / NULLIF(abs(mean), 0) AS deviation_percent, z_score,
       CASE WHEN is_silent OR value IS NULL THEN 'SILENT'
            WHEN basis = '{BASES[3]}' THEN 'NO_HISTORY'
            WHEN z_score IS NULL OR {far} - 3 > 1e-9 THEN 'CRITICAL_ANOMALY'
            WHEN {far} - 2 > 1e-9 THEN 'WARNING'
            ELSE 'NORMAL' END AS state,
       basis, history_values, history_hours
FROM scored"""


_KINDS = {"basis": "VARCHAR", "values": "BIGINT", "hours": "BIGINT", "mean": "DOUBLE", "stddev": "DOUBLE"}
_COLUMN = {
    "value_name": "value_name", "value": "value", "basis": "basis", "values": "history_values",
    "hours": "history_hours", "mean": "mean", "stddev": "stddev",
}  # fmt: skip


def _literal(hour: datetime) -> str:
    return hour.strftime("%Y-%m-%dT%H:%M:%SZ")
