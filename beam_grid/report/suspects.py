"""Readings that look like theft or like a spike, the meters that have most of them, and the readings around them.

For feeds with a meter's fields: `meter_id` and a number `reading_kwh`, and `meter_status` where there is one. A
suspect is a lead, not a verdict. All counting is the engine's; what comes back is bounded by `TOP` and `AROUND`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.report.load import quoted
from beam_grid.report.words import as_time, printable

if TYPE_CHECKING:
    from data_sources.contract import Contract

METER, VALUE, STATUS = "meter_id", "reading_kwh", "meter_status"

TOP = 5
"""Meters shown of each kind."""

AROUND = 36
"""Readings shown before and after the example."""


@dataclass(frozen=True)
class Kind:
    """What makes a reading a suspect: low <= kWh <= high."""

    name: str
    title: str
    low: float
    high: float


KINDS = (Kind("theft", "Theft suspects", 0.001, 0.05), Kind("spike", "Spike suspects", 50.0, 120.0))
"""The limits data_sources/smart_meter_readings/NOTES.md gives for a quarter of an hour's reading."""


@dataclass(frozen=True)
class Reading:
    """One reading, and the kind of suspect it is."""

    at: datetime
    kwh: float
    kind: str | None
    status: str


@dataclass(frozen=True)
class Meter:
    """A meter: suspects among its readings, their states, its readings around `readings[example]`."""

    meter: str
    suspects: int
    readings_in_all: int
    statuses: list[tuple[str, int]]
    readings: list[Reading]
    example: int

    @property
    def before(self) -> Reading | None:
        return self.readings[self.example - 1] if self.example else None

    @property
    def after(self) -> Reading | None:
        return self.readings[self.example + 1] if self.example + 1 < len(self.readings) else None


@dataclass(frozen=True)
class Suspects:
    """Of one kind: how many readings and meters, their energy, and the meters that have most."""

    kind: Kind
    readings: int
    meters: int
    kwh: float
    all_readings: int
    all_meters: int
    all_kwh: float
    top: list[Meter]


def applies(contract: Contract) -> bool:
    """Whether the feed has a meter's fields."""
    kinds = {f.name: f for f in contract.fields}
    return METER in kinds and VALUE in kinds and kinds[VALUE].is_numeric


def suspects(lake: Lake, contract: Contract) -> list[Suspects]:
    """One entry a kind that occurs; raises GridError where silver is not there."""
    table = f"silver.{quoted(contract.name)}"
    sums = [f"count(*) AS n, count(DISTINCT {METER}) AS meters, coalesce(sum({VALUE}), 0) AS kwh"]
    for kind in KINDS:
        test = _test(kind)
        sums.append(
            f"count(CASE WHEN {test} THEN 1 END) AS {kind.name}_n, count(DISTINCT CASE WHEN {test} THEN {METER} END) "
            f"AS {kind.name}_meters, coalesce(sum(CASE WHEN {test} THEN {VALUE} END), 0) AS {kind.name}_kwh"
        )
    row = query(lake, f"SELECT {', '.join(sums)} FROM {table}").to_pylist()[0]
    found = []
    for kind in KINDS:
        if row[f"{kind.name}_n"]:
            mine = row[f"{kind.name}_n"], row[f"{kind.name}_meters"], float(row[f"{kind.name}_kwh"])
            top = _top(lake, contract, table, kind)
            found.append(Suspects(kind, *mine, row["n"], row["meters"], float(row["kwh"]), top))
    return found


def _test(kind: Kind) -> str:
    return f"({VALUE} >= {kind.low} AND {VALUE} <= {kind.high})"


def _top(lake: Lake, contract: Contract, table: str, kind: Kind) -> list[Meter]:
    leading = query(
        lake,
        f"SELECT {METER} AS meter, count(*) AS n, count(CASE WHEN {_test(kind)} THEN 1 END) AS hits FROM {table} "
        f"WHERE {METER} IS NOT NULL GROUP BY 1 HAVING count(CASE WHEN {_test(kind)} THEN 1 END) > 0 "
        f"ORDER BY 3 DESC, 1 LIMIT {TOP}",
    ).to_pylist()
    if not leading:
        return []
    chosen = f"{METER} IN ({', '.join(_literal(row['meter']) for row in leading)})"
    statuses = _statuses(lake, contract, table, kind, chosen)
    readings = _readings(lake, contract, table, kind, chosen)
    found = []
    for row in leading:
        mine = readings.get(row["meter"], [])
        example = next((n for n, (_, apart) in enumerate(mine) if apart == 0), None)
        if example is not None:
            around = [reading for reading, _ in mine]
            states = statuses.get(row["meter"], [])
            found.append(Meter(printable(row["meter"], 40), row["hits"], row["n"], states, around, example))
    return found


def _statuses(lake: Lake, contract: Contract, table: str, kind: Kind, chosen: str) -> dict[Any, list[tuple[str, int]]]:
    """Per meter the states of its suspects, the most frequent first."""
    if STATUS not in [f.name for f in contract.fields]:
        return {}
    rows = query(
        lake,
        f"SELECT {METER} AS meter, {STATUS} AS status, count(*) AS n FROM {table} WHERE {chosen} AND {_test(kind)} "
        "GROUP BY 1, 2 ORDER BY 3 DESC, 2 LIMIT 100",
    ).to_pylist()
    found: dict[Any, list[tuple[str, int]]] = {}
    for row in rows:
        if len(found.setdefault(row["meter"], [])) < 4:
            found[row["meter"]].append((printable(row["status"], 30), row["n"]))
    return found


def _readings(
    lake: Lake, contract: Contract, table: str, kind: Kind, chosen: str
) -> dict[Any, list[tuple[Reading, int]]]:
    """Per meter its readings around the most extreme suspect, each with its distance from that, in order of time."""
    time, state = quoted(contract.event_time), STATUS if STATUS in [f.name for f in contract.fields] else "NULL"
    order = f"{VALUE} {'ASC' if kind.name == 'theft' else 'DESC'}"
    rows = query(
        lake,
        f"WITH numbered AS (SELECT {METER} AS meter, {time} AS at, {VALUE} AS v, {state} AS status, "
        f"row_number() OVER (PARTITION BY {METER} ORDER BY {time}, {VALUE}) AS place FROM {table} WHERE {chosen}), "
        f"extreme AS (SELECT meter, place, row_number() OVER (PARTITION BY meter ORDER BY {order.replace(VALUE, 'v')}, at, place) "
        f"AS rank FROM numbered WHERE {_test(kind).replace(VALUE, 'v')}) "
        "SELECT n.meter, n.at, n.v, n.status, n.place - e.place AS apart FROM numbered n "
        "JOIN extreme e ON n.meter = e.meter AND e.rank = 1 "
        f"WHERE n.place BETWEEN e.place - {AROUND} AND e.place + {AROUND} ORDER BY n.meter, n.place",
    ).to_pylist()
    found: dict[Any, list[tuple[Reading, int]]] = {}
    for row in rows:
        at = as_time(row["at"])
        if at is not None and row["v"] is not None:
            which = next((k.name for k in KINDS if k.low <= float(row["v"]) <= k.high), None)
            reading = Reading(at, float(row["v"]), which, printable(row["status"], 30))
            found.setdefault(row["meter"], []).append((reading, row["apart"]))
    return found


def _literal(value: Any) -> str:
    if isinstance(value, int | float):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"
