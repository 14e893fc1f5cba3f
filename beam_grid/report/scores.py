"""What `gold.anomalies` found: readings far from their meter's own past, and beside them what was planted.

The last days of the data are shown, `RECENT` before the day of the newest reading. A generator that planted anomalies
left `planted.json` beside its data (data_sources/generators/truth.py); where the folder that was landed holds one, each planted
anomaly is looked up in the table: found, missed, not scored, or not in it. Counting is the engine's; what comes back
is bounded by `SHOWN`, `DRAWN` and `MOST_PLANTED`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_grid.analyses import by_name
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.report.panels import literal
from beam_grid.report.words import as_time, plural, printable
from data_sources.generators import truth

if TYPE_CHECKING:
    from beam_grid.landing import FeedLog, Lake

TABLE, FEED = "gold.anomalies", "smart_meter_readings"
RECENT = timedelta(days=2)
SHOWN, DRAWN, MOST_PLANTED = 6, 1000, 2000
THIN = 8
"""Earlier readings below which a score is rough: an ordinary reading passes 3 more often than once in forty."""

_WEEK = timedelta(days=7)
_COLUMNS = "event_id, meter_id, timestamp, reading_kwh, history_readings, history_mean_kwh, history_stddev_kwh, z_score, status"


@dataclass(frozen=True)
class Scored:
    """A reading and its history; z and status None where it has too little of that. kind: what was planted there."""

    meter: str
    at: datetime
    kwh: float
    history: int
    mean: float | None
    deviation: float | None
    z: float | None
    status: str | None
    kind: str | None = None

    @property
    def flagged(self) -> bool:
        return self.status in ("CRITICAL", "WARNING")


@dataclass(frozen=True)
class Planted:
    """One anomaly as the generator lists it, and its reading in the table; None where that is not there."""

    kind: str
    meter: str
    at: datetime | None
    scored: Scored | None

    @property
    def found(self) -> bool:
        return self.scored is not None and self.scored.flagged


@dataclass(frozen=True)
class Counts:
    """Readings by their status."""

    critical: int = 0
    warning: int = 0
    normal: int = 0
    unscored: int = 0

    @property
    def all(self) -> int:
        return self.critical + self.warning + self.normal + self.unscored


@dataclass(frozen=True)
class Scores:
    """The table as a whole, its last days, and the truth where it is known.

    high, low: the suspects of the last days that lie furthest above and below their history; drawn: up to `DRAWN` of
    them. by_kind: planted anomalies; ordinary: the readings of the last days in which nothing was planted.
    """

    description: str
    counts: Counts
    first: datetime
    last: datetime
    most_history: int
    since: datetime
    recent: Counts
    high: list[Scored] = field(default_factory=list)
    low: list[Scored] = field(default_factory=list)
    drawn: list[Scored] = field(default_factory=list)
    by_kind: dict[str, list[Planted]] = field(default_factory=dict)
    ordinary: Counts | None = None

    @property
    def planted(self) -> list[Planted]:
        return [one for kind in self.by_kind.values() for one in kind]

    @property
    def missed(self) -> list[Planted]:
        return [one for one in self.planted if not one.found]

    @property
    def thin(self) -> bool:
        """Whether even the longest history makes rough scores."""
        return self.most_history < THIN

    @property
    def nothing_scored(self) -> str:
        """Why no reading has a score; empty where one has."""
        if self.counts.all > self.counts.unscored:
            return ""
        if self.most_history >= 2:
            return (
                "No reading could be scored: all earlier readings of each meter in the same hour of the week are equal."
            )
        weeks = max(1, math.ceil((self.first + 2 * _WEEK - self.last) / _WEEK))
        return (
            "No reading can be scored yet: no meter has two earlier readings in the same hour of the week. "
            f"{plural(weeks, 'more week')} of data {'is' if weeks == 1 else 'are'} needed."
        )

    @property
    def short(self) -> str:
        """What was found, in a few words."""
        if self.planted:
            return f"{sum(one.found for one in self.planted):,} of {len(self.planted):,} planted found"
        return f"{self.recent.critical:,} CRITICAL since {self.since:%Y-%m-%d}"

    @property
    def summary(self) -> str:
        """What was found, in one or two sentences."""
        if self.nothing_scored:
            return self.nothing_scored
        since = f"{self.since:%Y-%m-%d}"
        flags = "{0.critical:,} flagged CRITICAL and {0.warning:,} WARNING".format
        if self.ordinary is None:
            return f"Of {plural(self.recent.all, 'reading')} since {since}: {flags(self.recent)}."
        kinds = ", ".join(f"{sum(one.found for one in of):,} of {plural(len(of), k)}" for k, of in self.by_kind.items())
        found = sum(one.found for one in self.planted)
        return (
            f"{found:,} of {plural(len(self.planted), 'planted anomaly', 'planted anomalies')} found ({kinds}). "
            f"Of {plural(self.ordinary.all, 'ordinary reading')} since {since}: {flags(self.ordinary)} too."
        )


def scores(lake: Lake, found: TableSet | None, known: Sequence[dict[str, str]] = ()) -> Scores | None:
    """None where the version set has no scores, or the table no rows. Raises GridError where it cannot be read.

    known: the anomalies that `planted_beside` names.
    """
    if found is None or TABLE not in found.tables:
        return None
    whole = query(
        lake,
        f"SELECT {_counts('true')}, min(timestamp) AS first, max(timestamp) AS last, "
        f"coalesce(max(history_readings), 0) AS history FROM {TABLE}",
    ).to_pylist()[0]
    first, last = as_time(whole["first"]), as_time(whole["last"])
    if first is None or last is None:
        return None
    since = last.replace(hour=0, minute=0, second=0, microsecond=0) - RECENT
    told = {row["event_id"]: row["kind"] for row in known}
    recent = f"timestamp >= TIMESTAMP '{since:%Y-%m-%dT%H:%M:%S}Z'"
    here = query(lake, f"SELECT {_counts(recent)} FROM {TABLE}").to_pylist()[0]
    suspects = [
        _scored(row, told)
        for row in query(
            lake,
            f"SELECT {_COLUMNS} FROM {TABLE} WHERE {recent} AND status IN ('CRITICAL', 'WARNING') "
            f"ORDER BY abs(z_score) DESC, timestamp, event_id LIMIT {DRAWN}",
        ).to_pylist()
    ]
    result = Scores(
        by_name()[TABLE].description,
        _as_counts(whole),
        first,
        last,
        int(whole["history"]),
        since,
        _as_counts(here),
        [one for one in suspects if one.z is not None and one.z > 0][:SHOWN],
        [one for one in suspects if one.z is not None and one.z < 0][:SHOWN],
        suspects,
    )
    return _with_truth(lake, result, known, told, recent) if known else result


def planted_beside(log: FeedLog) -> list[dict[str, str]]:
    """The anomalies planted in the folder that was landed last: event_id, meter_id, timestamp and kind, as text.

    Empty where no planted.json stands there; raises ValueError for one that cannot be used.
    """
    source = log.read(log.last).source if log.last else ""
    folder = Path(source) if source and "://" not in source else None
    if folder is None or not folder.is_dir():
        return []
    listed = truth.read(folder, truth.PLANTED).get(FEED, [])
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise ValueError(f"{folder / truth.PLANTED}: {FEED} is no list of objects")
    if len(listed) > MOST_PLANTED:
        raise ValueError(
            f"{folder / truth.PLANTED} lists {len(listed):,} anomalies; at most {MOST_PLANTED:,} are shown"
        )
    names = ("event_id", "meter_id", "timestamp", "kind")
    return [{name: str(row.get(name, "")) for name in names} for row in listed]


def _with_truth(
    lake: Lake, result: Scores, known: Sequence[dict[str, str]], told: dict[str, str], recent: str
) -> Scores:
    ids = f"event_id IN ({', '.join(map(literal, told))})"
    rows = query(lake, f"SELECT {_COLUMNS} FROM {TABLE} WHERE {ids}").to_pylist()
    ordinary = query(lake, f"SELECT {_counts(f'{recent} AND NOT {ids}')} FROM {TABLE}").to_pylist()[0]
    there = {row["event_id"]: _scored(row, told) for row in rows}
    by_kind: dict[str, list[Planted]] = {}
    for row in known:
        kind = printable(row["kind"], 30)
        meter, at = printable(row["meter_id"], 40), as_time(row["timestamp"])
        by_kind.setdefault(kind, []).append(Planted(kind, meter, at, there.get(row["event_id"])))
    return replace(result, by_kind=by_kind, ordinary=_as_counts(ordinary))


def _counts(condition: str) -> str:
    tests = {
        "critical": "status = 'CRITICAL'",
        "warning": "status = 'WARNING'",
        "normal": "status = 'NORMAL'",
        "unscored": "status IS NULL",
    }
    return ", ".join(f"count(CASE WHEN {condition} AND {test} THEN 1 END) AS {name}" for name, test in tests.items())


def _as_counts(row: dict[str, Any]) -> Counts:
    return Counts(row["critical"], row["warning"], row["normal"], row["unscored"])


def _scored(row: dict[str, Any], told: dict[str, str]) -> Scored:
    at = as_time(row["timestamp"])
    assert at is not None  # the event time is never null
    kind = told.get(row["event_id"])
    return Scored(
        printable(row["meter_id"], 40),
        at,
        float(row["reading_kwh"]),
        int(row["history_readings"]),
        row["history_mean_kwh"],
        row["history_stddev_kwh"],
        row["z_score"],
        row["status"],
        None if kind is None else printable(kind, 30),
    )
