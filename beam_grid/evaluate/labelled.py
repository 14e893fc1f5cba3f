"""Labelled readings from the generators: what they planted, and which readings are ordinary.

The anomalies stand everywhere, also in what a detector takes for history: of meters 5 % thefts and 3 % spikes, of
transformers 4 % that overheat. The labels are the generators' own and no detector sees them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.detect import Readings, readings_of

DAYS, WARM_UP = 42, 28
"""Days of data, of which the first are history only."""

SEEDS = (90_001, 90_002, 90_003)
"""Never used when a detector or a threshold was chosen; that was done with small numbers."""

_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Labelled:
    """feed, value: what is judged; kinds: "" of an ordinary reading, in the readings' order; judged: after the warm-up."""

    feed: str
    value: str
    readings: Readings
    kinds: npt.NDArray[np.str_]
    judged: npt.NDArray[np.bool_]


def meters(seed: int, count: int = 100) -> Labelled:
    """Hourly readings of `count` meters, thefts and spikes among them."""
    from data_sources.smart_meter_readings import generate, order

    rng = np.random.default_rng([seed, 7])
    meter, at = _hourly(rng, count)
    at += int(order.FIRST_DAY.timestamp() * 1000)
    rows = generate.readings(rng, meter, at, order.meter_sizes(seed)[meter])
    kwh, planted = rows["reading_kwh"].to_numpy(), rows["is_anomaly_flag"].to_numpy()
    kinds = np.where(planted, np.where(kwh < 1, "theft", "spike"), "")
    return _labelled("smart_meter_readings", ["reading_kwh"], rows.to_arrow(), meter, at, kinds, resolution=0.01)


def transformers(seed: int, count: int = 100) -> Labelled:
    """Hourly telemetry of `count` transformers; the first value is the oil's temperature."""
    from data_sources.substation_telemetry import readings as telemetry

    rng = np.random.default_rng([seed, 8])
    transformer, at = _hourly(rng, count)
    at += telemetry.FIRST_DAY_MS
    nothing = np.zeros(len(at), np.int64)
    rows = telemetry.readings(rng, transformer, at, nothing, nothing)
    hotter = rows["oil_temperature_c"].to_numpy() - rows["ambient_temperature_c"].to_numpy()
    kinds = np.where(hotter > 57.5, "overheating", "")  # planted from 60, all others below 55
    values = ["oil_temperature_c", "ambient_temperature_c", "load_mw"]
    return _labelled("substation_telemetry", values, rows.to_arrow(), transformer, at, kinds)


def _hourly(rng: np.random.Generator, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Series and milliseconds since the first day: each has a moment in the hour that is its own."""
    hours = DAYS * 24
    at = np.arange(hours) * _HOUR_MS + rng.integers(0, _HOUR_MS, count)[:, None]
    return np.repeat(np.arange(count), hours), at.ravel()


def _labelled(
    feed: str,
    values: list[str],
    rows: pa.Table,
    series: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
    kinds: npt.NDArray[np.str_],
    resolution: float | None = None,
) -> Labelled:
    table = rows.select(values).append_column("series", pa.array(series))
    table = table.append_column("time", pa.array(at * 1000, pa.timestamp("us", "UTC")))
    found = readings_of(table, series="series", time="time", values=values, zone="Asia/Kolkata", resolution=resolution)
    judged = at[found.places] >= at.min() + WARM_UP * 24 * _HOUR_MS
    return Labelled(feed, values[0], found, kinds[found.places], judged)
