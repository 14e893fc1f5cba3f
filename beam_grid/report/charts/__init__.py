"""Charts as inline SVG: drawn for a page and for a phone, with a sentence that says what is to be seen."""

from beam_grid.report.charts.delays import delays
from beam_grid.report.charts.drawing import Chart
from beam_grid.report.charts.fates import fates
from beam_grid.report.charts.load import load_over_time
from beam_grid.report.charts.meter import meter
from beam_grid.report.charts.panel import colours, panel
from beam_grid.report.charts.scores import scored

__all__ = ["Chart", "colours", "delays", "fates", "load_over_time", "meter", "panel", "scored"]
