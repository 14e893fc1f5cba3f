"""How often the energy balance names the right reason: at transformers of generated homes, a fault planted at some.

    generated homes ─► what meters read, what transformers supplied ─► the SQL of gold.energy_balance ─► its detector

The faults are those of `generate --faults` (data_sources/smart_meter_readings/faults.py). A transformer is affected from its
fault's first hour to the end, one that a meter was moved to or from without the master's knowledge as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from beam_grid.analyses import by_name
from beam_grid.evaluate.measures import wilson
from beam_grid.lakehouse import duck
from data_sources.identifiers import double_quoted
from data_sources.smart_meter_readings.faults import KINDS, MOST_SHARE, Circuits, Faults
from data_sources.smart_meter_readings.order import FIRST_DAY, METERS, Order
from data_sources.transformer_energy.supply import Supply

COLUMNS = (
    "customers", "kind", "transformers", "found", "named_share", "named_low", "named_high", "hours", "flagged_share",
    "flagged_low", "flagged_high", "hours_named_share", "median_delay_h",
)  # fmt: skip

CUSTOMERS = (2, 8, 20)
"""On a transformer: those of the generated grid, and what is more usual. Two transformers to a substation."""

DAYS, WARM_UP = 28, 7
"""Days of data, of which the first are history only."""

NONE = "none"
Ints = npt.NDArray[np.int64]


def evaluate(seeds: Sequence[int], customers: Sequence[int] = CUSTOMERS) -> pa.Table:
    """`COLUMNS`, a row per number of customers and kind, all seeds together.

    found: transformers with a flagged hour; named: the share of these whose most frequent reason is the kind; flagged: of
    the hours, for NONE that of false positives; hours_named: the share of the flagged hours whose reason is the kind. Lows
    and highs are 95 % intervals (Wilson's).
    """
    return pa.Table.from_pylist(
        [
            _row(each, kind, rows.filter(pl.col("kind") == kind))
            for each in customers
            for rows in [pl.concat([outcome(seed, each) for seed in seeds])]
            for kind in (*KINDS, NONE)
        ]
    )


def outcome(seed: int, customers: int) -> pl.DataFrame:
    """Of one grid, a row per transformer and judged hour: place (seed and transformer), kind (NONE where nothing is wrong),
    hours (since the fault began), is_anomaly, reason."""
    order = Order.of(seed, interval=timedelta(hours=1))
    circuits = Circuits.of_master(seed) if customers == CUSTOMERS[0] else _circuits(customers)
    faults = Faults.of(int(len(np.unique(circuits.substation)) * MOST_SHARE), order, DAYS, circuits)
    found = pl.DataFrame(pl.from_arrow(_balance(_tables(order, circuits, faults))))
    affected = pl.DataFrame(
        [
            (transformer, KINDS[one.kind], one.since)
            for one in faults.each
            for transformer in {int(circuits.transformer[one.meter]), one.supplied_by}
        ],
        schema={"transformer_id": pl.Int64, "fault": pl.String, "since": pl.Int64},
        orient="row",
    )
    hours = (pl.col("hour") - FIRST_DAY).dt.total_hours()
    rows = found.join(affected, on="transformer_id", how="left").with_columns((hours - pl.col("since")).alias("hours"))
    return rows.filter(hours >= WARM_UP * 24).select(
        pl.format("{}/{}", pl.lit(seed), "transformer_id").alias("place"),
        pl.when(pl.col("hours") >= 0).then("fault").otherwise(pl.lit(NONE)).alias("kind"),
        "hours",
        pl.col("is_anomaly").fill_null(value=False),
        "reason",
    )


def _circuits(customers: int) -> Circuits:
    transformer = np.arange(METERS) // customers
    count = int(transformer[-1]) + 1
    return Circuits(transformer, np.minimum(np.arange(count) // 2, count // 2 - 1))


def _tables(order: Order, circuits: Circuits, faults: Faults) -> dict[str, pa.Table]:
    """What the analysis reads, as far as it does; ids are numbers."""
    supply, supplied, read = Supply(order, circuits, faults), [], []
    for day in range(DAYS):
        supplied.append(supply.of_day(day))
        for use in order.used(day):
            wrong = faults.read(use.meter, use.interval, use.event_ms)
            kwh, speaks = use.kwh, np.ones(len(use.kwh), bool)
            kwh[wrong.rows], speaks[wrong.rows] = wrong.kwh, ~wrong.silent
            read.append((use.meter[speaks], use.event_ms[speaks], kwh[speaks].round(3)))
    transformer, end_ms, supplied_kwh = map(np.concatenate, zip(*supplied, strict=True))
    meter, event_ms, kwh = map(np.concatenate, zip(*read, strict=True))
    held = np.flatnonzero(circuits.transformer >= 0)
    return {
        "silver.transformer_energy": pa.table(
            {
                "transformer_id": transformer,
                "substation_id": circuits.substation[transformer],
                "timestamp": _times(end_ms),
                "supplied_kwh": supplied_kwh,
            }
        ),
        "silver.smart_meter_readings": pa.table(
            {"meter_id": meter, "timestamp": _times(event_ms), "reading_kwh": kwh},
        ),
        "silver.customers": pa.table(
            {
                "meter_id": held,
                "transformer_id": circuits.transformer[held],
                "account_status": ["ACTIVE"] * len(held),
                "record_effective_date": pa.array([FIRST_DAY.date()] * len(held)),
                "record_end_date": pa.array([FIRST_DAY.date() + timedelta(days=DAYS + 1)] * len(held)),
            }
        ),
    }


def _times(ms: Ints) -> pa.Array:
    return pa.array(ms * 1000, pa.timestamp("us", "UTC"))


def _balance(tables: dict[str, pa.Table]) -> pa.Table:
    """gold.energy_balance of these tables."""
    analysis = by_name()["gold.energy_balance"]
    detect = analysis.by_series
    assert detect is not None
    sql = analysis.select("duckdb", double_quoted, {p.name: p.default for p in analysis.parameters})
    with tempfile.TemporaryDirectory() as scratch, duck.connect(Path(scratch)) as connection:
        for name, rows in tables.items():
            connection.register(name, rows)
        series = connection.sql(f"FROM ({sql}) ORDER BY {detect.series}, {detect.time}").to_arrow_table()
    return pa.Table.from_batches(list(detect.function(series.to_batches())))


def _row(customers: int, kind: str, rows: pl.DataFrame) -> dict[str, object]:
    flagged = rows.filter("is_anomaly")
    found = flagged.group_by("place").agg(pl.col("reason").mode().sort().first(), pl.col("hours").min())
    shares = {"flagged": wilson(flagged.height, rows.height)}
    if kind != NONE:
        shares["named"] = wilson(int((found["reason"] == kind).sum()), found.height)
        shares["hours_named"] = wilson(int((flagged["reason"] == kind).sum()), flagged.height)
    said = {
        "customers": customers,
        "kind": kind,
        "transformers": rows["place"].n_unique(),
        "hours": rows.height,
        "found": found.height,
        "median_delay_h": None if kind == NONE else found["hours"].median(),
        **{
            f"{name}_{end}": None if x != x else round(x, 4)
            for name, share in shares.items()
            for end, x in share._asdict().items()
        },
    }
    return {name: said.get(name) for name in COLUMNS}
