"""The counts a reader must come to, from the generator's own labels and a running maximum of event time.

They hold for the source's contract, read as one log by a clock after the last record.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from data_sources.durations import micros
from data_sources.generators.streams.draws import Ints

_NEVER = np.iinfo(np.int64).min // 2


class Tally:
    """Counts records as they are added. Keeps a number for each on-time copy of a row that was sent again."""

    def __init__(self, lateness: timedelta) -> None:
        self._lateness = micros(lateness)
        self._greatest: int = _NEVER
        self._read = self._rejected = self._late = self._alone = 0
        self._copied: list[Ints] = []

    def add(self, records: pl.DataFrame) -> None:
        """Count records that follow in the log on all that were added before."""
        event_us, broken = records["_event_us"].to_numpy(), records["_broken"].to_numpy()
        reached = np.maximum.accumulate(np.concatenate([[self._greatest], np.where(broken, _NEVER, event_us)]))
        late = ~broken & (event_us < reached[:-1] - self._lateness)
        self._greatest = int(reached[-1])
        on_time, again = ~broken & ~late, records["_sent_again"].to_numpy()
        self._read += records.height
        self._rejected += int(broken.sum())
        self._late += int(late.sum())
        self._alone += int((on_time & ~again).sum())
        if (on_time & again).any():
            self._copied.append(records["_row"].to_numpy()[on_time & again])

    def counts(self) -> dict[str, int]:
        """The six counts over everything added; copies are equal, so there are no conflicts."""
        landed = self._alone + len(np.unique(np.concatenate([np.empty(0, np.int64), *self._copied])))
        return {
            "read": self._read,
            "rejected": self._rejected,
            "late": self._late,
            "landed - superseded": landed,
            "duplicates + superseded": self._read - self._rejected - self._late - landed,
            "conflicts": 0,
        }
