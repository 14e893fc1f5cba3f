"""Anomalies planted on a clean history: they are where planted.json says, and nowhere else."""

import itertools
import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data_sources.smart_meter_readings.generate import generate
from tests.meter_oracle import judge, log_of

FEED = "smart_meter_readings"
HOUR = timedelta(hours=1)
SMALL = {"interval": 6 * HOUR, "meters": 12, "days": 23, "anomalies": 4}


def planted_in(out: Path) -> list[dict]:
    return json.loads((out / "planted.json").read_text())[FEED]


def test_planted_are_the_only_readings_out_of_the_ordinary(tmp_path):
    generate(tmp_path, seed=11, **SMALL)
    records = [json.loads(line) for line in log_of(tmp_path)]
    odd = [record for record in records if not 0.05 < record["reading_kwh"] < 50]
    planted = planted_in(tmp_path)
    assert {p["event_id"]: p["reading_kwh"] for p in planted} == {o["event_id"]: o["reading_kwh"] for o in odd}
    assert [record["event_id"] for record in records if record["is_anomaly_flag"]] == [o["event_id"] for o in odd]
    assert Counter(p["kind"] for p in planted) == {"theft": 2, "spike": 2}
    for one in planted:
        assert (one["reading_kwh"] <= 0.05) == (one["kind"] == "theft")
        assert datetime.fromisoformat(one["timestamp"]) >= datetime(2025, 6, 15, tzinfo=UTC) + timedelta(days=21)


def test_each_planted_reading_has_three_in_the_same_hour_of_the_week_before_it(tmp_path):
    generate(tmp_path, seed=2, **SMALL)
    history = defaultdict(list)
    for record in map(json.loads, log_of(tmp_path)):
        at = datetime.fromisoformat(record["timestamp"])
        history[record["meter_id"], at.weekday(), at.hour].append(at)
    for one in planted_in(tmp_path):
        at = datetime.fromisoformat(one["timestamp"])
        earlier = [other for other in history[one["meter_id"], at.weekday(), at.hour] if other < at]
        assert len(earlier) == 3


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_truth_is_what_a_reader_finds_in_messy_files(tmp_path, seed):
    counts = generate(tmp_path, seed=seed, messy=True, interval=HOUR, meters=30, days=23, anomalies=20)
    found, on_time = judge(log_of(tmp_path))
    assert counts == {name: value for name, value in found.items() if name != "rejected_by_cause"}
    assert all(value > 0 for value in counts.values())
    landed = {record["event_id"] for record in on_time}
    planted = {one["event_id"] for one in planted_in(tmp_path)}
    assert len(planted) == 20
    odd = {record["event_id"] for record in on_time if not 0.1 < record["reading_kwh"] < 50}
    assert odd == planted & landed


def test_meters_are_taken_from_all_regions_alike_and_read_by_the_interval(tmp_path):
    generate(tmp_path, interval=HOUR, meters=11, days=2)
    records = [json.loads(line) for line in log_of(tmp_path)]
    days, stream = records[:-11], records[-11:]
    assert len(days) == 11 * 48
    assert Counter(r["region"] for r in stream) == {"NORTH": 3, "SOUTH": 2, "EAST": 2, "WEST": 2, "CENTRAL": 2}
    times = defaultdict(list)
    for record in days:
        times[record["meter_id"]].append(datetime.fromisoformat(record["timestamp"]))
    assert set(times) == {record["meter_id"] for record in stream}
    for of_meter in times.values():
        assert {later - earlier for earlier, later in itertools.pairwise(of_meter)} == {HOUR}
        assert of_meter[0].minute >= 45


def test_a_quarter_of_an_hour_is_scale_one(tmp_path):
    a = generate(tmp_path / "a", interval=timedelta(minutes=15))
    b = generate(tmp_path / "b", scale=1)
    assert a == b
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")


def test_the_list_goes_with_its_data_and_is_no_data_itself(tmp_path):
    (tmp_path / "planted.json").write_text('{"other_feed": []}')
    generate(tmp_path, **SMALL)
    assert list(json.loads((tmp_path / "planted.json").read_text())) == ["other_feed", FEED]
    generate(tmp_path, scale=0.05)
    assert json.loads((tmp_path / "planted.json").read_text()) == {"other_feed": []}
    (tmp_path / "planted.json").unlink()
    generate(tmp_path, **SMALL)
    generate(tmp_path, scale=0.05)
    assert not (tmp_path / "planted.json").exists()
    assert {"planted.json", "truth.json"} <= set((tmp_path / ".beamgridignore").read_text().split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"interval": 7 * HOUR}, "interval is 7h: give one that divides a day"),
        ({"interval": timedelta(0)}, "interval is 0s: give one that divides a day"),
        ({"interval": timedelta(days=2)}, "interval is 2d"),
        ({"interval": HOUR, "scale": 2.0}, r"scale is 2\.0 and interval 1h: give one of them"),
        ({"meters": 0}, "meters is 0: give 1 to 1,000"),
        ({"meters": 1001}, "meters is 1001"),
        ({"anomalies": 5}, "days is 1: anomalies need at least 23"),
        ({**SMALL, "days": 22}, "days is 22: anomalies need at least 23"),
        ({**SMALL, "anomalies": 0}, "anomalies is 0: give 1 to 4"),
        ({**SMALL, "anomalies": 5}, "anomalies is 5: give 1 to 4; the last 2 days hold 96 readings"),
        ({**SMALL, "meters": 1}, "anomalies is 4: give more meters or a shorter interval"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
