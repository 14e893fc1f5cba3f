"""What a renewable plant measures: sun, wind or water, and what its machines make of it.

Power by source (rho g h from any textbook; the wind curve is the usual cubic one between cut-in and rated speed):

    SOLAR  capacity x irradiance / 1000 x 0.86, the rest lost to heat, wiring and inverter
    WIND   0 below 3 m/s, cubic up to 12 m/s, capacity up to 25 m/s, 0 above
    HYDRO  1000 kg/m3 x 9.81 m/s2 x head x flow x 0.9
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from data_sources.generators.registry import plants
from data_sources.smart_meter_readings.generate import event_ids, iso_timestamps

WEATHER = {"CLEAR": 1.0, "PARTLY_CLOUDY": 0.75, "CLOUDY": 0.4, "RAIN": 0.2}
"""What passes of the sunlight."""
INVERTERS = {"ONLINE": 1.0, "DEGRADED": 0.7, "OFFLINE": 0.0}
"""What a plant gives of what it could."""
NEW_FIELDS = ("curtailment_mw", "battery_storage_mwh")

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_INDIA_OFFSET_MS = 330 * 60_000  # the sun is highest at about noon of India's clock (UTC+5:30)
_MEGAWATT_PER_FLOW_AND_HEAD = 1000 * 9.81 * 0.9 / 1e6

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@lru_cache(maxsize=1)
def sites() -> pl.DataFrame:
    """The registry's plants with what never changes, the same for every seed: mean_wind_mps, head_m, battery_mwh."""
    grid = plants()
    rng = np.random.default_rng(1882)
    return grid.with_columns(
        pl.Series("mean_wind_mps", rng.uniform(6, 11, grid.height)),
        pl.Series("head_m", rng.uniform(30, 200, grid.height)),
        pl.Series("battery_mwh", grid["capacity_mw"] * rng.uniform(0.2, 0.6, grid.height)),
    )


def readings(rng: np.random.Generator, plant: Ints, event_ms: Ints, seed: int) -> pl.DataFrame:
    """One reading for each `plant` (row of `sites()`) and `event_ms` (milliseconds since the epoch, UTC).

    Weather is one an hour and plant, of the seed. `as_records` makes the feed's columns of it; `_plant` and
    `_event_ms` are the arguments.
    """
    n = len(plant)
    at = sites()[plant]
    kind, capacity = at["plant_type"].to_numpy(), at["capacity_mw"].to_numpy()
    solar, wind, hydro = (kind == name for name in ("SOLAR", "WIND", "HYDRO"))
    weather, gust, rain = _hourly_weather(seed, plant, event_ms)
    hour = (event_ms + _INDIA_OFFSET_MS) % _DAY_MS / _HOUR_MS
    noise = rng.standard_normal((3, n))

    sun = np.maximum(np.sin((hour - 5.5) / 13.5 * np.pi), 0) * ((hour > 5.5) & (hour < 19))
    irradiance = np.clip(980 * sun * np.array(list(WEATHER.values()))[weather] * (1 + 0.05 * noise[0]), 0, 1150)
    speed = np.clip(at["mean_wind_mps"].to_numpy() * gust * (1 + 0.08 * noise[1]), 0, 40)
    full_flow = capacity / (at["head_m"].to_numpy() * _MEGAWATT_PER_FLOW_AND_HEAD)
    flow = full_flow * np.clip(0.6 + 0.25 * rain + 0.03 * noise[2], 0.1, 1)
    irradiance, speed, flow = irradiance.round(1), speed.round(2), flow.round(2)

    could = np.where(solar, capacity * irradiance / 1000 * 0.86, 0.0)
    could = np.where(wind, capacity * _wind_curve(speed), could)
    could = np.where(hydro, flow * at["head_m"].to_numpy() * _MEGAWATT_PER_FLOW_AND_HEAD, could)
    state = np.searchsorted([0.94, 0.98], rng.random(n))
    could = np.clip(could * np.array(list(INVERTERS.values()))[state], 0, capacity)
    held_back = np.where(~hydro & (rng.random(n) < 0.15), could * rng.uniform(0.02, 0.2, n), 0.0).round(3)
    production = (could - held_back).round(3)
    return pl.DataFrame(
        {
            "reading_id": event_ids(rng, n),
            "production_mw": production,
            "weather_condition": pl.Series(list(WEATHER)).gather(weather),
            "irradiance_w_m2": _where(solar, irradiance),
            "wind_speed_mps": _where(wind, speed),
            "water_flow_m3s": _where(hydro, flow),
            "auxiliary_consumption_mw": (0.004 * capacity + 0.02 * production).round(3),
            "inverter_status": pl.Series(list(INVERTERS)).gather(state),
            "curtailment_mw": held_back,
            "battery_storage_mwh": _where(~hydro, (at["battery_mwh"].to_numpy() * rng.uniform(0.1, 1, n)).round(2)),
            "_plant": plant,
            "_event_ms": event_ms,
        }
    )


def as_records(rows: pl.DataFrame, *, evolved: bool) -> pl.DataFrame:
    """The feed's columns in the order of the keys in the JSON: 16, and if `evolved` the two new ones."""
    at = sites()[rows["_plant"].to_numpy()]
    capacity = at["capacity_mw"]
    return rows.select(
        pl.col("reading_id"),
        at["plant_id"],
        at["plant_type"],
        iso_timestamps(rows["_event_ms"].to_numpy()).alias("timestamp"),
        pl.col("production_mw"),
        capacity.cast(pl.Int64),
        (pl.col("production_mw") / capacity).round(3).alias("capacity_factor"),
        pl.col("weather_condition", "irradiance_w_m2", "wind_speed_mps", "water_flow_m3s"),
        (pl.col("production_mw") - pl.col("auxiliary_consumption_mw")).round(3).alias("grid_injection_mw"),
        pl.col("auxiliary_consumption_mw"),
        at["region"],
        at["state"],
        pl.col("inverter_status"),
        *(pl.col(name) for name in NEW_FIELDS if evolved),
    )


def _hourly_weather(seed: int, plant: Ints, event_ms: Ints) -> tuple[Ints, Floats, Floats]:
    """Of each reading's hour and plant: index into WEATHER, wind over its mean, rain of the last days (0 to 1)."""
    hours, hour_of = np.unique(event_ms // _HOUR_MS, return_inverse=True)
    drawn = np.stack([np.random.default_rng([seed, 5, int(h)]).random((3, sites().height)) for h in hours])
    u = drawn[hour_of, :, plant]
    return np.searchsorted([0.45, 0.75, 0.92], u[:, 0]), 0.4 + 1.2 * u[:, 1], u[:, 2]


def _wind_curve(speed: Floats) -> Floats:
    rising = (speed**3 - 3.0**3) / (12.0**3 - 3.0**3)
    return np.where((speed < 3) | (speed > 25), 0.0, np.minimum(rising, 1.0))


def _where(mask: npt.NDArray[np.bool_], values: Floats) -> pl.Series:
    """The values where the mask is, else null."""
    return pl.Series(values).set(pl.Series(~mask), None)
