"""A meter's readings around one that looks wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from beam_grid.report.charts.drawing import INK, KIND_COLOURS, SMALL, figure_of, mdates, svg

if TYPE_CHECKING:
    from beam_grid.report.suspects import Kind, Meter


def meter(name: str, found: Meter, kind: Kind, kinds: Sequence[Kind]) -> Markup:
    """A meter's readings on a logarithmic scale, the limits of the kind shaded, suspects marked, the example ringed."""

    def draw() -> Figure:
        figure, axes = figure_of(SMALL, 132, 34, 8, 10, 22)
        floor = 0.0006
        low = min([r.kwh for r in found.readings if r.kwh > 0] + [kind.low, 0.05])
        high = max([r.kwh for r in found.readings] + [kind.high, 10])
        axes.axhspan(max(kind.low, floor), kind.high, color=KIND_COLOURS[kind.name], alpha=0.14, lw=0)
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(max(low, floor) * 0.7, high * 1.5)
        when: list[Any] = [mdates.date2num(r.at) for r in found.readings]
        values = [max(r.kwh, floor) for r in found.readings]
        axes.plot(when, values, color="#7b8794", lw=1, zorder=2)
        axes.plot(when, values, ls="", marker="o", ms=2, color="#7b8794", zorder=2)
        for other in kinds:
            points = [(x, y) for x, y, r in zip(when, values, found.readings, strict=True) if r.kind == other.name]
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    ls="",
                    marker="v" if other.name == "theft" else "^",
                    ms=6,
                    color=KIND_COLOURS[other.name],
                    zorder=3,
                    clip_on=False,
                )
        axes.plot(
            [when[found.example]],
            [values[found.example]],
            ls="",
            marker="o",
            ms=12,
            mfc="none",
            mec=INK,
            mew=1.2,
            zorder=4,
            clip_on=False,
        )
        axes.yaxis.set_major_locator(FixedLocator([0.001, 0.01, 0.1, 1, 10, 100, 1000]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="y")
        axes.tick_params(labelsize=10)
        axes.margins(x=0.03)
        first, last = found.readings[0].at, found.readings[-1].at
        axes.set_xticks([when[0], when[-1]], [f"{first:%d %b %H:%M}", f"{last:%d %b %H:%M}" if last > first else ""])
        left, right = axes.get_xticklabels()
        left.set_horizontalalignment("left")
        right.set_horizontalalignment("right")
        return figure

    return svg(name, draw)
