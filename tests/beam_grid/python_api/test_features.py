"""Training sets beside a search by hand, and the newest rows by key."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import beam_grid as bg
from tests.beam_grid.python_api.conftest import FEATURES, pumps

T = datetime(2025, 5, 1, 0, 40, tzinfo=UTC)
MICRO = timedelta(microseconds=1)


def by_hand(featured: bg.OpenLake, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Beside each row the newest of its pump that is not later."""
    rows = featured["gold.pump_features"].arrow().to_pylist()
    nothing = dict.fromkeys(("kwh_mean", "kwh_change", "feature_version", "feature_time"))
    told = []
    for one in asked:
        known = [
            row for row in rows if row["pump"] == one["pump"] and one["at"] is not None and row["read_at"] <= one["at"]
        ]
        best = max(known, key=lambda row: row["read_at"], default=None)
        features = (
            nothing
            if best is None
            else {**{name: best[name] for name in nothing if name in best}, "feature_time": best["read_at"]}
        )
        told.append({**one, **features})
    return told


def test_a_training_set_has_the_newest_row_then_and_never_one_after(featured: bg.OpenLake) -> None:
    draw = random.Random(1)
    times = [T, T - MICRO, T + MICRO, T - timedelta(minutes=30), T - timedelta(days=1), T + timedelta(days=9), None]
    asked = [
        {"label": n, "pump": draw.choice(["P-1", "P-2", "P-3", None]), "at": draw.choice(times)} for n in range(200)
    ]
    found = featured.features("pump_features").as_of(asked, time="at").arrow().to_pylist()
    assert found == by_hand(featured, asked)
    assert {row["kwh_mean"] for row in found} == {None, 1.25, 1.5}


def test_features_that_are_too_old_are_null(featured: bg.OpenLake) -> None:
    asked = pl.DataFrame({"pump": ["P-1"] * 3, "read_at": [T + timedelta(hours=1), T + timedelta(hours=1) + MICRO, T]})
    found = featured.features("pump_features").as_of(asked, max_age="1h").arrow()
    assert found["kwh_mean"].to_pylist() == [1.5, None, 1.5] and found["feature_time"].to_pylist() == [T, None, T]


def test_times_without_a_zone_are_utc_and_cut_downwards(featured: bg.OpenLake) -> None:
    before = pa.array([int(T.timestamp()) * 10**9 - 1, int(T.timestamp()) * 10**9], pa.timestamp("ns"))
    found = featured.features("pump_features").as_of(pa.table({"pump": ["P-2", "P-2"], "read_at": before})).arrow()
    assert found["kwh_mean"].to_pylist() == [None, 1.5] and found.num_columns == 6


def test_pandas_and_nothing_asked_are_taken_too(featured: bg.OpenLake) -> None:
    pandas = pytest.importorskip("pandas")
    asked = pandas.DataFrame({"pump": ["P-1"], "read_at": [T], "broke": [1]}, index=[7])
    assert featured.features("pump_features").as_of(asked[["pump", "read_at", "broke"]]).arrow()[
        "kwh_change"
    ].to_pylist() == [0.5]
    assert featured.features("pump_features").as_of(asked[:0]).arrow().num_rows == 0


def test_the_newest_come_in_the_order_asked_and_what_is_not_there_is_null(featured: bg.OpenLake) -> None:
    found = featured.features("gold.pump_features").latest(["P-2", "P-9", "P-1", "P-2"]).arrow()
    assert found["pump"].to_pylist() == ["P-2", "P-9", "P-1", "P-2"]
    assert found["kwh_change"].to_pylist() == [None, None, 0.5, None] and found["read_at"].to_pylist() == [
        T,
        None,
        T,
        T,
    ]
    assert featured.features("pump_features").latest([]).arrow().num_rows == 0


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda f: f.as_of([{"pomp": "P-1", "read_at": T}]), "the entities have no column 'pump'; they have pomp, read_at"),
        (lambda f: f.as_of([{"pump": "P-1", "read_at": T}], time="at"), "the entities have no column 'at'"),
        (lambda f: f.as_of([{"pump": "P-1", "read_at": "2025-05-01"}]), "'read_at' is string; give times"),
        (lambda f: f.as_of([{"pump": b"P", "read_at": T, "kwh_mean": 1}]), "have a column 'kwh_mean', as the features have"),
        (lambda f: f.as_of([{"pump": [1], "read_at": T}]), "'pump' is list"),
        (lambda f: f.as_of([{"pump": "P-1", "read_at": T}], max_age="soon"), "as_of: max_age: 'soon' is not a duration"),
        (lambda f: f.as_of(7), "the entities are a int; give a table"),
        (lambda f: f.latest([7]), "pump: 7 is no string; give a value of pump"),
        (lambda f: f.latest([None]), "pump: None is no string"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(ask: Any, said: str, featured: bg.OpenLake) -> None:
    with pytest.raises(bg.GridError) as told:
        ask(featured.features("pump_features"))
    assert said in str(told.value)


def test_a_name_that_is_none_is_answered_with_those_there_are(featured: bg.OpenLake) -> None:
    with pytest.raises(
        bg.GridError, match=r"there are no features 'gold.pump_hourly'; the lake has gold.pump_features"
    ):
        featured.features("gold.pump_hourly")


def test_features_stay_those_of_their_set(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What was known at a set is told, whatever came late after it."""
    folder = tmp_path_factory.mktemp("grown")
    lake = pumps(folder, FEATURES)
    before = lake.features("pump_features")
    late = "P-1,2025-05-01T00:20:00Z,9.75\n"
    (folder / "data" / "late.csv").write_text("pump,read_at,kwh\n" + late)
    assert lake.run(folder / "data", contract=folder / "pumps.toml").ok
    asked = [{"pump": "P-1", "read_at": T}]
    for known, mean, change in ((before, 1.5, 0.5), (lake.features("pump_features"), 4.25, -8.0)):
        for found in (known.as_of(asked), known.latest("P-1")):
            assert found.arrow().select(["kwh_mean", "kwh_change"]).to_pylist() == [
                {"kwh_mean": mean, "kwh_change": change}
            ]
    assert lake.as_of(set=before.set).features("pump_features").latest("P-1").arrow()["kwh_mean"].to_pylist() == [1.5]
