"""The sensor generator's promises, checked on the files it wrote, and its truth against a run."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from data_sources.generators.registry import transformers
from data_sources.grid_sensors.generate import MOST_SENSORS, generate
from tests.landed_truth import landed_truth, truth_of

FEED = "grid_sensors"


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted((out / FEED).iterdir()) for line in path.read_bytes().splitlines()]


def planted(out: Path) -> dict[str, set[str]]:
    found = defaultdict(set)
    for one in json.loads((out / "planted.json").read_text())[FEED]:
        found[one["kind"]].add(one["sensor_id"])
    return found


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clean")
    generate(out, seed=4, days=3, sensors=400, interval=timedelta(hours=1))
    return out


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("seed", "messy", "days", "slice_rows"), [(1, True, 1, 500_000), (2, True, 2, 97), (1, False, 1, 97)]
)
def test_truth_is_what_a_run_counts(tmp_path: Path, seed: int, messy: bool, days: int, slice_rows: int) -> None:
    counts = generate(tmp_path / "data", seed=seed, days=days, messy=messy, scale=0.1, sensors=60)
    truth = truth_of(tmp_path / "data", FEED)
    assert landed_truth(tmp_path / "data", FEED, tmp_path / "lake", slice_rows) == truth
    assert counts == {name: value for name, value in truth.items() if name != "rejected_by_cause"}
    if messy:
        assert all(value > 0 for value in [*counts.values(), *truth["rejected_by_cause"].values()])


def test_sensors_sit_on_the_grids_transformers(clean: Path) -> None:
    at = {t["transformer_id"]: (t["region"], t["state"]) for t in transformers().to_dicts()}
    assert all(at[r["transformer_id"]] == (r["region"], r["state"]) for r in records(clean))
    assert len({r["sensor_id"] for r in records(clean)}) == 400


def test_the_planted_faults_are_in_the_data(clean: Path) -> None:
    faults, end = planted(clean), datetime.fromisoformat("2025-06-18T00:00:00+00:00")
    by_sensor = defaultdict(list)
    for r in records(clean):
        by_sensor[r["sensor_id"]].append((datetime.fromisoformat(r["timestamp"]), r["temperature_c"]))
    assert {kind: len(ids) for kind, ids in faults.items()} == {
        "spike": 4, "level_shift": 2, "silent": 2, "constant": 2, "new": 2
    }  # fmt: skip
    for sensor, seen in by_sensor.items():
        temperatures = [value for _, value in seen]
        usual = temperatures[:-6] if len(seen) > 12 else temperatures
        is_far = [abs(value - mean(usual)) > 11 for value in temperatures[-6:]]
        kind = next((kind for kind, ids in faults.items() if sensor in ids), "none")
        assert (len(set(temperatures)) == 1) == (kind == "constant")
        assert (seen[-1][0] < end - timedelta(hours=6)) == (kind == "silent")
        assert (seen[0][0] >= end - timedelta(hours=3)) == (kind == "new")
        if kind == "level_shift":
            assert mean(temperatures[-6:]) > mean(usual) + 7
        elif kind == "none":
            assert sum(is_far) <= 1 and 2 < stdev(usual) < 7


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        generate(tmp_path / name, seed=9, messy=True, scale=0.05, sensors=30)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n / FEED).iterdir()} for n in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sensors": 0}, "sensors is 0"),
        ({"sensors": MOST_SENSORS + 1}, "give 1 to 100,000"),
        ({"interval": timedelta(minutes=7)}, "divides a day"),
        ({"interval": timedelta(hours=1), "scale": 2.0}, "give one of them"),
        ({"scale": 1e9}, "a reading a millisecond"),
        ({"days": 0}, "days is 0"),
    ],
)
def test_an_argument_out_of_range_is_refused(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        generate(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())
