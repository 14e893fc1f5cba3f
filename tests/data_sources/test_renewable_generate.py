"""The renewable generator's promises, checked on the files it wrote, and its truth against a run."""

import json
import uuid
from collections import Counter, defaultdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from data_sources.generators.registry import plants
from data_sources.renewable_production.generate import generate
from tests.landed_truth import landed_rows, landed_truth, truth_of

FEED = "renewable_production"
BASE = [
    "reading_id",
    "plant_id",
    "plant_type",
    "timestamp",
    "production_mw",
    "capacity_mw",
    "capacity_factor",
    "weather_condition",
    "irradiance_w_m2",
    "wind_speed_mps",
    "water_flow_m3s",
    "grid_injection_mw",
    "auxiliary_consumption_mw",
    "region",
    "state",
    "inverter_status",
]
NEW = ["curtailment_mw", "battery_storage_mwh"]
OWN_SENSOR = {"SOLAR": "irradiance_w_m2", "WIND": "wind_speed_mps", "HYDRO": "water_flow_m3s"}


def files_of(out: Path) -> dict[str, list[bytes]]:
    return {path.name: path.read_bytes().splitlines() for path in sorted((out / "renewable_autoloader").iterdir())}


def decoded(lines: list[bytes]) -> list[dict]:
    found = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and all(isinstance(record.get(n), str) for n in ("reading_id", "timestamp")):
            found.append(record)
    return found


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    out = tmp_path_factory.mktemp("clean")
    generate(out, seed=4)
    return {name: [json.loads(line) for line in lines] for name, lines in files_of(out).items()}


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("seed", "messy", "slice_rows"), [(1, True, 500_000), (2, True, 97), (3, True, 997), (1, False, 500)]
)
def test_truth_is_what_a_run_counts(tmp_path, seed, messy, slice_rows):
    counts = generate(tmp_path / "data", seed=seed, scale=0.5, messy=messy)
    truth = truth_of(tmp_path / "data", FEED)
    assert landed_truth(tmp_path / "data", FEED, tmp_path / "lake", slice_rows) == truth
    assert counts == {name: value for name, value in truth.items() if name != "rejected_by_cause"}
    if messy:
        assert counts["late"] == 0
        assert all(value > 0 for name, value in counts.items() if name != "late")
        assert all(value > 0 for value in truth["rejected_by_cause"].values())
    else:
        assert counts["read"] == counts["landed - superseded"] == 5 * 90 * 3


def test_the_five_files_and_the_schema_that_grows_with_the_third(clean):
    assert list(clean) == [f"renewable_production_20250615_{hour:02d}00.json" for hour in range(6, 11)]
    for at, records in enumerate(clean.values()):
        assert {tuple(r) for r in records} == {tuple(BASE + NEW * (at >= 2))}
        assert set(Counter(r["plant_id"] for r in records).values()) == {6}
        assert {r["timestamp"][:13] for r in records} == {f"2025-06-15T{6 + at:02d}"}
        times = [r["timestamp"] for r in records]
        assert times == sorted(times)


def test_plants_are_the_registrys_and_measure_what_they_live_on(clean):
    known = {p["plant_id"]: p for p in plants().to_dicts()}
    records = [r for file in clean.values() for r in file]
    assert {r["plant_id"] for r in records} == set(known)
    assert len({r["reading_id"] for r in records}) == len(records) == 2700
    for record in records:
        assert uuid.UUID(record["reading_id"]).version == 4
        assert known[record["plant_id"]].items() <= record.items()
        for kind, sensor in OWN_SENSOR.items():
            assert (record[sensor] is not None) == (kind == record["plant_type"])
        assert 0 <= record["production_mw"] <= record["capacity_mw"]
        assert record["capacity_factor"] == pytest.approx(record["production_mw"] / record["capacity_mw"], abs=6e-4)
        net = record["production_mw"] - record["auxiliary_consumption_mw"]
        assert record["grid_injection_mw"] == pytest.approx(net, abs=1e-9)
        if record["inverter_status"] == "OFFLINE":
            assert record["production_mw"] == 0 > record["grid_injection_mw"]
        if "curtailment_mw" in record:
            assert record["curtailment_mw"] >= 0 and (record["battery_storage_mwh"] is None) == (
                record["plant_type"] == "HYDRO"
            )
    assert sum(r.get("curtailment_mw", 0) > 0 for r in records) > 50


def test_production_follows_sun_wind_and_water(clean):
    records = [r for file in clean.values() for r in file if r["inverter_status"] == "ONLINE"]
    for sensor, low, high in (
        ("irradiance_w_m2", 300, 800),
        ("wind_speed_mps", 5, 12),
    ):
        weak = [r["capacity_factor"] for r in records if (r[sensor] if r[sensor] is not None else 1e9) < low]
        strong = [r["capacity_factor"] for r in records if (r[sensor] or 0) > high]
        assert len(weak) > 20 and len(strong) > 20
        assert max(weak) < min(strong)
    by_plant = defaultdict(list)
    for r in records:
        if r["plant_type"] == "HYDRO" and r["water_flow_m3s"] > 0:
            by_plant[r["plant_id"]].append(r["production_mw"] / r["water_flow_m3s"])
    assert all(max(per_flow) / min(per_flow) < 1.02 for per_flow in by_plant.values()), "one head a plant"
    mean = {"CLEAR": [], "RAIN": []}
    for r in records:
        if r["plant_type"] == "SOLAR" and r["weather_condition"] in mean:
            mean[r["weather_condition"]].append(r["irradiance_w_m2"])
    assert min(mean["CLEAR"]) > 2 * max(mean["RAIN"])


def test_the_sun_sets(tmp_path):
    generate(tmp_path, scale=0.01, days=2)
    files = files_of(tmp_path)
    assert len(files) == 29
    assert list(files)[-1] == "renewable_production_20250616_1000.json"
    night = [json.loads(line) for line in files["renewable_production_20250615_2000.json"]]
    solar = [r for r in night if r["plant_type"] == "SOLAR"]
    assert len(solar) == 30 and all(r["irradiance_w_m2"] == r["production_mw"] == 0 for r in solar)


def test_older_records_come_again_among_those_with_the_new_fields(tmp_path):
    generate(tmp_path, seed=2, messy=True)
    files = [decoded(lines) for lines in files_of(tmp_path).values()]
    old = {r["reading_id"] for records in files[:2] for r in records}
    again = [r for records in files[2:] for r in records if r["reading_id"] in old]
    assert len(again) > 5
    assert all(r["curtailment_mw"] is None and r["battery_storage_mwh"] is None for r in again)
    hours = {name[-9:-7]: decoded(lines) for name, lines in files_of(tmp_path).items()}
    assert sum(r["timestamp"][11:13] < hour for hour, records in hours.items() for r in records) > 30
    times = [datetime.fromisoformat(r["timestamp"]) for r in hours["06"] if r["timestamp"][:10] == "2025-06-15"]
    assert sum(b < a for a, b in pairwise(times)) > 10, "out of order"


@pytest.mark.pipeline
def test_what_lands_warns_of_nothing_and_has_nulls_where_the_schema_was_older(tmp_path):
    generate(tmp_path / "data", seed=5, messy=True)
    landed_truth(tmp_path / "data", FEED, tmp_path / "lake")
    rows = landed_rows(tmp_path / "lake", FEED)
    assert {row["_warnings"] for row in rows} == {None}
    assert {row["_extra"] for row in rows} == {None}
    for row in rows:
        assert (row["curtailment_mw"] is None) == (row["timestamp"].hour < 8)


@pytest.mark.parametrize("messy", [False, True])
def test_same_seed_same_bytes_and_another_seed_others(tmp_path, messy):
    for name, seed in (("a", 9), ("b", 9), ("c", 10)):
        generate(tmp_path / name, seed=seed, messy=messy)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b") != files_of(tmp_path / "c")
    assert (tmp_path / "a/truth.json").read_bytes() == (tmp_path / "b/truth.json").read_bytes()


@pytest.mark.parametrize("arguments", [{"scale": 0}, {"scale": 1e9}, {"days": 0}, {"seed": -1}])
def test_arguments_out_of_range_are_refused_before_anything_is_written(tmp_path, arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        generate(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
