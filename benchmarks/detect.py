"""`python -m benchmarks.detect`: the detectors over readings in memory, beside the published detector reading by reading.

1. All default detectors together, on two threads: readings a second, and CPU nanoseconds per reading, which a busy machine
   stretches less than the wall time.
2. The published five (z, seasonal z, rate of change, Mahalanobis, composite) on one thread, beside the same formulas for one
   reading after another over its history of 30 days, as they were published, on numpy arrays (slices of a data frame are
   slower). Before a time is printed, both have given the same scores.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.detect import DEFAULT, Readings, detect, readings_of
from transforms.detect.composite import formula
from transforms.detect.readings import HISTORY, HOUR

PUBLISHED = ("z", "seasonal_z", "rate_of_change", "mahalanobis", "composite")
_DAYS, _PER_DAY = 40, 96
_STEP = 900_000_000
_START = 1_750_032_000_000_000
"""Monday 2025-06-16 00:00 UTC."""

Floats = npt.NDArray[np.float64]


def measure(readings: int, runs: int, asked: int = 400) -> dict[str, dict[str, Any]]:
    """readings: how many, of meters with `_DAYS` days of quarter hours; asked: how many the peer is put to."""
    made = _made(max(1, readings // (_DAYS * _PER_DAY)))
    print(f"{len(made):,} readings of {len(made.starts):,} series, load {os.getloadavg()[0]:.1f}", flush=True)
    found: dict[str, dict[str, Any]] = {}

    def note(label: str, rows: int, work: Callable[[], object]) -> float:
        taken = []
        for _ in range(runs):
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            taken.append((time.process_time() - cpu, time.perf_counter() - wall))
        cpu, wall = (sorted(each)[len(each) // 2] for each in zip(*taken, strict=True))
        found[label] = {"readings_per_s": rows / wall, "cpu_ns_per_reading": cpu / rows * 1e9}
        print(f"{label:<44}{rows / wall:>12,.0f} readings/s{cpu / rows * 1e9:>10,.0f} ns CPU each", flush=True)
        return cpu / rows

    note("all default detectors, two threads", len(made), lambda: detect(made, DEFAULT, threads=2))
    ours = note("the published five, one thread", len(made), lambda: detect(made, PUBLISHED))
    rows = np.random.default_rng(2).choice(np.flatnonzero(made.fewest >= 31 * _PER_DAY), asked)
    check = _by_reading(made, rows)
    scores = detect(made, PUBLISHED)
    for n, name in enumerate(PUBLISHED):
        np.testing.assert_allclose(scores[name].score[rows], check[:, n], rtol=1e-8, atol=1e-9, err_msg=name)
    theirs = note("the published five, reading by reading", asked, lambda: _by_reading(made, rows))
    found["ratio"] = {"times_cheaper": theirs / ours}
    print(f"{theirs / ours:,.0f} x cheaper than reading by reading, in CPU", flush=True)
    return {f"detect: {label}": figures for label, figures in found.items()}


def _made(meters: int) -> Readings:
    rng = np.random.default_rng(1)
    rows = meters * _DAYS * _PER_DAY
    at = np.tile(_START + np.arange(_DAYS * _PER_DAY) * _STEP, meters)
    kwh = rng.lognormal(0, 0.3, rows)
    table = pa.table(
        {
            "meter": np.repeat(np.arange(meters), _DAYS * _PER_DAY),
            "time": pa.array(at, pa.timestamp("us", "UTC")),
            "kwh": kwh,
            "voltage": rng.normal(230, 3, rows),
            "current": kwh * 4 + rng.normal(0, 0.2, rows),
        }
    )
    return readings_of(table, series="meter", time="time", values=["kwh", "voltage", "current"])


def _by_reading(made: Readings, rows: npt.NDArray[np.int64]) -> Floats:
    """rows x the published five."""
    found = []
    hour = made.time // HOUR % 168
    for row in rows.tolist():
        first, at = int(made.first[row]), int(made.time[row])
        times = made.time[first : row + 1]
        low, high = np.searchsorted(times, [at - HISTORY, at // HOUR * HOUR])
        past = slice(first + low, first + high)
        history = np.array([field[past] for field in made.raw])
        point = np.array([field[row] for field in made.raw])
        mean, spread = np.mean(history[0]), np.std(history[0])
        seasonal = history[0][hour[past] == hour[row]]
        z, seasonal_z = (point[0] - mean) / spread, (point[0] - np.mean(seasonal)) / spread
        recent = made.raw[0][first + np.searchsorted(times, at - HOUR // 2) : row + 1]
        rate = (recent[-1] - recent[0]) / len(recent) if len(recent) > 1 else 0.0
        away = point - np.mean(history, axis=1)
        distance = np.sqrt(away @ np.linalg.inv(np.cov(history)) @ away)
        score = formula(*(np.array(part) for part in (z, seasonal_z, rate, distance)))
        found.append([z, seasonal_z, rate, distance, float(score)])
    return np.array(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=3_000_000)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    measure(given.readings, given.runs)


if __name__ == "__main__":
    main()
