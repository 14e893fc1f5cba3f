"""Synthetic substation telemetry: 500 transformers in 250 substations, as JSON lines in order of arrival.

Guaranteed: the same arguments give byte-identical files; `truth.json` is counted from the generator's own labels,
never by reading the files back. Memory is bounded by the chunk, not by the days.

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
from data_sources.substation_telemetry.messy import WAYS, disturb
from data_sources.substation_telemetry.readings import FIRST_DAY_MS, as_records, condition, readings

FEED = "substation_telemetry"
FOLDER = "substation_iot"
SAMPLE = "sample_telemetry.json"
RECORDS_A_DAY = 300
LATE_AFTER_MS = 35 * 60_000
"""What `truth.json` is counted with; the contract says the same (5 minutes out of order and 30 late)."""

_DAY_MS = 86_400_000
_CHUNK = 100_000
_FIRST_SEQUENCE_NUMBER = 600_001


def generate(out: Path, *, seed: int = 42, scale: float = 1.0, days: int = 1, messy: bool = False) -> dict[str, int]:
    """Write `out/substation_iot/substation_telemetry_stream.json`, a sample record and `out/truth.json`.

    `round(300 * scale)` messages a day (at least one) from 2025-06-15 (UTC), the transformers taking turns. The
    stream's first file is the first day; each further day is a file `..._stream_YYYYMMDD.json`, so that sorted by
    name they are one log. With `messy`, the last file ends with the stragglers. Earlier files of this feed in the
    folder are replaced, other feeds' entries in `truth.json` are kept.

    Returns the counts of `truth.json`, in records (conflicts: in keys). Raises ValueError for an argument out of
    range or a `truth.json` that is no object.
    """
    check_arguments(seed, scale, days)
    if RECORDS_A_DAY * scale > _DAY_MS:
        raise ValueError(f"scale is {scale}: give at most {_DAY_MS // RECORDS_A_DAY} (a record a millisecond)")
    per_day = max(1, round(RECORDS_A_DAY * scale))
    out.mkdir(parents=True, exist_ok=True)
    withdraw(out, FEED)
    folder = emptied(out / FOLDER, f"{FEED}_stream.json", f"{FEED}_stream_????????.json", SAMPLE)

    tally = Tally(LATE_AFTER_MS)
    waiting: pl.DataFrame | None = None
    for day in range(days):
        with whole_file(folder / _name(day)) as file:
            for first in range(0, per_day, _CHUNK):
                last = min(first + _CHUNK, per_day)
                here = _undisturbed(seed, day, first, last, per_day)
                if day == first == 0:
                    with whole_file(folder / SAMPLE) as sample:
                        as_records(here.head(1)).write_ndjson(sample)
                rng = np.random.default_rng([seed, 2, day, first])
                if messy:
                    ends = day == days - 1 and last == per_day
                    until_ms = None if ends else FIRST_DAY_MS + day * _DAY_MS + last * _DAY_MS // per_day
                    here, waiting = arrived([waiting, *disturb(here, rng)], until_ms)
                lines = io.BytesIO()
                as_records(here).write_ndjson(lines)
                file.writelines(spoiled(lines.getvalue(), here["_damage"].to_numpy(), WAYS, rng))
                tally_rows(tally, here)

    counts = tally.counts()
    record(out, FEED, {**counts, "rejected_by_cause": tally.causes})
    return counts


def _name(day: int) -> str:
    """'.' sorts before '_': the file without a date is the first of the log."""
    date = datetime(2025, 6, 15, tzinfo=UTC) + timedelta(days=day)
    return f"{FEED}_stream_{date:%Y%m%d}.json" if day else f"{FEED}_stream.json"


def _undisturbed(seed: int, day: int, first: int, last: int, per_day: int) -> pl.DataFrame:
    """Messages `first` to `last` (not included) of a day, in order of time; each transformer has its turn."""
    rng = np.random.default_rng([seed, 1, day, first])
    number = np.arange(first, last)
    in_all = day * per_day + number
    turns = np.random.default_rng([seed, 0]).permutation(condition().height)
    event_ms = FIRST_DAY_MS + day * _DAY_MS + ((number + rng.random(len(number))) * _DAY_MS / per_day).astype(np.int64)
    latency_ms = rng.integers(150, 2_500, len(number))
    rows = readings(rng, turns[in_all % len(turns)], event_ms, latency_ms, _FIRST_SEQUENCE_NUMBER + in_all)
    return labelled(rows, in_all)
