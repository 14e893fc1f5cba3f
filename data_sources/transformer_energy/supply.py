"""What transformers supplied: what the homes on them used, and what was lost on the way.

    used by the homes on it  ──► + iron, the same at all times  ──► x (1 + error of its meter)
                             ──► + copper, with the square of the load

Homes are those of `smart_meter_readings` with the same arguments, whose meters may say something else; which of them are on a
transformer the customers' master data says, but for meters that are planted on another one. A closed account uses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data_sources.smart_meter_readings.faults import Circuits, Faults
from data_sources.smart_meter_readings.order import DAY_MS, FIRST_DAY, Order, meter_sizes

MEAN_LOSS, LOSS_SPREAD, IRON_SHARE = 0.04, 0.003, 0.3
"""Of the supply at the usual load; each transformer has its own. The analysis takes the mean for all."""

METER_ERROR = 0.003

_A_DAY = 24

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Supplied(NamedTuple):
    """In order of time. transformer: row of `transformers()`; end_ms: of the period, milliseconds since the epoch."""

    transformer: Ints
    end_ms: Ints
    kwh: Floats


@dataclass(frozen=True)
class Supply:
    """By the hour; by the meters' own interval, where that is longer."""

    order: Order
    circuits: Circuits
    faults: Faults | None = None

    @property
    def periods(self) -> int:
        """In a day."""
        return min(self.order.per_day, _A_DAY)

    @cached_property
    def transformers(self) -> Ints:
        """Those on which a meter hangs that reads, by the master or in truth."""
        on = self.circuits.transformer[self.order.meters]
        planted = [one.supplied_by for one in self.faults.each] if self.faults else []
        return np.unique([*on[on >= 0].tolist(), *planted])

    def of_day(self, day: int) -> Supplied:
        """A reading of each of the transformers for each period that ends on the day, its last midnight included."""
        count, periods = len(self.circuits.substation), self.periods
        day_ms = int(FIRST_DAY.timestamp()) * 1000 + day * DAY_MS
        kwh = np.zeros(count * periods)
        for use in self.order.used(day):
            on, used = self.circuits.transformer[use.meter], use.kwh
            if self.faults is not None:
                wrong = self.faults.read(use.meter, use.interval, use.event_ms)
                on[wrong.rows], used[wrong.rows] = wrong.supplied_by, wrong.used
            # a reading is the energy up to its time, so one at 14:00 belongs to the hour before
            period = np.maximum((use.event_ms - 1 - day_ms) * periods // DAY_MS, 0)
            held = on >= 0
            kwh += np.bincount((period * count + on)[held], used.round(3)[held], count * periods)
        rng = np.random.default_rng([self.order.seed, 13, day])
        load = kwh.reshape(periods, count) / self._usual
        lost = self._loss * (IRON_SHARE + (1 - IRON_SHARE) * load**2)
        supplied = self._usual * (load + lost) * rng.normal(1, METER_ERROR, (periods, count))
        supplied = supplied[:, self.transformers].round(3)
        end_ms = day_ms + np.arange(1, periods + 1) * DAY_MS // periods
        return Supplied(
            np.tile(self.transformers, periods), np.repeat(end_ms, len(self.transformers)), supplied.ravel()
        )

    @cached_property
    def _usual(self) -> Floats:
        """kWh that the homes that ever hang on each transformer use in a period: what it was built for; 1 of none."""
        sizes = meter_sizes(self.order.seed) * self.order.per_day / self.periods
        held = self.order.meters[self.circuits.transformer[self.order.meters] >= 0]
        usual = np.bincount(self.circuits.transformer[held], sizes[held], len(self.circuits.substation))
        for one in self.faults.each if self.faults else ():
            usual[one.supplied_by] += sizes[one.meter] * (self.circuits.transformer[one.meter] != one.supplied_by)
        return np.where(usual > 0, usual, 1.0)

    @cached_property
    def _loss(self) -> Floats:
        """Of the usual load."""
        rng = np.random.default_rng([self.order.seed, 12])
        share = np.clip(rng.normal(MEAN_LOSS, LOSS_SPREAD, len(self.circuits.substation)), 0.03, 0.05)
        return share / (1 - share)
