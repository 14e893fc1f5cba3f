"""Load over time, from a window table: one series a group, in at most a few hundred steps, summed by the engine.

Which table: of the windows that do not overlap, the first with a sum and a `by` column of few values; else the first
with a sum, in total; else the same with a count. Values of windows that overlap are shown one by one, never summed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.report.steps import steps_of
from beam_grid.report.words import as_time, printable

if TYPE_CHECKING:
    from data_sources.contract import Contract, Measure, WindowSpec

FEW = 8
"""Groups a chart can tell apart."""

MOST_STEPS = 400
"""Steps a chart shows at most; longer histories are summed up in wider steps."""


@dataclass(frozen=True)
class WindowTable:
    """A window table as a whole."""

    name: str
    spec: WindowSpec
    rows: int
    provisional: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Group:
    """A group's total, its part of all, and its greatest step."""

    name: str
    total: float
    count: int | None
    peak: float
    peak_at: datetime


@dataclass(frozen=True)
class Load:
    """A measure over time. series: group to one value a step (None: no window); step in seconds."""

    table: str
    measure: str
    function: str
    unit: str | None
    by: str | None
    overlapping: bool
    step: int
    starts: list[datetime]
    series: dict[str, list[float | None]]
    provisional: list[bool]
    groups: list[Group] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The measure and its unit, said once where they are one word."""
        if self.unit is None or self.unit.lower() == self.measure.lower():
            return self.unit or self.measure
        return f"{self.measure} ({self.unit})"

    @property
    def total(self) -> float:
        return sum(group.total for group in self.groups)


def window_tables(lake: Lake, contract: Contract) -> list[WindowTable]:
    """One row a window table; raises GridError where one is not there."""
    found = []
    for window in contract.windows:
        row = query(
            lake,
            "SELECT count(*) AS n, coalesce(sum(CASE WHEN final THEN 0 ELSE 1 END), 0) AS open, "
            f"min(window_start) AS first, max(window_end) AS last FROM {table_of(window)}",
        ).to_pylist()[0]
        found.append(WindowTable(f"gold.{window.name}", window, row["n"], row["open"], row["first"], row["last"]))
    return found


def load(lake: Lake, contract: Contract, tables: list[WindowTable]) -> Load | None:
    """None where no window has a sum or a count, or none has rows."""
    filled = [t for t in tables if t.rows]
    for function in ("sum", "count", "count_if"):
        fit = [(t, m) for t in filled for m in t.spec.parsed if m.function == function]
        fit.sort(key=lambda pair: pair[0].spec.overlap)  # those that do not overlap first
        fit = [pair for n, pair in enumerate(fit) if pair[0] not in [other for other, _ in fit[:n]]]
        for table, measure in fit:
            for by in table.spec.by:
                if 1 < _groups(lake, table.spec, by) <= FEW:
                    return _series(lake, contract, table, measure, by)
        if fit:
            return _series(lake, contract, *fit[0], None)
    return None


def _groups(lake: Lake, window: WindowSpec, by: str) -> int:
    return int(query(lake, f"SELECT DISTINCT {quoted(by)} AS g FROM {table_of(window)} LIMIT {FEW + 1}").num_rows)


def _series(lake: Lake, contract: Contract, table: WindowTable, measure: Measure, by: str | None) -> Load:
    window = table.spec
    steps = steps_of(table, MOST_STEPS)
    counting = next((m.name for m in window.parsed if m.function == "count" and m.argument is None), None)
    key = f"{quoted(by)}" if by else "'all'"
    rows = query(
        lake,
        f"SELECT {steps.at} AS at, {key} AS g, sum({quoted(measure.name)}) AS v, "
        f"{f'sum({quoted(counting)})' if counting else 'NULL'} AS n, "
        f"max(CASE WHEN final THEN 0 ELSE 1 END) AS open FROM {table_of(window)} {steps.where}GROUP BY 1, 2 ORDER BY 1, 2",
    ).to_pylist()
    starts = steps.starts([row["at"] for row in rows])
    index: dict[datetime | None, int] = {start: n for n, start in enumerate(starts)}
    series: dict[str, list[float | None]] = {}
    counts: dict[str, int] = {}
    provisional = [False] * len(starts)
    for row in rows:
        name, n = "(none)" if row["g"] is None else printable(row["g"], 24), index[as_time(row["at"])]
        value = finite(row["v"])
        values = series.setdefault(name, [None] * len(starts))
        values[n] = value if values[n] is None else values[n] + (value or 0)  # type: ignore[operator]
        counts[name] = counts.get(name, 0) + int(row["n"] or 0)
        provisional[n] |= bool(row["open"])
    groups = [_group(name, values, starts, counts[name] if counting else None) for name, values in series.items()]
    groups.sort(key=lambda g: (-g.total, g.name))
    unit = contract.field(measure.argument).unit if measure.function == "sum" and measure.argument else None
    ordered = {g.name: series[g.name] for g in groups}
    return Load(
        table.name,
        measure.name,
        measure.function,
        unit,
        by,
        window.overlap,
        steps.seconds,
        starts,
        ordered,
        provisional,
        groups,
    )


def _group(name: str, values: list[float | None], starts: list[datetime], n: int | None) -> Group:
    known = [(v, start) for v, start in zip(values, starts, strict=True) if v is not None]
    peak, at = max(known, key=lambda pair: pair[0], default=(0.0, starts[0]))
    return Group(name, sum(v for v, _ in known), n, peak, at)


def finite(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if abs(number) != float("inf") and number == number else None


def table_of(window: WindowSpec) -> str:
    return f"gold.{quoted(window.name)}"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
