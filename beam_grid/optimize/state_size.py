"""What an allowed lateness costs: the state that a feed keeps while a record may still come on time, in bytes.

    keys      a hash per landed record whose copy can still come on time, beside the landed files
    windows   a partial aggregate per window and group that a record can still change

        M - reach                            M
    ----|------ kept: counted in records ----|--> event time       size = records x bytes per record

Bytes per record and per partial aggregate are those of the lake's own files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from beam_grid.errors import GridError
from beam_grid.feed_plan import retention
from beam_grid.lakehouse.duck import parquet
from data_sources.durations import micros
from data_sources.identifiers import double_quoted

if TYPE_CHECKING:
    from beam_grid.optimize.arrivals import Arrivals
    from data_sources.contract import Contract, WindowSpec

SECOND = 1_000_000


class Cost(NamedTuple):
    """State at its largest: keys and window rows (open windows' partial aggregates), and the bytes of both."""

    keys: int
    window_rows: int
    bytes: int


class Density(NamedTuple):
    """How many things lie at each instant: times ascending, microseconds."""

    times: np.ndarray
    counts: np.ndarray

    def peak(self, reach: int) -> int:
        """The most that lies in [one of the instants - reach, that instant]; reach: microseconds."""
        if not len(self.times):
            return 0
        total = np.concatenate([[0], np.cumsum(self.counts)])
        return int((total[1:] - total[np.searchsorted(self.times, self.times - reach, side="left")]).max())

    def between(self, least: np.ndarray, greatest: np.ndarray) -> np.ndarray:
        """How much lies in [least, greatest], for each pair."""
        total = np.concatenate([[0], np.cumsum(self.counts)])
        up_to = total[np.searchsorted(self.times, greatest, side="right")]
        return np.maximum(up_to - total[np.searchsorted(self.times, least, side="left")], 0)


class WindowRows(NamedTuple):
    """Partial aggregates of a window by the start of their cell, and bytes of one."""

    window: WindowSpec
    cells: Density
    bytes: float


@dataclass(frozen=True)
class StateSize:
    """Of one feed, as measured."""

    records: Density
    key_bytes: float
    windows: list[WindowRows]

    def cost(self, contract: Contract) -> Cost:
        """State at its largest under the contract's lateness, were all partitions equally far."""
        kept = retention(contract)
        keys = int(self.records.counts.sum()) if kept is None else self.records.peak(micros(kept))
        return self.priced(
            keys, [one.cells.peak(micros(one.window.length + contract.lateness) - 1) for one in self.windows]
        )

    def priced(self, keys: int, window_rows: list[int]) -> Cost:
        """The cost of so many keys, and rows of each window."""
        size = keys * self.key_bytes + sum(
            rows * one.bytes for rows, one in zip(window_rows, self.windows, strict=True)
        )
        return Cost(keys, sum(window_rows), round(size))


def state_size(arrivals: Arrivals) -> StateSize:
    """Raises GridError where the landing zone lacks a file."""
    seconds = f"event_us // {SECOND} * {SECOND}"
    records = _density(arrivals, f"SELECT {seconds} AS __t, count(*) AS __n FROM measured GROUP BY __t ORDER BY __t")
    files = [file for file in arrivals.files("rows") if file.keys is not None]
    try:
        size = sum((arrivals.path(file).parent / str(file.keys)).stat().st_size for file in files)
    except FileNotFoundError as cause:
        raise GridError(
            f"lake {arrivals.feed.lake.path}: {cause.filename} is missing; put it back from a copy"
        ) from None
    rows = sum(file.rows for file in files)
    windows = [_window_rows(arrivals, window) for window in arrivals.contract.windows]
    return StateSize(records, size / rows if rows else 0.0, windows)


def _window_rows(arrivals: Arrivals, window: WindowSpec) -> WindowRows:
    files = [file for file in arrivals.files("tiles") if file.window == window.name]
    rows = sum(file.rows for file in files)
    if not rows:
        return WindowRows(window, Density(np.empty(0, np.int64), np.empty(0, np.int64)), 0.0)
    groups = ", ".join(["_cell", *map(double_quoted, window.by)])
    distinct = f"SELECT DISTINCT {groups} FROM {parquet(str(arrivals.path(file)) for file in files)}"
    counted = f"SELECT epoch_us(_cell) AS __t, count(*) AS __n FROM ({distinct}) GROUP BY __t ORDER BY __t"
    cells = _density(arrivals, counted)
    return WindowRows(window, cells, sum(file.bytes for file in files) / rows)


def _density(arrivals: Arrivals, sql: str) -> Density:
    found = arrivals.engine.sql(sql).to_arrow_table()
    return Density(found["__t"].to_numpy().astype(np.int64), found["__n"].to_numpy().astype(np.int64))
