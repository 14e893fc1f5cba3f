"""The whole composite under TestStream: judge, drop duplicates, tile; panes are discarded and add up.

                  12:00        12:15        12:30
partition 0   a b  |  a c        |  b d       | ...      a copy across two panes, a late record, an early copy
cells              |--pane--pane-|--pane------|
"""

from __future__ import annotations

import math
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.trigger import AfterCount, AfterWatermark, Repeatedly

from data_sources.contract import Contract
from tests.transforms.making import brief, contract, minute, rows
from tests.transforms.timeline import THE_END, Outcome, arrive, run, watermark
from transforms.arrow import as_batch
from transforms.dedup import dedup
from transforms.tiles import merge_tiles, tile_rows
from transforms.windowed import WindowedTiles

pytestmark = pytest.mark.pipeline

FEED = contract()
MEASURES = {"n": "count()", "kwh": "sum(kwh)", "spread": "stddev(kwh)", "opened": "first(kwh)", "closed": "last(kwh)"}


def quarters(**window: Any) -> Contract:
    return contract(windows=[{"name": "w", "size": "15m", "by": ["meter"], "measures": MEASURES, **window}])


def assert_adds_up(found: Outcome, feed: Contract, on_time: pa.Table) -> None:
    """The panes' tiles, merged, are the tiles of what the batch's dedup lets land."""
    window = feed.windows[0]
    wanted = merge_tiles(tile_rows(dedup(None, on_time, feed).rows, feed, window), feed, window)
    merged = merge_tiles(pa.concat_tables([t for _, t in found.tiles]), feed, window)
    order = [(name, "ascending") for name in [*window.by, "_cell"]]
    for seen, want in zip(merged.sort_by(order).to_pylist(), wanted.sort_by(order).to_pylist(), strict=True):
        for name, value in want.items():
            if isinstance(value, float):
                assert math.isclose(seen[name], value, rel_tol=1e-9, abs_tol=1e-12), (name, seen, want)
            else:
                assert seen[name] == value, (name, seen, want)


DAY = [
    ("a", 1, 1.0, "m1"), ("b", 2, 2.5, "m1"),
    ("a", 1, 1.0, "m1"), ("c", 4, 4.0, "m2"),   # a again, in a pane of its own
    ("d", 16, 8.0, "m1"), ("b", 2, 9.9, "m1"),  # b again with another payload
    ("e", 35, 3.0, None), ("d", 16, 8.0, "m1"),
]  # fmt: skip


@pytest.mark.parametrize(
    "trigger",
    [None, Repeatedly(AfterCount(1)), AfterWatermark(early=AfterCount(1), late=AfterCount(1))],
    ids=["on time and late", "each", "early and late"],
)
def test_the_panes_add_up_to_the_batchs_answer(trigger: Any) -> None:
    feed = quarters()
    found = run(feed, [
        arrive(0, *DAY[:2]),
        watermark(-8),
        arrive(0, *DAY[2:4]),   # a copy of a: another pane has it
        watermark(16),          # 12:15 is over
        arrive(0, *DAY[4:6]),   # b's copy comes after its window's end and is on time all the same
        arrive(0, *DAY[6:]),
        watermark(25),
        arrive(0, ("late", 4.99, 100.0, "m1")),
        THE_END,
    ], tile_trigger=trigger)  # fmt: skip
    assert found.counted("duplicates") == 3 and found.counted("conflicts") == 1
    assert brief(found.of("late"), "id") == [("late",)]
    assert len(found.panes) >= 3, "the copies met in different panes"
    assert_adds_up(found, feed, rows(feed, *DAY))


def test_a_cell_that_fires_twice_is_discarded_in_between() -> None:
    feed = quarters()
    found = run(feed, [
        arrive(0, ("a", 1, 1.0, "m1")),
        watermark(16),
        arrive(0, ("b", 2, 2.0, "m1")),
        arrive(0, ("c", 3, 4.0, "m1")),
        THE_END,
    ])  # fmt: skip
    cells = [cell for cell, _ in found.tiles]
    assert len(cells) >= 2 and set(cells) == {int(minute(0).timestamp() * 1e6)}
    assert sum(row["kwh"] for _, tiles in found.tiles for row in tiles.to_pylist()) == 7.0
    assert_adds_up(found, feed, rows(feed, ("a", 1, 1.0, "m1"), ("b", 2, 2.0, "m1"), ("c", 3, 4.0, "m1")))


def test_beam_drops_nothing_that_judge_lets_through() -> None:
    """A week behind the watermark, with a contract that allows a month."""
    patient = contract(allowed_lateness="30d", windows=[{"name": "w", "size": "15m", "measures": MEASURES}])
    found = run(patient, [
        arrive(0, ("a", 0, 1.0)),
        watermark(-10),
        arrive(0, ("b", -10_080, 2.0)),
        THE_END,
    ])  # fmt: skip
    assert found.counted("late") == 0
    assert sum(row["n"] for _, tiles in found.tiles for row in tiles.to_pylist()) == 2


def test_windows_of_an_offset_and_sliding_ones_are_made_of_their_cells() -> None:
    feed = quarters(size="1h", every="20m", offset="5m")
    found = run(feed, [arrive(0, line) for line in DAY] + [THE_END])
    assert {cell % (5 * 60 * 10**6) for cell, _ in found.tiles} == {0}
    assert_adds_up(found, feed, rows(feed, *DAY))


def test_nothing_gives_no_tiles() -> None:
    assert run(quarters(), [watermark(10), THE_END]).tiles == []


@pytest.mark.parametrize("year_minutes", [0, -60 * 24 * 365 * 200, -60 * 24 * 365 * 2024, 60 * 24 * 365 * 7000])
def test_a_bounded_run_keeps_cells_of_any_year(year_minutes: float) -> None:
    """Also those before 1970 and far from the watermark: the in-process runner must not call them too late."""
    feed = quarters()
    batches = [rows(feed, ("a", year_minutes, 1.0, "m"), ("b", year_minutes + 20, 2.0, "m")), rows(feed, ("c", year_minutes + 1, 4.0, "m"))]  # fmt: skip
    _collected.clear()
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as p:
        source = (
            p
            | beam.Create([0, 1], reshuffle=False)
            | beam.ParDo(_Batches(batches)).with_output_types(tuple[int, pa.RecordBatch])
        )
        source | WindowedTiles(feed, feed.windows[0]) | beam.ParDo(_Collect())
    tiles = [row for batch in _collected for row in batch.to_pylist()]
    assert sorted(row["kwh"] for row in tiles) == [1.0, 2.0, 4.0]
    assert len({row["_cell"] for row in tiles}) == 2


_collected: list[pa.RecordBatch] = []


class _Batches(beam.DoFn):
    def __init__(self, tables: list[pa.Table]):
        self.tables = tables

    def process(self, n):
        yield n, as_batch(self.tables[n])


class _Collect(beam.DoFn):
    def process(self, element):
        _collected.append(element[1])
