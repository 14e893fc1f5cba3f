"""How rare a score is among ordinary readings: tails of the normal, Student's and the chi-squared distribution.

A score from a short history is rough, since its deviation is itself a guess; as Student's t it is brought to the normal
deviate that is as rare, so that scores of long and short histories can be compared and added.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_ERFC = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
)  # fmt: skip


class Student(NamedTuple):
    """What a count of values makes of a score. narrow: 1 / (count + 1); weight: the degrees of freedom, times the square
    of Wallace's correction; NaN below 2 values."""

    narrow: Floats
    weight: Floats


def student(count: npt.NDArray[np.int64]) -> Student:
    narrow, weight = _students(1 << max(12, int(count.max(initial=0)).bit_length()))
    return Student(narrow.take(count, mode="clip"), weight.take(count, mode="clip"))


@lru_cache(maxsize=8)
def _students(size: int) -> Student:
    """By count, up to `size`: dividing takes longer than looking up."""
    freedom = np.arange(size, dtype=np.float64) - 1.0
    narrow = np.reciprocal(freedom + 2.0)
    freedom[:2] = np.nan
    return Student(narrow, freedom * ((8 * freedom + 1) / (8 * freedom + 3)) ** 2)


def squared_normal(score: Floats, of: Student) -> Floats:
    """The square of the normal deviate as rare as (x - mean) / deviation of earlier values, of which x is none.

    The deviation is the population's. With count - 1 degrees of freedom the score is Student's t times
    sqrt((count + 1) / (count - 1)); Wallace (1959) brings t to a deviate, to a few percent of it at 2 degrees.
    """
    found = np.square(score)
    found *= of.narrow
    found += 1.0  # log1p takes three times as long, for digits that Wallace has not
    np.log(found, out=found)
    found *= of.weight
    return found


def as_normal(score: Floats, count: npt.NDArray[np.int64]) -> Floats:
    """The deviate itself, with the score's sign; NaN where count < 2."""
    return np.copysign(np.sqrt(squared_normal(score, student(count))), score)


def beyond(deviate: Floats) -> Floats:
    """Two-sided probability of a normal deviate this far out or further; NaN stays."""
    return beyond_squared(np.square(deviate))


def beyond_squared(square: Floats) -> Floats:
    """`beyond`, of the deviate's square.

    Press et al., Numerical Recipes (erfcc): relative error below 1.2e-7, also far out.
    """
    t = square * 0.125
    np.sqrt(t, out=t)
    t += 1.0
    np.reciprocal(t, out=t)
    power = t * _ERFC[-1]
    for factor in _ERFC[-2:0:-1]:
        power += factor
        power *= t
    power += _ERFC[0]
    power -= square * 0.5
    np.exp(power, out=power)
    power *= t
    return power


def two_sided(score: Floats, of: Student) -> Floats:
    """Probability of a score this far out or further, either way."""
    return beyond_squared(squared_normal(score, of))


def one_sided(score: Floats, of: Student) -> Floats:
    """Probability of a score this high or higher."""
    return _higher(two_sided(score, of), score)


def above(deviate: Floats) -> Floats:
    """One-sided: probability of a normal deviate this high or higher."""
    return _higher(beyond(deviate), deviate)


def above_chi_squared(x: Floats, freedom: float) -> Floats:
    """Probability of a chi-squared value this high or higher, by Wilson and Hilferty's cube root."""
    spread = 2.0 / (9.0 * freedom)
    root = np.maximum(x, 1e-300)
    root *= 1.0 / freedom
    np.log(root, out=root)  # with exp a third faster than cbrt
    root *= 1.0 / 3.0
    np.exp(root, out=root)
    root -= 1.0 - spread
    root *= 1.0 / np.sqrt(spread)
    return above(root)


def _higher(two_sided: Floats, deviate: Floats) -> Floats:
    """Half of it, and the rest of 1 of those below 0."""
    two_sided *= -0.5
    two_sided += deviate < 0
    return np.abs(two_sided, out=two_sided)
