"""How far event time is, of a feed of several partitions: the same for commits and for a preview.

partition 0   M = 12:10, newest arrival 12:11
partition 1   M = 11:40, newest arrival 11:41    idle with idle_timeout = "15m", alive with "1h"
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from data_sources.durations import micros

if TYPE_CHECKING:
    from data_sources.contract import Contract


def watermark_of(
    max_event_times: Mapping[str, int], arrivals: Mapping[str, int], contract: Contract, behind: Collection[str] = ()
) -> int | None:
    """The least M - out_of_orderness of partitions that are not idle, microseconds; None where there is none.

    A partition is idle when its newest arrival lies idle_timeout before the newest of all, by the clock of arrivals.
    behind: partitions that have more to read, and so are not idle.
    """
    newest = max(arrivals.values(), default=0)
    idle = micros(contract.idle_timeout) if contract.idle_timeout is not None else None
    alive = [
        m
        for key, m in max_event_times.items()
        if idle is None or key in behind or newest - arrivals.get(key, newest) <= idle
    ]
    return min(alive) - micros(contract.out_of_orderness) if alive else None
