"""Local days as tiles, as Beam windows under TestStream, and as windows of tiles of any commits.

Berlin, 26 October    0:00          2:00 2:00         23:00  24:00        25 hours: the day is not over after 24
rows                    a                          b     c  |  d (late to the day, not to the contract)  e (the next day)
watermark                                           24 h    | 25 h
windows               [--------- pane 1: a b c -------------)  pane 2: d       [27 October: e
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import apache_beam as beam
import duckdb
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from hypothesis import given, settings
from hypothesis import strategies as st

from data_sources.contract import Contract, WindowSpec
from tests.conftest import EXAMPLES
from tests.transforms.making import NOON, contract, rows
from tests.transforms.test_tiles import MEASURES, SQL, assert_same, feed, random_rows
from tests.transforms.test_windowed import assert_adds_up
from tests.transforms.test_windows import in_commits, windows_of
from tests.transforms.timeline import THE_END, arrive, run, watermark
from transforms.arrow import as_batch
from transforms.cells import cells_of
from transforms.tiles import merge_tiles, tile_rows, tile_schema
from transforms.windowed import WindowedTiles
from transforms.windows_stream import Windows

BERLIN = ZoneInfo("Europe/Berlin")
MIDNIGHT = datetime(2025, 10, 26, tzinfo=BERLIN)
MINUTE = (MIDNIGHT.astimezone(UTC) - NOON) // timedelta(minutes=1)
LONG_AFTER = 10 * MINUTE


def days(**window: Any) -> Contract:
    made = {"name": "w", "calendar": "day", "time_zone": "Europe/Berlin", "by": ["meter"], "measures": {"n": "count()", "kwh": "sum(kwh)", "closed": "last(kwh)"}}  # fmt: skip
    return contract(windows=[{**made, **window}])


def at(hours: int, minutes: int = 0) -> int:
    return MINUTE + 60 * hours + minutes


ROWS = [
    ("a", at(0, 30), 1.0, "m1"), ("b", at(23, 50), 2.0, "m1"), ("c", at(24, 40), 4.0, "m1"),
    ("d", at(24, 59), 8.0, "m1"), ("e", at(25), 16.0, "m1"),
]  # fmt: skip
TIMELINE = [
    arrive(0, *ROWS[:2], at=LONG_AFTER),
    watermark(at(24, 30)),                    # a day of 24 hours were over
    arrive(0, ROWS[2], at=LONG_AFTER),
    watermark(at(25)),
    arrive(0, ROWS[3], at=LONG_AFTER),
    arrive(0, ROWS[4], at=LONG_AFTER),
    THE_END,
]  # fmt: skip


def brief(panes: list[list[dict[str, Any]]]) -> list[list[tuple[Any, ...]]]:
    assert all(row["window_end"].astimezone(BERLIN).hour == 0 for pane in panes for row in pane)
    return [[(row["window_start"].astimezone(BERLIN).day, (row["window_end"] - row["window_start"]) // timedelta(hours=1), row["n"], row["kwh"], row["closed"]) for row in pane] for pane in panes]  # fmt: skip


def test_a_day_of_25_hours_fires_when_it_is_over() -> None:
    first, *later = brief(run(days(), TIMELINE, windows={}).windows)
    assert first == [(26, 25, 3, 7.0, 4.0)]
    assert sorted(later) == [[(26, 25, 1, 8.0, 8.0)], [(27, 24, 1, 16.0, 16.0)]]


def test_a_late_row_of_the_long_day_replaces_its_value() -> None:
    found = run(days(), TIMELINE, windows={"accumulation_mode": AccumulationMode.ACCUMULATING})
    first, *later = brief(found.windows)
    assert first == [(26, 25, 3, 7.0, 4.0)]
    assert sorted(later) == [[(26, 25, 4, 15.0, 8.0)], [(27, 24, 1, 16.0, 16.0)]]


@pytest.mark.parametrize("trigger", [None, AfterWatermark(early=AfterCount(1), late=AfterCount(1))], ids=["on time", "early and late"])  # fmt: skip
def test_the_panes_of_tiles_add_up(trigger: Any) -> None:
    of = days()
    found = run(of, TIMELINE, tile_trigger=trigger)
    start = int(MIDNIGHT.timestamp() * 1e6)
    assert {cell for cell, _ in found.tiles} == {start, start + 25 * 3_600_000_000}
    if trigger is None:
        assert found.tiles[0][1]["n"].to_pylist() == [1, 1, 1], "not before the day was over"
    assert_adds_up(found, of, rows(of, *ROWS))


@pytest.mark.pipeline
@pytest.mark.parametrize("calendar", ["day", "week", "month", "year"])
def test_a_bounded_run_of_any_year(calendar: str) -> None:
    of = days(calendar=calendar, by=[])
    years = [60 * 24 * 365 * n for n in (0, -200, -2024, 7000)]
    table = rows(of, *((f"r{n}", minutes, 1.0, "m") for n, minutes in enumerate(years)))
    _collected.clear()
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as p:
        batches = p | beam.Create([0], reshuffle=False) | beam.ParDo(_Batch(table)).with_output_types(tuple[int, pa.RecordBatch])  # fmt: skip
        batches | "W" >> Windows(of, of.windows[0]) | "KeepWindows" >> beam.ParDo(_Collect("windows"))
        batches | "T" >> WindowedTiles(of, of.windows[0]) | "KeepTiles" >> beam.ParDo(_Collect("tiles"))
        batches | "S" >> WindowedTiles(of, of.windows[0], span=timedelta(days=1)) | "KeepSlices" >> beam.ParDo(_Collect("slice"))  # fmt: skip
    found = [row for what, batch in _collected if what == "windows" for row in batch.to_pylist()]
    assert sorted(row["n"] for row in found) == [1] * 4
    for what in ("tiles", "slice"):
        tiles = pa.concat_tables(pa.Table.from_batches([batch]) for name, batch in _collected if name == what)
        assert merge_tiles(tiles, of, of.windows[0]).num_rows == 4 and tiles.schema == tile_schema(of, of.windows[0])


ZONES = ["Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Auckland", "UTC"]
TURNS = [datetime(2025, 3, 30), datetime(2025, 10, 26), datetime(2018, 11, 4), datetime(2024, 3, 31), datetime(2024, 12, 31), datetime(2023, 4, 2)]  # noqa: DTZ001 # fmt: skip


@settings(max_examples=EXAMPLES - 1, deadline=None)
@given(st.data())
def test_tiles_of_any_commits_give_the_windows_of_one_sql_over_the_rows(data: st.DataObject) -> None:
    calendar, zone = data.draw(st.sampled_from(["day", "week", "month", "year"])), data.draw(st.sampled_from(ZONES))
    of, window = feed({"calendar": calendar, "time_zone": zone, "by": ["g"], "measures": MEASURES})
    count = data.draw(st.integers(0, 60))
    around = data.draw(st.sampled_from(TURNS)).replace(tzinfo=UTC) + timedelta(hours=data.draw(st.integers(-36, 36)))
    rows = random_rows(of, count, data.draw(st.integers(0, 10**6)), around)
    commits = data.draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    rows, tiles = in_commits(rows, of, window, commits, data.draw(st.booleans()))
    assert_same(by_local_day(windows_of(tiles, of, window), window), by_raw_sql(rows, window))


def by_local_day(found: dict[Any, dict[str, Any]], window: WindowSpec) -> dict[Any, dict[str, Any]]:
    """Windows by what their first day is called where they are; each begins and ends at the first instant of a day."""
    zone = ZoneInfo(str(window.time_zone))
    for _, start, end in found:
        for edge in (start, end):
            assert (edge - timedelta(microseconds=1)).astimezone(zone).date() < edge.astimezone(zone).date()
    return {
        (g, start.astimezone(zone).date(), end.astimezone(zone).date()): row for (g, start, end), row in found.items()
    }


def by_raw_sql(rows: pa.Table, window: WindowSpec) -> dict[Any, dict[str, Any]]:
    values = ", ".join(f"{text} AS {name}" for name, text in {**SQL, "__rows": "count(*)", "__newest": "max(_commit)", "revision": "count(DISTINCT _commit)"}.items())  # fmt: skip
    local = f"date_trunc('{window.calendar}', timezone('{window.time_zone}', \"at\"))"
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.register("rows", rows)
        found = engine.sql(
            f"SELECT g, CAST({local} AS DATE) AS first, CAST({local} + INTERVAL 1 {window.calendar} AS DATE) AS after, {values} "
            "FROM rows GROUP BY ALL"
        ).to_arrow_table()
    return {(row.pop("g"), row.pop("first"), row.pop("after")): row for row in found.to_pylist()}


def test_a_row_without_a_time_is_in_no_tile() -> None:
    """A truncate of a feed of changes has none."""
    of, window = feed({"calendar": "day", "time_zone": "Europe/Berlin", "measures": {"n": "count()"}})
    table = random_rows(of, 3).set_column(1, "at", pa.array([None, NOON, None], pa.timestamp("us", "UTC")))
    assert tile_rows(table, of, window).to_pylist() == [
        {"_cell": datetime(2025, 6, 14, 22, tzinfo=UTC), "_until": datetime(2025, 6, 15, 22, tzinfo=UTC), "_commit": 1, "_rows": 1, "n": 1}
    ]  # fmt: skip
    assert tile_rows(table.slice(0, 0), of, window).num_rows == 0


@pytest.mark.parametrize("window", [{"size": "1h"}, {"size": "1h", "every": "25m", "offset": "5m"}, {"calendar": "month", "time_zone": "Asia/Beirut"}])  # fmt: skip
def test_each_way_to_ask_for_a_cell_gives_the_same(window: dict[str, Any]) -> None:
    of, spec = feed({**window, "measures": {"n": "count()"}})
    cells, table = cells_of(of, spec), random_rows(of, 200)
    tiles = tile_rows(table, of, spec)
    with duckdb.connect() as engine:
        cells.prepare(engine)
        engine.execute("SET TimeZone = 'UTC'")
        engine.register("rows", table)
        instant = cells.cell_sql('epoch_us("at")')
        found = engine.sql(f"SELECT DISTINCT {instant} FROM rows").fetchall()
    starts = set(tiles["_cell"].cast(pa.int64()).to_pylist())
    assert {cell for (cell,) in found} == starts
    instants = table["at"].cast(pa.int64()).to_pylist()
    assert {cells.cell_of(instant)[0] for instant in instants} == starts
    assert all(start <= instant < end for instant in instants for start, end in [cells.cell_of(instant)])
    for name, values in cells.of_cells(tiles["_cell"]).items():
        assert values.equals(tiles[name].combine_chunks())


_collected: list[tuple[str, pa.RecordBatch]] = []


class _Batch(beam.DoFn):
    def __init__(self, table: pa.Table):
        self.table = table

    def process(self, _):
        yield 0, as_batch(self.table)


class _Collect(beam.DoFn):
    def __init__(self, what: str):
        self.what = what

    def process(self, element):
        _collected.append((self.what, element if isinstance(element, pa.RecordBatch) else element[1]))
