"""The features of some whole series but for their expressions: each over its frames, of the rows that are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_sources.contract.features import Feature
from transforms.arrow import floats
from transforms.detect.readings import run_starts
from transforms.features.aggregates import aggregate, counts, newest
from transforms.features.expressions import asked
from transforms.features.frames import Frames

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_DAY = 86_400 * 1_000_000


@dataclass
class Group:
    """rows: sorted by series and time; at: those that features are wanted of. is_carried: of which of these the history is
    not in the rows, but in `carried`, by feature (of days_since when its condition was last true, in microseconds)."""

    rows: pa.Table
    frames: Frames
    at: Ints
    is_carried: Bools
    carried: dict[str, Floats]
    _recent: Ints | None = None
    _columns: dict[str, tuple[Floats, Bools]] = field(default_factory=dict)
    _conditions: dict[str, Bools] = field(default_factory=dict)

    def features(self, wanted: Sequence[Feature]) -> dict[str, pa.Array]:
        """By name; a number that there is none of is null. A condition that fails to compute for a row is not true of it."""
        texts = list(dict.fromkeys(f.argument for f in wanted if f.is_condition and self._is_read(f)))
        if texts:
            told = ", ".join(f"coalesce(TRY(({text}\n)), false) AS c{n}" for n, text in enumerate(texts))
            found = asked(self.rows, f"SELECT {told} FROM rows")
            self._conditions = {text: found[f"c{n}"].to_numpy() for n, text in enumerate(texts)}
        made = {}
        for feature in wanted:
            values = self._one(feature) if len(self.at) else np.empty(0)
            kind = np.int64 if feature.type == pa.int64() else np.float64
            made[feature.name] = pa.array(values.astype(kind), feature.type, from_pandas=True)
        return made

    def _is_read(self, feature: Feature) -> bool:
        """Whether it needs the rows."""
        return not feature.is_of_history or not self.is_carried.all()

    def _one(self, feature: Feature) -> Floats | Ints:
        if feature.function == "change":
            return self._change(feature.argument, feature.rows or 0)
        if feature.function == "days_since":
            return self._days_since(feature)
        if feature.rows is not None:
            return self._over(feature, self._last_rows(feature.rows), self.at + 1)
        if feature.span is not None:
            return self._over(feature, self.frames.since(feature.span, self.at), self.frames.behind[self.at])
        rest = np.flatnonzero(~self.is_carried)
        if len(rest) == len(self.at):
            return self._of_days(feature, self.at)
        found = self.carried[feature.name].copy()
        if len(rest):
            found[rest] = self._of_days(feature, self.at[rest])
        return found

    def _of_days(self, feature: Feature, at: Ints) -> Floats | Ints:
        """Of the history, once for each series and day."""
        days, place = np.unique(self.frames.today[at], return_inverse=True)
        return self._over(feature, self.frames.oldest[days], days)[place]

    def _over(self, feature: Feature, low: Ints, high: Ints) -> Floats | Ints:
        x, counted = self._counted(feature)
        if feature.function in ("count", "count_if"):
            return counts(counted, low, high)
        return aggregate(str(feature.function), x, counted, low, high, feature.rank)

    def _change(self, name: str, rows: int) -> Floats:
        x, is_number = self._numbers(name)
        before = self.at - rows
        is_there = before >= self._last_rows(rows + 1)
        before = np.maximum(before, 0)
        return np.where(is_there & is_number[before] & is_number[self.at], x[self.at] - x[before], np.nan)

    def _days_since(self, feature: Feature) -> Floats:
        """From when it was last true, within the history and today."""
        row = newest(self._conditions[feature.argument], self.frames.behind[self.at])
        if self.is_carried.all():  # then what is before the rows that are wanted is carried
            oldest = self.at[run_starts(self.frames.code[self.at], np.zeros(len(self.at), np.int64))]
        else:
            oldest = self.frames.oldest[self.at]
        last = np.where(row >= oldest, self.frames.time[row], np.nan)
        if feature.name in self.carried:
            last = np.where(self.is_carried & (row < oldest), self.carried[feature.name], last)
        return (self.frames.time[self.at] - last) / _DAY

    def _last_rows(self, rows: int) -> Ints:
        """The first of so many rows up to each, within `recent`."""
        if self._recent is None:
            self._recent = self.frames.since(self.frames.recent, self.at)
        return np.maximum(self.at - (rows - 1), self._recent)

    def _counted(self, feature: Feature) -> tuple[Floats, Bools]:
        """Its column's numbers, and which rows count."""
        if feature.is_condition:
            x, counted = np.empty(0), self._conditions[feature.argument]
        elif feature.function == "count":
            x, counted = np.empty(0), self._is_valid(feature.argument)
        else:
            x, counted = self._numbers(feature.argument)
        return x, counted if feature.clock is None else counted & self.frames.within(feature.clock)

    def _numbers(self, name: str) -> tuple[Floats, Bools]:
        """A column as floats, and which of them are numbers."""
        if name not in self._columns:
            x = floats(self.rows[name])
            self._columns[name] = x, np.isfinite(x)
        return self._columns[name]

    def _is_valid(self, name: str) -> Bools:
        return self.rows[name].is_valid().to_numpy() if name else np.ones(len(self.frames), bool)
