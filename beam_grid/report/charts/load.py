"""One measure over time, large: groups stacked, or lines."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from beam_grid.report.charts.drawing import (
    GROUPS,
    INK,
    MUTED,
    PAGE,
    PHONE,
    Chart,
    drawn,
    figure_of,
    mdates,
    runs,
    short,
    time_axis,
)
from beam_grid.report.words import number, printable, step

if TYPE_CHECKING:
    from beam_grid.report.load import Load


def load_over_time(name: str, load: Load) -> Chart:
    """Groups stacked, where they add up; else lines. Steps that are not final are shaded."""
    groups = list(load.series)
    known = [v for values in load.series.values() for v in values if v is not None]
    stacked = min(known, default=0.0) >= 0 and not load.overlapping
    label = f"{load.label} per {'window' if load.overlapping else step(load.step)}"
    width = timedelta(seconds=load.step)
    edges = [mdates.date2num(start) for start in [*load.starts, load.starts[-1] + width]]

    def draw(phone: bool) -> Figure:
        named = len(groups) > 1
        longest = 14 if phone else 24
        right = 24 + round(7.4 * max(min(len(g), longest) for g in groups)) if named else 10
        figure, axes = figure_of(PHONE if phone else PAGE, 250 if phone else 300, 46, right, 24, 24)
        axes.grid(axis="y")
        ends: list[tuple[float, str, str]] = []
        below = [0.0] * len(load.starts)
        for group, colour in zip(groups, GROUPS, strict=False):
            values = [v or 0.0 if stacked else (float("nan") if v is None else v) for v in load.series[group]]
            if stacked:
                above = [a + b for a, b in zip(below, values, strict=True)]
                axes.fill_between(
                    edges, [*below, below[-1]], [*above, above[-1]], step="post", color=colour, alpha=0.85, lw=0
                )
                axes.step(edges, [*above, above[-1]], where="post", color="white", lw=0.9 if len(edges) < 100 else 0)
                ends.append(((above[-1] + below[-1]) / 2, printable(group, longest), colour))
                below = above
            else:
                axes.step(edges, [*values, values[-1]], where="post", color=colour, lw=1.6)
                last = next((v for v in reversed(values) if v == v), 0.0)
                ends.append((last, printable(group, longest), colour))
        axes.set_xlim(edges[0], edges[-1])
        if stacked:
            axes.set_ylim(0, max(max(below, default=0.0) * 1.05, 1e-9))
        for start, end in runs(load.provisional):
            axes.axvspan(edges[start], edges[end], facecolor="#ffffff", alpha=0.45, lw=0)
            axes.axvspan(edges[start], edges[end], facecolor="none", edgecolor=MUTED, hatch="////", alpha=0.35, lw=0)
            axes.axvline(edges[start], color=MUTED, lw=0.9, ls=(0, (3, 2)))
        if any(load.provisional) and not phone:  # on a phone there is no room, and the caption says it
            axes.annotate(
                "hatched: provisional",
                (1, 1),
                (0, 8),
                "axes fraction",
                "offset points",
                ha="right",
                color=MUTED,
                fontsize=11,
            )
        axes.annotate(label, (0, 1), (-44, 8), "axes fraction", "offset points", color=MUTED, fontsize=11)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: short(v)))
        time_axis(axes, 4 if phone else 9)
        if named:
            _end_labels(axes, ends)
        return figure

    peak = max(load.groups, key=lambda g: g.peak)
    told = f"{'Stacked areas' if stacked else 'Lines'} of {label} from {load.starts[0]:%Y-%m-%d %H:%M} UTC on"
    told += f", by {load.by}: {', '.join(groups)}" if load.by else ""
    return drawn(name, f"{told}. Greatest single step: {number(peak.peak)} at {peak.peak_at:%Y-%m-%d %H:%M} UTC.", draw)


def _end_labels(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names at the right edge, moved apart where they would touch."""
    low, high = axes.get_ylim()
    height = axes.get_window_extent().height
    places = sorted(((value - low) / (high - low) * height, text, colour) for value, text, colour in ends)
    at, moved = -1e9, []
    for place, text, colour in places:
        at = max(place, at + 14)
        moved.append((at, text, colour))
    over = max(0.0, moved[-1][0] - height)
    for at, text, colour in moved:
        axes.annotate(
            "■", (1, 0), (5, at - over), "axes fraction", "offset points", va="center", color=colour, fontsize=10
        )
        axes.annotate(
            text, (1, 0), (17, at - over), "axes fraction", "offset points", va="center", color=INK, fontsize=11
        )
