"""The published detectors to the formula: hand-computed vectors, and row by row against the seed's own way."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from tests.transforms.detect.making import MONDAY, made, published, readings
from transforms.detect import detect
from transforms.detect.composite import formula
from transforms.detect.tails import above_chi_squared, as_normal, beyond


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((0, 0, 0, 0), 1 / (1 + math.exp(2.5))),  # 0.0759
        ((5, 3, 10, 10), 1 / (1 + math.exp(-2.5))),  # each part is 1: sigmoid(5 * 0.5)
        ((2.5, 1.5, 5, 5), 0.5),  # half of it: sigmoid(0)
        ((-5, 0, 0, 0), 1 / (1 + math.exp(1.0))),  # 0.3 of it: sigmoid(5 * -0.2)
        ((0, -3, 0, 0), 1 / (1 + math.exp(1.25))),
        ((0, 0, -10, 0), 1 / (1 + math.exp(1.25))),
        ((0, 0, 0, 10), 1 / (1 + math.exp(1.5))),
        ((3.2, 1.1, 0.4, 6.0), 0.3581845),  # 0.192 + 0.091667 + 0.01 + 0.12 = 0.413667
    ],
)
def test_the_composite_of_hand_computed_vectors(parts: tuple[float, ...], expected: float) -> None:
    found = formula(*(np.array([float(part)]) for part in parts))
    assert found[0] == pytest.approx(
        1 / (1 + math.exp(-5 * (0.413667 - 0.5))) if parts[0] == 3.2 else expected, rel=2e-6
    )


def test_z_by_hand() -> None:
    """Hourly readings 2, 4, 4, 4, 5, 5, 7, 9: mean 5, deviation of the population 2. Then 11 is 3 deviations above."""
    found = detect(made([2.0, 4, 4, 4, 5, 5, 7, 9, 11], every=timedelta(hours=1)), ["z"])["z"]
    assert found.score[-1] == 3.0
    assert (found.expected[-1], found.spread[-1], found.history[-1]) == (5.0, 2.0, 8)
    assert found.reasons[found.reason[-1]] == "above its history"


def test_rate_by_hand() -> None:
    """Every 15 minutes: 30 minutes hold three readings, both ends in."""
    found = detect(made([1.0, 4, 10, 13]), ["rate_of_change"])["rate_of_change"]
    assert found.score.tolist() == [0.0, 1.5, 3.0, 3.0]


def test_every_published_score_equals_the_row_by_row_one() -> None:
    rng = np.random.default_rng(3)
    every, rows = timedelta(minutes=70), 700  # a month and a bit: some history falls out
    times = [MONDAY + n * every for n in range(rows)]
    values = np.array([rng.lognormal(0, 0.4, rows), 230 + rng.normal(0, 3, rows), rng.normal(0, 1, rows)])
    values[2] += values[0]
    expected = published(times, values)
    found = detect(made(values, every=every), ["z", "seasonal_z", "rate_of_change", "mahalanobis", "composite"])
    for name, scores in expected.items():
        np.testing.assert_allclose(found[name].score, scores, rtol=1e-9, atol=1e-12, err_msg=name)
        assert np.isfinite(scores).sum() > 600
    composed = formula(*(np.array(expected[name]) for name in ("z", "seasonal_z", "rate_of_change", "mahalanobis")))
    np.testing.assert_allclose(found["composite"].score, composed, rtol=1e-9)


def test_an_hour_of_the_week_is_the_local_clocks_also_when_it_changes() -> None:
    """Berlin, three weeks either side of 26 October 2025, when 2 o'clock comes twice; a week of readings is missing."""
    start, zone = datetime(2025, 10, 5, tzinfo=UTC), ZoneInfo("Europe/Berlin")
    minutes = [m for m in range(0, 42 * 1440, 40) if not 9 * 1440 <= m < 16 * 1440]
    times = [start + timedelta(minutes=m) for m in minutes]
    local = [at.astimezone(zone) for at in times]
    values = np.random.default_rng(6).lognormal(0, 0.4, len(times))
    rows = pa.table({"series": ["a"] * len(times), "time": pa.array(times, pa.timestamp("us", "UTC")), "v0": values})
    found = detect(readings(rows, zone="Europe/Berlin"), ["seasonal_z"])["seasonal_z"]
    alone = 0
    for n, here in enumerate(local):
        past = [
            m for m in range(n)
            if times[n] - timedelta(days=30) <= times[m] and (local[m].date(), local[m].hour) != (here.date(), here.hour)
        ]  # fmt: skip
        same = [m for m in past if (local[m].weekday(), local[m].hour) == (here.weekday(), here.hour)]
        if len(past) < 2:
            continue
        alone += not same
        assert found.history[n] == len(same or past), here
        assert found.expected[n] == pytest.approx(np.mean(values[same or past]), rel=1e-9), here
    assert 0 < alone < len(times) // 2


def test_a_singular_covariance_takes_the_pseudo_inverse() -> None:
    rng = np.random.default_rng(4)
    rows = 300
    x = rng.normal(10, 1, rows)
    times = [MONDAY + n * timedelta(hours=1) for n in range(rows)]
    for values in (np.array([x, 2 * x + 1]), np.array([x, np.full(rows, 7.0)])):
        found = detect(made(values, every=timedelta(hours=1)), ["mahalanobis"])["mahalanobis"]
        np.testing.assert_allclose(found.score, published(times, values)["mahalanobis"], rtol=1e-6)
        assert found.fallbacks[found.fallback[-1]] == "pseudo-inverse"


def test_the_robust_distance_sees_what_the_plain_one_calls_usual() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(0, 1, (2, 700))
    far = rng.choice(np.arange(50, 690), 60, replace=False)
    values[:, far] += 12
    both = detect(made(values, every=timedelta(hours=1)), ["mahalanobis", "mahalanobis_robust"])
    late = far[far > 400]
    assert np.median(both["mahalanobis_robust"].score[late]) > 1.5 * np.median(both["mahalanobis"].score[late])


def test_tails() -> None:
    z = np.array([0.0, 1.0, 1.959964, 3.0, 8.0, 30.0])
    np.testing.assert_allclose(beyond(z), [math.erfc(x / math.sqrt(2)) for x in z], rtol=2e-7)
    # of two degrees of freedom it is exp(-x / 2); the cube root is an approximation, of 7 degrees better than of 2
    np.testing.assert_allclose(above_chi_squared(np.array([2.0, 9.0]), 2.0), np.exp([-1, -4.5]), rtol=0.01)
    assert above_chi_squared(np.array([24.3219]), 7.0)[0] == pytest.approx(0.001, rel=0.1)
    # x is further out than t(4) = 2.776 in one of twenty: five values, x = t * sqrt(6 / 4) population deviations
    assert as_normal(np.array([2.776 * math.sqrt(6 / 4)]), np.array([5]))[0] == pytest.approx(1.96, rel=0.01)
    assert np.isnan(as_normal(np.array([3.0]), np.array([1]))[0])
