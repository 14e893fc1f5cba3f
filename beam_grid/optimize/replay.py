"""The landing zone judged anew with another allowed lateness: each record, in its order, by the function that lands.

Guarantees: the judge is `transforms.judge.judge`, with M carried from slice to slice of a partition. What is late depends
on nothing else, so a run that had had this lateness would have counted the same of these records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from beam_grid.feed_plan import retention
from beam_grid.optimize.state_size import Cost, StateSize
from data_sources.decode.casting import UTC_MICROS
from data_sources.durations import micros
from transforms.judge import NO_TIME, judge

if TYPE_CHECKING:
    from beam_grid.optimize.arrivals import Arrivals
    from data_sources.contract import Contract


class Outcome(NamedTuple):
    """late: records; cost: state after the commit after which it was largest, with partitions as far as they were."""

    late: int
    cost: Cost


def replay(arrivals: Arrivals, contract: Contract, size: StateSize) -> Outcome:
    """contract: the feed's, with the lateness to try."""
    late, newest, current = 0, NO_TIME, -1
    floors = _floors(arrivals, contract)
    change = np.zeros(len(floors) + 1, np.int64)  # of the keys kept, from one commit to the next
    for slice, times in arrivals.batches():
        if slice != current:
            current, newest = slice, int(arrivals.before[slice])
        rows = pa.table({contract.event_time: pa.array(times).cast(UTC_MICROS)})
        judged = judge(rows, newest, contract, ordered=True)
        newest = judged.max_event_time
        late += judged.late.num_rows
        _keep(change, floors, int(arrivals.commits[slice]), judged.on_time)
    keys = int(np.cumsum(change).max(initial=0))
    return Outcome(late, size.priced(keys, _window_rows(arrivals, contract, size)))


def _floors(arrivals: Arrivals, contract: Contract) -> np.ndarray:
    """After each commit, the event time below which no key is looked at any more."""
    kept, least = retention(contract), arrivals.marks.least
    return np.full(len(least), NO_TIME) if kept is None else _less(least, micros(kept))


def _keep(change: np.ndarray, floors: np.ndarray, commit: int, on_time: pa.Table) -> None:
    """A key is kept from its commit on, until the first after which its event time lies below the floor."""
    times = on_time.column(0).cast(pa.int64()).to_numpy()
    until = np.searchsorted(floors, times, side="right")
    stays = until > commit
    change[commit] += int(stays.sum())
    np.subtract.at(change, until[stays], 1)


def _window_rows(arrivals: Arrivals, contract: Contract, size: StateSize) -> list[int]:
    """Of each window, after the commit after which the feed's open windows were largest together."""
    if not size.windows:
        return []
    marks = arrivals.marks
    open_rows = [
        one.cells.between(_less(marks.least, micros(one.window.length + contract.lateness)) + 1, marks.greatest)
        for one in size.windows
    ]
    largest = int(np.argmax(sum(rows * one.bytes for rows, one in zip(open_rows, size.windows, strict=True))))
    return [int(rows[largest]) for rows in open_rows]


def _less(instants: np.ndarray, reach: int) -> np.ndarray:
    """Instants that much earlier; NO_TIME stays."""
    return np.where(instants == NO_TIME, NO_TIME, instants - reach)
