"""Readings for tests, and the published detector row by row: what the vectorised one must say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.detect import Readings, readings_of

MONDAY = datetime(2025, 6, 16, tzinfo=UTC)
HISTORY = timedelta(days=30)


def table(
    values: Any, *, every: timedelta = timedelta(minutes=15), series: str = "a", start: datetime = MONDAY
) -> pa.Table:
    """values: of one field, or a list per field."""
    fields = [values] if np.ndim(values) == 1 else list(values)
    rows = len(fields[0])
    return pa.table(
        {
            "series": [series] * rows,
            "time": pa.array([start + n * every for n in range(rows)], pa.timestamp("us", "UTC")),
            **{f"v{n}": pa.array(field, pa.float64()) for n, field in enumerate(fields)},
        }
    )


def readings(rows: pa.Table, **given: Any) -> Readings:
    values = [name for name in rows.column_names if name.startswith("v")]
    return readings_of(rows, series="series", time="time", values=values, **given)


def made(values: Any, *, every: timedelta = timedelta(minutes=15), start: datetime = MONDAY, **given: Any) -> Readings:
    return readings(table(values, every=every, start=start), **given)


def published(times: list[datetime], values: npt.NDArray[np.float64]) -> dict[str, list[float]]:
    """z, seasonal z, rate and distance of each row of one series (values: fields x rows), as the seed computes them for one reading:
    numpy's mean, std and cov over the readings of 30 days up to the hour of the reading."""
    found: dict[str, list[float]] = {"z": [], "seasonal_z": [], "rate_of_change": [], "mahalanobis": []}
    for n, at in enumerate(times):
        hour = at.replace(minute=0, second=0, microsecond=0)
        past = [m for m in range(n) if at - HISTORY <= times[m] < hour]
        x, history = values[0][n], values[0][past]
        weekly = [m for m in past if (times[m].weekday(), times[m].hour) == (at.weekday(), at.hour)]
        spread = float(np.std(history)) if len(past) >= 2 else 0.0
        mean = float(np.mean(history)) if past else 0.0
        seasonal = float(np.mean(values[0][weekly])) if weekly else mean
        found["z"].append((x - mean) / spread if spread else np.nan)
        found["seasonal_z"].append((x - seasonal) / spread if spread else np.nan)
        recent = [m for m in range(n + 1) if at - timedelta(minutes=30) <= times[m]]
        found["rate_of_change"].append((x - values[0][recent[0]]) / len(recent) if len(recent) > 1 else 0.0)
        if len(past) < len(values) + 2:
            found["mahalanobis"].append(np.nan)
            continue
        covariance = np.atleast_2d(np.cov(values[:, past]))
        away = values[:, n] - values[:, past].mean(axis=1)
        found["mahalanobis"].append(float(np.sqrt(max(0.0, away @ np.linalg.pinv(covariance, rcond=1e-9) @ away))))
    return found
