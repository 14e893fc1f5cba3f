"""Synthetic readings of transformers' own meters, as JSON lines: what they supplied to the homes on them.

Guaranteed: the same arguments give byte-identical files, and those of `smart_meter_readings` and `customers` the homes that
are supplied; `truth.json` is counted from the generator's own labels, never by reading the files back. Memory is bounded by
the day.

Not guaranteed: the same bytes from another version of numpy or Polars; anything of a messy reading beside its own meter.
"""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from data_sources.generators.damage import arrived, labelled, spoiled, tally_rows
from data_sources.generators.output import check_arguments, emptied, whole_file
from data_sources.generators.registry import transformers
from data_sources.generators.tally import Tally
from data_sources.generators.truth import record, record_planted, withdraw
from data_sources.smart_meter_readings.faults import Circuits, Faults
from data_sources.smart_meter_readings.generate import iso_timestamps
from data_sources.smart_meter_readings.order import FIRST_DAY, Order
from data_sources.transformer_energy.messy import WAYS, disturb
from data_sources.transformer_energy.supply import Supply

FEED = "transformer_energy"
COLUMNS = ["transformer_id", "substation_id", "timestamp", "supplied_kwh"]


def generate(
    out: Path,
    *,
    seed: int = 42,
    scale: float = 1.0,
    days: int = 1,
    messy: bool = False,
    interval: timedelta | None = None,
    meters: int | None = None,
    faults: int | None = None,
) -> dict[str, int]:
    """Write `out/transformer_energy/transformer_energy_YYYY-MM-DD.json`, one file a day from 2025-06-15 (UTC), and
    `out/truth.json`; with `faults`, `out/planted.json` lists them: see faults.py of smart_meter_readings.

    A transformer is read by the hour, or by the meters' interval where that is longer. Arguments are those of
    `smart_meter_readings`, and mean the same homes. Earlier files of this feed in the folder are replaced, other feeds'
    entries in `truth.json` are kept.

    Returns the counts of `truth.json`, in records (conflicts: in keys). Raises ValueError for an argument out of range or a
    `truth.json` that is no object.
    """
    check_arguments(seed, scale, days)
    order = Order.of(seed, scale, interval, meters, whole_substations=faults is not None)
    circuits = Circuits.of_master(seed)
    wrong = None if faults is None else Faults.of(faults, order, days, circuits)
    supply = Supply(order, circuits, wrong)
    out.mkdir(parents=True, exist_ok=True)
    withdraw(out, FEED)
    folder = emptied(out / FEED, f"{FEED}_????-??-??.json")
    tally = Tally()
    for day in range(days):
        rows = _rows(supply, day)
        rng = np.random.default_rng([seed, 14, day])
        if messy:
            rows, _ = arrived(disturb(rows, rng), None)
        lines = io.BytesIO()
        rows.with_columns(iso_timestamps(rows["_event_ms"].to_numpy()).alias("timestamp")).select(COLUMNS).write_ndjson(
            lines
        )
        with whole_file(folder / f"{FEED}_{FIRST_DAY + timedelta(days=day):%Y-%m-%d}.json") as file:
            file.writelines(spoiled(lines.getvalue(), rows["_damage"].to_numpy(), WAYS, rng))
        tally_rows(tally, rows)
    counts = tally.counts()
    record(out, FEED, {**counts, "rejected_by_cause": tally.causes})
    if wrong is not None:
        record_planted(out, FEED, wrong.labels())
    return counts


def _rows(supply: Supply, day: int) -> pl.DataFrame:
    """A day's labelled readings, in order of time."""
    supplied = supply.of_day(day)
    named = transformers()[supplied.transformer].select("transformer_id", "substation_id")
    rows = named.with_columns(pl.Series("supplied_kwh", supplied.kwh), pl.Series("_event_ms", supplied.end_ms))
    return labelled(rows, day * rows.height + np.arange(rows.height))
