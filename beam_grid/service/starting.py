"""Before a run that follows can follow: its source may be away yet, and another follower may be at work on the lake.

who asks ──► the source answers ──► standby: the lock ──► leader
             waits, however long    waits until the leader ends, however it ends
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from typing import TypeVar

from beam_grid.errors import GridError, LakeBusy
from beam_grid.landing import Lake
from beam_grid.service.breaker import Breaker
from beam_grid.service.causes import cause_of
from beam_grid.service.supervisor import Beat, Say, now, vitals_of
from beam_grid.visits import Lead

T = TypeVar("T")

_LOOK_EVERY_S = 0.5
"""How often a standby tells that it waits; it hears of the lock sooner."""


def when_there(find: Callable[[], T], ending: threading.Event, say: Say) -> T | None:
    """What `find` finds, once the source it asks answers; None where the run is to end before. Raises GridError for all
    but a source that is away."""
    tries = Breaker()
    while not ending.is_set():
        try:
            with tries.trying():
                return find()
        except GridError as cause:
            if cause_of(cause) != "away":
                raise
            if tries.failures == 1:
                say(f"{cause}; waiting for it, with longer and longer pauses")
        ending.wait(tries.wait_s)
    return None


@contextmanager
def leading(lake: Lake, waits: bool, ending: threading.Event, beat: Beat, say: Say) -> Iterator[Lead | None]:
    """Lead; None where the run is to end before it can. waits: for another follower to end, instead of raising LakeBusy."""
    with ExitStack() as held:
        if not waits:
            yield held.enter_context(closing(Lead(lake)))
            return
        vitals, is_ready = vitals_of(lake, "standby"), False
        while not ending.is_set():
            try:
                lead = held.enter_context(closing(Lead(lake, wait_s=_LOOK_EVERY_S)))
            except LakeBusy:
                if not is_ready:
                    say(f"lake {lake.path}: another land or run is at work on it; standing by")
                    _load()
                    is_ready = True
                vitals.beat_at = now()
                beat(vitals)
                continue
            if is_ready:
                say(f"lake {lake.path}: the other has ended; taking over")
            yield lead
            return
        yield None


def _load() -> None:
    """What a slice needs, loaded while there is nothing else to do: a takeover should not wait for it."""
    for module in ("confluent_kafka", "beam_grid.lakehouse.publish", "runners.direct", "transforms.land"):
        import_module(module)
