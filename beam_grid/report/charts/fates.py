"""Read as one bar, cut into its fates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from beam_grid.report.charts.drawing import FATE_COLOURS, INK, MUTED, PAGE, PHONE, VERMILLION, Chart, drawn, figure_of
from beam_grid.report.words import count, share

if TYPE_CHECKING:
    from beam_grid.commit import Fates


def fates(name: str, totals: Fates) -> Chart:
    """Read as one bar, cut into its four fates; the small ones once more below, enlarged."""
    parts = [(fate, getattr(totals, fate)) for fate in FATE_COLOURS]
    read, rest = totals.read, sum(n for fate, n in parts if fate != "landed")
    missing = totals.unaccounted
    if missing > 0:
        parts.append(("unaccounted", missing))
    whole = max(read, sum(n for _, n in parts), 1)
    zoomed = rest > 0 and rest + max(missing, 0) < 0.4 * whole

    def draw(phone: bool) -> Figure:
        width = PHONE if phone else PAGE
        figure, axes = figure_of(width, 158 if zoomed else 76, 1, 1, 22, 8)
        axes.set_axis_off()
        axes.set_xlim(0, width - 2)
        axes.set_ylim(128 if zoomed else 46, 0)
        scale = (width - 2) / whole
        _segments(axes, 0, 42, scale, parts, read, bool(zoomed))
        axes.text(0, -7, f"read {count(read)}", ha="left", va="baseline", fontweight="bold")
        if zoomed:
            small = [part for part in parts if part[0] != "landed"]
            left, total = totals.landed * scale, sum(n for _, n in small)
            axes.fill([left, width - 2, width - 2, 0], [42, 42, 84, 84], color="#f1f4f6", lw=0)
            middle = f"the {share(total, whole)} that did not land, enlarged"
            axes.text(
                (width - 2) / 2 + (30 if phone else 60), 63, middle, ha="center", va="center", color=MUTED, fontsize=11
            )
            _segments(axes, 84, 42, (width - 2) / total, small, read, False)
        return figure

    told = ", ".join(f"{fate} {count(n)} ({share(n, read)})" for fate, n in parts)
    return drawn(name, f"Bar: of {count(read)} records read: {told}.", draw)


def _segments(
    axes: Axes, top: float, height: float, scale: float, parts: Sequence[tuple[str, int]], read: int, first_only: bool
) -> None:
    left = 0.0
    for at, (fate, n) in enumerate(parts):
        wide = n * scale
        colour = FATE_COLOURS.get(fate, "#ffffff")
        hatch = "////" if fate == "unaccounted" else None
        axes.barh(
            top + height / 2,
            wide,
            height,
            left,
            color=colour,
            edgecolor="white" if not hatch else VERMILLION,
            linewidth=1,
            hatch=hatch,
        )
        room = [
            (f"{fate} {count(n)} · {share(n, read)}", 6.6),
            (f"{fate} {count(n)}", 6.6),
            (f"{fate}\n{count(n)}", 6.6),
        ]
        ink = "white" if fate in ("landed", "rejected") else INK
        for text, each in room:
            longest = max(len(line) for line in text.split("\n"))
            if n and longest * each + 10 <= wide and not (first_only and at):
                axes.text(left + 7, top + height / 2, text, va="center", color=ink, fontsize=11.5, linespacing=1.15)
                break
        left += wide
