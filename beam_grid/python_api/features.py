"""Features of a lake: as they were at given times, for training, and the newest of each series, for serving."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_grid.errors import GridError
from beam_grid.lakehouse.online import Declared, Held, declared, load
from beam_grid.python_api.rows import Answer
from data_sources.durations import parse_duration

if TYPE_CHECKING:
    from beam_grid.lakehouse.table_set import TableSet
    from beam_grid.landing import Lake


class Features:
    """A table of features as one version set has it: it stays that, whatever is published meanwhile.

    >>> pumps = lake.features("gold.pump_features")
    >>> pumps
    <features gold.pump_features, version 1: kwh_mean, kwh_change; version set 2>
    """

    def __init__(self, lake: Lake, at: TableSet, name: str) -> None:
        self._lake, self._at = lake, at
        self._declared: Declared = declared(lake, name, at)

    @property
    def name(self) -> str:
        """Of the table, as `gold.NAME`."""
        return self._declared.table

    @property
    def version(self) -> str:
        """Of the declaration; each row has the one it was made by, in `feature_version`."""
        return self._declared.spec.version

    @property
    def columns(self) -> list[str]:
        """Names of the features.

        >>> lake.features("pump_features").columns
        ['kwh_mean', 'kwh_change']
        """
        return list(self._declared.spec.columns)

    @property
    def set(self) -> int:
        """Number of the version set."""
        return self._at.number

    def as_of(self, entities: Any, time: str | None = None, max_age: timedelta | str | None = None) -> Answer:
        """A training set: the rows of `entities` in their order, beside each the features of its series as they were at its
        time, from the newest reading then or before. What came later is in none of them.

        entities: Arrow, polars, pandas or a list of dicts, with a column called as the series and one with times (without
        a zone they are UTC); others, as labels, stay beside. time: that column's name, the event time's unless given.
        max_age: features of a reading longer ago are null, as `2h`. Raises GridError for a column that is missing or of
        another kind, or called as a feature is.

        >>> from datetime import datetime, UTC
        >>> asked = [{"pump": "P-1", "read_at": datetime(2025, 5, 1, 0, 30, tzinfo=UTC), "broke": True}]
        >>> lake.features("pump_features").as_of(asked).arrow().select(["broke", "kwh_mean", "kwh_change"]).to_pylist()
        [{'broke': True, 'kwh_mean': 1.25, 'kwh_change': None}]
        """
        from beam_grid.lakehouse import training

        try:
            oldest = parse_duration(max_age) if isinstance(max_age, str) else max_age
        except ValueError as cause:
            raise GridError(f"as_of: max_age: {cause}") from cause
        asked = training.entities(entities)
        with tempfile.TemporaryDirectory() as scratch:
            found = training.training_set(
                self._lake, self._at, self._declared, asked, time or self._declared.time, oldest, Path(scratch)
            )
        return Answer(found, "training set")

    def latest(self, keys: Sequence[Any] | str) -> Answer:
        """The newest row of each of these series, in the order asked; nulls but for the key where there is none. The first
        asking reads all of them, those after take microseconds. Raises GridError for a key of another type.

        >>> lake.features("pump_features").latest(["P-1"]).arrow().select(["pump", "kwh_mean", "kwh_change"]).to_pylist()
        [{'pump': 'P-1', 'kwh_mean': 1.5, 'kwh_change': 0.5}]
        """
        return Answer(self._held.find([keys] if isinstance(keys, str) else keys), "latest features")

    @cached_property
    def _held(self) -> Held:
        with tempfile.TemporaryDirectory() as scratch:
            return load(self._lake, self._at, self._declared, Path(scratch))

    def __repr__(self) -> str:
        return f"<features {self.name}, version {self.version}: {', '.join(self.columns)}; version set {self.set}>"
