"""A few rows of a feed's table, for feeds that have no windows to draw."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.report.load import quoted
from beam_grid.report.words import moment, printable

if TYPE_CHECKING:
    from data_sources.contract import Contract

ROWS, COLUMNS = 6, 12


@dataclass(frozen=True)
class Sample:
    """Rows of a table as text, newest event time first; `hidden` columns are not shown, nor those of lineage."""

    table: str
    count: int
    columns: list[str]
    rows: list[list[str]]
    hidden: int


def sample(lake: Lake, contract: Contract) -> Sample:
    """Raises GridError where silver is not there."""
    table = f"silver.{quoted(contract.name)}"
    count = int(query(lake, f"SELECT count(*) AS n FROM {table}")["n"][0].as_py())
    known = query(lake, f"SELECT * FROM {table} LIMIT 0").schema.names
    plain = [name for name in known if not name.startswith("_")] or list(known)
    shown = plain[:COLUMNS]
    first = [name for name in [contract.event_time, *contract.lake.key, *contract.dedup.key] if name in known]
    order = ", ".join(f"{quoted(n)} {'DESC NULLS LAST' if n == contract.event_time else 'ASC'}" for n in first)
    rows = query(
        lake,
        f"SELECT {', '.join(map(quoted, shown))} FROM {table} {f'ORDER BY {order} ' if order else ''}LIMIT {ROWS}",
    ).to_pylist()
    cells = [[_cell(row[name]) for name in shown] for row in rows]
    return Sample(f"silver.{contract.name}", count, shown, cells, len(plain) - len(shown))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return moment(value, seconds=True)
    return value.isoformat() if isinstance(value, date) else printable(value, 40)
