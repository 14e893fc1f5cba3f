"""Sending a stream at a rate: what is due is reckoned from the start, so an error does not add up.

    due(t) = rate * t                    each turn sends due - sent, then sleeps to the next of 50 turns a second

A turn that comes late sends more; one the sink cannot keep up with is told in the summary, never hidden.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

from data_sources.generators.streams.sinks import Sink
from data_sources.generators.streams.stream import Stream
from data_sources.generators.streams.tally import Tally

_TURN_S = 0.02
_CATCH_UP_S = 0.25  # of the rate: how much a turn that comes late sends at most
_MOST_AT_ONCE = 20_000


@dataclass(frozen=True)
class Emitted:
    """What was sent and how long it took (seconds, without closing the sink)."""

    records: int
    seconds: float

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds if self.seconds else 0.0


def emit(
    stream: Stream,
    sink: Sink,
    *,
    rate: float | None = None,
    seconds: float | None = None,
    rows: int | None = None,
    tally: Tally | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Emitted:
    """Write the stream's records to `sink` and close it; returns what was sent.

    With `rate` (records a second) paced, else as fast as can be. Ends after `seconds` (what the sink could not take by
    then is not sent: at most `rate * seconds` records are), after `rows` records, or with the stream. Raises what the
    sink raises; the sink is closed even so.
    """
    most = rows
    if rate is not None and seconds is not None:
        most = min(round(rate * seconds), round(rate * seconds) if rows is None else rows)
    at_once = _MOST_AT_ONCE if rate is None else min(_MOST_AT_ONCE, math.ceil(rate * _CATCH_UP_S))
    source = _Source(stream)
    sent, over = 0, False
    start = clock()
    now = 0.0
    try:
        while not over and (most is None or sent < most):
            now = clock() - start
            over = seconds is not None and now >= seconds
            due = at_once if rate is None else math.floor(now * rate) - sent
            if due <= 0:
                sleep(max(_TURN_S, (sent + 1) / (rate or 1) - now))
                continue
            records = source.take(min(due, at_once, due if most is None else most - sent))
            if not records.height:
                break
            sink.write(records.select(stream.columns))
            if tally is not None:
                tally.add(records)
            sent += records.height
        now = clock() - start
    finally:
        sink.close()
    return Emitted(sent, now)


class _Source:
    """Hands out a stream's records in pieces of any size."""

    def __init__(self, stream: Stream) -> None:
        self._batches: Iterator[pl.DataFrame] = stream.batches()
        self._held = next(self._batches, pl.DataFrame())  # made before the clock starts

    def take(self, n: int) -> pl.DataFrame:
        """The next `n` records at most; none at the end."""
        while not self._held.height:
            batch = next(self._batches, None)
            if batch is None:
                return self._held
            self._held = batch
        taken, self._held = self._held.head(n), self._held.slice(n)
        return taken
