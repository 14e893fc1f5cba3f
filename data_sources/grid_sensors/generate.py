"""Synthetic readings of up to 100,000 sensors, as JSON lines in order of arrival, with faults to find.

Guaranteed: the same arguments give byte-identical files; `truth.json` is counted from the generator's own labels,
never by reading the files back. Memory is bounded by the chunk and the sensors, not by the days.

Not guaranteed: the same bytes from another version of numpy or Polars.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from data_sources.durations import format_duration
from data_sources.generators.damage import arrived, labelled, spoiled, tally_rows
from data_sources.generators.output import check_arguments, emptied, whole_file
from data_sources.generators.tally import Tally
from data_sources.generators.truth import record, record_planted, withdraw
from data_sources.grid_sensors.messy import WAYS, disturb
from data_sources.grid_sensors.readings import DAY_MS, FIRST_DAY_MS, Fleet, Ints, as_records, readings

FEED = "grid_sensors"
SENSORS, MOST_SENSORS = 100, 100_000
LATE_AFTER_MS = 65 * 60_000
"""What `truth.json` is counted with; the contract says the same (5 minutes out of order and 60 late)."""

_A_DAY = 96
_CHUNK = 200_000


def generate(
    out: Path,
    *,
    seed: int = 42,
    scale: float = 1.0,
    days: int = 1,
    messy: bool = False,
    interval: timedelta | None = None,
    sensors: int | None = None,
) -> dict[str, int]:
    """Write `out/grid_sensors/grid_sensors_YYYYMMDD.json`, one file a day of arrival from 2025-06-15 (UTC), and
    `out/truth.json`; `out/planted.json` lists the sensors with a fault (readings.py says which there are).

    Each of the `sensors` (100) reads `round(96 * scale)` times a day (at least once), at a moment of its own in each
    interval; `interval` says instead how far apart, a whole number of them to the day. Sorted by name the files are
    one log; with `messy` the last one ends with the stragglers. Earlier files of this feed in the folder are
    replaced, other feeds' entries in `truth.json` are kept.

    Returns the counts of `truth.json`, in records (conflicts: in keys). Raises ValueError for an argument out of
    range or a `truth.json` that is no object.
    """
    check_arguments(seed, scale, days)
    per_day = max(1, round(_A_DAY * scale)) if interval is None else _intervals_a_day(scale, interval)
    count = SENSORS if sensors is None else sensors
    if not 1 <= count <= MOST_SENSORS:
        raise ValueError(f"sensors is {count}: give 1 to {MOST_SENSORS:,}")
    if per_day > DAY_MS:
        raise ValueError(f"scale is {scale}: give at most {DAY_MS // _A_DAY} (a reading a millisecond)")
    out.mkdir(parents=True, exist_ok=True)
    withdraw(out, FEED)
    folder = emptied(out / FEED, f"{FEED}_????????.json")

    fleet = Fleet(seed, count, FIRST_DAY_MS + days * DAY_MS)
    step = max(1, _CHUNK // count)
    tally = Tally(LATE_AFTER_MS)
    waiting: pl.DataFrame | None = None
    for day in range(days):
        with whole_file(
            folder / f"{FEED}_{datetime(2025, 6, 15, tzinfo=UTC) + timedelta(days=day):%Y%m%d}.json"
        ) as file:
            for first in range(0, per_day, step):
                last = min(first + step, per_day)
                here = _undisturbed(fleet, day, np.arange(first, last), per_day, days)
                rng = np.random.default_rng([seed, 2, day, first])
                if messy:
                    ends = day == days - 1 and last == per_day
                    until_ms = None if ends else FIRST_DAY_MS + day * DAY_MS + last * DAY_MS // per_day
                    here, waiting = arrived([waiting, *disturb(here, rng)], until_ms)
                lines = io.BytesIO()
                as_records(fleet, here).write_ndjson(lines)
                file.writelines(spoiled(lines.getvalue(), here["_damage"].to_numpy(), WAYS, rng))
                tally_rows(tally, here)

    counts = tally.counts()
    record(out, FEED, {**counts, "rejected_by_cause": tally.causes})
    record_planted(out, FEED, fleet.planted())
    return counts


def _undisturbed(fleet: Fleet, day: int, interval: Ints, per_day: int, days: int) -> pl.DataFrame:
    """The readings of some intervals of a day, in order of time: each sensor at its own moment of the interval."""
    rng = np.random.default_rng([fleet.seed, 1, day, int(interval[0])])
    moments = np.random.default_rng([fleet.seed, 4]).integers(0, DAY_MS // per_day, fleet.count)
    order = np.argsort(moments, kind="stable")
    starts = FIRST_DAY_MS + day * DAY_MS + interval * DAY_MS // per_day
    event_ms = (starts[:, None] + moments[order]).ravel()
    sensor = np.tile(order, len(interval))
    is_last = np.repeat(((interval == per_day - 1) & (day == days - 1)).astype(np.int64), fleet.count)
    record = (day * per_day + int(interval[0])) * fleet.count + np.arange(len(sensor))
    rows = readings(fleet, rng, sensor, event_ms, is_last)
    return labelled(rows, record).filter(pl.Series(fleet.speaks(sensor, event_ms)))


def _intervals_a_day(scale: float, interval: timedelta) -> int:
    if scale != 1:
        raise ValueError(f"scale is {scale} and interval {format_duration(interval)}: give one of them")
    day = timedelta(days=1)
    if not timedelta(0) < interval <= day or day % interval:
        raise ValueError(f"interval is {format_duration(interval)}: give one that divides a day, such as 15m or 1h")
    return day // interval
