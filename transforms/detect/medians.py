"""Medians of the latest rows up to each, by networks of comparisons: one minimum and maximum of whole arrays at a time.

rows             x x x x x x x x x x x x x x x
sorted alike     |------ 8 ------|-- 4 --|-2-|1|      each for all rows at once, from shorter ones side by side
"""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Sorted = list[Floats]
"""As many arrays as a stretch has rows; for each row its stretch's values, smallest first."""


def medians_of_15(x: Floats) -> Floats:
    """Of each row and the 14 before it; NaN of fewer. No NaN in `x`."""
    found = np.full(len(x), np.nan)
    rows = len(x) - 14
    if rows <= 0:
        return found
    two = merged([x[:-1]], [x[1:]])
    four = merged([one[:-2] for one in two], [one[2:] for one in two])
    eight = merged([one[:-4] for one in four], [one[4:] for one in four])
    three = merged([one[12 : 12 + rows] for one in two], [x[14:]])
    seven = merged([one[8 : 8 + rows] for one in four], three)
    found[14:] = smallest(8, [one[:rows] for one in eight], seven)
    return found


def medians_of_96(x: Floats, least: int) -> Floats:
    """Of each row and the 95 before it; NaN is no value, and the median of fewer than `least` values or rows."""
    found = np.full(len(x), np.nan)
    if len(x) < 96:
        return found
    missing = np.isnan(x)
    if not missing.any():
        low, high = _middles(x)
        found[95:] = (low + high) / 2
        return found
    holes = np.cumsum(missing)
    before = np.append(0, holes[:-95])[: len(x) - 95]
    within = holes[95:] - before
    # endless values, below and above in turn, leave the middle where it is, or beside it
    low, high = _middles(np.where(missing, np.where(holes % 2 == 1, -np.inf, np.inf), x))
    odd = within % 2 == 1
    np.copyto(low, high, where=odd & (before % 2 == 0))
    np.copyto(high, low, where=odd)
    with np.errstate(invalid="ignore"):
        found[95:] = (low + high) / 2
    found[95:][within > 96 - least] = np.nan
    return found


def _middles(x: Floats) -> tuple[Floats, Floats]:
    """The 48th and the 49th of each 96 rows, by the row they begin at."""
    windows = len(x) - 95
    groups = -(-windows // 32)
    rows = np.full((1, (groups + 3) * 32), np.inf)
    rows[0, : len(x)] = x
    blocks = {1: rows}
    for size in (1, 2, 4, 8, 16):
        blocks[2 * size] = _sorted(blocks[size][:, 0::2], blocks[size][:, 1::2])
    middle = _sorted(blocks[32][:, 1 : groups + 1], blocks[32][:, 2 : groups + 2], 8)
    begins = np.arange(groups) * 32
    for size, drop in ((16, 20), (8, 10), (4, 5), (2, 2), (1, 1)):
        # windows that begin in the first half of these rows hold the second too; those of the second, as many on the right
        added = blocks[size].take(np.append(begins + size, begins + 96) // size, axis=1)
        begins = np.append(begins, begins + size)
        both = np.concatenate([middle, middle], axis=1)
        middle = _sorted(both, added, drop) if size > 1 else _inserted(both, added)
    found = np.empty((2, len(begins)))
    found[:, begins] = _inserted(middle, rows.take(begins, axis=1))
    return found[0, :windows], found[1, :windows]


def _sorted(a: Floats, b: Floats, drop: int = 0) -> Floats:
    """Columns of `a` and of `b`, both sorted, merged, without `drop` rows at either end; their rows together are a power
    of two. Batcher's bitonic merge."""
    rows = np.concatenate([a, b[::-1]])
    half = len(rows) // 2
    while half:
        pairs = rows.reshape(-1, 2, half, rows.shape[1])
        rows = np.empty_like(rows)
        found = rows.reshape(pairs.shape)
        np.minimum(pairs[:, 0], pairs[:, 1], out=found[:, 0])
        np.maximum(pairs[:, 0], pairs[:, 1], out=found[:, 1])
        if drop >= half:  # rows stay in their half from now on
            rows = rows[half : len(rows) - half]
            drop -= half
        half //= 2
    return rows[drop : len(rows) - drop]


def _inserted(rows: Floats, x: Floats) -> Floats:
    """Sorted rows and one more, without the least and the greatest."""
    return np.minimum(rows[1:], np.maximum(rows[:-1], x))


def merged(a: Sorted, b: Sorted) -> Sorted:
    """Of two sorted stretches; Batcher's odd-even merge."""
    if not a or not b:
        return a or b
    if len(a) == len(b) == 1:
        return [np.minimum(a[0], b[0]), np.maximum(a[0], b[0])]
    even, odd = merged(a[::2], b[::2]), merged(a[1::2], b[1::2])
    found = [even[0]]
    for one, other in zip_longest(odd, even[1:]):
        if one is None or other is None:
            found.append(other if one is None else one)
        else:
            found += [np.minimum(one, other), np.maximum(one, other)]
    return found


def smallest(place: int, a: Sorted, b: Sorted) -> Floats:
    """The value that stands at `place`, from 1, of two sorted stretches: the least of those that are not too small."""
    found: Floats | None = None
    for of_a in range(max(0, place - len(b)), min(place, len(a)) + 1):
        of_b = place - of_a
        if not of_a or not of_b:
            largest = a[of_a - 1] if of_a else b[of_b - 1]
        else:
            largest = np.maximum(a[of_a - 1], b[of_b - 1])
        found = largest if found is None else np.minimum(found, largest)
    assert found is not None
    return found
