"""A stream: a spec with a seed and a length, in numbered batches, any of which can be made on its own.

    rows      0 ..... 9,999 | 10,000 .. 19,999 | 20,000 ...        batch_rows = 10,000
    number         0                1                2             = batch * partitions + partition
    time      begin + row * interval; by days, a day's rows begin again at the next day's begin

Guarantees: batch N depends on spec, seed and N alone, whatever was made before, in which order, or at what rate; with
a smaller `total` a stream is a prefix. With `messy` a batch holds what *arrives* in its stretch of time, so stragglers
of earlier batches too (made anew when they are not at hand), in order of arrival; the last has all that is left.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import polars as pl

from data_sources.durations import micros
from data_sources.generators.streams.chaos import disturbed, longest_delay
from data_sources.generators.streams.columns import Maker
from data_sources.generators.streams.draws import Chance, Ints
from data_sources.generators.streams.pace import pace_of, paced
from data_sources.generators.streams.spec import StreamSpec

_DAY_US = 86_400_000_000
_MOST_BEHIND = 4096
LABELS = ("_row", "_event_us", "_arrival_us", "_sent_again", "_broken")
"""What a batch has beside its columns: what the generator knows of each record."""


class Stream:
    """The batches of a spec. `total` rows (None: without end); `per_day` rows each day, else on and on."""

    def __init__(
        self, spec: StreamSpec, seed: int, *, total: int | None = None, per_day: int | None = None, messy: bool = False
    ) -> None:
        if seed < 0:
            raise ValueError(f"seed is {seed}: give 0 or more")
        self.spec, self.seed, self.total, self.messy = spec, seed, total, messy
        time = spec.column(spec.event_time)
        if time.begin is None or time.interval is None:
            raise AssertionError(time.name)
        self._begin_us = int(time.begin.timestamp()) * 1_000_000 + time.begin.microsecond
        self._interval_us = micros(time.interval)
        self._per_day = per_day
        self._pace = None if spec.pace is None else pace_of(spec.pace)
        if messy:
            self._check_reach()
        self._straying = functools.lru_cache(maxsize=_MOST_BEHIND)(self._stray)

    @property
    def count(self) -> int:
        """How many batches there are; of a stream without end, ValueError."""
        if self.total is None:
            raise ValueError("a stream without end has no number of batches; give it a total")
        return -(-self.total // self.spec.batch_rows)

    @property
    def columns(self) -> list[str]:
        """Names of a record's columns."""
        labels = dict.fromkeys(a.label for a in self.spec.anomalies)
        return [*(c.name for c in self.spec.columns if not c.omit), *labels]

    def batches(self) -> Iterator[pl.DataFrame]:
        """All batches in order."""
        number = 0
        while self.total is None or number < self.count:
            yield self.batch(number)
            number += 1

    def batch(self, number: int) -> pl.DataFrame:
        """The records of a batch: the spec's columns, then LABELS."""
        if not self.messy:
            return self._clean(number)
        start, end = self._start_us(number), self._start_us(number + 1)
        last = self.total is not None and number == self.count - 1
        own = self._disturbed(number)
        own = own if last else own.filter(pl.col("_arrival_us") < end)
        here = [*(self._straying(n) for n in self._earlier(number, start)), own]
        arrived = pl.concat(here).filter(pl.col("_arrival_us") >= start)
        if not last:
            arrived = arrived.filter(pl.col("_arrival_us") < end)
        return arrived.sort("_arrival_us", maintain_order=True)

    def maker(self, number: int) -> Maker:
        """What makes the undisturbed rows of a batch."""
        size = self.spec.batch_rows
        rows = np.arange(number * size, min((number + 1) * size, self.total or (number + 1) * size), dtype=np.int64)
        batch, partition = divmod(number, self.spec.partitions)
        chance = Chance(self.seed, self.spec.name, partition, batch)
        return Maker(self.spec, chance, rows, self._times(rows), self._begin_us)

    def _clean(self, number: int) -> pl.DataFrame:
        maker = self.maker(number)
        return maker.frame().with_columns(
            pl.Series("_row", maker.rows),
            pl.Series("_event_us", maker.time_us),
            pl.Series("_arrival_us", maker.time_us),
            pl.lit(False).alias("_sent_again"),
            pl.lit(False).alias("_broken"),
        )

    def _disturbed(self, number: int) -> pl.DataFrame:
        batch, partition = divmod(number, self.spec.partitions)
        chance = Chance(self.seed, f"{self.spec.name}#chaos", partition, batch)
        return disturbed(self.spec, self._clean(number), chance)

    def _stray(self, number: int) -> pl.DataFrame:
        """Records of a batch that arrive after its own stretch of time."""
        return self._disturbed(number).filter(pl.col("_arrival_us") >= self._start_us(number + 1))

    def _earlier(self, number: int, start_us: int) -> range:
        """Earlier batches of which something may arrive from `start_us` on."""
        reach = start_us - micros(longest_delay(self.spec.chaos))
        first = number
        while first > 0 and int(self._times(np.array([first * self.spec.batch_rows - 1]))[0]) >= reach:
            first -= 1
        return range(first, number)

    def _check_reach(self) -> None:
        """Each batch looks back at all of which something may still arrive: that must be feasible."""
        interval = self._interval_us
        if self._per_day is not None:
            interval = max(1, min(interval, _DAY_US // self._per_day))
        behind = micros(longest_delay(self.spec.chaos)) / (interval * self.spec.batch_rows)
        if behind > _MOST_BEHIND:
            raise ValueError(
                f"spec {self.spec.path}, chaos: delays reach back over {behind:,.0f} batches; at most {_MOST_BEHIND:,}: "
                "raise batch_rows or shorten the delays"
            )

    def _start_us(self, number: int) -> int:
        return int(self._times(np.array([number * self.spec.batch_rows], dtype=np.int64))[0])

    def _times(self, rows: Ints) -> Ints:
        """Event times in microseconds. A day's rows that would not fit into it follow each other faster."""
        if self._per_day is None:
            even = rows * self._interval_us
        else:
            day, row = rows // self._per_day, rows % self._per_day
            fits = self._per_day * self._interval_us <= _DAY_US
            even = day * _DAY_US + (row * self._interval_us if fits else row * _DAY_US // self._per_day)
        if self._pace is None:
            return self._begin_us + even
        start, midnight = self._begin_us % _DAY_US, self._begin_us - self._begin_us % _DAY_US
        return midnight + paced(self._pace, even + start)
