"""What transformers supplied, against what the raw files say of the meters on them, and each planted fault in the files."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from data_sources.customers.generate import generate as customers
from data_sources.smart_meter_readings.faults import KINDS
from data_sources.smart_meter_readings.generate import generate as meters
from data_sources.transformer_energy.generate import COLUMNS, generate
from tests.landed_truth import landed_truth, truth_of

FEED = "transformer_energy"
HOUR = timedelta(hours=1)
SMALL: dict[str, Any] = {"seed": 6, "days": 12, "meters": 60, "interval": HOUR, "faults": 11}

WITHIN = 0.05
"""By how much of the supply the loss, which goes with the load, may differ from 4 %."""

HOURLY = """
    CREATE TABLE supplied AS SELECT transformer_id, substation_id, timestamp::TIMESTAMPTZ - INTERVAL 1 HOUR AS hour, supplied_kwh
        FROM read_json('{out}/transformer_energy/*.json', format = 'newline_delimited');
    CREATE TABLE read AS SELECT meter_id, date_trunc('hour', timestamp::TIMESTAMPTZ - INTERVAL 1 MICROSECOND) AS hour, sum(reading_kwh) AS kwh
        FROM read_json('{out}/smart_meter_kafka/smart_meter_readings_*.json', format = 'newline_delimited') GROUP BY ALL;
    CREATE TABLE held AS SELECT meter_id, transformer_id FROM '{out}/transformer_parquet/customer_master.parquet'
        WHERE account_status <> 'CLOSED';
    CREATE TABLE taken AS SELECT transformer_id, hour, sum(kwh) AS kwh FROM read JOIN held USING (meter_id) GROUP BY ALL;
    CREATE TABLE missing AS SELECT transformer_id, hour, supplied_kwh * 0.96 - coalesce(kwh, 0) AS kwh, supplied_kwh
        FROM supplied LEFT JOIN taken USING (transformer_id, hour)
"""


def raw(out: Path) -> duckdb.DuckDBPyConnection:
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute(HOURLY.format(out=out))
    return engine


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("balance")
    for write in (meters, generate):
        write(out, **SMALL)
    customers(out, seed=SMALL["seed"])
    return out


def faults(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "planted.json").read_text())[FEED]


@pytest.mark.pipeline
@pytest.mark.parametrize(("seed", "messy", "slice_rows"), [(1, True, 997), (2, False, 100_000)])
def test_truth_is_what_a_run_counts(tmp_path: Path, seed: int, messy: bool, slice_rows: int) -> None:
    counts = generate(tmp_path / "data", seed=seed, days=2, scale=0.1, messy=messy, meters=100)
    truth = truth_of(tmp_path / "data", FEED)
    assert landed_truth(tmp_path / "data", FEED, tmp_path / "lake", slice_rows) == truth
    assert counts == {name: value for name, value in truth.items() if name != "rejected_by_cause"}
    if messy:
        found = {**counts, **truth["rejected_by_cause"]}
        assert found.pop("late") == 0 and all(found.values()), found


def test_without_faults_it_is_what_the_meters_read_and_a_loss_of_about_four_percent(tmp_path: Path) -> None:
    """By quarter hours, in which the meters' own thefts and spikes are: where none was read the two agree."""
    for write in (meters, generate, customers):
        write(tmp_path, seed=3)
    engine = raw(tmp_path)
    engine.execute(f"""
        CREATE TABLE odd AS SELECT DISTINCT meter_id, date_trunc('hour', timestamp::TIMESTAMPTZ - INTERVAL 1 MICROSECOND) AS hour
        FROM read_json('{tmp_path}/smart_meter_kafka/smart_meter_readings_*.json', format = 'newline_delimited') WHERE is_anomaly_flag
    """)
    shares = "(SELECT kwh / supplied_kwh AS share, supplied_kwh FROM missing m WHERE NOT EXISTS (FROM odd JOIN held USING (meter_id) WHERE held.transformer_id = m.transformer_id AND odd.hour = m.hour))"  # fmt: skip
    n, least, most, mean, spread = engine.sql(
        f"SELECT count(*), min(share), max(share), avg(share), stddev(share) FROM {shares} WHERE supplied_kwh > 0"
    ).fetchall()[0]
    assert n > 5_000 and -0.025 < least < most < 0.05
    assert abs(mean) < 0.005 and 0.002 < spread < 0.012
    hours, transformers = engine.sql("SELECT count(DISTINCT hour), count(DISTINCT transformer_id) FROM supplied").fetchall()[0]  # fmt: skip
    assert hours == 24 and 490 < transformers <= 500


def test_records_look_as_the_contract_says(out: Path) -> None:
    paths = sorted((out / FEED).iterdir())
    assert [path.name for path in paths] == [f"transformer_energy_2025-06-{day}.json" for day in range(15, 27)]
    records = [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]
    assert all(list(record) == COLUMNS for record in records)
    assert (
        records[0]["timestamp"] == "2025-06-15T01:00:00.000Z" and records[-1]["timestamp"] == "2025-06-27T00:00:00.000Z"
    )
    times = [record["timestamp"] for record in records]
    assert times == sorted(times)


def test_where_nothing_is_planted_supply_is_what_was_taken(out: Path) -> None:
    planted = {one[name] for one in faults(out) for name in ("transformer_id", "supplied_by")}
    good = raw(out).sql("SELECT transformer_id, kwh / supplied_kwh, supplied_kwh FROM missing").fetchall()
    good = [row for row in good if row[0] not in planted]
    assert len(good) > 10 * 24 * 12
    assert all(abs(share) < WITHIN for _, share, _ in good)


def test_each_fault_is_in_the_files_from_its_hour_on(out: Path) -> None:
    engine = raw(out)
    planted = faults(out)
    assert {one["kind"] for one in planted} == set(KINDS)
    sites = dict(engine.sql("SELECT DISTINCT transformer_id, substation_id FROM supplied").fetchall())
    assert len({sites[one["transformer_id"]] for one in planted}) == len(planted), "one in a substation"
    for one in planted:
        since = datetime.fromisoformat(one["since"])
        missing: dict[str, dict[datetime, tuple[float, float]]] = {}
        for name in ("transformer_id", "supplied_by"):
            rows = engine.execute("SELECT hour, kwh, supplied_kwh FROM missing WHERE transformer_id = ?", [one[name]])
            missing[name] = {hour: (kwh, supplied) for hour, kwh, supplied in rows.fetchall()}
            assert all(abs(kwh) < WITHIN * supplied for hour, (kwh, supplied) in missing[name].items() if hour < since)
        read = dict(engine.execute("SELECT hour, kwh FROM read WHERE meter_id = ?", [one["meter_id"]]).fetchall())
        after = {hour: kwh for hour, (kwh, _) in missing["supplied_by"].items() if hour >= since}
        error = {hour: WITHIN * supplied for hour, (_, supplied) in missing["supplied_by"].items()}
        if one["kind"] == "theft":
            stolen = one["stolen_share"]
            assert 0.5 <= stolen <= 0.95
            assert all(kwh == pytest.approx(read[h] * stolen / (1 - stolen), abs=error[h]) for h, kwh in after.items())
        elif one["kind"] == "mis-mapped meter":
            assert (
                one["supplied_by"] != one["transformer_id"]
                and sites[one["supplied_by"]] == sites[one["transformer_id"]]
            )
            assert all(kwh == pytest.approx(read[h], abs=error[h]) for h, kwh in after.items())
            on_list = missing["transformer_id"]
            assert all(-on_list[h][0] == pytest.approx(read[h], abs=WITHIN * (on_list[h][1] + read[h])) for h in after)
        elif one["kind"] == "clock skew":
            ahead = one["clock_ahead_hours"] * HOUR
            assert 1 <= abs(one["clock_ahead_hours"]) <= 6
            silent = [hour for hour in after if hour not in read]
            assert silent == [since + n * HOUR for n in range(one["clock_ahead_hours"])]
            # what was used in an hour is read `ahead` later
            told = [h for h in after if h + ahead in read and h in read and h + ahead >= since]
            assert len(told) > 60
            assert all(after[h] == pytest.approx(read[h + ahead] - read[h], abs=error[h]) for h in told)
        else:
            values = {kwh for hour, kwh in read.items() if hour >= since}
            assert values == {read[since - HOUR]} and len(after) > 90


def test_a_day_is_the_same_whatever_the_days_and_the_bytes_are_the_arguments(tmp_path: Path) -> None:
    for name, given in (
        ("one", {"days": 1}),
        ("two", {"days": 2}),
        ("again", {"days": 2}),
        ("other", {"days": 2, "seed": 8}),
    ):
        generate(tmp_path / name, **{"seed": 7, "messy": True, "meters": 40, "scale": 0.1, **given})
    files = {
        name: {p.name: p.read_bytes() for p in (tmp_path / name / FEED).iterdir()} for name in ("one", "two", "again", "other")
    }  # fmt: skip
    assert files["two"] == files["again"] and files["one"].items() < files["two"].items()
    assert not files["other"].items() & files["two"].items()


def test_the_list_of_faults_goes_with_its_data(tmp_path: Path) -> None:
    (tmp_path / "planted.json").write_text('{"other_feed": []}')
    generate(tmp_path, **{**SMALL, "days": 9})
    assert len(faults(tmp_path)) == SMALL["faults"]
    generate(tmp_path, meters=8, scale=0.1)
    assert json.loads((tmp_path / "planted.json").read_text()) == {"other_feed": []}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"days": 0}, "days is 0"),
        ({"days": 8}, "days is 8: faults need at least 9"),
        ({"faults": 0}, "faults is 0: give 1 to 11"),
        ({"faults": 12}, "faults is 12: give 1 to 11; one in four of 15 substations has none"),
        ({"meters": 61}, "meters is 61: with faults give a multiple of 4"),
        ({"meters": 4}, "faults is 11: give more meters"),
        ({"interval": 2 * HOUR}, "clocks are wrong by hours; give an interval that divides an hour"),
        ({"interval": timedelta(minutes=7)}, "divides a day"),
    ],
)
@pytest.mark.parametrize("write", [generate, meters])
def test_nonsense_is_refused_before_anything_is_written(
    tmp_path: Path, write: Any, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        write(tmp_path / "out", **{**SMALL, **wrong})
    assert not (tmp_path / "out").exists()


def test_faults_and_anomalies_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="anomalies is 4 and faults 11: give one of them"):
        meters(tmp_path / "out", **SMALL, anomalies=4)
