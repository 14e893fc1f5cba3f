"""Mahalanobis distance: how far several values lie from their history together, in the units of its covariance.

Source of the formula: sqrt((x - mean)' S+ (x - mean)), S the sample's covariance of the last 30 days and S+ its inverse,
or the pseudo-inverse where S is singular (a constant field, two that say the same). In a direction without any spread
the pseudo-inverse sees no distance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.detect.moments import Count, squared
from transforms.detect.readings import Readings
from transforms.detect.scores import Scores, codes, none
from transforms.detect.tails import above_chi_squared

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Covariance = dict[tuple[int, int], Floats]

FAR = 2.0
"""The robust variant leaves readings out of the history that lie further than this times sqrt(fields) from theirs."""

_SINGULAR = 1e-12
"""Of a correlation matrix's determinant: below it the pseudo-inverse is taken."""


def mahalanobis(readings: Readings, *, robust: bool = False) -> Scores:
    """Over all values of the readings, two or more readings beyond their number at least in the history.

    robust: the history is without the readings that were far from their own, so that a series with many outliers does
    not call them usual. Readings without one of the values are not scored, and no history.
    """
    values = [readings.value, *(readings.scaled(x) for x in readings.raw[1:])]
    whole = np.logical_and.reduce([np.isfinite(x) for x in values])
    square, count, singular = distances(readings, values, whole, whole)
    if robust:
        near = whole & ~(square > FAR * FAR * len(values))
        square, count, singular = distances(readings, values, near, whole)
    distance = np.sqrt(square)
    scored = np.isfinite(distance)
    fallback = codes(len(readings), singular)
    fallback[~scored] = 1
    fallback[~whole] = 2
    return Scores(
        "mahalanobis_robust" if robust else "mahalanobis",
        distance,
        above_chi_squared(square, len(values)),
        codes(len(readings), scored),
        ("unlike its history",),
        readings.raw[0],
        readings.nothing,
        readings.nothing,
        count,
        fallback,
        ("pseudo-inverse", "no history", "a value is missing"),
    )


def distances(readings: Readings, values: list[Floats], counted: Bools, asked: Bools) -> tuple[Floats, Ints, Bools]:
    """Squared distance of each reading that is `asked`, how many `counted` ones it is compared with, and where S is
    singular."""
    fields, series, past = len(values), readings.series, readings.past
    moved = [readings.moved, *(x - series.firsts(np.nan_to_num(x[series.starts])) for x in values[1:])]
    if asked.all() and counted.all():
        held, count = moved, past.count
    else:
        moved = [np.where(counted | asked, x, 0.0) for x in moved]
        held, count = [np.where(counted, x, 0.0) for x in moved], Count(past.total(series.running(counted)))
    pairs = [(a, b) for a in range(fields) for b in range(a, fields)]
    first = past.total(readings.squared if held[0] is readings.moved else squared(held[0], series))
    totals = [first.real, *_totals(readings, [*held[1:], *(held[a] * held[b] for a, b in pairs[1:])])]
    totals.insert(fields, first.imag)
    mean = [total * count.share for total in totals[:fields]]
    freedom = 1.0 / np.maximum(count.number - 1, 1)
    covariance = {
        (a, b): (total - totals[a] * mean[b]) * freedom for (a, b), total in zip(pairs, totals[fields:], strict=True)
    }
    away = [x - usual for x, usual in zip(moved, mean, strict=True)]
    square, singular = _distances(away, covariance)
    usable = asked & (count.number >= fields + 2)
    singular &= usable
    rows = np.flatnonzero(singular)
    if len(rows):
        square[rows] = _pseudo([x[rows] for x in away], {place: x[rows] for place, x in covariance.items()})
    return none(square, ~usable), count.number, singular


def _totals(readings: Readings, arrays: list[Floats]) -> list[Floats]:
    """Of each its sum over the history, two at a time."""
    found: list[Floats] = []
    for n in range(0, len(arrays), 2):
        both = readings.past.total(readings.series.running_pair(arrays[n], arrays[min(n + 1, len(arrays) - 1)]))
        found += [both.real, both.imag]
    return found[: len(arrays)]


def _distances(away: list[Floats], covariance: Covariance) -> tuple[Floats, Bools]:
    """Squared distances by Cholesky's factors (L D L'), one row's arithmetic for all, and where S is singular: they are
    nonsense there. covariance: by fields a <= b."""
    dots: Covariance = {}
    factor: Covariance = {}
    solved: list[Floats] = []
    with np.errstate(all="ignore"):
        for b, rest in enumerate(away):
            pivot = covariance[b, b]
            for a in range(b):
                dot = covariance[a, b]
                for k in range(a):
                    dot = dot - factor[k, a] * dots[k, b]
                dots[a, b], factor[a, b] = dot, dot * factor[a, a]
                pivot = pivot - factor[a, b] * dot
                rest = rest - factor[a, b] * solved[a]
            solved.append(rest)
            factor[b, b] = 1.0 / pivot
            if b == 0:
                square, determinant = rest * rest * factor[b, b], (pivot > 0).astype(np.float64)
                continue
            determinant *= np.maximum(pivot, 0.0) / covariance[b, b]
            square += rest * rest * factor[b, b]
    return square, ~(determinant > _SINGULAR)


def _pseudo(away: list[Floats], covariance: Covariance) -> Floats:
    """Squared distances by the pseudo-inverse."""
    matrices = np.array(
        [[covariance[min(a, b), max(a, b)] for b in range(len(away))] for a in range(len(away))]
    ).transpose(2, 0, 1)
    inverse = np.linalg.pinv(matrices, rcond=1e-9, hermitian=True)
    return np.maximum(np.einsum("ar,rab,br->r", np.array(away), inverse, np.array(away)), 0.0)
