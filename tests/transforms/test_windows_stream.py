"""Windows under TestStream: what a pane's row means, sliding windows, and rows that come after a window has fired.

                  12:00          12:15          12:30
rows              a b  |    c     |  d  (a's window again)
watermark              |          | 12:15
windows           [--- pane 1: a b, c ---)--- pane 2: d
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark

from data_sources.contract import Contract
from tests.transforms.making import contract, minute, rows
from tests.transforms.test_tiles import assert_same
from tests.transforms.test_windows import windows_of
from tests.transforms.timeline import THE_END, arrive, run, watermark
from transforms.arrow import as_batch
from transforms.tiles import tile_rows
from transforms.windows_stream import Windows

pytestmark = pytest.mark.pipeline

MEASURES = {"n": "count()", "kwh": "sum(kwh)", "mean": "avg(kwh)", "spread": "stddev(kwh)", "closed": "last(kwh)"}
REPLACING = {"accumulation_mode": AccumulationMode.ACCUMULATING}


def feed(**window: Any) -> Contract:
    return contract(windows=[{"name": "w", "size": "15m", "by": ["meter"], "measures": MEASURES, **window}])


TWO_PANES = [
    arrive(0, ("a", 1, 1.0, "m1"), ("b", 2, 3.0, "m2")),
    arrive(0, ("c", 4, 5.0, "m1")),
    watermark(15),                    # pane 1: 12:00 has a, b and c
    arrive(0, ("d", 3, 9.0, "m1")),   # late to the window, not to the contract
    arrive(0, ("e", 16, 2.0, "m1")),
    THE_END,
]  # fmt: skip


def brief(panes: list[list[dict[str, Any]]], *names: str) -> list[list[tuple[Any, ...]]]:
    """Panes in the order they fired: (minutes after noon, meter, values)."""
    return [
        sorted(
            ((row["window_start"] - minute(0)) // timedelta(minutes=1), row["meter"], *(row[n] for n in names))
            for row in pane
        )
        for pane in panes
    ]


def test_a_later_pane_brings_the_value_of_the_rows_that_came_since() -> None:
    found = run(feed(), TWO_PANES, windows={})
    first, *later = brief(found.windows, "n", "kwh", "mean", "closed")
    assert first == [(0, "m1", 2, 6.0, 3.0, 5.0), (0, "m2", 1, 3.0, 3.0, 3.0)]
    assert sorted(later) == [[(0, "m1", 1, 9.0, 9.0, 9.0)], [(15, "m1", 1, 2.0, 2.0, 2.0)]]
    assert found.windows[0][0]["window_end"] - found.windows[0][0]["window_start"] == timedelta(minutes=15)


def test_an_accumulating_pane_replaces_the_one_before_in_all_its_groups() -> None:
    first, *later = brief(run(feed(), TWO_PANES, windows=REPLACING).windows, "n", "kwh", "mean", "closed")
    assert first == [(0, "m1", 2, 6.0, 3.0, 5.0), (0, "m2", 1, 3.0, 3.0, 3.0)]
    assert sorted(later) == [
        [(0, "m1", 3, 15.0, 5.0, 5.0), (0, "m2", 1, 3.0, 3.0, 3.0)],
        [(15, "m1", 1, 2.0, 2.0, 2.0)],
    ]


def test_a_sliding_window_fires_when_its_own_end_has_passed() -> None:
    sliding = feed(size="1h", every="30m", by=[], measures={"n": "count()"})
    found = run(sliding, [
        arrive(0, ("a", 10, 1.0)),
        arrive(0, ("b", 40, 1.0)),
        watermark(31),               # 11:30 to 12:30 is over
        arrive(0, ("c", 50, 1.0)),
        watermark(60),               # 12:00 to 13:00 is over
        THE_END,
    ], windows={})  # fmt: skip
    starts = [[((row["window_start"] - minute(0)) // timedelta(minutes=1), row["n"]) for row in pane] for pane in found.windows]  # fmt: skip
    assert starts == [[(-30, 1)], [(0, 3)], [(30, 2)]]


@pytest.mark.parametrize("shape", [{"size": "15m"}, {"size": "1h", "every": "20m", "offset": "5m"}])
def test_the_last_accumulating_panes_are_the_batchs_windows(shape: dict[str, str]) -> None:
    of = feed(**shape)
    day = [("a", 1, 1.0, "m1"), ("b", 2, 2.5, "m1"), ("c", 4, 4.0, "m2"), ("d", 16, 8.0, "m1"), ("e", 35, 3.0, None), ("f", 20, None, "m2")]  # fmt: skip
    trigger = AfterWatermark(early=AfterCount(1), late=AfterCount(1))
    timeline = [arrive(0, *day[:2]), watermark(-8), arrive(0, *day[2:4]), watermark(16), arrive(0, *day[4:]), THE_END]
    found = run(of, timeline, windows={"trigger": trigger, **REPLACING})
    keys = ("meter", "window_start", "window_end")
    last = {tuple(row[k] for k in keys): {k: v for k, v in row.items() if k not in keys} for pane in found.windows for row in pane}  # fmt: skip
    assert len(found.windows) > len({start for _, start, _ in last}), "a window fired more than once"
    wanted = windows_of(tile_rows(rows(of, *day), of, of.windows[0]), of, of.windows[0])
    assert_same(last, {key: {name: row[name] for name in MEASURES} for key, row in wanted.items()})


def test_nothing_gives_no_windows() -> None:
    assert run(feed(), [watermark(10), THE_END], windows={}).windows == []


@pytest.mark.parametrize("keyed", [True, False])
def test_a_bounded_run_of_plain_batches(keyed: bool) -> None:
    """On the in-process runner, without lineage columns, of 1825 as of today."""
    of = feed(size="1h", every="30m")
    old = -60 * 24 * 365 * 200
    table = rows(of, ("a", 0, 1.0, "m"), ("b", 40, 2.0, "m"), ("c", old, 4.0, "m")).select(of.schema.names)
    _collected.clear()
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as p:
        batches = p | beam.Create([0], reshuffle=False) | beam.ParDo(_Batches(table, keyed))
        batches | Windows(of, of.windows[0]) | beam.ParDo(_Collect())
    found = [row for batch in _collected for row in batch.to_pylist()]
    assert sorted(row["kwh"] for row in found) == [1.0, 2.0, 3.0, 4.0, 4.0]
    assert all(row["window_end"] - row["window_start"] == timedelta(hours=1) for row in found)


def test_rows_that_lack_a_column_are_named() -> None:
    of = feed()
    table = rows(of, ("a", 0, 1.0, "m")).select(["id", "at"])
    with (
        pytest.raises(Exception, match=r"readings: rows lack \['kwh', 'meter', 'version'\]"),
        beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as p,
    ):
        p | beam.Create([0], reshuffle=False) | beam.ParDo(_Batches(table, False)) | Windows(of, of.windows[0])


_collected: list[pa.RecordBatch] = []


class _Batches(beam.DoFn):
    def __init__(self, table: pa.Table, keyed: bool):
        self.table, self.keyed = table, keyed

    def process(self, _):
        batch = as_batch(self.table)
        yield ("any key", batch) if self.keyed else batch


class _Collect(beam.DoFn):
    def process(self, batch):
        _collected.append(batch)
