"""Detectors: pure functions from the readings of many series to a score, a probability and a reason for each reading.

    readings_of(table, series=, time=, values=)   -> Readings: sorted, without rows that cannot be judged
    detect(readings, names)                       -> Scores per detector; `table` makes them Arrow (scores.SCHEMA)
    scored(batches, series=, time=, values=, ...) -> the rows beside their scores, a group of series at a time

    z, seasonal_z, rate_of_change, mahalanobis, composite    the published five, to the formula
    median_mad, flatline, gap, spike, level_shift            each sees one kind of trouble
    energy_balance                                           a supply against what was taken of it, and why they differ
    fused                                                    the default: tail probabilities of several looks as one

A score depends on its own series up to the reading and on nothing later, and no reading vouches for itself.
"""

from transforms.detect.by_series import scored
from transforms.detect.readings import Readings, readings_of
from transforms.detect.run import DEFAULT, DETECTORS, detect, table
from transforms.detect.scores import SCHEMA, Scores

__all__ = ["DEFAULT", "DETECTORS", "SCHEMA", "Readings", "Scores", "detect", "readings_of", "scored", "table"]
