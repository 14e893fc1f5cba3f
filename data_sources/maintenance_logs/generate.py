"""Synthetic maintenance logs of the 500 transformers: monthly CSV exports with 21 columns.

Guaranteed: the same arguments give byte-identical files; `truth.json` is counted from the generator's own labels,
never by reading the files back. Memory is bounded by a few months' entries.

Not guaranteed: the same bytes from another version of numpy or Polars.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from data_sources.generators.damage import arrived, labelled, tally_rows
from data_sources.generators.output import check_arguments, emptied, whole_file
from data_sources.generators.tally import Tally
from data_sources.generators.truth import record, withdraw
from data_sources.maintenance_logs.jobs import COLUMNS, as_lines, jobs
from data_sources.maintenance_logs.messy import WAYS, cut_off, disturb

FEED = "maintenance_logs"
FOLDER = "maintenance_csv"
FIRST_MONTH = date(2025, 4, 1)
FEWEST_MONTHS = 3
JOBS_A_MONTH = 150
CRLF_MONTH, BOM_MONTH = 1, 2
"""Of messy exports the one with Windows' line ends, and the one that begins with a byte order mark."""

_FIRST_DAY = date(2025, 6, 15)  # of the other feeds


def generate(out: Path, *, seed: int = 42, scale: float = 1.0, days: int = 1, messy: bool = False) -> dict[str, int]:
    """Write `out/maintenance_csv/maintenance_logs_YYYY_MM.csv` and `out/truth.json`.

    One export a month, from April 2025 to the month of the last of `days` days from 2025-06-15, and at least to June;
    `round(150 * scale)` entries each (at least one), by day. With `messy`, the last file takes what comes after it and
    breaks off. Earlier files of this feed in the folder are replaced, other feeds' entries in `truth.json` are kept.

    Returns the counts of `truth.json`, in records (conflicts: in keys). Raises ValueError for an argument out of
    range or a `truth.json` that is no object.
    """
    check_arguments(seed, scale, days)
    months = _months(_last_day(days))
    per_month = max(1, round(JOBS_A_MONTH * scale))
    out.mkdir(parents=True, exist_ok=True)
    withdraw(out, FEED)
    folder = emptied(out / FOLDER, f"{FEED}_????_??.csv")

    tally = Tally()
    waiting: pl.DataFrame | None = None
    for at, month in enumerate(months):
        here = _undisturbed(seed, month, at, per_month)
        rng = np.random.default_rng([seed, 2, at])
        if messy:
            parts = [waiting, *disturb(here, rng)]
            ends = month == months[-1]
            if ends:
                parts.append(cut_off(here))
            here, waiting = arrived(parts, None if ends else _ms(_next(month)))
        with whole_file(folder / f"{FEED}_{month:%Y_%m}.csv") as file:
            if messy and at == BOM_MONTH:
                file.write(BOM_UTF8)
            file.write(_as_csv(here, rng, b"\r\n" if messy and at == CRLF_MONTH else b"\n"))
        tally_rows(tally, here)

    counts = tally.counts()
    record(out, FEED, {**counts, "rejected_by_cause": tally.causes})
    return counts


def _undisturbed(seed: int, month: date, at: int, per_month: int) -> pl.DataFrame:
    rows = jobs(np.random.default_rng([seed, 1, at]), month, per_month)
    event_ms = rows["reported_date"].cast(pl.Datetime("ms")).to_physical().alias("_event_ms")
    return labelled(rows.with_columns(event_ms), at * per_month + np.arange(per_month))


def _as_csv(rows: pl.DataFrame, rng: np.random.Generator, line_end: bytes) -> bytes:
    """Header and records; a line break inside quotes is a line feed whatever the line end, as spreadsheets write it."""
    lines = [line.encode() for line in as_lines(rows)]
    kind = rows["_damage"].to_numpy()
    for i in np.flatnonzero(kind):
        lines[i] = WAYS[kind[i] - 1](lines[i], rng)
    return line_end.join([",".join(COLUMNS).encode(), *lines, b""])


def _last_day(days: int) -> date:
    try:
        return _FIRST_DAY + timedelta(days=days - 1)
    except OverflowError as cause:
        raise ValueError(f"days is {days}: give fewer, the calendar ends with the year 9999") from cause


def _months(last: date) -> list[date]:
    months = [FIRST_MONTH]
    while len(months) < FEWEST_MONTHS or _next(months[-1]) <= last:
        months.append(_next(months[-1]))
    return months


def _next(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def _ms(day: date) -> int:
    return int(np.datetime64(day, "ms").astype(np.int64))
