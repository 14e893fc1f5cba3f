"""A chart of rows: lines over time or numbers, bars over text. Columns are chosen where they are not named.

The drawing is the report's (beam_grid/report/charts): colours that people with colour blindness tell apart, text as text.
"""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_grid.errors import GridError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES, MOST_POINTS, MOST_BARS = 8, 1_000, 40
"""Lines of a chart, points of a line (more are drawn as means of neighbours), bars."""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Line:
    """A line of a chart, or one bar per x: its label, x (microseconds since the epoch of a time) and y, sorted by x."""

    label: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Plot:
    """A chart that a notebook draws. alt: what it shows, in words; x, y: what the axes are called."""

    title: str
    alt: str
    x: str
    y: str
    lines: tuple[Line, ...]
    kind: str
    """What x is: time, number or text."""

    @property
    def figure(self) -> Figure:
        """The drawing, to be changed and saved with matplotlib; made anew each time."""
        import matplotlib as mpl

        from beam_grid.report.charts.drawing import STYLE

        with mpl.rc_context(STYLE):
            return _draw(self)

    def save(self, path: str | Path) -> Path:
        """Write it: .svg, .png or .pdf by the name. Raises GridError where it cannot be written."""
        import matplotlib as mpl

        from beam_grid.report.charts.drawing import STYLE

        try:
            with mpl.rc_context(STYLE):
                _draw(self).savefig(path)
        except (OSError, ValueError) as cause:
            raise GridError(f"plot {path}: cannot be written ({cause})") from cause
        return Path(path)

    def _repr_html_(self) -> str:
        from beam_grid.report.charts.drawing import svg

        drawing = svg(f"plot-{next(_numbers)}", lambda: _draw(self))
        return (
            f'<figure role="img" aria-label="{escape(self.alt)}" style="max-width:820px;margin:0">{drawing}'
            f"<figcaption>{escape(self.alt)}</figcaption></figure>"
        )


def check_column(name: str, known: list[str], where: str) -> str:
    """The name; raises GridError, with the nearest known one, where it is no column."""
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"columns: {', '.join(known)}"
        raise GridError(f"{where}: there is no column {name!r}; {hint}")
    return name


def plot(rows: pa.Table, title: str, x: str | None, y: str | None, by: str | None) -> Plot:
    """The chart of a table's rows; `Rows.plot` says how columns are chosen. Raises GridError as it does."""
    for name in filter(None, (x, y, by)):
        check_column(name, rows.column_names, title)
    if not rows.num_rows:
        raise GridError(f"{title}: there are no rows to plot")
    x = x or _first(rows, _is_time) or rows.column_names[0]
    y = y or _first(rows, _is_fraction, x) or _first(rows, _is_number, x)
    if y is None or not _is_number(rows.schema.field(y).type):
        raise GridError(f"{title}: {'no column' if y is None else repr(y)} holds numbers to plot; name one with y=")
    for name in filter(None, (x, by)):
        if pa.types.is_nested(given := rows.schema.field(name).type):
            raise GridError(
                f"{title}: {name!r} is {given}; a chart is over times, numbers or text: take it apart in SQL"
            )
    kind = (
        "time" if _is_time(rows.schema.field(x).type) else "number" if _is_number(rows.schema.field(x).type) else "text"
    )
    rows = rows.filter(pc.is_valid(rows[x]))
    if by is None and pc.count_distinct(rows[x]).as_py() < rows.num_rows:
        by = _first(rows, pa.types.is_string, x)
    groups = _groups(rows, x, y, by)
    drawn = groups[:MOST_LINES]
    most = MOST_BARS if kind == "text" else MOST_POINTS
    lines = tuple(_thinned(line, most, kind) for line in drawn)
    alt = f"{y} over {x}"
    if by is not None:
        alt += f", a line per {by}: {len(drawn)} of {len(groups)}" + (
            ", the greatest" if len(groups) > len(drawn) else ""
        )
    if any(len(a.x) > len(b.x) for a, b in zip(drawn, lines, strict=True)):
        alt += f"; the first {most} values" if kind == "text" else "; each point is the mean of its neighbours"
    if any(len(np.unique(line.x)) < len(line.x) for line in drawn):
        alt += f"; several rows share a {x}: add them up in SQL, or name by="
    return Plot(title, alt, x, y, lines, kind)


def _first(rows: pa.Table, fits: Any, but: str | None = None) -> str | None:
    """The first column of such a type; those of lineage begin with `_`."""
    return next((f.name for f in rows.schema if fits(f.type) and f.name != but and not f.name.startswith("_")), None)


def _is_time(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def _is_fraction(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _is_number(kind: pa.DataType) -> bool:
    return _is_fraction(kind) or pa.types.is_integer(kind)


def _groups(rows: pa.Table, x: str, y: str, by: str | None) -> list[Line]:
    """A line per value of `by`, those with the greatest sums first."""
    values = rows[y].cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy()
    places = _places(rows[x])
    if by is None:
        return [_line(y, places, values)]
    labels = rows[by].cast(pa.string()).combine_chunks().dictionary_encode()
    names = [*labels.dictionary.to_pylist(), "null"]
    codes = labels.indices.fill_null(len(names) - 1).to_numpy()
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(len(names) + 1))
    parts = [(name, order[a:b]) for name, a, b in zip(names, edges, edges[1:], strict=False) if b > a]
    lines = [_line(str(name), places[at], values[at]) for name, at in parts]
    return sorted(lines, key=lambda line: -float(np.nansum(np.abs(line.y))))


def _places(column: pa.ChunkedArray) -> np.ndarray:
    if _is_time(column.type):
        unit = pa.timestamp("us", getattr(column.type, "tz", None))
        return column.cast(unit, safe=False).cast(pa.int64()).to_numpy()
    if _is_number(column.type):
        return column.cast(pa.float64(), safe=False).to_numpy()  # whole numbers beyond 2^53 are near enough
    return np.array([str(value) for value in column.to_pylist()], dtype=object)


def _line(label: str, x: np.ndarray, y: np.ndarray) -> Line:
    order = np.arange(len(x)) if x.dtype == object else np.argsort(x, kind="stable")
    return Line(label, x[order], y[order])


def _thinned(line: Line, most: int, kind: str) -> Line:
    if len(line.x) <= most:
        return line
    if kind == "text":
        return Line(line.label, line.x[:most], line.y[:most])
    edges = np.linspace(0, len(line.x), most + 1).astype(int)[:-1]
    there = ~np.isnan(line.y)
    sums, counts = np.add.reduceat(np.where(there, line.y, 0.0), edges), np.add.reduceat(there.astype(float), edges)
    with np.errstate(invalid="ignore"):
        return Line(line.label, line.x[edges], sums / counts)


def _draw(chart: Plot) -> Figure:
    from beam_grid.report.charts import drawing

    bottom = 120 if chart.kind == "text" else 40
    figure, axes = drawing.figure_of(drawing.PAGE, 300 + bottom, left=70, right=20, top=40, bottom=bottom)
    for n, line in enumerate(chart.lines):
        colour = drawing.GROUPS[n % len(drawing.GROUPS)]
        label = _text(line.label)
        if chart.kind == "text":
            axes.bar(list(map(_text, line.x)), line.y, color=colour, label=label, alpha=0.8)
        else:
            at = line.x.astype("datetime64[us]") if chart.kind == "time" else line.x
            axes.plot(at, line.y, color=colour, label=label, linewidth=1.2, marker="." if len(line.x) < 60 else "")
    if chart.kind == "time":
        drawing.time_axis(axes, most=8)
    if chart.kind == "text":
        axes.tick_params(axis="x", rotation=60)
        axes.get_xticklabels()  # made here, in this style: later a `$` in them would begin mathematics
    axes.grid(True, axis="y")
    axes.set_title(_text(chart.title), loc="left", fontsize=12)
    axes.set_xlabel(_text(chart.x))
    axes.set_ylabel(_text(chart.y))
    if len(chart.lines) > 1:
        axes.legend(loc="best", fontsize=9, frameon=False)
    return figure


def _text(value: Any) -> str:
    """A short label; a leading underscore would hide it from matplotlib's legend."""
    text = str(value)[:60]
    return f" {text}" if text.startswith("_") else text
