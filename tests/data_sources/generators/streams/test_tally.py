"""The tally, record by record: (row, event second, sent again, broken) in order of arrival."""

from datetime import timedelta

import polars as pl
import pytest

from data_sources.generators.streams.tally import Tally

NAMES = ("read", "rejected", "late", "landed - superseded", "duplicates + superseded", "conflicts")


@pytest.mark.parametrize(
    ("log", "counts"),
    [
        ([(0, 100, False, False), (1, 40, False, False)], (2, 0, 0, 2, 0, 0)),  # exactly as late as is forgiven
        ([(0, 100, False, False), (1, 39, False, False)], (2, 0, 1, 1, 0, 0)),
        ([(0, 39, False, False), (1, 100, False, False)], (2, 0, 0, 2, 0, 0)),  # nothing before it
        ([(0, 500, False, True), (1, 39, False, False)], (2, 1, 0, 1, 0, 0)),  # a reject moves no clock
        ([(0, 100, True, False), (0, 100, True, False)], (2, 0, 0, 1, 1, 0)),
        ([(0, 100, True, True), (0, 100, True, False)], (2, 1, 0, 1, 0, 0)),  # the copy is whole, and lands
        (
            [(0, 100, True, False), (1, 200, False, False), (0, 100, True, False)],
            (3, 0, 1, 2, 0, 0),
        ),  # late, not a copy
        ([], (0, 0, 0, 0, 0, 0)),
    ],
)
@pytest.mark.parametrize("pieces", [1, 3])
def test_counts(log, counts, pieces):
    tally = Tally(timedelta(seconds=60))
    schema = {"_row": pl.Int64, "_event_us": pl.Int64, "_sent_again": pl.Boolean, "_broken": pl.Boolean}
    rows = pl.DataFrame(log, schema=schema, orient="row").with_columns(pl.col("_event_us") * 1_000_000)
    size = max(1, -(-rows.height // pieces))
    for start in range(0, rows.height, size):
        tally.add(rows.slice(start, size))
    assert tuple(tally.counts()[n] for n in NAMES) == counts
