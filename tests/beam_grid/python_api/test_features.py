"""Training sets beside a search by hand, and the newest rows by key."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import beam_grid as bg
from beam_grid.lakehouse.online import Held
from beam_grid.lakehouse.table_set import TableVersion
from tests.beam_grid.python_api.conftest import FEATURES, pumps
from tests.beam_grid.python_api.test_rows import PANDAS, ROOT
from tests.conftest import may_be_without

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


def test_features_made_anew_are_not_taken_for_those_of_an_older_set(featured_home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "lake"
    shutil.copytree(featured_home / "lake", copy)
    old = bg.open(copy).features("pump_features")
    for name in ("pump_features", "pump_features_latest"):
        shutil.rmtree(copy / "tables" / "gold" / name)
    bg.open(copy).refine()
    asked = [{"pump": "P-1", "at": T}]
    for ask in (lambda f: f.as_of(asked, time="at"), lambda f: f.latest(["P-1"])):
        with pytest.raises(bg.GridError, match=r"gold\.pump_features\w*: was made anew since version set"):
            ask(old)
        assert ask(bg.open(copy).features("pump_features")).arrow()["kwh_mean"].to_pylist() == [1.5]


def test_times_of_any_zone_and_unit_are_instants(featured: bg.OpenLake) -> None:
    """Also in an hour that comes twice there."""
    late = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    for unit in ("ns", "us", "ms"):
        for zone in ("Europe/Berlin", "UTC", None):
            times = pa.array([T, late, late + timedelta(hours=1), None], pa.timestamp("us", "UTC"))
            times = times.cast(pa.timestamp("us")) if zone is None else times
            asked = pa.table({"pump": ["P-1"] * 4, "read_at": times.cast(pa.timestamp(unit, zone))})
            found = featured.features("pump_features").as_of(asked).arrow()
            assert found["feature_time"].to_pylist() == [T, T, T, None]


def test_features_that_are_too_old_are_null(featured: bg.OpenLake) -> None:
    asked = pl.DataFrame({"pump": ["P-1"] * 3, "read_at": [T + timedelta(hours=1), T + timedelta(hours=1) + MICRO, T]})
    found = featured.features("pump_features").as_of(asked, max_age="1h").arrow()
    assert found["kwh_mean"].to_pylist() == [1.5, None, 1.5] and found["feature_time"].to_pylist() == [T, None, T]


def test_times_without_a_zone_are_utc_and_cut_downwards(featured: bg.OpenLake) -> None:
    before = pa.array([int(T.timestamp()) * 10**9 - 1, int(T.timestamp()) * 10**9], pa.timestamp("ns"))
    found = featured.features("pump_features").as_of(pa.table({"pump": ["P-2", "P-2"], "read_at": before})).arrow()
    assert found["kwh_mean"].to_pylist() == [None, 1.5] and found.num_columns == 6


def test_nothing_asked_is_nothing_told(featured: bg.OpenLake) -> None:
    nothing = pa.schema([("pump", pa.string()), ("read_at", pa.timestamp("us", "UTC"))]).empty_table()
    assert featured.features("pump_features").as_of(nothing).arrow().num_rows == 0


@pytest.mark.skipif(
    may_be_without(str(PANDAS) if PANDAS.exists() else None), reason=f"no {PANDAS}; `make setup` makes it"
)
def test_pandas_is_taken_too(featured: bg.OpenLake) -> None:
    code = (
        "import sys, pandas as pd, beam_grid as bg; at = pd.Timestamp('2025-05-01T00:40:00Z'); "
        "asked = pd.DataFrame({'broke': [1], 'pump': ['P-1'], 'read_at': [at]}, index=[7]); "
        "found = bg.open(sys.argv[1]).features('pump_features').as_of(asked).arrow(); "
        "print(found['broke'].to_pylist(), found['kwh_change'].to_pylist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(featured.path.resolve())],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{PANDAS}"},
    )  # fmt: skip
    assert done.stdout.split() == ["[1]", "[0.5]"], done.stderr


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


def test_series_may_be_numbers_or_days_and_keys_text() -> None:
    for values, kind, asked in (([3, 7, 12], pa.int64(), ["12", 7, "4"]), ([date(2025, 5, d) for d in (1, 3, 9)], pa.date32(), ["2025-05-09", date(2025, 5, 3), "2025-05-02"])):  # fmt: skip
        held = Held(pa.table({"unit": pa.array(values, kind), "x": [0, 1, 2]}), "unit", TableVersion("t", 1))
        assert held.find(asked)["x"].to_pylist() == [2, 1, None] and str(held.find(asked)["unit"][2]) == asked[2]
        with pytest.raises(bg.GridError, match=r"unit: 'a' is no (int64|date32)"):
            held.find(["a"])


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
