"""Windows in parts: so many tiles are merged at once that DuckDB's memory holds them, whatever there is to be merged.

    tiles by window   ▁▁▁▂▂▂▁▁▁▁▁▇▁▁▁▁
    parts             |─ 1 ──|─ 2 ─|3|── 4 ──     in order of time, edges where windows start
                                   |3|            a start too large for one: by the groups' hash, as many parts as it takes

Merging does not spill: a window over the tiles, their groups and the sort of the result are in memory together. How many
tiles lie where is taken from the footers of their files, as if evenly spread within a group of rows. A part that is a
share has windows of one start, so that parts one after the other are in order of time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from data_sources.identifiers import double_quoted
from transforms.cells import Cells

PART_BYTES = 128 << 20
"""Tiles, as below, that are merged at once: they take about as much and half again of DuckDB's 512 MB."""

_VALUE = 12
"""Bytes that a value takes there, about: text and keys more, numbers less."""

_DENSEST = 64
"""No file of tiles takes so many times its size in memory: footers of less are not read."""


class Part(NamedTuple):
    """Windows that start from `low` on and before `high` (microseconds; None: no bound); of `shares`, the one `share`."""

    low: int | None = None
    high: int | None = None
    shares: int = 1
    share: int = 0

    def cells(self, reach: int, by: Iterable[str]) -> str:
        """Whether a tile may be of such a window, SQL. reach: from a window's start to that of its last cell."""
        return self._sql("_cell", reach, by)

    def starts(self, by: Iterable[str]) -> str:
        """Whether a row of windows is one, SQL."""
        return self._sql("window_start", 0, by)

    def _sql(self, column: str, reach: int, by: Iterable[str]) -> str:
        terms = [] if self.low is None else [f"{column} >= {_moment(self.low)}"]
        terms += [] if self.high is None else [f"{column} < {_moment(self.high + reach)}"]
        if self.shares > 1:
            terms.append(f"hash({', '.join(map(double_quoted, by))}) % {self.shares} = {self.share}")
        return " AND ".join(terms) or "true"


def parts_of(files: Iterable[str], cells: Cells, by: Iterable[str]) -> list[Part]:
    """The parts, in order of time, of what is in these files of tiles; one part where that is little."""
    files, by = list(files), list(by)
    if sum(Path(file).stat().st_size for file in files) * _DENSEST <= PART_BYTES:
        return [Part()]
    spans = np.array([span for file in files for span in _spans(file, cells)], np.float64).reshape(-1, 3)
    if spans[:, 2].sum() <= PART_BYTES:
        return [Part()]
    at, upto = _spread(spans)
    wanted = np.interp(np.arange(PART_BYTES, upto[-1], PART_BYTES), upto, at)
    edges = sorted({start for edge in wanted if (start := cells.window_of(int(edge))[0]) > at[0]})
    parts: list[Part] = []
    for low, high in zip([None, *edges], [*edges, None], strict=True):
        first, last = at[0] if low is None else low, at[-1] if high is None else high
        size = np.interp(last, at, upto) - np.interp(first, at, upto)
        is_one_start = cells.window_of(int(first))[1] >= last
        shares = max(1, -int(-size // PART_BYTES)) if is_one_start and by else 1
        parts += [Part(low, high, shares, share) for share in range(shares)]
    return parts


def _spans(file: str, cells: Cells) -> Iterator[tuple[int, int, int]]:
    """Of each group of rows: the first start of a window that it has tiles of, the next after the last, and the bytes that
    its tiles are in memory, once for each window they are in."""
    footer = pq.read_metadata(file)
    if not footer.num_rows:
        return
    reach, _ = cells.touching
    names = [footer.row_group(0).column(n).path_in_schema for n in range(footer.num_columns)]
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        told = group.column(names.index("_cell")).statistics
        size = max(group.total_byte_size, group.num_rows * footer.num_columns * _VALUE)
        yield cells.window_of(told.min_raw - reach)[0], cells.window_of(told.max_raw)[1], size * cells.overlap


def _spread(spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Instants, and how many bytes lie before each: those of a span evenly between its ends."""
    low, high, size = spans.T
    at = np.unique(np.concatenate([low, high]))
    rate = np.zeros(len(at))
    np.add.at(rate, np.searchsorted(at, low), size / (high - low))
    np.add.at(rate, np.searchsorted(at, high), -size / (high - low))
    per = np.maximum(np.cumsum(rate)[:-1], 0.0)
    return at, np.concatenate([[0.0], np.cumsum(per * np.diff(at))])


def _moment(instant: int) -> str:
    return f"make_timestamptz({instant})"
