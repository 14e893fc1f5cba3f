"""One measure of a window table over time, small: a line a group, the mean of the others in grey."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from beam_grid.report.charts.drawing import GROUPS, MUTED, OTHERS, PANEL, figure_of, mdates, runs, short, svg, time_axis

if TYPE_CHECKING:
    from beam_grid.report.panels import Line, Panel, Panels


def panel(name: str, table: Panels, shown: Panel) -> Markup:
    """The measure in steps; the times whose windows are not final are hatched."""

    def draw() -> Figure:
        figure, axes = figure_of(PANEL, 158, 42, 10, 10, 24)
        edges = [mdates.date2num(at) for at in [*table.starts, table.starts[-1] + timedelta(seconds=table.step)]]
        axes.grid(axis="y")
        for line, colour in reversed(list(zip(shown.lines, colours(shown.lines), strict=True))):
            values = [float("nan") if v is None else v for v in line.values]
            axes.step(edges, [*values, values[-1]], where="post", color=colour, lw=1.8 if line.rest else 1.3)
        axes.set_xlim(edges[0], edges[-1])
        known = [v for line in shown.lines for v in line.values if v is not None]
        _value_axis(axes, known, shown.measure.function in ("count", "count_if", "sum"))
        for start, end in runs(table.provisional):
            axes.axvspan(edges[start], edges[end], facecolor="none", edgecolor=MUTED, hatch="////", alpha=0.3, lw=0)
        time_axis(axes, 5)
        return figure

    return svg(name, draw)


def colours(lines: list[Line]) -> list[str]:
    """A colour a line; the mean of the others is grey."""
    return [OTHERS if line.rest else GROUPS[n % len(GROUPS)] for n, line in enumerate(lines)]


def _value_axis(axes: Axes, known: list[float], adds_up: bool) -> None:
    """From nothing where the values add up or come near it: other lines far from zero would look flat."""
    low, high = min(known, default=0.0), max(known, default=0.0)
    if low >= 0 and (adds_up or low < 0.5 * high or high == 0):
        axes.set_ylim(0, high * 1.06 or 1)
    elif low == high:
        axes.set_ylim(low - abs(low) * 0.1, high + abs(high) * 0.1)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: short(v)))
