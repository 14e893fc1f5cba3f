"""Batches of one's own into the transforms: what is made, what is cast, what is refused and how it reads."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest

from runners.direct import runner
from tests.transforms.making import contract, minute
from transforms import DropDuplicates, KeyByShard, WindowedTiles, Windows
from transforms.given import rows_given
from transforms.windowed import TileRows

pytestmark = pytest.mark.pipeline

FEED = contract(dedup={"key": ["id"]})
OWN = pa.RecordBatch.from_pylist(
    [{"meter": "m", "kwh": k, "id": i, "at": minute(m), "version": 1, "extra": "left out"} for i, m, k in
     [("a", 0, 1.0), ("b", 16, 2.0), ("a", 1, 1.0), ("c", 17, 4.0)]]
)  # fmt: skip
_found: dict[str, list[Any]] = {}


class _Keep(beam.DoFn):
    def __init__(self, what: str):
        self.what = what

    def process(self, element):
        batch = element[1] if isinstance(element, tuple) else element
        _found.setdefault(self.what, []).extend(batch.to_pylist())


class _Batches(beam.DoFn):
    def __init__(self, *elements: Any):
        self.elements = elements

    def process(self, _):
        yield from self.elements


def run(step: Any, *elements: Any, kind: Any = pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows that a step makes of the elements."""
    _found.clear()
    with runner() as (engine, options), beam.Pipeline(runner=engine, options=options) as p:
        given = p | beam.Impulse() | "Make" >> beam.ParDo(_Batches(*elements)).with_output_types(kind)
        made = given | step
        (made.rows if hasattr(made, "rows") else made) | beam.ParDo(_Keep("rows"))
    return _found.get("rows", [])


def test_rows_without_lineage_are_deduplicated_and_windowed() -> None:
    class Both(beam.PTransform):
        def expand(self, batches):
            unique = batches | KeyByShard(FEED) | DropDuplicates(FEED)
            return unique.rows | Windows(FEED, FEED.windows[0])

    found = run(Both(), OWN)
    assert sorted((row["window_start"], row["n"], row["kwh"]) for row in found) == [
        (minute(0), 1, 1.0),
        (minute(15), 2, 6.0),
    ]


def test_missing_lineage_is_null_and_order_is_arrival() -> None:
    class Unique(beam.PTransform):
        def expand(self, batches):
            return batches | KeyByShard(FEED, shards=1) | DropDuplicates(FEED)

    found = run(Unique(), OWN)
    assert [(row["id"], row["at"], row["_source"], row["_commit"]) for row in found] == [
        ("a", minute(0), None, None),
        ("b", minute(16), None, None),
        ("c", minute(17), None, None),
    ], "the first copy stays"
    assert "extra" not in found[0]
    order = pa.array([0, None, None, None], pa.int64())
    assert [row["id"] for row in run(Unique(), OWN.append_column("_order", order))] == ["a", "b", "c"]


def test_tiles_need_no_commit() -> None:
    found = run(WindowedTiles(FEED, FEED.windows[0]), (0, OWN), kind=tuple[int, pa.RecordBatch])
    assert sum(row["_rows"] for row in found) == 4 and {row["_commit"] for row in found} == {None}


def test_types_are_cast_where_no_value_changes() -> None:
    nanoseconds = OWN.set_column(3, "at", OWN["at"].cast(pa.timestamp("ns", "Europe/Berlin")))
    assert rows_given(nanoseconds, FEED, "X").column("at").equals(OWN["at"].cast(pa.timestamp("us", "UTC")))
    given = rows_given(OWN, FEED, "X")
    assert rows_given(given, FEED, "X") is given, "what fits is handed on as it is"
    with pytest.raises(ValueError, match=r"X of readings: column 'kwh' is string, the contract says double.*abc"):
        rows_given(OWN.set_column(1, "kwh", pa.array(["abc"] * 4)), FEED, "X")


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_what_a_float_is_off_by_is_no_fraction_of_its_own(kind: pa.DataType) -> None:
    fields = [{"name": "at", "type": "timestamp"}, {"name": "kwh", "type": "decimal(10,3)"}]
    feed = contract(dedup={"key": ["at"]}, fields=fields, windows=[], rules=[])
    values = pa.array([0.7, 0.1 + 0.2, -1.005, None, 0.0], kind)
    batch = pa.RecordBatch.from_arrays([pa.array([minute(n) for n in range(5)]), values], ["at", "kwh"])
    assert list(map(str, rows_given(batch, feed, "X")["kwh"])) == ["0.700", "0.300", "-1.005", "None", "0.000"]


def test_a_fraction_is_not_rounded_and_no_time_of_day_is_cut_off() -> None:
    kinds = {"kwh": "decimal(10,3)", "day": "date"}
    fields = [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}]
    fields += [{"name": name, "type": kind} for name, kind in kinds.items()]
    feed = contract(dedup={"key": ["id"]}, fields=fields, windows=[], rules=[])
    noon, midnight = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (12, 0))

    def given(kwh: float, day: datetime) -> pa.RecordBatch:
        row = {"id": "a", "at": minute(0), "kwh": kwh, "day": day}
        return rows_given(pa.RecordBatch.from_pylist([row, dict.fromkeys(row)]), feed, "X")

    (row, empty) = given(1.235, midnight).select(["kwh", "day"]).to_pylist()
    assert (row, empty) == ({"kwh": Decimal("1.235"), "day": date(2026, 1, 1)}, {"kwh": None, "day": None})
    with pytest.raises(ValueError, match=r"'kwh' is double, the contract says decimal128\(10, 3\).*more places"):
        given(1.23456, midnight)
    with pytest.raises(ValueError, match=r"'day' is timestamp.*a time of day; round or cut"):
        given(1.235, noon)


@pytest.mark.parametrize("step", [KeyByShard(FEED), DropDuplicates(FEED), WindowedTiles(FEED, FEED.windows[0]), Windows(FEED, FEED.windows[0])])  # fmt: skip
def test_a_missing_column_is_named_with_where_it_comes_from(step: Any) -> None:
    """In the first batch, through the runner; before, it was a KeyError from deep inside."""
    says = (
        rf"{type(step).__name__} of readings: rows lack \['kwh'\], fields of the contract \(kwh: double\).*step before"
    )
    with pytest.raises(Exception, match=says):
        run(step, (0, OWN.drop_columns(["kwh"])), kind=tuple[int, pa.RecordBatch])


def test_other_elements_are_named() -> None:
    with pytest.raises(Exception, match="put KeyByShard"):
        list(TileRows(FEED, FEED.windows[0]).process(OWN) or ())
    with pytest.raises(ValueError, match="an element is a dict, not an Arrow RecordBatch"):
        rows_given({"id": "a"}, FEED, "Windows")
    nulls = OWN.set_column(3, "at", pa.nulls(4, pa.timestamp("us", "UTC")))
    for step in (DropDuplicates(FEED), WindowedTiles(FEED, FEED.windows[0]), Windows(FEED, FEED.windows[0])):
        with pytest.raises(Exception, match=rf"{type(step).__name__} of .*'at', the event time, is null in 4 rows"):
            run(step, (0, nulls), kind=tuple[int, pa.RecordBatch])
    with pytest.raises(ValueError, match=r"X of readings: rows have several columns called \['kwh'\]"):
        rows_given(OWN.append_column("kwh", OWN["kwh"]), FEED, "X")


def test_construction_refuses_what_cannot_be() -> None:
    other = contract(windows=[{"name": "hours", "size": "1h", "by": [], "measures": {"n": "count()"}}]).windows[0]
    for kind in (Windows, WindowedTiles):
        with pytest.raises(ValueError, match=r"hours is no window of the contract; contract.windows\[0\] is quarters"):
            kind(FEED, other)
        with pytest.raises(ValueError, match="'quarters' is no window"):
            kind(FEED, "quarters")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shards is 0"):
        KeyByShard(FEED, shards=0)
