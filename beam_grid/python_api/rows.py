"""Rows that are read when they are asked for, as Arrow, polars, pandas, or a chart; and a table of a lake, narrowed down.

    lake["gold.meter_15min"].where("region = 'NORTH'").select("window_start", "kwh").arrow()
    └ nothing is read ──────────────────────────────────────────────────────────┘ └ now, and only these columns

Not guaranteed: an order of rows, but for that of a statement's ORDER BY.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from beam_grid.errors import GridError
from data_sources.identifiers import double_quoted

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from beam_grid.lakehouse.table_set import TableSet
    from beam_grid.landing import Lake
    from beam_grid.python_api.plot import Plot

SHOWN = 20
"""Rows that a notebook or a prompt shows."""


class Rows:
    """Rows with named columns; times are UTC microseconds.

    Libraries that take Arrow's stream (`polars.DataFrame(rows)`, `pyarrow.table(rows)`) take these as they are.

    >>> import pyarrow
    >>> pyarrow.table(lake.sql("SELECT 1 AS one")).to_pylist()
    [{'one': 1}]
    """

    name = "rows"

    def arrow(self) -> pa.Table:
        """All rows as a `pyarrow.Table`."""
        raise NotImplementedError

    def polars(self) -> pl.DataFrame:
        """All rows as a `polars.DataFrame`.

        >>> lake.sql("SELECT sum(kwh) AS kwh FROM silver.pumps").polars().item()
        4.5
        """
        import polars as pl

        found = pl.from_arrow(self.arrow())
        assert isinstance(found, pl.DataFrame)
        return found

    def pandas(self) -> pd.DataFrame:
        """All rows as a `pandas.DataFrame`. Raises GridError where pandas is not installed."""
        try:
            import pandas  # noqa: F401
        except ImportError as cause:
            raise GridError(
                "pandas is not installed here; `pip install pandas`, or take .polars() or .arrow()"
            ) from cause
        return self.arrow().to_pandas()

    def plot(self, x: str | None = None, y: str | None = None, by: str | None = None) -> Plot:
        """A chart, which a notebook draws and `.save("x.svg")` writes.

        x: a column, the first with times or dates unless given, else the first. y: a column of numbers, the first with
        fractions unless given, else the first that is not x. by: a column that has a line (or bars) for each value; the
        first text unless given, where an x has several rows. Raises GridError for a column that is not there or cannot
        be drawn.

        >>> lake["gold.pump_hourly"].plot(y="kwh").alt
        'kwh over window_start, a line per pump: 2 of 2'
        """
        from beam_grid.python_api.plot import plot

        return plot(self.arrow(), self.name, x, y, by)

    @property
    def schema(self) -> pa.Schema:
        """Columns with their Arrow types.

        >>> lake["silver.pumps"].schema.field("kwh").type
        DataType(double)
        """
        return self.arrow().schema

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.schema.names)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.arrow().__arrow_c_stream__(requested_schema)

    def _head(self) -> tuple[pa.Table, bool]:
        """The first rows, and whether there are more."""
        rows = self.arrow()
        return rows.slice(0, SHOWN), rows.num_rows > SHOWN

    def _caption(self, rows: pa.Table, has_more: bool) -> str:
        return f"{self.name}: first {rows.num_rows} rows" if has_more else f"{self.name}: {rows.num_rows} rows"

    def _repr_html_(self) -> str:
        from beam_grid.python_api.html import table_html

        rows, has_more = self._head()
        return table_html(rows, self._caption(rows, has_more))

    def __repr__(self) -> str:
        from beam_grid.show import show

        rows, has_more = self._head()
        out = io.StringIO()
        show(rows, "table", out)
        text = "\n".join(line.rstrip() for line in out.getvalue().splitlines())
        return f"{self._caption(rows, has_more)}\n{text}".rstrip()


@dataclass(frozen=True, repr=False)
class Answer(Rows):
    """Rows that were read: what `sql`, `ledger` and `inspect` give."""

    rows: pa.Table
    name: str = "answer"

    def arrow(self) -> pa.Table:
        """The rows as a `pyarrow.Table`."""
        return self.rows

    def __len__(self) -> int:
        return int(self.rows.num_rows)


@dataclass(frozen=True, repr=False)
class LakeTable(Rows):
    """A table or view of a lake, as one version set has it: it stays that, whatever is published meanwhile.

    Nothing is read before `arrow`, `polars`, `pandas`, `plot` or a notebook asks; then the columns, rows and files that
    are needed. Each asking reads anew.

    >>> lake["gold.pump_hourly"].where("pump = 'P-1'").select("pump", "kwh").arrow().to_pylist()
    [{'pump': 'P-1', 'kwh': 3.0}]
    """

    lake: Lake
    at: TableSet
    name: str
    chosen: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    most: int | None = None

    @property
    def set(self) -> int:
        """Number of the version set."""
        return self.at.number

    @property
    def version(self) -> int | None:
        """Delta's version of the table in this set; None of a view."""
        table = self.at.tables.get(self.name)
        return None if table is None else table.version

    def select(self, *columns: str) -> LakeTable:
        """These columns only, in this order. Raises GridError for one that is not there.

        >>> lake["silver.pumps"].select("pomp")
        Traceback (most recent call last):
        ...
        beam_grid.errors.GridError: silver.pumps: there is no column 'pomp'; did you mean 'pump'?
        """
        from beam_grid.python_api.plot import check_column

        known = self.columns
        for column in columns:
            check_column(column, known, self.name)
        return replace(self, chosen=columns)

    def where(self, condition: str) -> LakeTable:
        """Only rows that meet a condition in SQL, as `kwh > 2 AND region = 'NORTH'`; and those before it. Raises
        GridError for text that is not one condition."""
        from beam_grid.lakehouse.query import condition as checked

        return replace(self, conditions=(*self.conditions, checked(condition)))

    def head(self, rows: int = SHOWN) -> LakeTable:
        """At most so many rows, any of those there are."""
        if rows < 0:
            raise GridError(f"{self.name}: head({rows}): give 0 or more rows")
        return replace(self, most=rows if self.most is None else min(rows, self.most))

    def arrow(self) -> pa.Table:
        """The rows as a `pyarrow.Table`. Raises GridError where the set's version of the table is no longer there, or a
        condition does not fit the table."""
        return self._read(self.most)

    @property
    def schema(self) -> pa.Schema:
        """Columns with their Arrow types; no row is read."""
        return self._read(0).schema

    def _head(self) -> tuple[pa.Table, bool]:
        rows = self._read(SHOWN + 1 if self.most is None else min(self.most, SHOWN + 1))
        return rows.slice(0, SHOWN), rows.num_rows > SHOWN

    def _caption(self, rows: pa.Table, has_more: bool) -> str:
        return f"{super()._caption(rows, has_more)}, version set {self.set}"

    def _read(self, most: int | None) -> pa.Table:
        from beam_grid.lakehouse.query import query

        schema, _, table = self.name.partition(".")
        columns: Sequence[str] = [double_quoted(column) for column in self.chosen] or ["*"]
        sql = f"SELECT {', '.join(columns)} FROM {double_quoted(schema)}.{double_quoted(table)}"
        if self.conditions:
            sql += f" WHERE {' AND '.join(self.conditions)}"
        if most is not None:
            sql += f" LIMIT {int(most)}"
        return query(self.lake, sql, self.at)
