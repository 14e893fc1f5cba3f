"""The proposal: per allowed lateness what would be lost and kept, the least that loses no more than one accepts, and what
came of it when the landing zone was judged anew."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from beam_grid.lakehouse.duck import connect
from beam_grid.optimize.arrivals import Arrivals, arrivals_of
from beam_grid.optimize.replay import replay
from beam_grid.optimize.state_size import Cost, StateSize, state_size
from data_sources.durations import LONGEST, format_duration, micros

if TYPE_CHECKING:
    from beam_grid.landing import FeedLog
    from data_sources.contract import Contract

LOSSES = (0.05, 0.01, 0.001, 0.0001, 0.0)
"""Losses shown besides the one that is accepted, as shares of the records."""

QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)


@dataclass(frozen=True)
class Judgement:
    """What an allowed lateness comes to: records late, their share of all, and the state kept."""

    late: int
    share: float
    cost: Cost


@dataclass(frozen=True)
class Candidate:
    """An allowed lateness, and what is predicted of it."""

    allowed_lateness: timedelta
    predicted: Judgement


@dataclass(frozen=True)
class Answer:
    """Of one feed. records: those measured, of which `late` came late; loss: what is accepted; behind: per share of the
    records how far behind M they were at most, microseconds; came: what the replay with `proposed` counted."""

    feed: str
    records: int
    late: int
    commits: int
    out_of_orderness: timedelta
    allowed_lateness: timedelta
    loss: float
    behind: dict[float, int]
    candidates: list[Candidate]
    proposed: Candidate
    came: Judgement
    rate: float | None
    """Records that landed per second of event time."""
    record_bytes: float
    """Of a landed record, in the landing zone."""
    notes: list[str]


def optimize(feed: FeedLog, loss: float) -> Answer:
    """loss: the share of the records that may be late, from 0 up to, not including, 1. Nothing is written into the lake.

    Raises GridError for a feed of which nothing can be late or nothing is kept, and for a landing zone that lacks files.
    """
    from beam_grid.feed_plan import rows_per_second

    with tempfile.TemporaryDirectory() as scratch, connect(Path(scratch)) as engine:
        arrivals = arrivals_of(feed, engine)
        contract, records = arrivals.contract, arrivals.records
        size = state_size(arrivals)
        proposed = _candidate(_least(arrivals, loss), arrivals, size)
        choices = {contract.allowed_lateness, timedelta(0), proposed.allowed_lateness}
        choices |= {_least(arrivals, other) for other in LOSSES}
        candidates = [_candidate(allowed, arrivals, size) for allowed in sorted(choices)]
        outcome = replay(arrivals, with_lateness(contract, proposed.allowed_lateness), size)
        files = arrivals.files("rows")
        rows = sum(file.rows for file in files)
        return Answer(
            feed=feed.name,
            records=records,
            late=arrivals.late,
            commits=arrivals.state.last,
            out_of_orderness=contract.out_of_orderness,
            allowed_lateness=contract.allowed_lateness,
            loss=loss,
            behind=dict(zip(QUANTILES, arrivals.quantiles(QUANTILES), strict=True)),
            candidates=candidates,
            proposed=proposed,
            came=Judgement(outcome.late, outcome.late / records, outcome.cost),
            rate=rows_per_second(arrivals.state, contract),
            record_bytes=sum(file.bytes for file in files) / rows if rows else 0.0,
            notes=list(_notes(arrivals, proposed)),
        )


def with_lateness(contract: Contract, allowed: timedelta) -> Contract:
    """The contract with another allowed lateness."""
    return contract.model_copy(update={"allowed_lateness": allowed})


def _least(arrivals: Arrivals, loss: float) -> timedelta:
    """The least allowed lateness that loses no more than this share, rounded up to what a person would write."""
    beyond = arrivals.reach(math.floor(loss * arrivals.records)) - micros(arrivals.contract.out_of_orderness)
    return rounded_up(max(beyond, 0))


def rounded_up(us: int) -> timedelta:
    """To whole seconds below two minutes, to whole minutes below two days, else to whole hours; a hundred years at most."""
    unit = 1 if us <= 120_000_000 else 60 if us <= 2 * 86_400_000_000 else 3600
    return min(timedelta(seconds=-(-us // (unit * 1_000_000)) * unit), LONGEST)


def _candidate(allowed: timedelta, arrivals: Arrivals, size: StateSize) -> Candidate:
    tried = with_lateness(arrivals.contract, allowed)
    late = arrivals.lost(micros(tried.lateness))
    return Candidate(allowed, Judgement(late, late / arrivals.records, size.cost(tried)))


def _notes(arrivals: Arrivals, proposed: Candidate) -> Iterator[str]:
    contract = arrivals.contract
    if differing := arrivals.differing:
        yield (
            f"{differing:,} late row{'s' * (differing != 1)} lay further or less behind when they came than is measured here: "
            "copies that are not kept had moved the newest event time, or the contract named another as event time"
        )
    if arrivals.whole_files:
        yield f"{arrivals.whole_files:,} files that are complete in themselves are left out: nothing in them is late"
    if (leader := _leader(arrivals)) is not None:
        yield leader
    lateness = contract.out_of_orderness + proposed.allowed_lateness
    if contract.max_future is None or contract.max_future > lateness:
        what = (
            "there is no max_future"
            if contract.max_future is None
            else f"max_future is {format_duration(contract.max_future)}"
        )
        yield (
            f"{what}: one fast clock can make more than {format_duration(lateness)} of a partition late; set max_future to "
            "that or less"
        )


def _leader(arrivals: Arrivals) -> str | None:
    """The one record to which most of what is out of order is due, where it leapt ahead of all before it."""
    reach = micros(arrivals.contract.out_of_orderness)
    found = arrivals.engine.execute(f"""
        WITH behind_it AS (SELECT slice, event_us + behind AS newest FROM measured WHERE behind > {reach}),
        most AS (SELECT newest, count(*) AS n FROM behind_it GROUP BY newest ORDER BY n DESC, newest LIMIT 1),
        led AS (
            SELECT slice, split, position, event_us, lag(event_us + behind) OVER (PARTITION BY slice ORDER BY split, position) AS earlier
            FROM measured WHERE slice IN (SELECT slice FROM measured, most WHERE event_us = newest)
        )
        SELECT source, slices.partition, position, strftime(make_timestamp(event_us), '%Y-%m-%d %H:%M:%S'), event_us - earlier, n, (SELECT count(*) FROM behind_it)
        FROM led JOIN most ON event_us = newest JOIN slices USING (slice, split)
        WHERE event_us > earlier ORDER BY slice, split, position LIMIT 1
    """).fetchall()
    if not found:
        return None
    source, number, position, time, leap, followers, out = found[0]
    place = f"{source}:{position}" if number < 0 else f"{source}/{number}:{position}"
    if followers * 2 <= out or leap <= micros(arrivals.contract.lateness):
        return None
    return (
        f"{followers:,} of the {out:,} records that are out of order are so because of one, {place}, of {time} "
        f"UTC, {format_duration(timedelta(microseconds=int(leap)))} ahead of all before it: if its clock was wrong, a smaller "
        "max_future rejects the like, and less lateness will do"
    )
