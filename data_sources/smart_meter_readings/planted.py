"""A few anomalies in the last days of readings that are ordinary otherwise: something to find, with its history.

    |------- three weeks or more, nothing planted -------|--- the last two days: thefts and spikes ---|

A meter's hour of the week comes once in the two days, so no planted reading is part of another's history.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NOTHING, THEFT, SPIKE = 0, 1, 2
LAST_DAYS = 2
HISTORY_DAYS = 21
"""So that every hour of the week has three readings before the planted ones."""

MOST_SHARE = 0.05

_KWH = {THEFT: (0.001, 0.05), SPIKE: (50, 119.9)}
"""119.9 to 120 is left to messy corrections, which need a value nothing else in the window exceeds."""


def kwh_of(kind: int, rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    """What `n` anomalies of a kind read."""
    return rng.uniform(*_KWH[kind], n)


@dataclass(frozen=True)
class Plan:
    """Which readings are anomalies. `places` count the readings of the last days, by interval, then in order of time."""

    places: npt.NDArray[np.int64]
    of_kind: npt.NDArray[np.uint8]
    first_day: int
    per_day: int
    meters: int

    @classmethod
    def of(cls, count: int, seed: int, days: int, per_day: int, meters: int) -> Plan:
        """`count` places drawn by the seed, thefts and spikes in turn; raises ValueError for what cannot be."""
        if days < HISTORY_DAYS + LAST_DAYS:
            raise ValueError(
                f"days is {days}: anomalies need at least {HISTORY_DAYS + LAST_DAYS}, three weeks of history before "
                f"the last {LAST_DAYS} days"
            )
        readings = LAST_DAYS * per_day * meters
        most = int(readings * MOST_SHARE)
        if not 1 <= count <= most:
            room = f"give 1 to {most:,}" if most else "give more meters or a shorter interval"
            raise ValueError(
                f"anomalies is {count}: {room}; the last {LAST_DAYS} days hold {readings:,} readings, and most stay "
                "ordinary"
            )
        rng = np.random.default_rng([seed, 6, days])
        places = rng.choice(readings, count, replace=False)
        of_kind = np.where(np.arange(count) % 2 == 0, THEFT, SPIKE).astype(np.uint8)
        return cls(places, of_kind, days - LAST_DAYS, per_day, meters)

    def kinds(self, day: int, first: int, last: int) -> npt.NDArray[np.uint8]:
        """The kind of each reading of the intervals [first, last) of a day."""
        kinds = np.full((last - first) * self.meters, NOTHING, np.uint8)
        start = ((day - self.first_day) * self.per_day + first) * self.meters
        inside = (self.places >= start) & (self.places < start + len(kinds))
        kinds[self.places[inside] - start] = self.of_kind[inside]
        return kinds
