"""A window's cells: per kind of window one class that says how its cells lie in time, and its windows over them.

    size 1h, every 30m   |00 |15 |30 |45 |00 |     Even: cells of the greatest common divisor of size, step and offset;
                         [00 ─────── 00)           a cell lies whole within each of size / step windows, the last of
                                 [30 ─────── 30)   which starts at or before the cell

    calendar = "day"     |─ 24 h ─|── 25 h ──|     Local: a cell is one window, and its tiles have its end, `_until`:
                         [────────)[─────────)     who merges them needs no time zones

Instants are whole microseconds since the epoch. Guaranteed: every instant lies in exactly one cell, and a cell within
each of its windows. Of a date as event time an Even cell holds the instant of its midnight in UTC, a Local one the day
that is called so in its time zone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import Contract, WindowSpec
from data_sources.durations import micros
from data_sources.identifiers import double_quoted
from transforms.local_days import DAY, LONGEST, SECOND, Instants, bounds, starts_of_days
from transforms.measures import TIME

if TYPE_CHECKING:
    import duckdb


class Cells(ABC):
    """How a window table's cells lie in time. Its SQL is DuckDB's unless it is called Spark's."""

    columns: dict[str, pa.DataType] = {}
    """What a tile has beside `_cell` to say which cell it is of."""

    merge: dict[str, str] = {}
    """These columns as aggregates over tiles of one cell."""

    ends: dict[str, str] = {}
    spark_ends: dict[str, str] = {}
    """What `end` needs, as aggregates over a window's tiles."""

    longest: int
    """No window is longer."""

    early = 0
    """How long before its window an event time may be, as an instant: a date is its midnight in UTC, wherever it was."""

    @property
    @abstractmethod
    def are_windows(self) -> bool:
        """Whether each cell is one window."""

    @abstractmethod
    def placed(self, rows: pa.Table) -> pa.Table:
        """Rows with what `row_cell` and `row_columns` need."""

    @property
    @abstractmethod
    def row_cell(self) -> str:
        """The start of a placed row's cell, TIMESTAMPTZ."""

    @property
    def row_columns(self) -> dict[str, str]:
        """`columns`, as aggregates over placed rows of one cell."""
        return {}

    def prepare(self, engine: duckdb.DuckDBPyConnection) -> None:
        """Teach the engine what `cell_sql` calls."""
        return

    @abstractmethod
    def cell_sql(self, instant: str) -> str:
        """The cell of an instant (a date is its midnight in UTC), microseconds."""

    @abstractmethod
    def cell_of(self, instant: int) -> tuple[int, int]:
        """Start and end of the cell of one instant (a date is its midnight in UTC)."""

    def of_cells(self, cells: pa.ChunkedArray) -> dict[str, pa.Array]:
        """`columns` of these cells, given by their starts."""
        return {}

    overlap = 1
    """No cell lies in more windows."""

    @abstractmethod
    def window_of(self, instant: int) -> tuple[int, int]:
        """The last start of a window at or before an instant (that of a cell, too), and the next start."""

    @abstractmethod
    def starts(self, cell: int) -> Iterable[int]:
        """The starts of the windows that a cell lies in, the last one first."""

    @property
    @abstractmethod
    def starts_sql(self) -> str:
        """`starts` of a tile, a row for each."""

    @property
    @abstractmethod
    def spark_starts(self) -> str:
        """Spark: `starts` of a tile, an array."""

    @property
    @abstractmethod
    def end(self) -> str:
        """A merged window's end, of `__start` and `ends`; Spark reads it too."""

    @property
    @abstractmethod
    def touching(self) -> tuple[int, int]:
        """The cells of the windows that a cell lies in: how far before and after it, and in which steps."""

    @abstractmethod
    def beam(self, span: timedelta | None = None) -> int:
        """The width of Beam's windows, for one cell or, with a span, for so much event time in whole cells."""

    @abstractmethod
    def stamp(self, start: int, tiles: pa.RecordBatch) -> int:
        """A time in the Beam window that ends with the tiles' window that starts then."""

    @abstractmethod
    def cell_stamp(self, cell: int, tiles: pa.RecordBatch) -> int:
        """A time in the Beam window that ends with the tiles' cell."""


class Even(Cells):
    """Windows of a size, every step, from the epoch plus an offset on."""

    def __init__(self, contract: Contract, window: WindowSpec):
        self.time = f"epoch_us(CAST({double_quoted(contract.event_time)} AS TIMESTAMPTZ))"
        self.size, self.step, self.offset = micros(window.length), micros(window.step), micros(window.offset)
        self.cell, self.longest = micros(window.cell), self.size
        self.overlap = max(1, -(-self.size // self.step))

    @property
    def are_windows(self) -> bool:
        return self.cell == self.size

    def placed(self, rows: pa.Table) -> pa.Table:
        return rows

    @property
    def row_cell(self) -> str:
        return f"make_timestamptz({self.cell_sql(self.time)})"

    def cell_sql(self, instant: str) -> str:  # the offset is whole cells, so cells begin at the epoch
        return f"{instant} - ((({instant} % {self.cell}) + {self.cell}) % {self.cell})"

    def cell_of(self, instant: int) -> tuple[int, int]:
        start = instant - instant % self.cell
        return start, start + self.cell

    def window_of(self, instant: int) -> tuple[int, int]:
        start = instant - (instant - self.offset) % self.step
        return start, start + self.step

    def starts(self, cell: int) -> range:
        return range(cell - (cell - self.offset) % self.step, cell - self.size, -self.step)

    @property
    def starts_sql(self) -> str:
        cell, step = "epoch_us(_cell)", self.step
        if self.size == step == self.cell:
            return cell
        last = f"({cell} - ((({cell} - {self.offset}) % {step}) + {step}) % {step})"
        return last if self.size == step else f"unnest(range({last}, {cell} - {self.size}, -{step}))"

    @property
    def spark_starts(self) -> str:
        size, step, cell = self.size, self.step, "unix_micros(_cell)"
        last = f"({cell} - pmod({cell} - {self.offset}L, {step}L))"
        if size == step:
            return f"array({last})"
        every = f"transform(sequence(0, {-(-size // step) - 1}), k -> {last} - k * {step}L)"
        return f"filter({every}, w -> w + {size}L > {cell})"

    @property
    def end(self) -> str:
        return f"(__start + {self.size})"

    @property
    def touching(self) -> tuple[int, int]:
        return (self.size // self.cell - 1) * self.cell, self.cell

    def beam(self, span: timedelta | None = None) -> int:
        return self.cell if span is None else -(-micros(span) // self.cell) * self.cell

    def stamp(self, start: int, tiles: pa.RecordBatch) -> int:
        return start + self.size - self.cell

    def cell_stamp(self, cell: int, tiles: pa.RecordBatch) -> int:
        return cell


class Local(Cells):
    """Days, weeks, months or years of a time zone."""

    columns = {"_until": TIME}
    merge = {"_until": "max(_until)"}
    ends = {"__end": "epoch_us(max(_until))"}
    spark_ends = {"__end": "unix_micros(max(_until))"}
    are_windows = True
    starts_sql = "epoch_us(_cell)"
    spark_starts = "array(unix_micros(_cell))"
    end = "__end"
    touching = (0, 1)
    row_cell = "__cell"
    row_columns = {"_until": "max(__until)"}

    def __init__(self, contract: Contract, window: WindowSpec):
        assert window.calendar is not None and window.time_zone is not None  # the contract was checked
        self.calendar, self.zone, self.event_time = window.calendar, window.time_zone, contract.event_time
        self.of_dates = contract.field(contract.event_time).type == "date"
        self.longest, self.early = LONGEST[self.calendar] * DAY, DAY if self.of_dates else 0

    def placed(self, rows: pa.Table) -> pa.Table:
        time = rows[self.event_time]
        if self.of_dates:
            time = time.cast(pa.timestamp("us"))
        starts, ends = self._bounds(pc.fill_null(time.cast(pa.int64()), 0).to_numpy())  # nulls are in no tile
        return rows.append_column("__cell", _times(starts)).append_column("__until", _times(ends))

    def prepare(self, engine: duckdb.DuckDBPyConnection) -> None:
        from duckdb.func import PythonUDFType

        engine.create_function("local_cell", self._cells, ["BIGINT"], "BIGINT", type=PythonUDFType.ARROW)

    def cell_sql(self, instant: str) -> str:
        return f"local_cell({instant})"

    def _cells(self, instants: pa.ChunkedArray) -> pa.Array:
        return pa.array(self._bounds(pc.fill_null(instants, 0).to_numpy())[0])

    def _bounds(self, instants: Instants) -> tuple[Instants, Instants]:
        moments = starts_of_days(instants // DAY, self.zone) if self.of_dates else instants
        return bounds(moments, self.calendar, self.zone)

    def cell_of(self, instant: int) -> tuple[int, int]:
        start, end = self._bounds(np.array([instant], np.int64))
        return int(start[0]), int(end[0])

    def window_of(self, instant: int) -> tuple[int, int]:
        start, end = bounds(np.array([instant], np.int64), self.calendar, self.zone)
        return int(start[0]), int(end[0])

    def of_cells(self, cells: pa.ChunkedArray) -> dict[str, pa.Array]:
        return {"_until": _times(bounds(cells.cast(pa.int64()).to_numpy(), self.calendar, self.zone)[1])}

    def starts(self, cell: int) -> tuple[int]:
        return (cell,)

    def beam(self, span: timedelta | None = None) -> int:
        return SECOND if span is None else micros(span)

    def stamp(self, start: int, tiles: pa.RecordBatch) -> int:
        until: int = tiles.column("_until").cast(pa.int64())[0].as_py()
        return until - SECOND

    def cell_stamp(self, cell: int, tiles: pa.RecordBatch) -> int:
        return self.stamp(cell, tiles)


def cells_of(contract: Contract, window: WindowSpec) -> Cells:
    """The window's cells."""
    return Even(contract, window) if window.calendar is None else Local(contract, window)


def _times(instants: Instants) -> pa.Array:
    return pa.array(instants).cast(TIME)
