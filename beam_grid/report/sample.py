"""A few rows of tables: of a feed's, where it has no windows to draw, and of its analyses; and what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from beam_grid.analyses import analyses, feed_of
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.landing import Lake
from beam_grid.report.load import quoted
from beam_grid.report.words import moment, number, printable

if TYPE_CHECKING:
    from data_sources.contract import Contract

ROWS, COLUMNS = 6, 12
ANALYSIS_ROWS = 10


@dataclass(frozen=True)
class Sample:
    """Rows of a table as text, newest event time first; `hidden` columns are not shown, nor those of lineage."""

    table: str
    count: int
    columns: list[str]
    rows: list[list[str]]
    hidden: int
    description: str = ""


@dataclass(frozen=True)
class Expected:
    """An expectation of a table and how it was met: see beam_grid/lakehouse/expected.py."""

    table: str
    rule: str
    status: str
    checked: int
    failed: int
    example: str


def analysed(lake: Lake, feed: str, found: TableSet | None, but: tuple[str, ...] = ()) -> list[Sample]:
    """The analyses of a feed that the version set holds, the rows that matter first; not those named in `but`."""
    held = set(found.tables if found else ()).difference(but)
    there = [a for a in analyses() if a.name in held and feed_of(a) == feed]
    shown = []
    for analysis in there:
        count = int(query(lake, f"SELECT count(*) AS n FROM {analysis.name}")["n"][0].as_py())
        order = ", ".join(map(quoted, analysis.order_by))
        tail = analysis.show or (f"ORDER BY {order}" if order else "")
        rows = query(lake, f"SELECT * FROM {analysis.name} {tail} LIMIT {ANALYSIS_ROWS}")
        names = rows.schema.names[:COLUMNS]
        cells = [[_measured(row[name]) for name in names] for row in rows.to_pylist()]
        hidden = len(rows.schema.names) - len(names)
        shown.append(Sample(analysis.name, count, names, cells, hidden, analysis.description))
    return shown


def expected(lake: Lake, found: TableSet | None) -> list[Expected]:
    """What gold.quality says, what was not met first."""
    if found is None or "gold.quality" not in found.tables:
        return []
    rows = query(lake, "SELECT * FROM gold.quality").to_pylist()
    rows.sort(key=lambda row: (row["status"] == "passed", row["table_name"], row["expectation"]))
    return [
        Expected(
            row["table_name"],
            printable(row["rule"], 120),
            row["status"],
            row["rows_checked"],
            row["failed_rows"],
            printable(row["example"] or "", 120),
        )
        for row in rows
    ]


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


def _measured(value: Any) -> str:
    return number(value) if isinstance(value, float) else _cell(value)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return moment(value, seconds=True)
    return value.isoformat() if isinstance(value, date) else printable(value, 40)
