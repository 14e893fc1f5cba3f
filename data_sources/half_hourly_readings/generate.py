"""Synthetic half-hourly consumption, a JSON file a meterpoint, and the SQLite file of who is supplied under what.

Guaranteed: the same arguments give byte-identical files (the SQLite file with the same version of SQLite);
`truth.json` is counted from the generator's own labels, never by reading the files back; with `messy` the database
still holds every row of the clean one. Memory is bounded by one meterpoint's readings.

Not guaranteed: the same bytes from another version of numpy or Polars.
"""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import numpy as np

from data_sources.generators.damage import arrived, spoiled, tally_rows
from data_sources.generators.output import check_arguments, emptied, whole_file
from data_sources.generators.tally import Tally
from data_sources.generators.truth import record, withdraw
from data_sources.half_hourly_readings.case_study import as_sqlite, counts, meterpoint_id, tables
from data_sources.half_hourly_readings.readings import COLUMNS, WAYS, disturb, half_hours, readings

FEED = "half_hourly_readings"
TABLES = ("meterpoints", "products", "agreements")
METERPOINTS = 40
FIRST_DAY, DAYS = date(2021, 1, 1), 3


def generate(out: Path, *, seed: int = 42, scale: float = 1.0, days: int = 1, messy: bool = False) -> dict[str, int]:
    """Write `out/data/readings/<meterpoint_id>.json`, `out/data/case_study.db` and `out/truth.json`.

    `round(40 * scale)` meterpoints (at least one), three days from 2021-01-01 and one more for each further day, in
    London's time. The database holds the feeds agreements, products and meterpoints. With `messy`, there is one file
    more, of a meterpoint nobody knows. Earlier files of these feeds in the folder are replaced, other feeds' entries
    in `truth.json` are kept.

    Returns the counts of `truth.json` for the readings, in records (conflicts: in keys). Raises ValueError for an
    argument out of range or a `truth.json` that is no object.
    """
    check_arguments(seed, scale, days)
    meterpoints = max(1, round(METERPOINTS * scale))
    starts = half_hours(FIRST_DAY, DAYS + days - 1)
    out.mkdir(parents=True, exist_ok=True)
    for feed in (FEED, *TABLES):
        withdraw(out, feed)
    folder = emptied(out / "data" / "readings", "?????????????.json")
    tally = Tally()
    for number in range(meterpoints + messy):
        _write(folder / f"{meterpoint_id(number)}.json", starts, number, seed, messy, tally)
    rows = tables(meterpoints, seed, messy)
    with whole_file(emptied(out / "data", "case_study.db") / "case_study.db") as file:
        file.write(as_sqlite(rows, remark=messy))
    for table in TABLES:
        record(out, table, counts(table, rows[table]))
    done = tally.counts()
    record(out, FEED, {**done, "rejected_by_cause": tally.causes})
    return done


def _write(path: Path, starts: list[int], number: int, seed: int, messy: bool, tally: Tally) -> None:
    rng = np.random.default_rng([seed, 1, number])
    rows = readings(meterpoint_id(number), starts, rng, number * len(starts))
    if messy:
        rows, _ = arrived(disturb(rows, rng), None)
    lines = io.BytesIO()
    rows.select(COLUMNS).write_ndjson(lines)
    with whole_file(path) as file:
        file.writelines(spoiled(lines.getvalue(), rows["_damage"].to_numpy(), WAYS, rng))
    tally_rows(tally, rows)
