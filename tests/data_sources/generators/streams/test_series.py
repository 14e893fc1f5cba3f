"""Series: the waves they are told, and noise with the memory it claims."""

import numpy as np
import pytest

from data_sources.generators.streams.column import SeriesSpec
from data_sources.generators.streams.draws import hashed_normal, hashed_uniform, permuted
from data_sources.generators.streams.series import remembering, series

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


def at(*days):
    return np.array([int(d * DAY_US) for d in days], dtype=np.int64)


def value(time_us, **words):
    return series(SeriesSpec(**words), 1, "x", time_us, 0, None)


def test_waves_peak_where_they_say():
    day = at(*(h / 24 for h in range(24)))
    assert np.argmax(value(day, base=5, daily=2, daily_peak=19)) == 19
    assert value(day, base=5, daily=2, daily_peak=19).max() == pytest.approx(7)
    week = at(*range(4, 11))  # from Monday, 1970-01-05
    assert np.argmax(value(week, weekly=1, weekly_peak=5)) == 5
    year = at(*range(365))
    assert abs(int(np.argmax(value(year, seasonal=1, seasonal_peak=200))) - 200) <= 1
    assert value(at(0, 10), trend=0.5) == pytest.approx([0, 5])


def test_noise_is_normal_and_forgets_as_documented():
    time = np.arange(400_000, dtype=np.int64) * (HOUR_US // 10)
    noise = remembering(1, "x", time, HOUR_US, None)
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.std() == pytest.approx(1, abs=0.02)
    for lag, seen in ((1, 0.97), (5, 0.735), (10, 0.285), (20, 0.0), (50, 0.0)):
        assert np.corrcoef(noise[:-lag], noise[lag:])[0, 1] == pytest.approx(seen, abs=0.03), lag


def test_each_entity_has_noise_of_its_own():
    time = np.tile(np.arange(20_000, dtype=np.int64) * HOUR_US, 2)
    who = np.repeat(np.array([1, 2]), 20_000)
    one, two = remembering(1, "x", time, HOUR_US, who).reshape(2, -1)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03


def test_any_stretch_is_the_same_alone():
    time = np.arange(1000, dtype=np.int64) * 7_000_000
    whole = value(time, base=1, daily=2, noise=3)
    assert (value(time[500:510], base=1, daily=2, noise=3) == whole[500:510]).all()


def test_hashed_numbers_are_even_and_do_not_go_together():
    index = np.arange(200_000, dtype=np.int64)
    u = hashed_uniform(1, "a", index)
    assert np.histogram(u, 10, (0, 1))[0] == pytest.approx([20_000] * 10, rel=0.03)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(u, hashed_uniform(2, "a", index))[0, 1]) < 0.01
    assert abs(np.corrcoef(u, hashed_uniform(1, "b", index))[0, 1]) < 0.01
    assert hashed_normal(1, "a", index).std() == pytest.approx(1, abs=0.01)


def test_a_permutation_is_one_for_any_size():
    for size in (1, 2, 3, 10, 255, 256, 257, 5000):
        assert sorted(permuted(4, "p", np.arange(size), size)) == list(range(size))
    assert (permuted(4, "p", np.arange(5000), 5000) != permuted(5, "p", np.arange(5000), 5000)).any()
