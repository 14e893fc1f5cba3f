"""What sensors on transformers say: each with levels of its own, warmer by day, and some of them with a fault.

spike         |...............!|   its last reading lies far off
level_shift   |..........''''''|   its last hours lie far off, all by the same
silent        |..........      |   says nothing in its last hours
constant      |----------------|   the temperature never moves
new           |             ...|   there only in the last hours
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from data_sources.generators.damage import pick
from data_sources.generators.registry import STATES, transformers
from data_sources.smart_meter_readings.generate import iso_timestamps

FIRST_DAY_MS = int(np.datetime64("2025-06-15", "ms").astype(np.int64))
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
FAULT_SHARES = {"spike": 0.01, "level_shift": 0.005, "silent": 0.005, "constant": 0.005, "new": 0.005}
LAST_HOURS = {"level_shift": 6, "silent": 6, "new": 3}
"""How long before the end a fault begins, hours."""

VALUES = ("temperature_c", "pressure_kpa", "vibration_mm_s")

_INDIA_OFFSET_MS = 330 * 60_000  # heat follows India's clock (UTC+5:30, no summer time)
_AMBIENT_C = dict(zip(STATES, (33.0, 30.0, 29.0, 31.0, 32.0), strict=True))  # mean of a June day
_STATUSES = ("OK", "DEGRADED", "FAILED")
_NOISE = (1.5, 2.0, 0.15)
"""Standard deviation of what is measured about what is usual at that hour: degC, kPa, and of the vibration's logarithm."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fleet:
    """`count` sensors, read until `end_ms` (milliseconds since the epoch). What they are like hangs on the seed alone."""

    seed: int
    count: int
    end_ms: int

    @cached_property
    def places(self) -> pl.DataFrame:
        """sensor_id, transformer_id, region, state of each; the transformers take turns."""
        at = transformers()[np.arange(self.count) % transformers().height]
        ids = pl.Series("sensor_id", [f"GS-{n + 1:06d}" for n in range(self.count)])
        return pl.DataFrame([ids, at["transformer_id"], at["region"], at["state"]])

    @cached_property
    def levels(self) -> tuple[Floats, Floats, Floats]:
        """What is usual for each over a day: temperature, pressure, vibration."""
        rng = np.random.default_rng([self.seed, 0])
        ambient = self.places["region"].replace_strict(_AMBIENT_C, return_dtype=pl.Float64).to_numpy()
        warm = ambient + rng.uniform(8, 30, self.count)
        return warm, rng.normal(520, 25, self.count), rng.lognormal(0.8, 0.35, self.count)

    @cached_property
    def faults(self) -> dict[str, Ints]:
        """By kind the sensors that have it; none has two."""
        masks = pick(FAULT_SHARES, self.count, np.random.default_rng([self.seed, 7]))
        return {kind: np.flatnonzero(mask) for kind, mask in masks.items()}

    def has(self, kind: str, sensor: Ints) -> npt.NDArray[np.bool_]:
        """Which of these sensors have the fault."""
        mask = np.zeros(self.count, bool)
        mask[self.faults[kind]] = True
        return mask[sensor]

    def begins_ms(self, kind: str) -> int:
        return self.end_ms - LAST_HOURS[kind] * HOUR_MS

    def speaks(self, sensor: Ints, event_ms: Ints) -> npt.NDArray[np.bool_]:
        """Whether the sensor is there and not silent."""
        is_gone = self.has("silent", sensor) & (event_ms >= self.begins_ms("silent"))
        return ~is_gone & ~(self.has("new", sensor) & (event_ms < self.begins_ms("new")))

    def planted(self) -> list[dict[str, str | None]]:
        """What planted.json says: sensor_id, kind, from (null: all along), value_name (null: all of them)."""
        found: list[dict[str, str | None]] = []
        for kind, sensors in self.faults.items():
            start = iso_timestamps(np.array([self.begins_ms(kind)]))[0] if kind in LAST_HOURS else None
            value = "temperature_c" if kind in ("spike", "level_shift", "constant") else None
            ids = self.places["sensor_id"].gather(sensors)
            found += [{"sensor_id": one, "kind": kind, "from": start, "value_name": value} for one in ids]
        return found


def readings(fleet: Fleet, rng: np.random.Generator, sensor: Ints, event_ms: Ints, is_last: Ints) -> pl.DataFrame:
    """One reading for each `sensor` (0 to count - 1) and `event_ms` (milliseconds since the epoch, UTC).

    is_last: 1 where it is the sensor's last. Columns: the three values and status; `_sensor`, `_event_ms`.
    """
    n = len(sensor)
    hour = (event_ms + _INDIA_OFFSET_MS) % DAY_MS / HOUR_MS
    by_day = np.cos((hour - 15) / 24 * 2 * np.pi)
    warm, pressed, shaken = (level[sensor] for level in fleet.levels)
    noise = rng.standard_normal((3, n))
    usual = warm + 6 * by_day
    off = np.where(rng.random(n) < 0.5, -1.0, 1.0) * rng.uniform(8, 15, n)
    is_spike = fleet.has("spike", sensor) & (is_last > 0)
    is_shifted = fleet.has("level_shift", sensor) & (event_ms >= fleet.begins_ms("level_shift"))
    temperature = usual + _NOISE[0] * (noise[0] + np.where(is_spike, off, 0) + np.where(is_shifted, 10, 0))
    temperature = np.where(fleet.has("constant", sensor), warm, temperature)
    status = np.searchsorted([0.985, 0.999], rng.random(n), "right")
    return pl.DataFrame(
        {
            "temperature_c": temperature.round(2),
            "pressure_kpa": (pressed + 3 * by_day + _NOISE[1] * noise[1]).round(2),
            "vibration_mm_s": (shaken * np.exp(0.1 * by_day + _NOISE[2] * noise[2])).round(3),
            "status": pl.Series(_STATUSES).gather(status),
            "_sensor": sensor,
            "_event_ms": event_ms,
        }
    )


def as_records(fleet: Fleet, rows: pl.DataFrame) -> pl.DataFrame:
    """The nine columns of the feed, in the order of the keys in the JSON, from rows of `readings`."""
    at = fleet.places[rows["_sensor"].to_numpy()]
    return rows.select(
        at["sensor_id"],
        iso_timestamps(rows["_event_ms"].to_numpy()).alias("timestamp"),
        pl.col(*VALUES, "status"),
        at["transformer_id"],
        at["region"],
        at["state"],
    )
