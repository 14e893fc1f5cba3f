"""How rare a score is among ordinary readings: tails of the normal, Student's and the chi-squared distribution.

A score from a short history is rough, since its deviation is itself a guess; as Student's t it is brought to the normal
deviate that is as rare, so that scores of long and short histories can be compared and added.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_ERFC = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
)  # fmt: skip


def beyond(deviate: Floats) -> Floats:
    """Two-sided probability of a normal deviate this far out or further; NaN stays.

    Press et al., Numerical Recipes (erfcc): relative error below 1.2e-7, also far out.
    """
    x = np.abs(deviate) * np.sqrt(0.5)
    t = 1.0 / (1.0 + 0.5 * x)
    power = np.full_like(t, _ERFC[-1])
    for factor in _ERFC[-2::-1]:
        power *= t
        power += factor
    power -= x * x
    return t * np.exp(power)


def above(deviate: Floats) -> Floats:
    """One-sided: probability of a normal deviate this high or higher."""
    half = beyond(deviate) / 2
    return np.where(deviate < 0, 1.0 - half, half)


def as_normal(score: Floats, count: npt.NDArray[np.int64]) -> Floats:
    """The normal deviate as rare as (x - mean) / deviation of `count` earlier values, of which x is none.

    The deviation is the population's, 0 < count. With count - 1 degrees of freedom the score is Student's t times
    sqrt((count + 1) / (count - 1)); Wallace (1959) brings t to a deviate, to a few percent of it at 2 degrees. NaN
    where count < 2.
    """
    found = score * score
    found /= count + 1.0
    np.log1p(found, out=found)
    found *= _wallace(int(count.max(initial=2)))[np.maximum(count, 0)]
    np.sqrt(found, out=found)
    return np.copysign(found, score)


@lru_cache(maxsize=8)
def _wallace_table(size: int) -> Floats:
    freedom = np.arange(size) - 1.0
    freedom[:2] = np.nan
    return freedom * ((8 * freedom + 1) / (8 * freedom + 3)) ** 2


def _wallace(largest: int) -> Floats:
    """By count: the degrees of freedom, times the square of Wallace's correction; NaN below 2."""
    return _wallace_table(1 << max(12, largest.bit_length()))


def above_chi_squared(x: Floats, freedom: float) -> Floats:
    """Probability of a chi-squared value this high or higher, by Wilson and Hilferty's cube root."""
    spread = 2.0 / (9.0 * freedom)
    return above((np.cbrt(np.maximum(x, 0.0) / freedom) - (1.0 - spread)) / np.sqrt(spread))
