"""The three specs that come with Beam Grid, against the figures of their seeds, by a reader that shares no code."""

import json
import math
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import pytest

from beam_grid.feeds import BUILT_IN
from data_sources.contract import load_contract
from data_sources.energy_readings.generate import generate as energy_readings
from data_sources.generators import truth
from data_sources.generators.streams.load import load_spec
from data_sources.iot_events.generate import generate as iot_events
from data_sources.transactions.generate import generate as transactions

SOURCES = {"iot_events": iot_events, "transactions": transactions, "energy_readings": energy_readings}


def records_of(out: Path, feed: str) -> list[dict]:
    files = sorted((out / feed).iterdir())
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> dict[str, list[dict]]:
    out = tmp_path_factory.mktemp("clean")
    for make in SOURCES.values():
        make(out)
    assert {p.name for p in out.iterdir()} == {*SOURCES, "truth.json", ".beamgridignore"}
    return {feed: records_of(out, feed) for feed in SOURCES} | {"out": out}


def shares(records, name):
    return {k: n / len(records) for k, n in Counter(r[name] for r in records).items()}


def about(**wanted):
    return pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("feed", SOURCES)
def test_fields_are_the_contracts_and_the_truth_is_counted(clean, feed):
    contract, records = load_contract(BUILT_IN / feed / "contract.toml"), clean[feed]
    assert set(records[0]) == {f.name for f in contract.fields}
    keys = {tuple(r[k] for k in contract.dedup.key) for r in records}
    assert len(keys) == len(records)
    assert truth.read(clean["out"])[feed] == {
        "read": len(records),
        "rejected": 0,
        "late": 0,
        "landed - superseded": len(records),
        "duplicates + superseded": 0,
        "conflicts": 0,
    }
    per_file = [len(p.read_text().splitlines()) for p in sorted((clean["out"] / feed).iterdir())]
    wanted = load_spec(BUILT_IN / feed / "spec.toml").records_per_file
    assert set(per_file[:-1]) <= {wanted}
    assert 0 < per_file[-1] <= wanted
    assert load_spec(BUILT_IN / feed / "spec.toml").topic == contract.topic


def test_iot_events_have_their_shares_and_ranges(clean):
    records = clean["iot_events"]
    assert len(records) == 86_400
    assert load_spec(BUILT_IN / "iot_events" / "spec.toml").rate == 5000
    assert shares(records, "device_type") == about(temperature=0.30, pressure=0.25, humidity=0.25, vibration=0.20)
    assert shares(records, "location") == about(building_a=0.3, building_b=0.3, building_c=0.2, warehouse=0.2)
    assert {r["device_id"] for r in records} == set(range(1000, 1501))
    assert {r["battery_pct"] for r in records} == set(range(5, 101))
    assert {r["signal_strength"] for r in records} == set(range(-90, -29))
    assert shares(records, "is_anomaly")[True] == pytest.approx(0.03, abs=0.003)
    usual = [r["reading"] for r in records if not r["is_anomaly"]]
    spikes = [r["reading"] for r in records if r["is_anomaly"]]
    assert min(usual) >= 18
    assert max(usual) <= 82
    assert fmean(usual) == pytest.approx(50, abs=0.3)
    assert sum(40 <= x <= 60 for x in usual) / len(usual) == pytest.approx(0.683, abs=0.015)  # normal, sd 10
    assert fmean(spikes) == pytest.approx(50 + 45, abs=1)
    assert max(spikes) <= 152
    times = [datetime.fromisoformat(r["timestamp"]) for r in records]
    assert times[0].isoformat() == "2024-01-01T00:00:00+00:00"
    assert {b - a for a, b in pairwise(times)} == {timedelta(seconds=1)}


def test_transactions_have_their_shares_and_skew(clean):
    records = clean["transactions"]
    assert len(records) == 172_800
    assert load_spec(BUILT_IN / "transactions" / "spec.toml").rate == 2000
    assert shares(records, "txn_type") == about(purchase=0.70, refund=0.10, transfer=0.12, withdrawal=0.08)
    assert shares(records, "channel") == about(online=0.35, in_store=0.25, mobile=0.30, atm=0.10)
    assert shares(records, "currency") == about(USD=0.7, EUR=0.2, GBP=0.1)
    assert 1 <= min(r["txn_id"] for r in records) < max(r["txn_id"] for r in records) <= 5_000_000
    accounts = [r["account_id"] for r in records]
    assert 100_000 <= min(accounts) < max(accounts) <= 199_999
    tenth = sum(a < 110_000 for a in accounts) / len(accounts)
    assert tenth == pytest.approx((1 - math.exp(-0.15)) / (1 - math.exp(-1.5)), abs=0.005)
    merchants = [r["merchant_id"] for r in records]
    assert (min(merchants), max(merchants)) == (50_000, 59_999)
    amounts = [r["amount"] for r in records]
    assert min(amounts) >= 1
    assert 9_000 < max(amounts) <= 10_000
    assert fmean(amounts) == pytest.approx(1 + 1000, rel=0.03)
    assert sum(a < 694 for a in amounts) / len(amounts) == pytest.approx(0.5, abs=0.01)
    assert all(round(a, 2) == a for a in amounts)
    assert shares(records, "is_fraud")[True] == pytest.approx(0.015, abs=0.002)
    for fraud, low, high in ((True, 0.7, 1.0), (False, 0.0, 0.4)):
        risk = [r["risk_score"] for r in records if r["is_fraud"] is fraud]
        assert low <= min(risk)
        assert max(risk) <= high
        assert fmean(risk) == pytest.approx((low + high) / 2, abs=0.01)


def test_transactions_are_busier_by_day_and_in_bursts(clean):
    times = [datetime.fromisoformat(r["timestamp"]) for r in clean["transactions"]]
    assert times == sorted(times)
    assert {t.date().isoformat() for t in times} == {"2024-01-01"}
    per_hour = Counter(t.hour for t in times)
    assert per_hour[15] > 10 * per_hour[3]
    per_minute = Counter(t.hour * 60 + t.minute for t in times)
    burst, usual = (fmean(per_minute[m] for m in range(a, b)) for a, b in ((600, 605), (606, 660)))
    assert burst / usual == pytest.approx(8, rel=0.1)


BASE = {
    "Residential_NYC": (15, 25, 180, -8),
    "Commercial_CHI": (150, 80, 450, -75),
    "Industrial_HOU": (500, 200, 1200, -250),
    "Residential_LAX": (12, 20, 160, -12),
    "Commercial_SFO": (180, 95, 380, -95),
}
TYPES = ("Electricity", "Natural Gas", "Water", "Solar")
ODD = {f"MTR{n:06d}" for n in (42, 123, 456, 789, 999, 1500, 1750)}


def test_energy_readings_are_the_seeds_meters(clean):
    records = clean["energy_readings"]
    assert len(records) == 3200
    assert load_spec(BUILT_IN / "energy_readings" / "spec.toml").rate == 10
    assert {r["meter_id"] for r in records} == {f"MTR{n:06d}" for n in range(1, 2001)}
    for value, r in enumerate(records):
        assert r["meter_id"] == f"MTR{value % 2000 + 1:06d}"
        assert r["energy_type"] == TYPES[value % 4]
        assert r["location"] == list(BASE)[value % 5]
    times = [datetime.fromisoformat(r["reading_date"]) for r in records]
    assert {b - a for a, b in pairwise(times)} == {timedelta(milliseconds=100)}


@pytest.mark.parametrize("seed", [0, 7])
def test_energy_consumption_peak_and_efficiency_follow_the_tables(tmp_path, seed):
    energy_readings(tmp_path, seed=seed, scale=20)  # 6,400 s from noon: 12:00 and 13:00, January
    factors, peaks = defaultdict(list), defaultdict(list)
    ratings = defaultdict(set)
    for r in records_of(tmp_path, "energy_readings"):
        odd = r["meter_id"] in ODD
        base = BASE[r["location"]][TYPES.index(r["energy_type"])]
        factors[odd].append(r["consumption"] / (base * 1.4))
        if abs(r["consumption"]) > 5:
            peaks[odd].append(r["peak_demand"] / abs(r["consumption"]))
        ratings[odd, r["energy_type"]].add(r["efficiency_rating"])
    assert 0.799 <= min(factors[False]) < 0.81
    assert 1.19 < max(factors[False]) <= 1.201
    assert 0 <= min(factors[True]) < 0.2
    assert 2.8 < max(factors[True]) <= 3.001
    assert 1.09 <= min(peaks[False]) < 1.11
    assert 1.49 < max(peaks[False]) <= 1.51
    assert min(peaks[True]) >= 1.19
    assert 2.1 < max(peaks[True]) <= 2.21
    for kind, middle, low in zip(TYPES, (85, 90, 88, 78), (45, 50, 48, 35), strict=True):
        assert ratings[False, kind] == set(range(middle - 3, middle + 4)), "rand * 8 - 4, cut towards 0"
        assert ratings[True, kind] <= set(range(low, low + 20))


def test_hours_and_seasons_have_their_factors(tmp_path):
    spec = (BUILT_IN / "energy_readings" / "spec.toml").read_text()
    from data_sources.generators.streams.stream import Stream

    seen = {}
    for begin in ("2024-01-15T05:59:30", "2024-07-15T01:59:30", "2024-04-15T19:59:30", "2024-10-15T17:00:00"):
        path = tmp_path / "energy_readings.toml"
        path.write_text(spec.replace("2024-01-15T12:00:00Z", begin))
        for r in Stream(load_spec(path), 1, total=600).batch(0).to_dicts():
            base = BASE[r["location"]][TYPES.index(r["energy_type"])]
            if r["meter_id"] not in ODD:
                seen.setdefault((r["reading_date"].month, r["reading_date"].hour), []).append(
                    float(r["consumption"]) / base
                )
    mean = {when: fmean(x) for when, x in seen.items()}
    wanted = {
        (1, 5): 0.4 * 1.4,
        (1, 6): 2.5 * 1.4,
        (7, 1): 1.3,
        (7, 2): 0.4 * 1.3,
        (4, 19): 2.5,
        (4, 20): 1,
        (10, 17): 2.5,
    }
    assert mean == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("seed", [1, 42])
def test_the_seven_planted_meters_are_those_of_low_efficiency(tmp_path, seed):
    energy_readings(tmp_path, seed=seed)
    ratings = defaultdict(list)
    for r in records_of(tmp_path, "energy_readings"):
        ratings[r["meter_id"]].append(r["efficiency_rating"])
    mean = {meter: fmean(x) for meter, x in ratings.items()}
    assert max(mean[m] for m in ODD) < min(x for m, x in mean.items() if m not in ODD)


def judged(records, contract) -> dict[str, int]:
    """The contract's counts, a record at a time."""
    counts, greatest, landed = Counter(), None, set()
    for r in records:
        if any(r[name] is None for name in contract.required):
            counts["rejected"] += 1
            continue
        at = datetime.fromisoformat(r[contract.event_time])
        key = tuple(r[k] for k in contract.dedup.key)
        if greatest is not None and at < greatest - contract.lateness:
            counts["late"] += 1
        elif key in landed:
            counts["duplicates"] += 1
        landed |= {key} if greatest is None or at >= greatest - contract.lateness else set()
        greatest = at if greatest is None else max(greatest, at)
    return {
        "read": len(records),
        "rejected": counts["rejected"],
        "late": counts["late"],
        "landed - superseded": len(landed),
        "duplicates + superseded": counts["duplicates"],
        "conflicts": 0,
    }


@pytest.mark.parametrize(("seed", "scale", "days"), [(3, 0.2, 1), (4, 0.1, 2)])
@pytest.mark.parametrize("feed", SOURCES)
def test_the_truth_is_what_a_reader_finds_in_messy_files(tmp_path, feed, seed, scale, days):
    if feed == "energy_readings":
        scale *= 10
    counts = SOURCES[feed](tmp_path, seed=seed, scale=scale, days=days, messy=True)
    found = judged(records_of(tmp_path, feed), load_contract(BUILT_IN / feed / "contract.toml"))
    assert counts == found == truth.read(tmp_path)[feed]
    assert all(n > 0 for name, n in found.items() if name != "conflicts")


@pytest.mark.parametrize("feed", SOURCES)
def test_the_same_arguments_give_the_same_bytes(tmp_path, feed):
    seen = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        SOURCES[feed](tmp_path / name, seed=seed, scale=0.05, messy=True)
        seen.append(b"".join(p.read_bytes() for p in sorted((tmp_path / name / feed).iterdir())))
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({"days": 0}, "days is 0"),
        ({"scale": -1}, "scale is -1"),
        ({"scale": 1e9}, "at most"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_arguments_out_of_range_are_told(tmp_path, given, seen):
    with pytest.raises(ValueError, match=seen):
        energy_readings(tmp_path, **given)


def test_windows_and_expectations_are_the_seeds():
    iot, txn = (load_contract(BUILT_IN / n / "contract.toml") for n in ("iot_events", "transactions"))
    for contract in (iot, txn):
        assert contract.lateness == timedelta(minutes=10)
        assert contract.windows[0].size == timedelta(minutes=5)
        assert {*contract.dedup.key, contract.event_time} <= set(contract.required)
    window = iot.windows[0]
    assert (window.name, window.by) == ("sensor_metrics_5min", ["device_id", "device_type"])
    assert list(window.measures) == ["avg_reading", "min_reading", "max_reading", "event_count", "anomaly_count"]
    assert (iot.dedup.key, txn.dedup.key) == (["event_id"], ["txn_id"])
    energy = load_contract(BUILT_IN / "energy_readings" / "contract.toml")
    assert energy.dedup.key == energy.lake.cluster_by == ["meter_id", "reading_date"]
    assert {f.name: f.type for f in energy.fields} == {
        "meter_id": "string",
        "reading_date": "timestamp",
        "energy_type": "string",
        "consumption": "decimal(10,3)",
        "location": "string",
        "peak_demand": "decimal(8,2)",
        "efficiency_rating": "int64",
    }
