"""Charts of rows: which columns are taken, how many lines and points, what is refused; and that they are drawn."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import beam_grid as bg
from beam_grid.python_api.plot import MOST_BARS, MOST_LINES, MOST_POINTS, Plot
from beam_grid.python_api.rows import Answer

DAY = datetime(2025, 5, 1, tzinfo=UTC)


def plot(columns: dict[str, object], **words: str) -> Plot:
    return Answer(pa.table(columns)).plot(**words)


def hours(count: int) -> list[datetime]:
    return [DAY + timedelta(hours=n) for n in range(count)]


def test_time_and_fractions_are_taken_first() -> None:
    chart = plot({"n": [1, 2], "_x": [0.5, 0.5], "kwh": [2.5, None], "at": hours(2)})
    assert (chart.x, chart.y, chart.kind, chart.alt) == ("at", "kwh", "time", "kwh over at")
    assert chart.lines[0].y[0] == 2.5 and np.isnan(chart.lines[0].y[1]), "a null is a gap"
    assert plot({"region": ["a", "b"], "n": [1, 2]}).kind == "text"
    assert plot({"z": [1, 2], "n": [3, 4]}).y == "n"


def test_lines_are_of_the_greatest() -> None:
    meters = [f"m{n}" for n in range(MOST_LINES + 4)]
    chart = plot({"at": [t for t in hours(2) for _ in meters], "kwh": [float(n) for _ in range(2) for n in range(len(meters))], "meter": meters * 2})  # fmt: skip
    assert [line.label for line in chart.lines] == list(reversed(meters))[:MOST_LINES]
    assert chart.alt.endswith("a line per meter: 8 of 12, the greatest")
    assert all(list(line.x) == sorted(line.x) and len(line.x) == 2 for line in chart.lines)


def test_many_points_are_drawn_as_means_of_neighbours() -> None:
    count = MOST_POINTS * 10
    chart = plot({"at": list(reversed(hours(count))), "kwh": list(map(float, reversed(range(count))))})
    assert len(chart.lines[0].x) == MOST_POINTS and chart.lines[0].y[:2].tolist() == [4.5, 14.5]
    assert "mean of its neighbours" in chart.alt
    bars = plot({"name": [f"n{n}" for n in range(MOST_BARS + 1)], "kwh": [1.0] * (MOST_BARS + 1)})
    assert len(bars.lines[0].x) == MOST_BARS and "the first 40 values" in bars.alt


def test_rows_that_share_an_x_are_told() -> None:
    assert "several rows share a at" in plot({"at": [DAY, DAY], "kwh": [1.0, 2.0]}).alt
    assert "share" not in plot({"at": [DAY, DAY], "kwh": [1.0, 2.0], "meter": ["a", "b"]}).alt


@pytest.mark.parametrize(
    ("columns", "words", "says"),
    [
        ({"at": hours(1), "kwh": [1.0]}, {"y": "kwk"}, "no column 'kwk'; did you mean 'kwh'"),
        ({"at": hours(1), "name": ["a"]}, {}, "no column holds numbers to plot"),
        ({"at": hours(1), "name": ["a"]}, {"y": "name"}, "'name' holds numbers to plot"),
        ({"l": [[1]], "kwh": [1.0]}, {}, "'l' is list<item: int64>; a chart is over times"),
        ({"at": hours(1), "kwh": [1.0], "l": [[1]]}, {"by": "l"}, "'l' is list<item: int64>"),
        ({"at": pa.array([], pa.timestamp("us")), "kwh": pa.array([], pa.float64())}, {}, "there are no rows"),
    ],
)
def test_what_cannot_be_drawn_is_said(columns: dict[str, object], words: dict[str, str], says: str) -> None:
    with pytest.raises(bg.GridError, match=says):
        plot(columns, **words)


def test_charts_are_drawn_and_saved(tmp_path: Path) -> None:
    by_day = plot({"at": hours(48), "kwh": np.arange(48.0), "_meter": ["_a", None] * 24}, by="_meter")
    assert {line.label for line in by_day.lines} == {"_a", "null"}
    for number, chart in enumerate((by_day, plot({"region": ["a", "<b>"], "n": [1, 2]}), plot({"x": [1.5], "n": [2]}))):
        html = chart._repr_html_()
        assert html.count("<svg") == 1 and "<b>" not in html and 'role="img"' in html
        for ending in ("svg", "png"):
            assert chart.save(tmp_path / f"{number}.{ending}").stat().st_size > 1000
    figure = plot({"$name": ["$a_b$", r"$\frac$"], r"$\kwh$": [(1 << 53) + 1, 2]})
    figure.figure.savefig(out := io.StringIO(), format="svg")
    assert "$a_b$" in out.getvalue() and r"$\frac$" in figure.save(tmp_path / "math.svg").read_text(), "no mathematics"
    first, second = by_day._repr_html_(), by_day._repr_html_()
    assert first != second, "two drawings in a page share no id"
    with pytest.raises(bg.GridError, match="cannot be written"):
        by_day.save(tmp_path / "none" / "x.svg")
