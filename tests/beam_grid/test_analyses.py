"""The analyses, joins and expectations of one grid, each against DuckDB over the raw files."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import duckdb
import pytest
from deltalake import DeltaTable

from beam_grid.analyses import analyses, parse
from beam_grid.errors import GridError, RunFailed
from beam_grid.feeds import built_in
from beam_grid.lakehouse import derived
from beam_grid.lakehouse.maintain import maintain
from beam_grid.lakehouse.query import query
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from beam_grid.refine import refine, versions
from data_sources.contract import load_contract
from data_sources.customers.generate import generate as customers
from data_sources.energy_readings.generate import generate as energy
from data_sources.maintenance_logs.generate import generate as maintenance
from data_sources.transformers.generate import generate as transformers
from tests.beam_grid.both_engines import assert_both_engines_agree

pytestmark = pytest.mark.spark

FEEDS = ["customers", "transformers", "maintenance_logs", "energy_readings", "smart_meter_readings"]
ODD = [42, 123, 456, 789, 999, 1500, 1750]
METERS = "smart_meter_kafka/smart_meter_readings_0001.json"
Rows = list[dict[str, Any]]


def reading(number: int, customer: str, meter: str, at: datetime, kwh: float) -> dict[str, Any]:
    return {
        "event_id": f"e-{number}", "meter_id": meter, "customer_id": customer, "timestamp": at.isoformat(),
        "reading_kwh": kwh, "voltage_v": 230.0, "current_a": 4.0, "power_factor": 0.9, "frequency_hz": 50.0,
        "meter_status": "ACTIVE", "region": "North", "state": "Delhi", "grid_zone": "GZ-N-01", "is_anomaly_flag": False,
    }  # fmt: skip


def write_readings(source: Path) -> None:
    """Five weeks of six meters, two readings in some hours; odd ones in the last week; a customer nobody knows, and
    a meter that is not the customer's."""
    held = duckdb.sql(
        f"SELECT customer_id, meter_id FROM '{source}/transformer_parquet/customer_master.parquet' c "
        f"JOIN '{source}/transformer_parquet/transformer_master_delta*.parquet' d USING (transformer_id) ORDER BY 1 LIMIT 6"
    ).fetchall()
    draw, rows = random.Random(5), []
    start = datetime(2025, 5, 19, 6, tzinfo=UTC)
    for week in range(5):
        for day, hour, minute in ((0, 0, 5), (0, 0, 40), (0, 1, 0), (6, 17, 59), (6, 18, 0)):
            for n, (customer, meter) in enumerate(held):
                at = start + timedelta(weeks=week, days=day, hours=hour, minutes=minute, seconds=n)
                kwh = 1.0 if n == 0 else round(draw.uniform(0.8, 1.2), 3)
                kwh *= {(4, 1): 9, (4, 2): 1.55, (4, 0): 7}.get((week, n), 1)
                rows.append(reading(len(rows), customer, meter, at, kwh))
    rows.append(reading(len(rows), "CUST-009999", held[0][1], start, 1.0))
    rows.append(reading(len(rows), held[0][0], held[1][1], start + timedelta(minutes=1), 1.0))
    rows.sort(key=lambda row: (row["timestamp"][:13], draw.random()))  # in any order within the hour: none is late
    (source / METERS).parent.mkdir(parents=True, exist_ok=True)
    (source / METERS).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("grid")
    for generate in (customers, transformers, maintenance, energy):
        generate(out)
    write_readings(out)
    return out


@pytest.fixture(scope="module")
def lake(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake.open(tmp_path_factory.mktemp("lake"))
    known = built_in()
    for name in FEEDS:
        assert not land(lake, known[name], Options(source=str(source), own_globs=True)).problems
    refine(lake)
    return lake


@pytest.fixture(scope="module")
def raw(source: Path) -> Callable[[str], Rows]:
    """Rows of a DuckDB query over the raw files."""
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute(
        f"CREATE TABLE energy AS SELECT meter_id, reading_date::TIMESTAMPTZ AS reading_date, energy_type, location, "
        f"consumption::DECIMAL(10,3) AS consumption, peak_demand::DECIMAL(8,2) AS peak_demand, efficiency_rating "
        f"FROM read_json('{source}/energy_readings/*.json', format = 'newline_delimited')"
    )
    engine.execute(
        f"CREATE TABLE meters AS SELECT * REPLACE (timestamp::TIMESTAMPTZ AS timestamp) "
        f"FROM read_json('{source / METERS}', format = 'newline_delimited')"
    )
    for name in ("customer_master", "transformer_master", "transformer_master_delta*"):
        engine.execute(f"CREATE TABLE {name.strip('*')} AS FROM '{source}/transformer_parquet/{name}.parquet'")
    engine.execute(f"CREATE TABLE jobs AS FROM read_csv('{source}/maintenance_csv/*.csv')")
    # a transformer that the change file has begins anew on the change's day
    engine.execute(
        "CREATE TABLE transformers AS SELECT m.transformer_id, m.health_index_score, m.record_effective_date AS since, "
        "coalesce(d.record_effective_date, DATE '9999-12-31') AS until FROM transformer_master m "
        "LEFT JOIN transformer_master_delta d USING (transformer_id) UNION ALL "
        "SELECT transformer_id, health_index_score, record_effective_date, DATE '9999-12-31' FROM transformer_master_delta"
    )

    def ask(sql: str) -> Rows:
        found = engine.execute(sql)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    return ask


def equal(found: Rows, wanted: Rows) -> None:
    """Equal rows in any order, numbers within 1e-9; decimals and floats of one value are equal."""

    def order(row: dict[str, Any]) -> str:
        return repr([(name, str(row[name])) for name in sorted(row) if not isinstance(row[name], float | Decimal)])

    assert len(found) == len(wanted) > 0
    for one, other in zip(sorted(found, key=order), sorted(wanted, key=order), strict=True):
        assert set(one) == set(other)
        for name, value in other.items():
            if isinstance(value, float | Decimal) and one[name] is not None:
                assert float(one[name]) == pytest.approx(float(value), rel=1e-9, abs=1e-9), (name, one, other)
            else:
                assert one[name] == value, (name, one, other)


def rows(lake: Lake, sql: str) -> Rows:
    return query(lake, sql).to_pylist()


S0 = {
    "grid_status": "SELECT count(*) AS total_readings, count(DISTINCT meter_id) AS active_meters, round(avg(consumption), 3) AS avg_consumption, "
    "max(peak_demand) AS current_peak_demand, round(avg(efficiency_rating), 2) AS avg_efficiency FROM energy",
    "peak_demand_by_location": "SELECT location, count(*) AS reading_count, max(peak_demand) AS max_peak_demand, "
    "round(avg(peak_demand), 2) AS avg_peak_demand, count(DISTINCT meter_id) AS active_meters FROM energy GROUP BY ALL",
    "energy_type_performance": "SELECT energy_type, count(*) AS total_readings, sum(abs(consumption)) AS total_consumption, "
    "round(avg(abs(consumption)), 3) AS avg_consumption, max(peak_demand) AS max_peak_demand, "
    "round(avg(efficiency_rating), 2) AS avg_efficiency, count(DISTINCT meter_id) AS unique_meters FROM energy GROUP BY ALL",
    "hourly_patterns": "SELECT hour(reading_date) AS hour, count(*) AS readings_in_hour, "
    "round(avg(abs(consumption)), 3) AS avg_hourly_consumption, max(peak_demand) AS max_hourly_peak FROM energy GROUP BY ALL",
    "energy_baselines": "SELECT energy_type, round(avg(consumption), 3) AS mean_consumption, round(stddev(consumption), 3) AS stddev_consumption, "
    "round(avg(peak_demand), 2) AS mean_peak_demand, round(stddev(peak_demand), 2) AS stddev_peak_demand, "
    "round(avg(efficiency_rating), 2) AS mean_efficiency, round(stddev(efficiency_rating), 2) AS stddev_efficiency FROM energy GROUP BY ALL",
}  # fmt: skip


@pytest.mark.parametrize("name", S0)
def test_s0_tables_are_one_query_over_the_raw_files(lake: Lake, raw: Callable[[str], Rows], name: str) -> None:
    equal(rows(lake, f"SELECT * FROM gold.{name}"), raw(S0[name]))


def test_low_efficiency_names_the_seven_planted_meters_and_no_other(lake: Lake) -> None:
    (status,) = rows(lake, "SELECT * FROM gold.grid_status")
    assert (status["total_readings"], status["active_meters"]) == (3200, 2000)
    found = rows(lake, "SELECT meter_id FROM gold.energy_alerts WHERE alert_type = 'LOW_EFFICIENCY' ORDER BY 1")
    assert [row["meter_id"] for row in found] == [f"MTR{n:06d}" for n in ODD]


def test_alerts_are_beyond_three_rounded_deviations(lake: Lake, raw: Callable[[str], Rows]) -> None:
    limits = {}
    for row in raw(S0["energy_baselines"]):

        def at(measure: str, sign: int, digits: str, row: dict[str, Any] = row) -> Decimal:
            mean, spread = (
                Decimal(str(row[f"{part}_{measure}"])).quantize(Decimal(digits)) for part in ("mean", "stddev")
            )
            return mean + sign * 3 * spread

        limits[row["energy_type"]] = (
            at("consumption", 1, "0.001"), at("consumption", -1, "0.001"), at("peak_demand", 1, "0.01"), at("efficiency", -1, "0.01"),
        )  # fmt: skip
    wanted: Rows = []
    for row in raw("SELECT * FROM energy"):
        high, low, peak, _ = limits[row["energy_type"]]
        kinds = [("HIGH_CONSUMPTION", row["consumption"] > high), ("LOW_CONSUMPTION", row["consumption"] < low), ("HIGH_PEAK_DEMAND", row["peak_demand"] > peak)]  # fmt: skip
        wanted += [{"alert_type": kind, "meter_id": row["meter_id"], "reading_date": row["reading_date"]} for kind, is_so in kinds if is_so]  # fmt: skip
    for row in raw("SELECT meter_id, energy_type, avg(efficiency_rating) AS mean FROM energy GROUP BY ALL"):
        if row["mean"] < limits[row["energy_type"]][3]:
            wanted.append({"alert_type": "LOW_EFFICIENCY", "meter_id": row["meter_id"], "reading_date": None})
    assert {row["alert_type"] for row in wanted} > {"LOW_EFFICIENCY"}
    equal(rows(lake, "SELECT alert_type, meter_id, reading_date FROM gold.energy_alerts"), wanted)


def test_scores_compare_with_the_same_hour_of_earlier_weeks(lake: Lake, raw: Callable[[str], Rows]) -> None:
    history = "FROM meters h WHERE h.meter_id = m.meter_id AND isodow(h.timestamp) = isodow(m.timestamp) AND hour(h.timestamp) = hour(m.timestamp) AND h.timestamp < date_trunc('hour', m.timestamp)"  # fmt: skip
    wanted = raw(
        f"SELECT event_id, reading_kwh, ((isodow(timestamp) - 1) * 24 + hour(timestamp))::INT AS hour_of_week, (SELECT count(*) {history}) AS history_readings, "
        f"(SELECT avg(reading_kwh) {history}) AS history_mean_kwh, (SELECT stddev(reading_kwh) {history}) AS history_stddev_kwh FROM meters m"
    )
    for row in wanted:
        mean, spread = row["history_mean_kwh"], row["history_stddev_kwh"]
        score = abs(row["reading_kwh"] - mean) / spread if spread else None
        row["status"] = None if score is None else "CRITICAL" if score > 3 else "WARNING" if score > 2 else "NORMAL"
    assert {row["status"] for row in wanted} == {None, "NORMAL", "WARNING", "CRITICAL"}
    columns = "event_id, reading_kwh, hour_of_week, history_readings, history_mean_kwh, history_stddev_kwh, status"
    equal(rows(lake, f"SELECT {columns} FROM gold.anomalies"), wanted)


def test_a_reading_meets_customer_and_transformer_as_they_were(lake: Lake, raw: Callable[[str], Rows]) -> None:
    wanted = raw(
        "SELECT event_id, c.tariff_category, t.health_index_score FROM meters m "
        "LEFT JOIN customer_master c ON c.customer_id = m.customer_id LEFT JOIN transformers t "
        "ON t.transformer_id = c.transformer_id AND m.timestamp::DATE >= t.since AND m.timestamp::DATE < t.until"
    )
    equal(rows(lake, "SELECT event_id, tariff_category, health_index_score FROM gold.readings_with_customers"), wanted)
    changed = rows(lake, "SELECT DISTINCT customer_id, transformer_version FROM gold.readings_with_customers WHERE transformer_version IS NOT NULL")  # fmt: skip
    assert sorted(row["transformer_version"] for row in changed) == [1] * 6 + [2] * 6


def test_an_orphan_keeps_its_row_and_is_reported(lake: Lake) -> None:
    found = rows(lake, "SELECT customer_id, tariff_category FROM gold.readings_with_customers WHERE customer_version IS NULL")  # fmt: skip
    assert found == [{"customer_id": "CUST-009999", "tariff_category": None}]
    (said,) = rows(lake, "SELECT * FROM gold.quality WHERE expectation = 'SM-E2'")
    assert said == {
        "table_name": "silver.smart_meter_readings", "expectation": "SM-E2", "rule": "references(customer_id) in customers(customer_id)",
        "on_fail": "warn", "status": "warned", "rows_checked": 152, "failed_rows": 1, "example": '{"customer_id":"CUST-009999"}',
    }  # fmt: skip
    (meter,) = rows(lake, "SELECT status, failed_rows FROM gold.quality WHERE expectation = 'SM-E1'")
    assert meter == {"status": "passed", "failed_rows": 0}


def test_a_meter_that_is_another_customers_shows(lake: Lake) -> None:
    found = rows(lake, "SELECT event_id FROM gold.readings_with_meter_holders WHERE NOT is_same_customer ORDER BY 1")
    assert [row["event_id"] for row in found] == ["e-150", "e-151"]


def test_jobs_and_customers_meet_their_transformers(lake: Lake, raw: Callable[[str], Rows]) -> None:
    wanted = raw(
        "SELECT log_id, t.health_index_score FROM jobs j LEFT JOIN transformers t "
        "ON t.transformer_id = j.transformer_id AND j.reported_date >= t.since AND j.reported_date < t.until"
    )
    equal(rows(lake, "SELECT log_id, health_index_score FROM gold.maintenance_with_transformers"), wanted)
    wanted = raw(
        "SELECT customer_id, greatest(c.record_effective_date, since) AS valid_from, until AS valid_to "
        "FROM customer_master c JOIN transformers t USING (transformer_id)"
    )
    equal(rows(lake, "SELECT customer_id, valid_from, valid_to FROM gold.customers_with_transformers"), wanted)


def test_spark_makes_the_same_tables(lake: Lake, tmp_path: Path) -> None:
    assert_both_engines_agree(lake, tmp_path)


def test_nothing_new_makes_nothing_anew(lake: Lake) -> None:
    before = versions(lake)
    done = refine(lake)
    assert (done.feeds, done.analyses) == ({}, [])
    assert versions(lake) == before


def test_only_what_reads_a_changed_table_is_made_anew(lake: Lake, source: Path, tmp_path: Path) -> None:
    copy = Lake.open(shutil.copytree(lake.path, tmp_path / "lake"))
    (held,) = rows(lake, "SELECT min(meter_id) AS meter FROM gold.anomalies WHERE status = 'CRITICAL'")
    last = datetime(2025, 6, 23, 6, tzinfo=UTC)
    more = [reading(900 + n, "CUST-000001", "SM-X-9", last + timedelta(hours=n), 1.0) for n in range(3)]
    more += [reading(910 + n, "CUST-000001", held["meter"], last + timedelta(minutes=n), 0.5 + n) for n in range(3)]
    more.sort(key=lambda row: row["timestamp"])  # none is late
    file = tmp_path / "smart_meter_kafka" / "smart_meter_readings_0002.json"
    file.parent.mkdir()
    file.write_text("".join(json.dumps(row) + "\n" for row in more))
    land(copy, built_in()["smart_meter_readings"], Options(source=str(file)))
    before = rows(copy, "SELECT * FROM gold.quality")
    assert refine(copy).analyses == ["gold.anomalies", "gold.quality"]
    after = rows(copy, "SELECT * FROM gold.quality")
    assert {r["expectation"] for r in after} == {r["expectation"] for r in before}
    (orphans,) = [r for r in after if r["expectation"] == "SM-E1"]
    assert (orphans["rows_checked"], orphans["failed_rows"], orphans["status"]) == (158, 3, "warned")
    merged = rows(copy, "SELECT * FROM gold.anomalies")
    assert len(merged) == len(rows(lake, "SELECT * FROM gold.anomalies")) + 6
    shutil.rmtree(copy.path / "tables" / "gold" / "anomalies")
    assert refine(copy).analyses == ["gold.anomalies"]
    equal(rows(copy, "SELECT * FROM gold.anomalies"), merged)
    shutil.rmtree(copy.path / "tables" / "gold" / "grid_status")
    DeltaTable(copy.path / "tables" / "gold" / "hourly_patterns").delete("true")
    assert {entry.action for entry in maintain(copy)} <= {"optimized", "skipped", "checkpointed"}
    assert refine(copy).analyses == ["gold.grid_status", "gold.hourly_patterns", "gold.quality"]
    equal(rows(copy, "SELECT * FROM gold.hourly_patterns"), rows(lake, "SELECT * FROM gold.hourly_patterns"))
    equal(rows(copy, "SELECT * FROM gold.grid_status"), rows(lake, "SELECT * FROM gold.grid_status"))
    file.with_name("smart_meter_readings_0003.json").write_text("no reading\n")
    assert land(copy, built_in()["smart_meter_readings"], Options(source=str(file.parent))).fates.rejected == 1
    before_it = versions(copy)
    assert "gold.anomalies" not in refine(copy).analyses, "made anew though no row came"
    assert versions(copy).tables["gold.anomalies"].version == before_it.tables["gold.anomalies"].version
    assert refine(copy).feeds == {}, "what was looked at is forgotten"


@pytest.mark.parametrize("engine", ["embedded", "spark"])
def test_an_expectation_warns_drops_or_keeps_readers_at_the_last_set(
    engine: Literal["embedded", "spark"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bay twice, in a feed that appends, so that nothing mends it; then a table made of the feed's."""
    small = Lake.open(tmp_path / "lake")
    text = """
name = "bays"
format = "json"
event_time = "at"
[dedup]
key = ["id", "at"]
[[expectations]]
id = "B-1"
expect = "unique(bay)"
on_fail = "fail"
[[fields]]
name = "id"
type = "string"
[[fields]]
name = "at"
type = "timestamp"
[[fields]]
name = "bay"
type = "string"
"""
    contract_file = tmp_path / "bays.toml"
    contract_file.write_text(text)
    feed = load_contract(contract_file)
    for number, bay in enumerate(["b1", "b2", "b1"]):
        (tmp_path / f"{number}.json").write_text(
            json.dumps({"id": f"i{number}", "at": "2025-06-01T00:00:00Z", "bay": bay})
        )
    land(small, feed, Options(source=str(tmp_path / "0.json")))
    land(small, feed, Options(source=str(tmp_path / "1.json")))
    refine(small, engine=engine)
    land(small, feed, Options(source=str(tmp_path / "2.json")))
    for _ in range(2):
        with pytest.raises(RunFailed, match=r"silver.bays: unique\(bay\) \(B-1\): 1 of 3 rows fail, such as .*b1"):
            refine(small, engine=engine)
        assert rows(small, "SELECT count(*) AS n FROM silver.bays") == [{"n": 2}]
    contract_file.write_text(text.replace('on_fail = "fail"', 'on_fail = "warn"'))
    (tmp_path / "3.json").write_text(json.dumps({"id": "i3", "at": "2025-06-01T00:00:00Z", "bay": "b3"}))
    land(small, load_contract(contract_file), Options(source=str(tmp_path / "3.json")))
    refine(small, engine=engine)
    assert rows(small, "SELECT count(*) AS n FROM silver.bays") == [{"n": 4}]
    assert rows(small, "SELECT status, failed_rows FROM gold.quality") == [{"status": "warned", "failed_rows": 1}]
    known = parse(
        "named",
        "-- Bays.\n-- expect: check(id <> 'i3') drop\n-- expect: references(bay) in rooms(bay) drop\n"
        "-- expect: not_null(bay) warn\nSELECT id, NULLIF(bay, 'b2') AS bay FROM silver.bays\n",
    )
    monkeypatch.setattr(derived, "analyses", lambda: (known,))
    monkeypatch.setattr(derived, "by_name", lambda: {known.name: known})
    rooms = load_contract(_named(contract_file, "rooms"))
    (tmp_path / "4.json").write_text(json.dumps({"id": "r", "at": "2025-06-01T00:00:00Z", "bay": "b1"}))
    refine(small, engine=engine)
    assert "gold.named" not in versions(small).tables, "a table whose rows' parents never landed"
    land(small, rooms, Options(source=str(tmp_path / "4.json")))
    assert refine(small, engine=engine).analyses == ["gold.named", "gold.quality"]
    found = rows(small, "SELECT * FROM gold.named ORDER BY id")
    assert found == [{"id": "i0", "bay": "b1"}, {"id": "i1", "bay": None}, {"id": "i2", "bay": "b1"}]
    said = rows(small, "SELECT expectation, status, rows_checked, failed_rows FROM gold.quality WHERE table_name = 'gold.named' ORDER BY 1")  # fmt: skip
    assert [tuple(row.values()) for row in said] == [
        ("named-1", "dropped", 4, 1), ("named-2", "dropped", 4, 1), ("named-3", "warned", 3, 1),
    ]  # fmt: skip


def _named(contract: Path, name: str) -> Path:
    path = contract.with_name(f"{name}.toml")
    path.write_text(contract.read_text().replace('"bays"', f'"{name}"').replace("B-1", "R-1"))
    return path


def test_a_parameter_nobody_has_is_refused(lake: Lake) -> None:
    with pytest.raises(GridError, match=r"parameter 'nonsense\.as_of': is not known; known: "):
        refine(lake, parameters={"nonsense.as_of": "2021-01-01"})


class TestFiles:
    def test_each_says_what_it_tells_and_what_it_reads(self) -> None:
        for analysis in analyses():
            assert analysis.description.endswith("."), analysis.name
            assert analysis.reads, analysis.name

    def test_they_come_after_what_they_read(self) -> None:
        names = [a.name for a in analyses()]
        for analysis in analyses():
            for read in analysis.reads:
                assert read not in names or names.index(read) < names.index(analysis.name)

    def test_a_table_is_one_only_where_a_table_stands(self) -> None:
        found = parse(
            "x",
            "-- X.\n-- parameter: day DATE = 2021-01-01\nWITH z AS (SELECT * FROM silver.y WHERE d = :day)\n"
            "SELECT extract(HOUR FROM silver.ts) AS h, date_format(ts, 'HH:mm') AS hm, ':no' AS no FROM z silver\n",
        )
        assert found.reads == ("silver.y",)
        written = found.select("spark", lambda name: f"<{name}>", {"day": "DATE '2021-01-01'"})
        assert "EXTRACT(HOUR FROM silver.ts)" in written and "'HH:mm'" in written and "':no'" in written
        assert "FROM <silver.y>" in written and ":day" not in written

    @pytest.mark.parametrize("text", ["SELECT a FROM silver.x WHERE a = :nobody", "SELECT FROM WHERE"])
    def test_sql_that_cannot_be_made_is_refused_as_it_is_read(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"gold\.x: its SQL "):
            parse("x", f"-- X.\n{text}\n")

    def test_the_words_of_a_head(self) -> None:
        found = parse(
            "x",
            "-- What it is.\n-- order_by: a, b\n-- parameter: as_of DATE = 2021-01-01\n-- expect: unique(a)\n"
            "-- expect: not_null(b) drop\nSELECT 1 -- FROM silver.not_this\nFROM silver.y JOIN gold.z ON true\n",
        )
        assert (found.name, found.description, found.order_by) == ("gold.x", "What it is.", ("a", "b"))
        assert found.reads == ("silver.y", "gold.z")
        assert [(e.text, e.on_fail) for e in found.expectations] == [("unique(a)", "fail"), ("not_null(b)", "drop")]
        assert [(p.name, p.kind, p.default) for p in found.parameters] == [("as_of", "DATE", "2021-01-01")]
