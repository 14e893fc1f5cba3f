"""Kernels beside their slow twins: medians by networks of comparisons, rows searched for in step, sums of short series."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from transforms.detect.medians import medians_of_15, medians_of_96
from transforms.detect.moments import Series
from transforms.detect.readings import lowest


@pytest.mark.parametrize("rows", [0, 1, 14, 15, 16, 333])
def test_of_15(rows: int) -> None:
    x = np.random.default_rng(rows).normal(0, 1, rows).round(1)
    expected = np.full(rows, np.nan)
    if rows >= 15:
        expected[14:] = np.median(sliding_window_view(x, 15), axis=1)
    np.testing.assert_array_equal(medians_of_15(x), expected)


@pytest.mark.parametrize("rows", [0, 95, 96, 97, 127, 128, 700])
@pytest.mark.parametrize("missing", [0.0, 0.02, 0.5, 0.75, 1.0])
def test_of_96_with_holes(rows: int, missing: float) -> None:
    draw = np.random.default_rng(rows)
    x = draw.normal(0, 1, rows).round(1)
    x[draw.random(rows) < missing] = np.nan
    expected = np.full(rows, np.nan)
    for row in range(95, rows):
        values = x[row - 95 : row + 1]
        if np.isfinite(values).sum() >= 24:
            expected[row] = np.nanmedian(values)
    np.testing.assert_array_equal(medians_of_96(x, 24), expected)
    assert np.isfinite(expected).any() == (rows == 700 and missing < 1) or rows < 700


@pytest.mark.parametrize("pace", [1, 16, 64])
def test_lowest_is_searchsorted(pace: int) -> None:
    draw = np.random.default_rng(pace)
    for steps in (np.full(500, 9), draw.integers(0, 20, 500), draw.choice([9, 5000], 500), np.zeros(500, int)):
        key = np.cumsum(steps)
        for span in (0, 9, 100, 3000, 10**6):
            np.testing.assert_array_equal(lowest(key, key - span, pace), np.searchsorted(key, key - span))
    assert len(lowest(np.empty(0, np.int64), np.empty(0, np.int64), pace)) == 0


@pytest.mark.parametrize("lengths", [(3, 5, 1, 5), (2, 300, 1), (700, 600), ()])
def test_running_sums_of_long_and_of_short_series(lengths: tuple[int, ...]) -> None:
    ends = np.cumsum(lengths, dtype=np.int64)
    rows = sum(lengths)
    x = np.random.default_rng(rows).normal(0, 1, rows)
    series = Series(ends - np.array(lengths, np.int64), rows)
    parts = np.split(x, ends[:-1]) if lengths else []
    expected = [np.append(0.0, np.cumsum(part)[:-1]) for part in parts]
    np.testing.assert_array_equal(series.running(x), np.concatenate([*expected, np.empty(0)]))
    counts = [np.append(0, np.cumsum(part > 0)[:-1]) for part in parts]
    np.testing.assert_array_equal(series.running(x > 0), np.concatenate([*counts, np.empty(0)]))
    both = series.running_pair(x, x * x)
    np.testing.assert_array_equal(both.real, series.running(x))
    np.testing.assert_array_equal(both.imag, series.running(x * x))
