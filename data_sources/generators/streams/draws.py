"""Where chance comes from: numbers that depend on what they are for, never on what was drawn before.

Two kinds. `Chance` gives a generator keyed by (seed, spec, column, partition, batch): the first n numbers are the
same whatever n is. The `hashed_*` functions give a number for any 64-bit index at once, without a batch: for series,
which must go on smoothly across batches, and for what an entity keeps all its life.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from data_sources.generators.streams.distributions import norm_ppf

Ints = npt.NDArray[np.int64]
UInts = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Chance:
    """The numbers of one batch of one partition."""

    seed: int
    spec: str
    partition: int
    batch: int

    def uniform(self, purpose: str, n: int) -> Floats:
        """`n` numbers in [0, 1) for one purpose, such as a column's name."""
        key = [self.seed, _word(self.spec), _word(purpose), self.partition, self.batch]
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(key))).random(n)


def hashed_uniform(seed: int, purpose: str, *index: npt.NDArray[np.integer]) -> Floats:
    """One number in [0, 1) for each place of the index arrays, which are combined."""
    h = _mix(np.uint64((seed * 0x9E3779B97F4A7C15 + _word(purpose)) % (1 << 64)) + np.zeros(1, np.uint64))
    for part in index:
        h = _mix(h ^ part.astype(np.int64).view(np.uint64))
    return (h >> np.uint64(11)).astype(np.float64) * 2.0**-53


def hashed_normal(seed: int, purpose: str, *index: npt.NDArray[np.integer]) -> Floats:
    """One standard normal number for each place of the index arrays."""
    return norm_ppf(hashed_uniform(seed, purpose, *index) + 2.0**-54)


def entity(column: pl.Series) -> Ints:
    """A number for each value, equal for equal values, the same in every version of every library."""
    if column.dtype.is_integer():
        return column.fill_null(-1).to_numpy().astype(np.int64)
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).fill_null(-1).to_numpy().view(np.int64)
    text = column.cast(pl.String).fill_null("")
    names = text.unique()
    return text.replace_strict(names, [_word(name) for name in names], return_dtype=pl.Int64).to_numpy()


def permuted(seed: int, purpose: str, index: Ints, size: int) -> Ints:
    """Where `index` goes in a shuffle of 0 .. size-1: a Feistel network, walked until it falls inside.

    Beyond `size` the next block is shuffled likewise, so that values never repeat: size .. 2*size-1 and so on.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    shift = np.uint64(half)
    keys = [np.uint64((seed * 0x9E3779B97F4A7C15 + _word(f"{purpose}:{r}")) % (1 << 64)) for r in range(4)]

    def once(x: UInts) -> UInts:
        left, right = x >> shift, x & mask
        for key in keys:
            left, right = right, left ^ (_mix(right + key) & mask)
        return (left << shift) | right

    place = once((index % size).astype(np.uint64))
    while (outside := place >= size).any():
        place[outside] = once(place[outside])
    return place.astype(np.int64) + index // size * size


def _mix(x: UInts) -> UInts:
    """splitmix64's finish: every bit of the input moves every bit of the output."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _word(text: str) -> int:
    return zlib.crc32(text.encode())
