"""Quantile functions: a uniform number to a value of a distribution, whole arrays at a time.

Everything is drawn by inversion, `value = quantile(u)`. So a range cuts a distribution off (it does not pile up
values at its ends), a value depends on its own u alone, and two columns correlate when their u do.

    normal       min, max  and/or  mean, stddev     default: the range's middle, a sixth of its width
    exponential  min, max  and     rate or mean     rate is a range's width over the mean; default 10
    lognormal    median, sigma  and perhaps min, max
    zipf         min, max, exponent                 whole numbers; P(min + k) ~ (k + 1)^-exponent, default 1.2
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from data_sources.generators.streams.column import ColumnSpec

Floats = npt.NDArray[np.float64]

DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "uniform": (),
    "normal": ("mean", "stddev"),
    "exponential": ("rate", "mean"),
    "lognormal": ("median", "sigma"),
    "zipf": ("exponent",),
}
MOST_RANKS = 10_000_000
DEFAULT_RATE = 10.0
"""dbldatagen squeezes each batch of 10,000 exponential draws into the range: the mean is then a tenth of it."""


def check_parameters(column: ColumnSpec) -> None:
    """Raise ValueError, with the remedy, for a distribution that cannot be drawn from."""
    kind = column.distribution or "uniform"
    if kind not in DISTRIBUTIONS:
        close = difflib.get_close_matches(kind, DISTRIBUTIONS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(DISTRIBUTIONS)}"
        raise ValueError(f"unknown distribution {kind!r}; {hint}")
    words = sorted({p for ps in DISTRIBUTIONS.values() for p in ps})
    for word in words:
        if getattr(column, word) is not None and word not in DISTRIBUTIONS[kind]:
            raise ValueError(f"{word} says nothing of a {kind} column; leave it out")
    for word in ("stddev", "rate", "median", "sigma", "exponent"):
        if (value := getattr(column, word)) is not None and not 0 < value < float("inf"):
            raise ValueError(f"{word} is {value:g}; it must be above 0")
    low, high = column.min, column.max
    if low is not None and high is not None and low > high:
        raise ValueError(f"min {low:g} is above max {high:g}; swap them")
    bounded = low is not None and high is not None
    if kind in ("uniform", "zipf") and not bounded:
        raise ValueError(f"a {kind} column needs min and max")
    if kind == "normal" and not bounded and (column.mean is None or column.stddev is None):
        raise ValueError("a normal column needs min and max, or mean and stddev")
    if kind == "exponential" and not bounded and column.mean is None:
        raise ValueError("an exponential column needs min and max, or mean")
    if kind == "exponential" and column.mean is not None and column.mean <= (low or 0.0):
        raise ValueError(f"mean is {column.mean:g}; it must be above min ({low or 0.0:g})")
    if kind == "lognormal" and column.median is None:
        raise ValueError("a lognormal column needs median (and sigma, 1 unless given)")
    if kind == "zipf" and bounded and (high or 0) - (low or 0) >= MOST_RANKS:
        raise ValueError(f"a zipf column has at most {MOST_RANKS:,} values; narrow min and max")
    if column.type == "int64" and bounded and np.floor(high or 0.0) < np.ceil(low or 0.0):
        raise ValueError(f"no whole number lies between min {low:g} and max {high:g}; widen them")


def quantile(column: ColumnSpec, u: Floats) -> Floats:
    """Values of the column's distribution at `u` in [0, 1); whole numbers where the column's type is int64."""
    kind = column.distribution or "uniform"
    whole = column.type == "int64" or column.format is not None
    low = -np.inf if column.min is None else column.min
    high = np.inf if column.max is None else column.max
    if kind == "zipf":
        ranks = np.searchsorted(_zipf(int(high - low) + 1, column.exponent or 1.2), u, side="right")
        return (low + ranks).astype(np.float64)
    if whole and np.isfinite(low) and np.isfinite(high):
        low, high = np.ceil(low), np.floor(high) + 1  # each whole number gets an equal piece: [low, high + 1)
    if kind == "uniform":
        values = low + u * (high - low)
    elif kind == "normal":
        values = _normal(column, low, high, u)
    elif kind == "exponential":
        values = _exponential(column, low, high, u)
    else:
        values = _lognormal(column, low, high, u)
    if whole:
        return np.clip(np.floor(values), low, high - 1 if np.isfinite(high) else None)
    return np.clip(values, low, high)


def _normal(column: ColumnSpec, low: float, high: float, u: Floats) -> Floats:
    mean = (low + high) / 2 if column.mean is None else column.mean
    stddev = (high - low) / 6 if column.stddev is None else column.stddev
    if not stddev:
        return np.full_like(u, mean)
    first, last = (float(norm_cdf(np.array([(b - mean) / stddev]))[0]) for b in (low, high))
    return mean + stddev * norm_ppf(first + u * (last - first))


def _exponential(column: ColumnSpec, low: float, high: float, u: Floats) -> Floats:
    start = low if np.isfinite(low) else 0.0
    scale = (high - start) / (column.rate or DEFAULT_RATE) if column.mean is None else column.mean - start
    if not scale:
        return np.full_like(u, start)
    most = -np.expm1(-(high - start) / scale)
    return start - scale * np.log1p(-u * most)


def _lognormal(column: ColumnSpec, low: float, high: float, u: Floats) -> Floats:
    sigma, middle = column.sigma or 1.0, np.log(column.median or 1.0)
    ends = [0.0 if b <= 0 else float(norm_cdf(np.array([(np.log(b) - middle) / sigma]))[0]) for b in (low, high)]
    return np.exp(middle + sigma * norm_ppf(ends[0] + u * (ends[1] - ends[0])))


def _zipf(ranks: int, exponent: float) -> Floats:
    weights = np.arange(1, ranks + 1, dtype=np.float64) ** -exponent
    ends = np.cumsum(weights)
    return ends[:-1] / ends[-1]


def norm_cdf(z: Floats) -> Floats:
    """The standard normal distribution function, within 1e-7 (Abramowitz and Stegun, 26.2.17)."""
    t = 1 / (1 + 0.2316419 * np.abs(z))
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    poly = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    upper = density * poly
    return np.where(z >= 0, 1 - upper, upper)


def norm_ppf(p: Floats) -> Floats:
    """The inverse of `norm_cdf`, within 1.2e-9 relative (P. J. Acklam's rational approximation); finite at 0 and 1."""
    p = np.clip(p, 1e-300, 1 - 1e-16)
    a = (-3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.383577518672690e2, -3.066479806614716e1, 2.506628277459239)  # fmt: skip
    b = (-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1, 1.0)  # fmt: skip
    c = (-7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968, 2.938163982698783)  # fmt: skip
    d = (7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0)
    q = p - 0.5
    r = q * q
    z = np.polyval(a, r) * q / np.polyval(b, r)
    tail = np.abs(q) > 0.5 - 0.02425
    if tail.any():
        q = np.sqrt(-2 * np.log(np.where(p[tail] < 0.5, p[tail], 1 - p[tail])))
        z[tail] = np.polyval(c, q) / np.polyval(d, q) * np.where(p[tail] < 0.5, 1, -1)
    return z
