"""A few meters that do not tell what their transformer supplied, from some hour on: something for an energy balance to find.

    |------- a third or more: nothing wrong -------|since|------- a third or more: one of four things -------|

    theft              the meter reads 5 to 50 % of what is used
    mis-mapped meter   it reads what is used, but hangs on another transformer of the substation than the master has it on;
                       one in three does so from the first hour on
    clock skew         its clock is 1 to 6 hours ahead or behind: it reads what was used then; one set ahead skips the hours
    stuck meter        it reads what it read last

At most one in a substation, and none in one of four. A faulty meter's use is drawn for it alone, so that what is read at one
time may be what was used at another.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data_sources.customers.generate import master
from data_sources.generators.registry import meters, transformers
from data_sources.smart_meter_readings.order import DAY_MS, FIRST_DAY, METERS, Order, meter_sizes, noise, used_kwh

KINDS = ("theft", "mis-mapped meter", "clock skew", "stuck meter")
THEFT, MIS_MAPPED, SKEW, STUCK = range(4)

LEAST_DAYS = 9
MOST_SHARE = 0.75
"""Of substations with a fault."""

STOLEN = (0.5, 0.95)
ALWAYS_SHARE = 1 / 3
FURTHEST_HOURS = 6

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Circuits:
    """Who hangs where by the master data. transformer: of each of `meters()`, -1 of a closed account; substation: of each
    transformer. Both are row numbers; of `transformers()` in the grid of the generated master data."""

    transformer: Ints
    substation: Ints

    @classmethod
    def of_master(cls, seed: int) -> Circuits:
        known = transformers().with_row_index("at")
        held = master(seed).filter(pl.col("account_status") != "CLOSED").join(known, on="transformer_id")
        at = meters().join(held.select("meter_id", "at"), on="meter_id", how="left", maintain_order="left")["at"]
        site = known["substation_id"].cast(pl.Categorical).to_physical()
        return cls(at.cast(pl.Int64).fill_null(-1).to_numpy(), site.cast(pl.Int64).to_numpy())


class Fault(NamedTuple):
    """kind: place in KINDS; meter: row of `meters()`; since: the first interval that is wrong; stolen: the share of use that
    is not read; ahead: by how many intervals the clock is; supplied_by: the transformer it hangs on from then."""

    kind: int
    meter: int
    since: int
    stolen: float
    ahead: int
    supplied_by: int


class Read(NamedTuple):
    """Of the readings of faulty meters. rows: which of those given; used, kwh: what was used, and what is read; silent:
    whether nothing is; supplied_by: the transformer that supplied it."""

    rows: Ints
    used: Floats
    kwh: Floats
    silent: Bools
    supplied_by: Ints


@dataclass(frozen=True)
class Faults:
    """The faults of some meters, over all days of `order`."""

    order: Order
    days: int
    circuits: Circuits
    each: tuple[Fault, ...]

    @classmethod
    def of(cls, count: int, order: Order, days: int, circuits: Circuits | None = None) -> Faults:
        """`count` of them by the order's seed, the kinds in turn; raises ValueError for what cannot be."""
        if order.per_day % 24:
            raise ValueError(
                f"faults is {count}: clocks are wrong by hours; give an interval that divides an hour, such as 1h or 15m"
            )
        if days < LEAST_DAYS:
            raise ValueError(f"days is {days}: faults need at least {LEAST_DAYS}, three of them before the first one")
        circuits = circuits or Circuits.of_master(order.seed)
        held = np.sort(order.meters[circuits.transformer[order.meters] >= 0])
        site = circuits.substation[circuits.transformer[held]]
        sites = np.unique(site)
        most = int(len(sites) * MOST_SHARE)
        if not 1 <= count <= most:
            room = f"give 1 to {most:,}" if most else "give more meters"
            raise ValueError(f"faults is {count}: {room}; one in four of {len(sites):,} substations has none")
        rng = np.random.default_rng([order.seed, 10, days])
        chosen, kinds = rng.permutation(sites)[:count], rng.permutation(np.arange(count) % len(KINDS))
        an_hour = order.per_day // 24
        each = []
        for kind, place in zip(kinds.tolist(), chosen.tolist(), strict=True):
            meter = int(rng.choice(held[site == place]))
            on = circuits.transformer[meter]
            others = np.flatnonzero((circuits.substation == place) & (np.arange(len(circuits.substation)) != on))
            always = kind == MIS_MAPPED and rng.random() < ALWAYS_SHARE
            each.append(
                Fault(
                    kind,
                    meter,
                    0 if always else int(rng.integers(days * 8, days * 16)) * an_hour,
                    rng.uniform(*STOLEN),
                    int(rng.integers(1, FURTHEST_HOURS + 1) * rng.choice([-1, 1])) * an_hour,
                    int(rng.choice(others) if kind == MIS_MAPPED else on),
                )
            )
        return cls(order, days, circuits, tuple(each))

    def read(self, meter: Ints, interval: Ints, event_ms: Ints) -> Read:
        """What became of those of the readings (as `Order.when` names them) that are a faulty meter's.

        clock 2 ahead   used  a b c d e f g h          since ^ is d
                        read  a b c . . d e f
        """
        number = np.full(METERS, -1)
        number[[fault.meter for fault in self.each]] = np.arange(len(self.each))
        rows = np.flatnonzero(number[meter] >= 0)
        at, end_ms, fault = interval[rows], event_ms[rows], number[meter[rows]]
        kind, _, since, stolen, ahead, supplied_by = (
            np.array(column)[fault] for column in zip(*self.each, strict=True)
        )
        begun = at >= since
        told = np.select([begun & (kind == SKEW), begun & (kind == STUCK)], [at - ahead, since - 1], at)
        unread = np.where(begun & (kind == THEFT), stolen, 0.0)
        on = self.circuits.transformer[meter[rows]]
        return Read(
            rows,
            self._used(fault, at, end_ms),
            self._used(fault, told, end_ms + (told - at) * DAY_MS // self.order.per_day) * (1 - unread),
            begun & (kind == SKEW) & (at < since + ahead),
            np.where(begun, supplied_by, on),
        )

    def labels(self) -> list[dict[str, Any]]:
        """One per fault, for planted.json: kind, meter_id, transformer_id (by the master), supplied_by, since (what is read
        up to then is right), stolen_share, clock_ahead_hours."""
        meter_ids, ids = meters()["meter_id"], transformers()["transformer_id"]
        return [
            {
                "kind": KINDS[one.kind],
                "meter_id": meter_ids[one.meter],
                "transformer_id": ids[int(self.circuits.transformer[one.meter])],
                "supplied_by": ids[one.supplied_by],
                "since": f"{FIRST_DAY + timedelta(days=1) * one.since / self.order.per_day:%Y-%m-%dT%H:%M:%SZ}",
                "stolen_share": round(one.stolen, 3) if one.kind == THEFT else None,
                "clock_ahead_hours": one.ahead * 24 // self.order.per_day if one.kind == SKEW else None,
            }
            for one in self.each
        ]

    @cached_property
    def _noise(self) -> Floats:
        """By fault and interval, from FURTHEST_HOURS before the first day to as many after the last."""
        count = (self.days * 24 + 2 * FURTHEST_HOURS) * self.order.per_day // 24
        return np.array([noise(np.random.default_rng([self.order.seed, 11, one.meter]), count) for one in self.each])

    def _used(self, fault: Ints, interval: Ints, end_ms: Ints) -> Floats:
        size = meter_sizes(self.order.seed)[[one.meter for one in self.each]]
        drawn = self._noise[fault, interval + FURTHEST_HOURS * self.order.per_day // 24]
        return used_kwh(size[fault], end_ms, drawn)
