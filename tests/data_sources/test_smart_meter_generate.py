"""The generator's promises, checked on the files it wrote, by a reader that shares no code with it."""

import json
import math
import uuid
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from data_sources.generators.registry import meters
from data_sources.smart_meter_readings import order
from data_sources.smart_meter_readings.generate import generate
from tests.meter_oracle import NOW, REQUIRED, TYPES, ZERO, decode, judge, log_of


def truth_of(out: Path) -> dict:
    return json.loads((out / "truth.json").read_text())["smart_meter_readings"]


@pytest.mark.parametrize(
    ("seed", "scale", "days"), [(42, 0.05, 1), (1, 0.05, 2), (7, 0.05, 3), (0, 0.25, 2), (5, 1.3, 1)]
)
def test_truth_is_what_a_reader_finds_in_messy_files(tmp_path, seed, scale, days):
    counts = generate(tmp_path, seed=seed, scale=scale, days=days, messy=True)
    found, _ = judge(log_of(tmp_path))
    assert truth_of(tmp_path) == found
    assert counts == {name: value for name, value in found.items() if name != "rejected_by_cause"}
    assert all(value > 0 for value in counts.values())
    assert all(value > 0 for value in found["rejected_by_cause"].values())


@pytest.mark.parametrize(("scale", "days", "rows"), [(0.05, 1, 5000), (0.5, 2, 96_000), (0.001, 1, 1000)])
def test_clean_files_hold_every_reading_once_in_order(tmp_path, scale, days, rows):
    counts = generate(tmp_path, scale=scale, days=days)
    found, on_time = judge(log_of(tmp_path))
    assert truth_of(tmp_path) == found
    assert counts["read"] == counts["landed - superseded"] == rows + 500
    assert len({record["event_id"] for record in on_time}) == rows + 500
    times = [record["time"] for record in on_time]
    assert times == sorted(times)
    assert set(Counter(record["meter_id"] for record in on_time[:rows]).values()) == {rows // 1000}
    days_seen = {f"smart_meter_readings_{time.date()}.json" for time in times[:rows]}
    stream = {"smart_meter_stream.json", "sample_message.json"}
    assert {path.name for path in (tmp_path / "smart_meter_kafka").iterdir()} == days_seen | stream | {
        ".beamgridignore"
    }
    assert len(days_seen) == days
    assert min(times).date().isoformat() == "2025-06-15"


@pytest.mark.parametrize("messy", [False, True])
def test_the_stream_goes_on_where_the_files_end_and_all_of_it_lands(tmp_path, messy):
    generate(tmp_path, seed=3, scale=0.05, days=2, messy=messy)
    folder = tmp_path / "smart_meter_kafka"
    stream = (folder / "smart_meter_stream.json").read_bytes().splitlines(keepends=True)
    assert len(stream) == 500
    assert (folder / "sample_message.json").read_bytes() == stream[0]
    lines = log_of(tmp_path)
    assert [line + b"\n" for line in lines[-500:]] == stream
    _, before = judge(lines[:-500])
    found, on_time = judge(lines)
    assert len(on_time) == len(before) + 500
    assert min(record["time"] for record in on_time[-500:]) > max(record["time"] for record in before)
    assert len({record["meter_id"] for record in on_time[-500:]}) == 500
    assert truth_of(tmp_path) == found


def test_a_record_looks_as_the_feed_says(tmp_path):
    generate(tmp_path, scale=0.25)
    first, *_ = lines = log_of(tmp_path)
    assert list(json.loads(first)) == list(TYPES)
    known = {row["meter_id"]: row for row in meters().to_dicts()}
    for line in lines:
        record = json.loads(line)
        assert uuid.UUID(record["event_id"]).version == 4
        meter = known[record["meter_id"]]
        assert meter.items() <= record.items()
        assert len(record["timestamp"]) == 24
        assert record["timestamp"].endswith("Z")
        assert round(record["reading_kwh"], 3) == record["reading_kwh"]
        assert 200 < record["voltage_v"] < 265
        assert 0.8 <= record["power_factor"] < 1


def test_theft_and_spikes_come_in_their_shares(tmp_path):
    generate(tmp_path)
    records = [json.loads(line) for line in log_of(tmp_path)]
    theft = [record for record in records if 0.001 <= record["reading_kwh"] <= 0.05]
    spikes = [record for record in records if 50 <= record["reading_kwh"] <= 120]
    assert len(theft) / len(records) == pytest.approx(0.05, abs=0.004)
    assert len(spikes) / len(records) == pytest.approx(0.03, abs=0.003)
    assert sum(record["is_anomaly_flag"] for record in records) == len(theft) + len(spikes)
    status = Counter(record["meter_status"] for record in theft + spikes)
    assert status["TAMPERED"] > status["DISCONNECTED"] > status["ACTIVE"] > 0
    assert {record["meter_status"] for record in records if not record["is_anomaly_flag"]} == {"ACTIVE"}


def test_load_peaks_in_the_morning_and_higher_in_the_evening_of_india(tmp_path):
    generate(tmp_path)
    by_hour = defaultdict(list)
    for line in log_of(tmp_path):
        record = json.loads(line)
        if not record["is_anomaly_flag"]:
            india = datetime.fromisoformat(record["timestamp"]) + timedelta(hours=5, minutes=30)
            by_hour[india.hour].append(record["reading_kwh"])
    mean = {hour: sum(values) / len(values) for hour, values in by_hour.items()}
    assert mean[19] > mean[7] > mean[10] > mean[3]


def test_meters_have_the_ids_that_other_sources_refer_to():
    table = meters()
    assert set(table["meter_id"]) == {f"SM-{r}-{i:05d}" for r in "NSEWC" for i in range(1, 201)}
    assert set(table["customer_id"]) == {f"CUST-{i:06d}" for i in range(1, 1001)}
    assert set(table["grid_zone"]) == {f"ZONE-{i}" for i in range(1, 6)}
    assert all(row["region"][0] == row["meter_id"][3] for row in table.to_dicts())
    assert table.group_by("state").agg(regions=table["region"].n_unique()).height == 20


@pytest.mark.parametrize("messy", [False, True])
def test_same_seed_same_bytes_and_another_seed_others(tmp_path, messy):
    for name, seed in (("a", 9), ("b", 9), ("c", 10)):
        generate(tmp_path / name, seed=seed, scale=0.05, days=2, messy=messy)
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b") != log_of(tmp_path / "c")
    assert truth_of(tmp_path / "a") == truth_of(tmp_path / "b")


def test_more_days_only_add_files(tmp_path):
    generate(tmp_path / "one", scale=0.05, days=1)
    generate(tmp_path / "two", scale=0.05, days=2)
    assert log_of(tmp_path / "two")[:5000] == log_of(tmp_path / "one")[:5000]


def test_every_kind_of_mess_is_there(tmp_path):
    generate(tmp_path, messy=True)
    lines = log_of(tmp_path)
    undecodable = [line for line in lines if decode(line) is None]
    not_utf8 = [line for line in undecodable if not _is_utf8(line)]
    truncated = [line for line in undecodable if _is_utf8(line) and not _is_json(line)]
    typed = [line for line in undecodable if _is_utf8(line) and _is_json(line)]
    without = [line for line in typed if _lacks_a_key(json.loads(line))]
    for kind, share in ((truncated, 0.003), (not_utf8, 0.002), (without, 0.002)):
        assert len(kind) / len(lines) == pytest.approx(share, rel=0.25)
    assert (len(typed) - len(without)) / len(lines) == pytest.approx(0.003, rel=0.25)

    arrived: datetime = ZERO  # as far as the greatest event time tells
    first: dict[tuple, tuple[datetime, dict]] = {}
    delays, exact, conflicting = [], [], []
    for record in filter(None, map(decode, lines)):
        if not 0 <= record["reading_kwh"] <= 1000 or record["time"] > NOW:
            continue
        delays.append((arrived - record["time"]) / timedelta(minutes=1))
        arrived = max(arrived, record["time"])
        key = record["event_id"], record["timestamp"]
        if key not in first:
            first[key] = arrived, record
        else:
            (exact if first[key][1] == record else conflicting).append(arrived - first[key][0])
    assert sum(1 < delay <= 10 for delay in delays) > 500
    assert sum(10 < delay <= 70 for delay in delays) > 500
    assert sum(delay > 70 for delay in delays) > 300
    minutes = [apart / timedelta(minutes=1) for apart in exact]
    assert sum(m < 3 for m in minutes) > 500
    assert sum(10 < m < 60 for m in minutes) > 500
    assert sum(m > 90 for m in minutes) > 100
    assert len(conflicting) > 500


def test_copies_cross_the_boundary_between_files(tmp_path):
    generate(tmp_path, scale=0.25, days=2, messy=True)
    paths = sorted((tmp_path / "smart_meter_kafka").glob("smart_meter_readings_*.json"))
    keys = [{record["event_id"] for record in map(decode, path.read_bytes().splitlines()) if record} for path in paths]
    assert len(keys) == 3
    assert len(keys[0] & keys[1]) > 30
    assert len(keys[1] & keys[2]) > 30


def test_corrections_take_back_an_extreme_and_move_it_to_another_group(tmp_path, monkeypatch):
    monkeypatch.setattr(order, "_CHUNK_INTERVALS", 25)  # of 38 a day: some are of an earlier chunk
    generate(tmp_path, scale=0.4, messy=True)
    _, on_time = judge(log_of(tmp_path))
    windows = defaultdict(list)
    versions = defaultdict(list)
    for record in on_time:
        versions[record["event_id"], record["timestamp"]].append(record)
        windows[record["meter_id"], int(record["time"].timestamp()) // 900].append(record["reading_kwh"])
    moved = [(old, new) for old, *more in versions.values() for new in more if new["meter_id"] != old["meter_id"]]
    assert len(moved) > 40
    for old, new in moved:
        assert old["region"] != new["region"]
        assert old["grid_zone"] != new["grid_zone"]
        assert old["customer_id"] != new["customer_id"]
        assert old["reading_kwh"] != new["reading_kwh"]
        assert new["voltage_v"] > old["voltage_v"]
        window = windows[old["meter_id"], int(old["time"].timestamp()) // 900]
        assert old["reading_kwh"] == max(window)


def test_a_reader_that_lets_rejects_move_its_clock_is_found_out(tmp_path):
    generate(tmp_path, scale=0.05, messy=True)
    lines = log_of(tmp_path)
    right, _ = judge(lines)
    wrong, _ = judge(lines, rejects_move_the_clock=True)
    assert wrong["late"] > 10 * right["late"]


def test_other_feeds_keep_their_truth_and_old_files_go(tmp_path):
    generate(tmp_path, scale=0.05, days=3)
    (tmp_path / "truth.json").write_text('{"billing_transactions": {"read": 400}}')
    generate(tmp_path, scale=0.05, days=1)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert truth["billing_transactions"] == {"read": 400}
    assert truth["smart_meter_readings"]["read"] == 5500 == len(log_of(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0}, "scale is 0: give a number above 0"),
        ({"scale": -1.5}, "scale is -1.5"),
        ({"scale": math.nan}, "scale is nan"),
        ({"scale": math.inf}, "scale is inf"),
        ({"scale": 1e9}, "give at most 900000"),
        ({"days": 0}, "days is 0: give at least 1"),
        ({"seed": -1}, "seed is -1: give 0 or more"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_truth_file_that_is_none_is_named(tmp_path, text):
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(ValueError, match=r"truth\.json .*remove it"):
        generate(tmp_path, scale=0.05)
    assert (tmp_path / "truth.json").read_text() == text


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def _lacks_a_key(record: object) -> bool:
    return isinstance(record, dict) and any(record.get(name) is None for name in REQUIRED)
