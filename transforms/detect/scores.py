"""What every detector returns, and its face as an Arrow table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.detect.readings import Readings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]

VERSION = "1"
"""Of the formulas: another one may give other scores."""

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("detector", pa.dictionary(pa.int8(), pa.string())),
        ("score", pa.float64()),
        ("probability", pa.float64()),
        ("reason", pa.dictionary(pa.int8(), pa.string())),
        ("value", pa.float64()),
        ("expected", pa.float64()),
        ("spread", pa.float64()),
        ("history", pa.int64()),
        ("fallback", pa.dictionary(pa.int8(), pa.string())),
        ("model_version", pa.dictionary(pa.int8(), pa.string())),
    ]
)
"""row: the place in the table that was given; score: the detector's own, NULL where there is none; probability: how
often an ordinary reading scores as far out, NULL where the detector cannot say; reason: what is unusual, should it be;
value, expected, spread: what was seen, what was usual, and how far values usually lie from that, in the feed's unit (a
spread compared logarithmically: of the logarithm; of times: seconds); history: how many values stand behind it;
fallback: the lesser history that was taken instead, or why there is no score; model_version: of formula and settings."""


@dataclass(frozen=True)
class Scores:
    """One per reading, in their order. score, probability, expected, spread: NaN is none; reason, fallback: places in
    reasons and fallbacks, -1 is none."""

    detector: str
    score: Floats
    probability: Floats
    reason: Codes
    reasons: tuple[str, ...]
    value: Floats
    expected: Floats
    spread: Floats
    history: Ints
    fallback: Codes
    fallbacks: tuple[str, ...] = ()
    version: str = VERSION

    @property
    def model_version(self) -> str:
        return f"{self.detector}/{self.version}"

    def table(self, readings: Readings) -> pa.Table:
        """Rows as `SCHEMA` says."""
        rows = len(self.score)
        return pa.table(
            [
                readings.places,
                _same(self.detector, rows),
                _floats(self.score),
                _floats(self.probability),
                _words(self.reason, self.reasons),
                _floats(self.value),
                _floats(self.expected),
                _floats(self.spread),
                self.history,
                _words(self.fallback, self.fallbacks),
                _same(self.model_version, rows),
            ],
            schema=SCHEMA,
        )


def signed(deviation: Floats) -> Codes:
    """0 where above what is expected, 1 where below: the first two reasons of most detectors; -1 of NaN and 0."""
    below = deviation < 0
    same = ~(below | (deviation > 0))
    return below.view(np.int8) - same.view(np.int8)


def ratio(x: Floats, y: Floats, where: npt.NDArray[np.bool_]) -> Floats:
    """x / y, and NaN elsewhere."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = x / y
    return none(found, ~where)


def none(x: Floats, where: npt.NDArray[np.bool_]) -> Floats:
    """x itself, with NaN put in."""
    x[where] = np.nan
    return x


def codes(rows: int, where: npt.NDArray[np.bool_] | None = None) -> Codes:
    """-1, and 0 where `where` holds."""
    found = np.full(rows, -1, np.int8)
    if where is not None:
        found[where] = 0
    return found


def _floats(x: Floats) -> pa.Array:
    return pa.array(x, from_pandas=True)  # NaN is NULL


def _words(x: Codes, words: tuple[str, ...]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(x, mask=x < 0), pa.array(words, pa.string()))


def _same(word: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([word]))
