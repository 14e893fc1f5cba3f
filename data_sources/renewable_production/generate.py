"""Synthetic production of 90 solar, wind and hydro plants, as hourly files of JSON lines whose schema grows.

Guaranteed: the same arguments give byte-identical files; `truth.json` is counted from the generator's own labels,
never by reading the files back. Memory is bounded by a few hours' readings.

Not guaranteed: the same bytes from another version of numpy or Polars.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from data_sources.generators.damage import arrived, labelled, spoiled, tally_rows
from data_sources.generators.output import check_arguments, emptied, whole_file
from data_sources.generators.tally import Tally
from data_sources.generators.truth import record, withdraw
from data_sources.renewable_production.messy import WAYS, disturb
from data_sources.renewable_production.readings import NEW_FIELDS, as_records, readings, sites

FEED = "renewable_production"
FOLDER = "renewable_autoloader"
FIRST_HOUR = datetime(2025, 6, 15, 6, tzinfo=UTC)
HOURS_OF_FIRST_DAY = 5
READINGS_AN_HOUR = 6
FIRST_EVOLVED_FILE = 2
"""Index of the first file that has the two new fields."""

_HOUR_MS = 3_600_000


def generate(out: Path, *, seed: int = 42, scale: float = 1.0, days: int = 1, messy: bool = False) -> dict[str, int]:
    """Write `out/renewable_autoloader/renewable_production_YYYYMMDD_HH00.json` and `out/truth.json`.

    Five hourly files from 2025-06-15 06:00 (UTC), and 24 more for each further day without a gap. Every plant has
    `round(6 * scale)` readings an hour (at least one) in the hour's file; from the third file on records carry
    `curtailment_mw` and `battery_storage_mwh`. With `messy`, the last file ends with the stragglers. Earlier files
    of this feed in the folder are replaced, other feeds' entries in `truth.json` are kept.

    Returns the counts of `truth.json`, in records (conflicts: in keys). Raises ValueError for an argument out of
    range or a `truth.json` that is no object.
    """
    check_arguments(seed, scale, days)
    if READINGS_AN_HOUR * scale > _HOUR_MS:
        raise ValueError(f"scale is {scale}: give at most {_HOUR_MS // READINGS_AN_HOUR} (a reading a millisecond)")
    per_hour = max(1, round(READINGS_AN_HOUR * scale))
    out.mkdir(parents=True, exist_ok=True)
    withdraw(out, FEED)
    folder = emptied(out / FOLDER, f"{FEED}_????????_??00.json")

    tally = Tally()
    waiting: pl.DataFrame | None = None
    hours = HOURS_OF_FIRST_DAY + 24 * (days - 1)
    for hour in range(hours):
        here = _undisturbed(seed, hour, per_hour)
        rng = np.random.default_rng([seed, 2, hour])
        if messy:
            until_ms = None if hour == hours - 1 else _start_ms(hour + 1)
            here, waiting = arrived([waiting, *disturb(here, rng)], until_ms)
        lines = io.BytesIO()
        as_records(here, evolved=hour >= FIRST_EVOLVED_FILE).write_ndjson(lines)
        with whole_file(folder / f"{FEED}_{FIRST_HOUR + timedelta(hours=hour):%Y%m%d_%H}00.json") as file:
            file.writelines(spoiled(lines.getvalue(), here["_damage"].to_numpy(), WAYS, rng))
        tally_rows(tally, here)

    counts = tally.counts()
    record(out, FEED, {**counts, "rejected_by_cause": tally.causes})
    return counts


def _start_ms(hour: int) -> int:
    return int(FIRST_HOUR.timestamp()) * 1000 + hour * _HOUR_MS


def _undisturbed(seed: int, hour: int, per_hour: int) -> pl.DataFrame:
    """The hour's readings in order of time, each plant at its own moments, evenly spaced."""
    rng = np.random.default_rng([seed, 1, hour])
    count = sites().height
    phase = np.random.default_rng([seed, 0]).random(count)
    order = np.argsort(phase, kind="stable")
    moments = (np.arange(per_hour)[:, None] + phase[order]).ravel() * _HOUR_MS / per_hour
    rows = readings(rng, np.tile(order, per_hour), _start_ms(hour) + moments.astype(np.int64), seed)
    if hour < FIRST_EVOLVED_FILE:
        rows = rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in NEW_FIELDS)
    return labelled(rows, hour * per_hour * count + np.arange(rows.height))
