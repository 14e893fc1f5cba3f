"""Charts as inline SVG: drawn twice, for a page and for a phone, with a sentence that says what is to be seen.

Guarantees: the same data gives the same bytes; nothing in the SVG points outside it; text is text, escaped, and no
`$` is read as mathematics; ids are distinct between charts. Colours are Okabe and Ito's, which people with colour
blindness can tell apart (Color Universal Design, 2008), and each is named in words beside what it marks.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from beam_grid.report.words import count, duration, number, printable, share, step
from transforms.judge import DELAY_BOUNDS_S

if TYPE_CHECKING:
    from beam_grid.report.gather import Delays
    from beam_grid.report.load import Load
    from beam_grid.report.suspects import Kind, Meter

INK, MUTED, GRID, DARK = "#1f2933", "#5b6773", "#e3e7eb", "#a33c00"
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
)
GROUPS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW, "#7f7f7f")
FATE_COLOURS = {"landed": BLUE, "duplicates": SKY, "late": ORANGE, "rejected": VERMILLION}
KIND_COLOURS = {"theft": VERMILLION, "spike": PURPLE}

PAGE, PHONE, SMALL = 820, 340, 264
"""Widths in CSS pixels of the two drawings of a chart, and of one of many small ones; 1 pixel is 1 unit of the drawing."""

mdates: Any = dates  # matplotlib has no types for it

_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": "DejaVu Sans",
    "font.size": 11.5,
    "text.color": INK,
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "hatch.linewidth": 0.7,
    "path.simplify": True,
}


@dataclass(frozen=True)
class Chart:
    """One chart: two drawings of it, and what it shows in words."""

    page: Markup
    phone: Markup
    alt: str


def _chart(name: str, alt: str, draw: Callable[[bool], Figure]) -> Chart:
    return Chart(_svg(f"{name}-page", lambda: draw(False)), _svg(f"{name}-phone", lambda: draw(True)), alt)


def _svg(name: str, draw: Callable[[], Figure]) -> Markup:
    """The figure's `<svg>` element alone: no prologue, no metadata, only the ids that are used, made the chart's own."""
    out = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs that the measuring font lacks; the reader's font draws the text
        figure = draw()
        FigureCanvasSVG(figure)
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    tags = re.compile(r"<[^<>]*>")  # text cannot hold a raw < or >, so this never touches it
    used = {ref for tag in tags.findall(text) for ref in re.findall(r"#([\w.\-]+)", tag)}

    def own(tag: re.Match[str]) -> str:
        whole = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", tag[0])
        whole = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", whole)
        if whole.startswith("<svg"):
            box = re.search(r'viewBox="[^"]*"', whole)
            return f'<svg {box[0] if box else ""} aria-hidden="true" focusable="false">'
        return re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", whole)

    return Markup(re.sub(r"\n\s*", "\n", tags.sub(own, text)))


def _figure(width: int, height: int, left: int, right: int, top: int, bottom: int) -> tuple[Figure, Axes]:
    """A figure of so many pixels with one plot in it, the margins in pixels."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    return figure, figure.add_axes(box)


def fates(name: str, totals: dict[str, int]) -> Chart:
    """Read as one bar, cut into its four fates; the small ones once more below, enlarged."""
    parts = [(fate, totals[fate]) for fate in FATE_COLOURS]
    read, rest = totals["read"], sum(n for fate, n in parts if fate != "landed")
    missing = read - sum(n for _, n in parts)
    if missing > 0:
        parts.append(("unaccounted", missing))
    whole = max(read, sum(n for _, n in parts), 1)
    zoomed = rest > 0 and rest + max(missing, 0) < 0.4 * whole

    def draw(phone: bool) -> Figure:
        width = PHONE if phone else PAGE
        figure, axes = _figure(width, 158 if zoomed else 76, 1, 1, 22, 8)
        axes.set_axis_off()
        axes.set_xlim(0, width - 2)
        axes.set_ylim(128 if zoomed else 46, 0)
        scale = (width - 2) / whole
        _segments(axes, 0, 42, scale, parts, read, bool(zoomed))
        axes.text(0, -7, f"read {count(read)}", ha="left", va="baseline", fontweight="bold")
        if zoomed:
            small = [part for part in parts if part[0] != "landed"]
            left, total = totals["landed"] * scale, sum(n for _, n in small)
            axes.fill([left, width - 2, width - 2, 0], [42, 42, 84, 84], color="#f1f4f6", lw=0)
            middle = f"the {share(total, whole)} that did not land, enlarged"
            axes.text(
                (width - 2) / 2 + (30 if phone else 60), 63, middle, ha="center", va="center", color=MUTED, fontsize=11
            )
            _segments(axes, 84, 42, (width - 2) / total, small, read, False)
        return figure

    told = ", ".join(f"{fate} {count(n)} ({share(n, read)})" for fate, n in parts)
    return _chart(name, f"Bar: of {count(read)} records read: {told}.", draw)


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
        figure, axes = _figure(PHONE if phone else PAGE, 250 if phone else 300, 46, right, 24, 24)
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
                axes.step(edges, [*above, above[-1]], where="post", color="white", lw=0.9)
                ends.append(((above[-1] + below[-1]) / 2, printable(group, longest), colour))
                below = above
            else:
                axes.step(edges, [*values, values[-1]], where="post", color=colour, lw=1.6)
                last = next((v for v in reversed(values) if v == v), 0.0)
                ends.append((last, printable(group, longest), colour))
        axes.set_xlim(edges[0], edges[-1])
        if stacked:
            axes.set_ylim(0, max(max(below, default=0.0) * 1.05, 1e-9))
        for start, end in _runs(load.provisional):
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
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _short(v)))
        _time_axis(axes, 4 if phone else 9)
        if named:
            _end_labels(axes, ends)
        return figure

    peak = max(load.groups, key=lambda g: g.peak)
    told = f"{'Stacked areas' if stacked else 'Lines'} of {label} from {load.starts[0]:%Y-%m-%d %H:%M} UTC on"
    told += f", by {load.by}: {', '.join(groups)}" if load.by else ""
    return _chart(
        name, f"{told}. Greatest single step: {number(peak.peak)} at {peak.peak_at:%Y-%m-%d %H:%M} UTC.", draw
    )


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


def _runs(flags: Sequence[bool]) -> Iterator[tuple[int, int]]:
    start = None
    for at, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = at
        if not flag and start is not None:
            yield start, at
            start = None


def delays(name: str, found: Delays) -> Chart | None:
    """Records by how far behind they came, those that came in order left out; None where there are none.

    The bin that the limit cuts shows its two parts: late records are counted, and those of the bins beyond are known.
    """
    bounds = DELAY_BOUNDS_S
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
    mark = None if cut is None or limit is None else cut - 0.5 + _within(limit, cut)

    def draw(phone: bool) -> Figure:
        most = max(behind)
        said = f"limit {duration(limit)}" if limit is not None else ""
        if phone:
            figure, axes = _figure(PHONE, 40 + 19 * len(behind), 62, 50, 8, 26)
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
        figure, axes = _figure(PAGE, 270, 8, 8, 30, 46)
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
    return _chart(name, f"Records that came out of order, by how far behind: {told}.{end}", draw)


def _late_parts(behind: Sequence[int], cut: int | None, late: int) -> list[int]:
    """How many of each bin are late: all beyond the limit, the rest of the late ones in the bin the limit cuts."""
    if cut is None:
        return [0] * len(behind)
    beyond = sum(behind[cut + 1 :])
    here = min(max(late - beyond, 0), behind[cut] if cut < len(behind) else 0)
    return [n if at > cut else here if at == cut else 0 for at, n in enumerate(behind)]


def _within(limit: float, cut: int) -> float:
    """Where in its bin the limit lies, 0 to 1."""
    low = DELAY_BOUNDS_S[cut]
    high = DELAY_BOUNDS_S[cut + 1] if cut + 1 < len(DELAY_BOUNDS_S) else 4 * low
    return min(max((limit - low) / (high - low), 0.0), 1.0)


def meter(name: str, found: Meter, kind: Kind, kinds: Sequence[Kind]) -> Markup:
    """A meter's readings on a logarithmic scale, the limits of the kind shaded, suspects marked, the example ringed."""

    def draw() -> Figure:
        figure, axes = _figure(SMALL, 132, 34, 8, 10, 22)
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

    return _svg(name, draw)


def _time_axis(axes: Axes, most: int) -> None:
    locator = mdates.AutoDateLocator(tz="UTC", minticks=2, maxticks=most)
    style = mdates.ConciseDateFormatter(locator, tz="UTC", show_offset=False)
    style.formats = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%S.%f"]
    style.zero_formats = ["%Y", "%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M"]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(style)


def _short(value: float) -> str:
    """Axis numbers: 12k, 3.4M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
