"""What goes wrong between a source and its reader: copies, disorder, lateness, clocks that are off, lost keys.

Works on a batch's rows; who arrives in which batch is `stream.py`'s. A row is delayed by at most one dial; copies
are drawn on their own, so there are copies of late and of broken rows too, and those are whole.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from data_sources.durations import micros
from data_sources.generators.streams.dials import ChaosSpec, DstDial, SkewDial
from data_sources.generators.streams.draws import Chance, Ints, entity, hashed_uniform
from data_sources.generators.streams.spec import StreamSpec


def longest_delay(chaos: ChaosSpec) -> timedelta:
    """How long after its own time a record can arrive at most: a delayed row's copy is the last."""
    most = [d.delay[1] for d in (chaos.disorder, chaos.late) if d is not None]
    copy = chaos.duplicates.delay[1] if chaos.duplicates else timedelta(0)
    return max(most, default=timedelta(0)) + copy


def disturbed(spec: StreamSpec, rows: pl.DataFrame, chance: Chance) -> pl.DataFrame:
    """The rows with their faults, then the copies; takes and gives the columns of a batch.

    `_arrival_us` is the true time plus the delay; `_event_us` and the event time are what the clock said.
    """
    n, chaos = rows.height, spec.chaos
    true_us = rows["_event_us"].to_numpy()
    stamp = true_us + _skew(chaos.clock_skew, rows, chance.seed, spec.name)
    stamp = stamp + _summer(chaos.dst, rows, true_us, chance.seed, spec.name)
    arrival = true_us.copy()
    fate, far = chance.uniform("fate", n), chance.uniform("delay", n)
    reached = 0.0
    for dial in (chaos.disorder, chaos.late):
        if dial is not None:
            hit = (fate >= reached) & (fate < reached + dial.share)
            arrival = np.where(hit, arrival + _between(dial.delay, far), arrival)
            reached += dial.share
    again = np.zeros(n, bool) if chaos.duplicates is None else chance.uniform("again", n) < chaos.duplicates.share
    rows = rows.with_columns(
        pl.Series("_event_us", stamp),
        pl.Series(spec.event_time, stamp).cast(pl.Datetime("us")),
        pl.Series("_arrival_us", arrival),
        pl.Series("_sent_again", again),
    )
    copies = rows.filter(pl.Series(again))
    if chaos.duplicates is not None:
        delay = _between(chaos.duplicates.delay, chance.uniform("copy", n)[again])
        copies = copies.with_columns(pl.col("_arrival_us") + pl.Series(delay))
    return pl.concat([_broken(spec, rows, chance), copies])


def _broken(spec: StreamSpec, rows: pl.DataFrame, chance: Chance) -> pl.DataFrame:
    """Some rows lose one of the columns that no record may lack."""
    columns = spec.chaos.broken_columns
    hit = chance.uniform("broken", rows.height) < spec.chaos.broken
    if not columns or not hit.any():
        return rows
    which = (chance.uniform("which", rows.height) * len(columns)).astype(np.int64)
    lost = {name: pl.lit(pl.Series(hit & (which == i))) for i, name in enumerate(columns)}
    return rows.with_columns(
        *(pl.when(~lost[name]).then(pl.col(name)).alias(name) for name in columns), pl.Series("_broken", hit)
    )


def _between(delay: tuple[timedelta, timedelta], u: np.ndarray) -> Ints:
    least, most = micros(delay[0]), micros(delay[1])
    return _whole_ms(least + u * (most - least))


def _skew(dial: SkewDial | None, rows: pl.DataFrame, seed: int, name: str) -> Ints:
    """How far each row's clock is off; a device's is off by the same all its life."""
    if dial is None:
        return np.zeros(rows.height, np.int64)
    who = entity(rows[dial.by])
    off = hashed_uniform(seed, f"{name}.skewed", who) < dial.share
    far = (hashed_uniform(seed, f"{name}.skew", who) * 2 - 1) * micros(dial.offset)
    return np.where(off, _whole_ms(far), 0)


def _summer(dial: DstDial | None, rows: pl.DataFrame, true_us: Ints, seed: int, name: str) -> Ints:
    """An hour in the zone's summer, for devices whose clocks spring forward.

    true    00:59  01:00  ...  (last Sunday in March, Berlin)
    stamp   00:59  02:00  ...  and in October 02:59 is followed by 02:00: an hour comes twice
    """
    if dial is None:
        return np.zeros(rows.height, np.int64)
    off = hashed_uniform(seed, f"{name}.dst", entity(rows[dial.by])) < dial.share
    local = pl.Series(true_us).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").dt.convert_time_zone(dial.zone)
    return np.where(off, local.dt.dst_offset().dt.total_microseconds().to_numpy(), 0)


def _whole_ms(us: np.ndarray) -> Ints:
    return (np.round(us / 1000) * 1000).astype(np.int64)
