"""The telemetry generator's promises, checked on the files it wrote, and its truth against a run."""

import io
import json
import uuid
from collections import Counter, defaultdict
from contextlib import redirect_stderr
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from data_sources.generators.registry import transformers
from data_sources.substation_telemetry.generate import generate
from data_sources.substation_telemetry.iot_stream_simulator import _Hub, main
from data_sources.substation_telemetry.readings import condition
from tests.landed_truth import landed_rows, landed_truth, truth_of

FEED = "substation_telemetry"
FIELDS = [
    "telemetry_id",
    "substation_id",
    "transformer_id",
    "timestamp",
    "load_mw",
    "capacity_mw",
    "load_percentage",
    "voltage_kv",
    "oil_temperature_c",
    "ambient_temperature_c",
    "dissolved_gas_ppm",
    "humidity_percent",
    "breaker_status",
    "alarm_code",
    "region",
    "state",
    "iot_device_id",
    "iot_hub_enqueued_time",
    "sequence_number",
]
ALARMS = {"OVERLOAD", "GAS_ALARM", "BREAKER_TRIP"}


def lines_of(out: Path) -> list[bytes]:
    paths = sorted((out / "substation_iot").glob("substation_telemetry_*.json"))
    return [line for path in paths for line in path.read_bytes().splitlines()]


def good(lines: list[bytes]) -> list[dict]:
    """Records that are JSON objects of the feed's fields with an id and a time."""
    found = []
    for line in lines:
        try:
            record = json.loads(line)
            record["time"] = datetime.fromisoformat(record["timestamp"])
        except (ValueError, TypeError, KeyError):
            continue
        if isinstance(record.get("telemetry_id"), str):
            found.append(record)
    return found


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    out = tmp_path_factory.mktemp("clean")
    generate(out, seed=4, scale=40)
    return [json.loads(line) for line in lines_of(out)]


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("seed", "messy", "days", "slice_rows"),
    [(1, True, 1, 500_000), (2, True, 2, 97), (3, True, 1, 97), (1, False, 1, 97)],
)
def test_truth_is_what_a_run_counts(tmp_path, seed, messy, days, slice_rows):
    counts = generate(tmp_path / "data", seed=seed, days=days, messy=messy)
    truth = truth_of(tmp_path / "data", FEED)
    assert landed_truth(tmp_path / "data", FEED, tmp_path / "lake", slice_rows) == truth
    assert counts == {name: value for name, value in truth.items() if name != "rejected_by_cause"}
    if messy:
        assert all(value > 0 for value in [*counts.values(), *truth["rejected_by_cause"].values()])
    else:
        assert counts["read"] == counts["landed - superseded"] == 300 * days


def test_a_record_looks_as_the_seed_says(clean):
    pairs = {(t["transformer_id"], t["substation_id"], t["region"], t["state"]) for t in transformers().to_dicts()}
    ids = set()
    for record in clean:
        assert list(record) == FIELDS
        assert uuid.UUID(record["telemetry_id"]).version == 4
        assert tuple(record[n] for n in ("transformer_id", "substation_id", "region", "state")) in pairs
        assert record["iot_device_id"] in {f"IOT-{record['substation_id']}-{n}" for n in (1, 2)}
        assert record["load_percentage"] == pytest.approx(100 * record["load_mw"] / record["capacity_mw"], abs=0.06)
        assert record["alarm_code"] in ALARMS | {None}
        assert 5 < record["voltage_kv"] < 40 and 0 < record["humidity_percent"] < 100
        delay = datetime.fromisoformat(record["iot_hub_enqueued_time"]) - datetime.fromisoformat(record["timestamp"])
        assert timedelta(0) < delay < timedelta(seconds=3)
        assert record["timestamp"].startswith("2025-06-15T") and record["timestamp"].endswith("Z")
        ids.add(record["transformer_id"])
    assert len(ids) == 500, "every transformer has its turn"
    numbers = [record["sequence_number"] for record in clean]
    assert numbers == list(range(numbers[0], numbers[0] + len(clean)))
    assert len({record["telemetry_id"] for record in clean}) == len(clean) == 12_000


def test_overheating_and_alarms_come_in_their_shares(clean):
    rise = np.array([r["oil_temperature_c"] - r["ambient_temperature_c"] for r in clean])
    assert ((rise >= 60) & (rise <= 90.001)).mean() == pytest.approx(0.04, abs=0.006)
    assert rise[rise < 60].max() < 56 and rise.max() <= 90.001
    alarms = Counter(r["alarm_code"] for r in clean)
    assert sum(alarms[a] for a in ALARMS) / len(clean) == pytest.approx(0.03, abs=0.005)
    assert all(alarms[a] > 50 for a in ALARMS)
    assert all(r["load_percentage"] > 100 for r in clean if r["alarm_code"] == "OVERLOAD")
    assert {r["breaker_status"] for r in clean if r["alarm_code"] == "BREAKER_TRIP"} == {"TRIPPED"}
    assert {r["breaker_status"] for r in clean if r["alarm_code"] != "BREAKER_TRIP"} == {"CLOSED", "OPEN"}


def test_gas_tells_of_degradation_age_and_heat(clean):
    by_transformer = defaultdict(list)
    for record in clean:
        by_transformer[record["transformer_id"]].append(record["dissolved_gas_ppm"])
    state = condition()
    gas = np.array([np.median(by_transformer[t]) for t in state["transformer_id"]])
    assert np.corrcoef(gas, state["degradation"].to_numpy())[0, 1] > 0.9
    assert np.corrcoef(gas, state["age_years"].to_numpy())[0, 1] > 0.7
    excess = np.array([r["dissolved_gas_ppm"] - np.median(by_transformer[r["transformer_id"]]) for r in clean])
    rise = np.array([r["oil_temperature_c"] - r["ambient_temperature_c"] for r in clean])
    assert np.corrcoef(excess, rise)[0, 1] > 0.4


def test_an_id_comes_again_within_the_horizon_or_well_beyond_it_and_only_once(tmp_path):
    generate(tmp_path, seed=6, scale=5, messy=True)
    times = defaultdict(set)
    for record in good(lines_of(tmp_path)):
        if record["time"].year == 2025:
            times[record["telemetry_id"]].add(record["time"])
    spread = [sorted(at) for at in times.values() if len(at) > 1]
    near = [at for at in spread if at[-1] - at[0] <= timedelta(minutes=20)]
    beyond = [at for at in spread if len(at) == 2 and at[1] - at[0] >= timedelta(minutes=61)]
    both = [at for at in spread if at not in near and at not in beyond]
    assert len(near) > 3 and len(beyond) > 10 and both == []


@pytest.mark.pipeline
def test_a_reused_id_lands_twice_and_planted_anomalies_only_warn(tmp_path):
    generate(tmp_path / "data", seed=6, scale=3, messy=True)
    landed_truth(tmp_path / "data", FEED, tmp_path / "lake")
    rows = landed_rows(tmp_path / "lake", FEED)
    assert max(Counter(row["telemetry_id"] for row in rows).values()) == 2
    warned = Counter(rule for row in rows for rule in (row["_warnings"] or "").split(",") if rule)
    assert set(warned) == {"ST-008", "ST-009"}
    assert warned["ST-008"] == sum(row["alarm_code"] is not None for row in rows) > 0
    assert warned["ST-009"] == sum(row["oil_temperature_c"] - row["ambient_temperature_c"] >= 60 for row in rows) > 0


def test_files_sort_into_one_log_and_the_sample_is_its_first_record(tmp_path):
    generate(tmp_path, days=3)
    names = sorted(path.name for path in (tmp_path / "substation_iot").glob("[!.]*"))
    assert names == [
        "sample_telemetry.json",
        "substation_telemetry_stream.json",
        "substation_telemetry_stream_20250616.json",
        "substation_telemetry_stream_20250617.json",
    ]
    lines = lines_of(tmp_path)
    assert (tmp_path / "substation_iot" / names[0]).read_bytes() == lines[0] + b"\n"
    stamps = [json.loads(line)["timestamp"] for line in lines]
    assert stamps == sorted(stamps) and len(stamps) == 900
    generate(tmp_path / "one")
    assert lines_of(tmp_path / "one") == lines[:300], "more days only add files"
    generate(tmp_path, days=1)
    assert lines_of(tmp_path) == lines[:300], "old files go"


@pytest.mark.parametrize("messy", [False, True])
def test_same_seed_same_bytes_and_another_seed_others(tmp_path, messy):
    for name, seed in (("a", 9), ("b", 9), ("c", 10)):
        generate(tmp_path / name, seed=seed, days=2, messy=messy)
    assert lines_of(tmp_path / "a") == lines_of(tmp_path / "b") != lines_of(tmp_path / "c")
    assert (tmp_path / "a/truth.json").read_bytes() == (tmp_path / "b/truth.json").read_bytes()


@pytest.mark.parametrize("arguments", [{"scale": 0}, {"scale": 1e9}, {"days": 0}, {"seed": -1}])
def test_arguments_out_of_range_are_refused_before_anything_is_written(tmp_path, arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        generate(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_live_messages_are_numbered_and_enqueued_now():
    hub, rng, now = _Hub(), np.random.default_rng(1), 1_750_000_000_000
    sent = [*hub.messages(rng, 3, now), *hub.messages(rng, 2, now)]
    records = [json.loads(value) for _, value in sent]
    assert [r["sequence_number"] for r in records] == [1, 2, 3, 4, 5]
    assert [key.decode() for key, _ in sent] == [r["iot_device_id"] for r in records]
    assert {r["iot_hub_enqueued_time"] for r in records} == {"2025-06-15T15:06:40.000Z"}
    assert all(list(r) == FIELDS and r["timestamp"] < r["iot_hub_enqueued_time"] for r in records)


@pytest.mark.parametrize("arguments", [["0"], ["x"], ["1", "--rate", "-2"], ["1", "--topic", "a b"], []])
def test_the_simulator_refuses_what_it_cannot_do(arguments):
    with pytest.raises(SystemExit) as stopped, redirect_stderr(io.StringIO()):
        main(arguments)
    assert stopped.value.code == 2
