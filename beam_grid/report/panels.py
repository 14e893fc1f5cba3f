"""What a window table shows: each of its measures over time, split by the table's first `by` column.

Few values of that column (`FEW`) are a line each. Of many, each measure has lines for the `TOP` values that stand out
in it, and one for the mean of all the others, so that a line can be told from the crowd. Steps wider than a window
merge its values as the measure does (sums add, greatest of greatest, means weighted by a count); windows that overlap
are never merged: every n-th of them is drawn. All counting is the engine's; what comes back is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.report.load import FEW, WindowTable, finite, quoted, table_of
from beam_grid.report.steps import steps_of
from beam_grid.report.words import as_time, moment, number, printable, share
from data_sources.durations import micros

if TYPE_CHECKING:
    from data_sources.contract import Contract, Measure, WindowSpec

TOP = 5
"""Values shown singly where there are too many to show all."""

MOST_STEPS = 160
"""Steps of a small chart at most."""

COUNTS = ("count", "count_if")


@dataclass(frozen=True)
class Line:
    """One value a step; None where there is no window. `rest`: the mean of the groups that have no line."""

    name: str
    values: list[float | None]
    rest: bool = False


@dataclass(frozen=True)
class Window:
    """One window's value, whose it is (its `by` values) and when it began, in words."""

    value: float
    of: str
    at: str


@dataclass(frozen=True)
class Panel:
    """A measure over time. total: of all windows where they add up; leader: the line that has most of it."""

    measure: Measure
    unit: str | None
    lines: list[Line]
    mean: float | None
    least: Window | None
    greatest: Window | None
    total: float | None = None
    leader: tuple[str, float] | None = None

    @property
    def said(self) -> str:
        """What is to be seen, in a sentence or two."""
        if self.greatest is None or self.least is None:
            return "No window has a value."
        if self.least.value == self.greatest.value:
            return f"Always {self._told(self.greatest.value)}.{self._in_all()}"
        if self.total is not None:
            return f"Greatest window: {self._window(self.greatest)}.{self._in_all()}"
        average = f"{self._told(self.mean)} on average, " if self.mean is not None else "Values "
        return f"{average}from {self._window(self.least)} to {self._window(self.greatest)}."

    def _told(self, value: float | None) -> str:
        """With more digits where all values are much alike."""
        low, high = (side.value if side else 0.0 for side in (self.least, self.greatest))
        alike = high - low < 0.05 * max(abs(low), abs(high))
        return f"{number(value, 5 if alike else 3)}{f' {self.unit}' if self.unit else ''}"

    def _window(self, window: Window) -> str:
        return f"{self._told(window.value)} ({f'{window.of}, ' if window.of else ''}{window.at})"

    def _in_all(self) -> str:
        if not self.total:
            return ""
        name, part = self.leader or ("", 0.0)
        most = f", most by {name}: {number(part)} ({share(part, self.total)})" if self.leader else ""
        return f" In all {number(self.total)}{f' {self.unit}' if self.unit else ''}{most}."


@dataclass(frozen=True)
class Panels:
    """The charts of one window table. step in seconds; left_out: measures that are no numbers, or drawn elsewhere."""

    table: WindowTable
    by: str | None
    groups: int
    step: int
    starts: list[datetime]
    provisional: list[bool]
    panels: list[Panel]
    left_out: list[str]

    @property
    def few(self) -> bool:
        return self.groups <= FEW

    @property
    def overlapping(self) -> bool:
        return self.table.spec.overlap

    @property
    def widened(self) -> int:
        """How many windows make a step, or of how many that overlap one is drawn."""
        return max(1, round(self.step / self.table.spec.step.total_seconds()))


def panels(lake: Lake, contract: Contract, table: WindowTable, drawn: str | None = None) -> Panels | None:
    """None for a table without rows. `drawn` names a measure that is shown elsewhere."""
    window = table.spec
    if not table.rows or table.first is None:
        return None
    by = window.by[0] if window.by else None
    groups = _groups(lake, window, by)
    wanted = [m for m in window.parsed if _is_number(m, contract) and m.name != drawn]
    left_out = [m.name for m in window.parsed if m not in wanted and m.name != drawn]
    steps = steps_of(table, MOST_STEPS)
    if not wanted:
        return Panels(table, by, groups, steps.seconds, [], [], [], left_out)
    tops = [[]] * len(wanted) if groups <= FEW else _tops(lake, window, str(by), wanted)
    inner = (
        f"SELECT {steps.at} AS at, {_text(by)} AS g, {_merged_all(window, wanted)}, "
        f"max(CASE WHEN final THEN 0 ELSE 1 END) AS open FROM {table_of(window)} {steps.where}GROUP BY 1, 2"
    )
    rows = query(lake, _named(inner, tops)).to_pylist()
    rest = query(lake, _others(inner, tops)).to_pylist()
    starts = steps.starts([row["at"] for row in rest])
    places = {start: n for n, start in enumerate(starts)}
    provisional = [False] * len(starts)
    for row in rest:
        provisional[_place(places, row)] = bool(row["open"])
    ranks = _order(lake, window, by) if groups <= FEW else []
    facts = _facts(lake, window, wanted)
    found = []
    for n, measure in enumerate(wanted):
        lines = [_line(rows, n, key, places, measure) for key in (ranks if groups <= FEW else [k for k, _ in tops[n]])]
        if groups > FEW:
            name = f"mean of {groups - len(lines):,} others"
            lines.append(Line(name, _values(rest, n, places, measure), rest=True))
        found.append(_panel(measure, contract, lines, facts, n, table, tops[n]))
    return Panels(table, by, groups, steps.seconds, starts, provisional, found, left_out)


def _panel(
    measure: Measure,
    contract: Contract,
    lines: list[Line],
    facts: dict[str, list[Any]],
    n: int,
    table: WindowTable,
    top: Sequence[tuple[str | None, float]],
) -> Panel:
    adds_up = _adds_up(measure) and not table.spec.overlap
    total = facts["sum"][n] if adds_up else None
    leader = None
    if total and len(lines) > 1:
        parts = [(_label(key), v) for key, v in top] or [(x.name, sum(v or 0 for v in x.values)) for x in lines]
        leader = max(parts, key=lambda part: part[1])
    unit = _unit(measure, contract)
    mean, least, greatest = (facts[side][n] for side in ("mean", "least", "greatest"))
    return Panel(measure, unit, lines, mean, least, greatest, total, leader)


def _is_number(measure: Measure, contract: Contract) -> bool:
    if measure.function in (*COUNTS, "sum", "avg", "stddev", "quantile", "distinct"):
        return True
    return measure.argument is not None and contract.field(measure.argument).is_numeric


def _adds_up(measure: Measure) -> bool:
    return measure.function in (*COUNTS, "sum")


def _unit(measure: Measure, contract: Contract) -> str | None:
    if measure.function in (*COUNTS, "distinct") or measure.argument is None:
        return None
    return contract.field(measure.argument).unit


def _groups(lake: Lake, window: WindowSpec, by: str | None) -> int:
    """How many values the column has, null one of them."""
    if by is None:
        return 1
    sql = f"SELECT count(*) AS n FROM (SELECT DISTINCT {_text(by)} AS g FROM {table_of(window)}) AS d"
    return int(query(lake, sql)["n"][0].as_py())


def _text(by: str | None) -> str:
    return "'all'" if by is None else f"CAST({quoted(by)} AS VARCHAR)"


def _double(measure: Measure) -> str:
    return f"CAST({quoted(measure.name)} AS DOUBLE)"


def merged(window: WindowSpec, measure: Measure) -> str:
    """SQL that makes one value of several windows' values of a measure, as near to the measure as these allow."""
    value = _double(measure)
    if _adds_up(measure):
        return f"sum({value})"
    if measure.function in ("min", "max"):
        return f"{measure.function}({value})"
    if measure.function == "avg":
        counts = [m for m in window.parsed if m.function == "count"]
        weights = [m for m in counts if m.argument == measure.argument] or [m for m in counts if m.argument is None]
        if weights:
            weight = _double(weights[0])
            some = f"CASE WHEN {quoted(measure.name)} IS NOT NULL THEN {weight} END"
            return f"sum({value} * {weight}) / nullif(sum({some}), 0)"
    return f"avg({value})"


def _merged_all(window: WindowSpec, wanted: list[Measure]) -> str:
    return ", ".join(f"{merged(window, m)} AS m{n}" for n, m in enumerate(wanted))


def _tops(lake: Lake, window: WindowSpec, by: str, wanted: list[Measure]) -> list[list[tuple[str | None, float]]]:
    """For each measure the values of `by` that stand out: least for a min, else greatest; with the value they have."""
    parts = [
        f"(SELECT {n} AS n, {_text(by)} AS g, {merged(window, m)} AS v FROM {table_of(window)} "
        f"WHERE {quoted(by)} IS NOT NULL GROUP BY 2 HAVING {merged(window, m)} IS NOT NULL "
        f"ORDER BY 3 {'ASC' if m.function == 'min' else 'DESC'}, 2 LIMIT {TOP})"
        for n, m in enumerate(wanted)
    ]
    found: list[list[tuple[str | None, float]]] = [[] for _ in wanted]
    rows = query(lake, " UNION ALL ".join(parts)).to_pylist()
    for row in sorted(rows, key=lambda r: (-r["v"] if wanted[r["n"]].function != "min" else r["v"], r["g"])):
        found[row["n"]].append((row["g"], row["v"]))
    return found


def _named(inner: str, tops: Sequence[Sequence[tuple[str | None, float]]]) -> str:
    """The groups that have a line of their own in some chart."""
    keys = sorted({str(key) for top in tops for key, _ in top})
    where = f"WHERE g IN ({', '.join(map(literal, keys))}) " if keys else ""
    return f"SELECT * FROM ({inner}) AS w {where}ORDER BY at, g"


def _others(inner: str, tops: Sequence[Sequence[tuple[str | None, float]]]) -> str:
    """Per step the mean of the groups without a line, and whether a window is open, over all groups."""
    means = []
    for n, top in enumerate(tops):
        keys = ", ".join(literal(str(key)) for key, _ in top)
        value = f"CASE WHEN g IS NULL OR g NOT IN ({keys}) THEN m{n} END" if keys else f"m{n}"
        means.append(f"avg({value}) AS m{n}")
    return f"SELECT at, {', '.join(means)}, max(open) AS open FROM ({inner}) AS w GROUP BY at ORDER BY at"


def _facts(lake: Lake, window: WindowSpec, wanted: list[Measure]) -> dict[str, list[Any]]:
    """Per measure the sum and mean of all windows, and its least and greatest window."""
    sums = ", ".join(f"sum({_double(m)}) AS s{n}, avg({_double(m)}) AS a{n}" for n, m in enumerate(wanted))
    row = query(lake, f"SELECT {sums} FROM {table_of(window)}").to_pylist()[0]
    names = [f"{_text(by)} AS b{n}" for n, by in enumerate(window.by)]
    order = "".join(f", b{n}" for n in range(len(names)))
    parts = [
        f"(SELECT {n} AS n, '{side}' AS side, window_start AS at, {_double(m)} AS v{''.join(f', {b}' for b in names)} "
        f"FROM {table_of(window)} WHERE {quoted(m.name)} IS NOT NULL AND NOT isnan({_double(m)}) "
        f"ORDER BY v {direction}, at{order} LIMIT 1)"
        for n, m in enumerate(wanted)
        for side, direction in (("least", "ASC"), ("greatest", "DESC"))
    ]
    found: dict[str, list[Any]] = {
        "sum": [finite(row[f"s{n}"]) for n in range(len(wanted))],
        "mean": [finite(row[f"a{n}"]) for n in range(len(wanted))],
        "least": [None] * len(wanted),
        "greatest": [None] * len(wanted),
    }
    for row in query(lake, " UNION ALL ".join(parts)).to_pylist():
        of = ", ".join(_label(row[f"b{n}"]) for n in range(len(names)))
        found[row["side"]][row["n"]] = Window(float(row["v"]), of, _when(row["at"], window))
    return found


def _when(at: Any, window: WindowSpec) -> str:
    """Its start; of windows that begin with a day, the day; of a calendar's, what they are called where they are."""
    if window.calendar is not None and window.time_zone is not None:
        local = at.astimezone(ZoneInfo(window.time_zone)).date().isoformat()
        return {"month": local[:7], "year": local[:4]}.get(window.calendar, local)
    days = not any(micros(length) % 86_400_000_000 for length in (window.step, window.offset))
    return moment(at)[:10] if days else moment(at)


def _order(lake: Lake, window: WindowSpec, by: str | None) -> list[str | None]:
    """The groups, those with most of the first sum (else the first count) first: the order of `load` too."""
    measures = sorted(window.parsed, key=lambda m: {"sum": 0, "count": 1, "count_if": 2}.get(m.function, 3))
    value = merged(window, measures[0]) if _adds_up(measures[0]) else "count(*)"
    rows = query(lake, f"SELECT {_text(by)} AS g, {value} AS v FROM {table_of(window)} GROUP BY 1").to_pylist()
    totals = {row["g"]: finite(row["v"]) or 0.0 for row in rows}
    return sorted(totals, key=lambda key: (-totals[key], _label(key)))


def _line(rows: list[dict[str, Any]], n: int, key: str | None, places: dict[datetime, int], measure: Measure) -> Line:
    return Line(_label(key), _values([row for row in rows if row["g"] == key], n, places, measure))


def _values(rows: list[dict[str, Any]], n: int, places: dict[datetime, int], measure: Measure) -> list[float | None]:
    """One value a step; a step without a window counts nothing."""
    values: list[float | None] = [0.0 if measure.function in COUNTS else None] * len(places)
    for row in rows:
        values[_place(places, row)] = finite(row[f"m{n}"])
    return values


def _place(places: dict[datetime, int], row: dict[str, Any]) -> int:
    at = as_time(row["at"])
    assert at is not None  # a window has a start
    return places[at]


def _label(key: Any) -> str:
    return printable(key, 40)


def literal(text: str) -> str:
    """Text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"
