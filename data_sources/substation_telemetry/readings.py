"""What a substation's sensors say: transformers of known age and wear, and the physics of their load, oil and gas."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from data_sources.generators.registry import STATES, transformers
from data_sources.smart_meter_readings.generate import event_ids, iso_timestamps

OVERHEATING_SHARE = 0.04
ALARM_SHARE = 0.03
FIRST_DAY_MS = int(np.datetime64("2025-06-15", "ms").astype(np.int64))

_ALARMS = ("OVERLOAD", "GAS_ALARM", "BREAKER_TRIP", None)
_OVERLOAD, _GAS_ALARM, _BREAKER_TRIP, _NO_ALARM = range(4)
_BREAKERS = ("CLOSED", "OPEN", "TRIPPED")
_DAY_MS = 86_400_000
_INDIA_OFFSET_MS = 330 * 60_000  # load and heat follow India's clock (UTC+5:30, no summer time)
_AMBIENT_C = dict(zip(STATES, (33.0, 30.0, 29.0, 31.0, 32.0), strict=True))  # mean of a June day

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@lru_cache(maxsize=1)
def condition() -> pl.DataFrame:
    """The registry's transformers with what never changes, the same for every seed.

    Columns beside theirs: iot_device_id; capacity_mw; nominal_kv; age_years (on the first day); degradation, 0 (new)
    to 1 (to be replaced), which goes up with age, faster in the worse half of the fleet.
    """
    grid = transformers()
    rng = np.random.default_rng(1905)
    age = rng.uniform(1, 40, grid.height).round(1)
    degradation = np.clip((age / 40) ** 1.5 * rng.uniform(0.6, 1.15, grid.height), 0, 1).round(4)
    capacity = rng.choice(np.array([50, 75, 100, 150, 200]), grid.height)
    device = pl.col("transformer_id").cum_count().over("substation_id")
    return grid.with_columns(
        pl.format("IOT-{}-{}", pl.col("substation_id"), device).alias("iot_device_id"),
        pl.Series("capacity_mw", capacity, dtype=pl.Int64),
        pl.Series("nominal_kv", np.where(capacity >= 150, 22.0, np.where(capacity >= 100, 33.0, 11.0))),
        pl.Series("age_years", age),
        pl.Series("degradation", degradation),
    )


def readings(
    rng: np.random.Generator, transformer: Ints, event_ms: Ints, latency_ms: Ints, sequence: Ints
) -> pl.DataFrame:
    """One message for each `transformer` (row of `condition()`) and `event_ms` (milliseconds since the epoch, UTC).

    latency_ms: from the measurement to the hub. 4 % overheat (oil 60 to 90 degrees above ambient, else well below),
    3 % raise an alarm; gas goes up with degradation, with days, and with the oil's heat. `as_records` makes the
    feed's columns of it; `_transformer` and `_event_ms` are the arguments.
    """
    n = len(transformer)
    fleet = condition()[transformer]
    degradation, capacity = fleet["degradation"].to_numpy(), fleet["capacity_mw"].to_numpy()
    age_days = np.maximum(event_ms - FIRST_DAY_MS, 0) / _DAY_MS
    degradation = np.minimum(degradation * (1 + 0.002 * age_days), 1.2)
    hour = (event_ms + _INDIA_OFFSET_MS) % _DAY_MS / 3_600_000
    noise = rng.standard_normal((5, n))

    alarm = _alarms(rng, degradation)
    load = np.clip(0.35 + 0.3 * _load_shape(hour) + 0.1 * noise[0], 0.05, 0.98)
    load = np.where(alarm == _OVERLOAD, rng.uniform(1.01, 1.25, n), load)
    load = np.where(alarm == _BREAKER_TRIP, 0.0, load)
    load_mw = (load * capacity).round(2)

    base = fleet["region"].replace_strict(_AMBIENT_C, return_dtype=pl.Float64).to_numpy()
    ambient = (base + 6 * np.cos((hour - 15) / 24 * 2 * np.pi) + 1.5 * noise[1]).round(1)
    overheats = rng.random(n) < OVERHEATING_SHARE
    rise = np.clip(14 + 26 * load**1.6 + 8 * degradation + 2 * noise[2], 3, 55)
    rise = np.where(overheats, rng.uniform(60.1, 89.9, n), rise)
    oil = (ambient + rise).round(1)

    gas = (45 + 620 * degradation + 5 * np.maximum(rise - 30, 0)) * np.exp(0.12 * noise[3])
    gas = np.where(alarm == _GAS_ALARM, gas * 1.6 + 250, gas).round(1)
    humidity = np.clip(72 - 1.6 * (ambient - 28) + 8 * noise[4], 15, 99).round(1)
    breaker = np.where(alarm == _BREAKER_TRIP, 2, (rng.random(n) < 0.01).astype(np.int64))
    voltage = fleet["nominal_kv"].to_numpy() * (1.02 - 0.04 * load + 0.006 * noise[0])
    return pl.DataFrame(
        {
            "telemetry_id": event_ids(rng, n),
            "load_mw": load_mw,
            "voltage_kv": voltage.round(2),
            "oil_temperature_c": oil,
            "ambient_temperature_c": ambient,
            "dissolved_gas_ppm": gas,
            "humidity_percent": humidity,
            "breaker_status": pl.Series(_BREAKERS).gather(breaker),
            "alarm_code": pl.Series(_ALARMS).gather(alarm),
            "sequence_number": sequence,
            "_transformer": transformer,
            "_event_ms": event_ms,
            "_enqueued_ms": event_ms + latency_ms,
        }
    )


def as_records(rows: pl.DataFrame) -> pl.DataFrame:
    """The 19 columns of the feed, in the order of the keys in the JSON, from rows of `readings`."""
    fleet = condition()[rows["_transformer"].to_numpy()]
    return rows.select(
        pl.col("telemetry_id"),
        fleet["substation_id"],
        fleet["transformer_id"],
        iso_timestamps(rows["_event_ms"].to_numpy()).alias("timestamp"),
        pl.col("load_mw"),
        fleet["capacity_mw"],
        (pl.col("load_mw") / fleet["capacity_mw"] * 100).round(1).alias("load_percentage"),
        pl.col("voltage_kv", "oil_temperature_c", "ambient_temperature_c", "dissolved_gas_ppm", "humidity_percent"),
        pl.col("breaker_status", "alarm_code"),
        fleet["region"],
        fleet["state"],
        fleet["iot_device_id"],
        iso_timestamps(rows["_enqueued_ms"].to_numpy()).alias("iot_hub_enqueued_time"),
        pl.col("sequence_number"),
    )


def _alarms(rng: np.random.Generator, degradation: Floats) -> Ints:
    """Index into the alarm codes; the more degraded a transformer, the likelier its alarm is about gas."""
    n = len(degradation)
    about_gas = rng.random(n) < 0.15 + 0.5 * degradation
    code = np.where(about_gas, _GAS_ALARM, np.where(rng.random(n) < 0.5, _OVERLOAD, _BREAKER_TRIP))
    return np.where(rng.random(n) < ALARM_SHARE, code, _NO_ALARM)


def _load_shape(hour: Floats) -> Floats:
    """0 to about 1 by local hour: a low night, a working day, an evening peak."""
    return 0.7 * np.exp(-(((hour - 12) / 4) ** 2)) + np.exp(-(((hour - 19.5) / 2.5) ** 2))
