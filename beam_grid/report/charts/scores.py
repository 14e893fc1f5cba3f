"""Readings that lie far from their meter's past: by how many standard deviations, over the last days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from beam_grid.report.charts.drawing import (
    INK,
    MUTED,
    ORANGE,
    PAGE,
    PHONE,
    VERMILLION,
    Chart,
    drawn,
    figure_of,
    mdates,
    time_axis,
)

if TYPE_CHECKING:
    from beam_grid.report.scores import Scores

STATUS_COLOURS = {"CRITICAL": VERMILLION, "WARNING": ORANGE}


def scored(name: str, found: Scores) -> Chart:
    """Suspects by time and z-score; what was planted is ringed. Straight to 5, logarithmic beyond."""
    points = [(one, one.z) for one in found.drawn if one.z is not None]

    def draw(phone: bool) -> Figure:
        figure, axes = figure_of(PHONE if phone else PAGE, 250 if phone else 290, 44, 10, 12, 30)
        axes.set_yscale("symlog", linthresh=5, linscale=1.2)
        greatest = max([abs(z) for _, z in points] + [6])
        lowest = min([z for _, z in points] + [-6])
        axes.set_ylim(min(lowest * 1.6, -6), greatest * 1.6)
        axes.axhspan(-3, 3, color="#eef1f4", lw=0)
        axes.axhline(0, color="#9aa5b1", lw=0.8)
        for status, colour in reversed(STATUS_COLOURS.items()):
            when: list[Any] = [mdates.date2num(one.at) for one, _ in points if one.status == status]
            values = [z for one, z in points if one.status == status]
            axes.plot(when, values, ls="", marker="o", ms=4, color=colour, mew=0, clip_on=False)
        when = [mdates.date2num(one.at) for one, _ in points if one.kind is not None]
        axes.plot(
            when,
            [z for one, z in points if one.kind is not None],
            ls="",
            marker="o",
            ms=10,
            mfc="none",
            mec=INK,
            mew=1.1,
            clip_on=False,
        )
        axes.set_xlim(mdates.date2num(found.since), mdates.date2num(found.last))
        axes.yaxis.set_major_locator(FixedLocator([-1000, -100, -30, -10, -3, 0, 3, 10, 30, 100, 1000, 10_000]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:+,.0f}".replace("-", "−") if v else "0"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(axis="y")
        axes.annotate("less than 2: ordinary, not drawn", (1, 0), (-4, 3), ("axes fraction", "data"), "offset points", ha="right", va="bottom", fontsize=10, color=MUTED)  # fmt: skip
        time_axis(axes, 4 if phone else 9)
        return figure

    return drawn(
        name, f"z-scores of {len(points):,} readings beyond 2 standard deviations, over time. {found.summary}", draw
    )
