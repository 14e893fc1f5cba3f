"""What all charts share: colours, style, axes, and a figure made into one `<svg>` that stands alone in a page.

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
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID, DARK = "#1f2933", "#5b6773", "#e3e7eb", "#a33c00"
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BROWN = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#8C564B",
)
OTHERS = "#7f7f7f"
GROUPS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, BROWN, OTHERS)
FATE_COLOURS = {"landed": BLUE, "duplicates": SKY, "late": ORANGE, "rejected": VERMILLION}
KIND_COLOURS = {"theft": VERMILLION, "spike": PURPLE}

PAGE, PHONE, SMALL, PANEL = 820, 340, 264, 395
"""Widths in CSS pixels of the two drawings of a chart, of a small one and of a panel; 1 pixel is 1 unit of the drawing."""

mdates: Any = dates  # matplotlib has no types for it

STYLE: Any = {
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


def drawn(name: str, alt: str, draw: Callable[[bool], Figure]) -> Chart:
    return Chart(svg(f"{name}-page", lambda: draw(False)), svg(f"{name}-phone", lambda: draw(True)), alt)


def svg(name: str, draw: Callable[[], Figure]) -> Markup:
    """The figure's `<svg>` element alone: no prologue, no metadata, only the ids that are used, made the chart's own."""
    out = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
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
        whole = re.sub(r"(\.\d\d)\d+", r"\1", whole) if whole.startswith("<path") else whole  # a hundredth of a pixel
        return re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", whole)

    return Markup(re.sub(r"\n\s*", "\n", tags.sub(own, text)))


def figure_of(width: int, height: int, left: int, right: int, top: int, bottom: int) -> tuple[Figure, Axes]:
    """A figure of so many pixels with one plot in it, the margins in pixels."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    return figure, figure.add_axes(box)


def time_axis(axes: Axes, most: int) -> None:
    locator = mdates.AutoDateLocator(tz="UTC", minticks=2, maxticks=most)
    style = mdates.ConciseDateFormatter(locator, tz="UTC", show_offset=False)
    style.formats = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%S.%f"]
    style.zero_formats = ["%Y", "%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M"]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(style)


def short(value: float) -> str:
    """Axis numbers: 12k, 3.4M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def runs(flags: Sequence[bool]) -> Iterator[tuple[int, int]]:
    start = None
    for at, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = at
        if not flag and start is not None:
            yield start, at
            start = None
