"""How far behind records came, and where the limit stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from beam_grid.report.charts.drawing import BLUE, DARK, MUTED, ORANGE, PAGE, PHONE, VERMILLION, Chart, drawn, figure_of
from beam_grid.report.words import count, duration

if TYPE_CHECKING:
    from beam_grid.report.gather import Delays


def delays(name: str, found: Delays) -> Chart | None:
    """Records by how far behind they came, those that came in order left out; None where there are none.

    The bin that the limit cuts shows its two parts: late records are counted, and those of the bins beyond are known.
    """
    bounds = found.bounds
    behind = found.counts[1:]
    if not sum(behind):
        return None
    limit = found.limit
    cut = None if limit is None else next((n for n, top in enumerate(bounds[1:]) if limit < top), len(bounds) - 1)
    last = max([n for n, value in enumerate(behind) if value] + [cut or 0])
    behind = behind[: last + 1]
    labels = [duration(top) for top in bounds[1:]][: last + 1]
    labels += ["more"] * (len(behind) - len(labels))
    late = _late_parts(behind, cut, found.late)
    mark = None if cut is None or limit is None else cut - 0.5 + _within(limit, cut, bounds)

    def draw(phone: bool) -> Figure:
        most = max(behind)
        said = f"limit {duration(limit)}" if limit is not None else ""
        if phone:
            figure, axes = figure_of(PHONE, 40 + 19 * len(behind), 62, 50, 8, 26)
            axes.barh(range(len(behind)), [n - x for n, x in zip(behind, late, strict=True)], 0.82, color=BLUE)
            axes.barh(range(len(behind)), late, 0.82, [n - x for n, x in zip(behind, late, strict=True)], color=ORANGE)
            axes.set_ylim(len(behind) - 0.4, -0.6)
            axes.set_yticks(range(len(behind)), [f"≤ {text}" if text != "more" else text for text in labels])
            axes.xaxis.set_visible(False)
            axes.spines["bottom"].set_visible(False)
            for at, n in enumerate(behind):
                axes.annotate(
                    count(n) if n else "",
                    (n, at),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=10.5,
                    color=MUTED,
                )
            if mark is not None:
                axes.axhline(mark, color=VERMILLION, lw=1.6)
                axes.annotate(
                    said,
                    (1, mark),
                    (48, -3),
                    ("axes fraction", "data"),
                    "offset points",
                    ha="right",
                    va="top",
                    color=DARK,
                    fontweight="bold",
                )
            axes.annotate(
                "behind by; records", (0, 0), (-60, -18), "axes fraction", "offset points", color=MUTED, fontsize=11
            )
            return figure
        figure, axes = figure_of(PAGE, 270, 8, 8, 30, 46)
        axes.bar(range(len(behind)), [n - x for n, x in zip(behind, late, strict=True)], 0.86, color=BLUE)
        axes.bar(range(len(behind)), late, 0.86, [n - x for n, x in zip(behind, late, strict=True)], color=ORANGE)
        axes.set_xlim(-0.6, len(behind) - 0.4)
        axes.set_ylim(0, most * 1.12)
        axes.set_xticks(range(len(behind)), labels, fontsize=10)
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
        for at, n in enumerate(behind):
            axes.annotate(
                count(n) if n else "",
                (at, n),
                (0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=10.5,
                color=MUTED,
            )
        if mark is not None:
            axes.axvline(mark, color=VERMILLION, lw=1.6)
            side = mark > len(behind) * 0.7
            axes.annotate(
                said,
                (mark, 1),
                (-6 if side else 6, 10),
                ("data", "axes fraction"),
                "offset points",
                ha="right" if side else "left",
                color=DARK,
                fontsize=11.5,
                fontweight="bold",
            )
        axes.set_xlabel("behind the newest event time seen before, up to", fontsize=11)
        return figure

    told = ", ".join(f"up to {text} {count(n)}" for text, n in zip(labels, behind, strict=True) if n)
    end = (
        f" The lateness limit stands at {duration(limit)}; {count(found.late)} records are late."
        if limit is not None
        else ""
    )
    return drawn(name, f"Records that came out of order, by how far behind: {told}.{end}", draw)


def _late_parts(behind: Sequence[int], cut: int | None, late: int) -> list[int]:
    """How many of each bin are late: all beyond the limit, the rest of the late ones in the bin the limit cuts."""
    if cut is None:
        return [0] * len(behind)
    beyond = sum(behind[cut + 1 :])
    here = min(max(late - beyond, 0), behind[cut] if cut < len(behind) else 0)
    return [n if at > cut else here if at == cut else 0 for at, n in enumerate(behind)]


def _within(limit: float, cut: int, bounds: Sequence[int]) -> float:
    """Where in its bin the limit lies, 0 to 1."""
    low = bounds[cut]
    high = bounds[cut + 1] if cut + 1 < len(bounds) else 4 * low
    return min(max((limit - low) / (high - low), 0.0), 1.0)
