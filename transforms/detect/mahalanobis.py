"""Mahalanobis distance: how far several values lie from their history together, in the units of its covariance.

Source of the formula: sqrt((x - mean)' S+ (x - mean)), S the sample's covariance of the last 30 days and S+ its inverse,
or the pseudo-inverse where S is singular (a constant field, two that say the same). In a direction without any spread
the pseudo-inverse sees no distance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.detect.moments import running
from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes
from transforms.detect.tails import above_chi_squared

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FAR = 2.0
"""The robust variant leaves readings out of the history that lie further than this times sqrt(fields) from theirs."""

_SINGULAR = 1e-12
"""Of a correlation matrix's determinant: below it the pseudo-inverse is taken."""


def mahalanobis(readings: Readings, *, robust: bool = False) -> Scores:
    """Over all values of the readings, two or more readings beyond their number at least in the history.

    robust: the history is without the readings that were far from their own, so that a series with many outliers does
    not call them usual. Readings without one of the values are not scored, and no history.
    """
    values = np.array([readings.scaled(x) for x in readings.raw])
    whole = np.isfinite(values).all(axis=0)
    distance, count, singular = distances(readings, values, whole)
    if robust:
        near = whole & ~(distance > FAR * np.sqrt(len(values)))
        distance, count, singular = distances(readings, values, near, whole)
    fallback = codes(len(readings), singular)
    fallback[np.isnan(distance)] = 1
    fallback[~whole] = 2
    return Scores(
        "mahalanobis_robust" if robust else "mahalanobis",
        distance,
        above_chi_squared(distance * distance, len(values)),
        codes(len(readings), np.isfinite(distance)),
        ("unlike its history",),
        readings.raw[0],
        np.full(len(readings), np.nan),
        np.full(len(readings), np.nan),
        count,
        fallback,
        ("pseudo-inverse", "no history", "a value is missing"),
    )


def distances(
    readings: Readings, values: Floats, counted: Bools, asked: Bools | None = None
) -> tuple[Floats, Ints, Bools]:
    """Distance of each reading that is `asked`, how many `counted` ones it is compared with, and where S is singular."""
    asked = counted if asked is None else asked
    fields, rows = values.shape
    lengths = np.diff(np.append(readings.starts, rows))
    low, high = readings.oldest, readings.before
    moved = values - np.repeat(np.nan_to_num(values[:, readings.starts]), lengths, axis=1)
    moved[:, ~counted & ~asked] = 0.0
    held = np.where(counted, moved, 0.0)

    def total(x: Floats) -> Floats:
        before = running(x, readings.starts)
        return before[high] - before[low]

    count = total(counted.astype(np.float64)).astype(np.int64)
    many = np.maximum(count, 1)
    mean = np.array([total(x) for x in held]) / many
    covariance = np.empty((fields, fields, rows))
    for a in range(fields):
        for b in range(a, fields):
            both = (total(held[a] * held[b]) - many * mean[a] * mean[b]) / np.maximum(many - 1, 1)
            covariance[a, b] = covariance[b, a] = both
    found = np.full(rows, np.nan)
    usable = asked & (count >= fields + 2)
    singular = np.zeros(rows, bool)
    found[usable], singular[usable] = _distances(moved[:, usable] - mean[:, usable], covariance[:, :, usable])
    return found, count, singular


def _distances(away: Floats, covariance: Floats) -> tuple[Floats, Bools]:
    """Of fields x rows and fields x fields x rows."""
    fields = len(away)
    spread = np.sqrt(np.maximum(np.array([covariance[n, n] for n in range(fields)]), 0.0))
    flat = spread == 0
    unit = away / np.where(flat, 1.0, spread)
    correlation = covariance / np.where(flat, 1.0, spread)[:, None] / np.where(flat, 1.0, spread)[None, :]
    squared, determinant = _inverted(unit, correlation)
    singular = flat.any(axis=0) | ~(determinant > _SINGULAR)
    if singular.any():
        matrices = np.moveaxis(covariance[:, :, singular], 2, 0)
        inverse = np.linalg.pinv(matrices, rcond=1e-9, hermitian=True)
        squared[singular] = np.einsum("ar,rab,br->r", away[:, singular], inverse, away[:, singular])
    return np.sqrt(np.maximum(squared, 0.0)), singular


def _inverted(unit: Floats, correlation: Floats) -> tuple[Floats, Floats]:
    """Squared distances and determinants by Cholesky's factors, one row's arithmetic for all; nonsense of a singular one."""
    fields = len(unit)
    factor: dict[tuple[int, int], Floats] = {}
    squared, determinant = np.zeros(unit.shape[1]), np.ones(unit.shape[1])
    solved: list[Floats] = []
    with np.errstate(all="ignore"):
        for a in range(fields):
            for b in range(a):
                dot = sum((factor[a, k] * factor[b, k] for k in range(b)), start=np.zeros(unit.shape[1]))
                factor[a, b] = (correlation[a, b] - dot) / factor[b, b]
            pivot = correlation[a, a] - sum((factor[a, k] ** 2 for k in range(a)), start=np.zeros(unit.shape[1]))
            determinant = determinant * np.maximum(pivot, 0.0)
            factor[a, a] = np.sqrt(np.maximum(pivot, 0.0))
            rest = unit[a] - sum((factor[a, k] * solved[k] for k in range(a)), start=np.zeros(unit.shape[1]))
            solved.append(rest / factor[a, a])
            squared = squared + solved[a] ** 2
    return squared, determinant
