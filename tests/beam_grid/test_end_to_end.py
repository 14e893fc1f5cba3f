"""Messy readings from file to table, through the command line, against a reader that shares no code with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tests import command_line
from tests.meter_oracle import judge, log_of

HOURLY = """
    SELECT region, grid_zone, epoch_us(t) // 3600000000 * 3600000000 AS start, count(*) AS readings, sum(reading_kwh) AS kwh,
           avg(reading_kwh) AS mean_kwh, stddev_samp(reading_kwh) AS stddev_kwh, max(reading_kwh) AS peak_kwh,
           min(frequency_hz) AS min_frequency_hz, max(frequency_hz) AS max_frequency_hz,
           count(*) FILTER (WHERE is_anomaly_flag) AS suspicious
    FROM kept GROUP BY ALL"""
QUARTERS = """
    SELECT meter_id, epoch_us(t) // 900000000 * 900000000 AS start, count(*) AS readings, sum(reading_kwh) AS kwh,
           max(reading_kwh) AS peak_kwh, avg(voltage_v) AS mean_voltage_v
    FROM kept GROUP BY ALL"""


def grid(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "BEAM_GRID_DEBUG": ""}
    done = subprocess.run([sys.executable, "-m", "beam_grid", *arguments], capture_output=True, text=True, env=env)
    assert done.returncode == code, done.stderr
    return done


def ask(sql: str, lake: Path) -> list[dict]:
    return told("query", sql, "--lake", str(lake))


def told(*arguments: str) -> list[dict]:
    """What a command of the same words prints, in this process: the lake was made by others."""
    done = command_line.grid(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Source and lake of two runs: the first file alone, then all, in slices."""
    base = tmp_path_factory.mktemp("grid")
    source, lake = base / "data", base / "lake"
    grid(
        "generate",
        "smart_meter_readings",
        "--out",
        str(source),
        "--scale",
        "0.2",
        "--days",
        "2",
        "--seed",
        "5",
        "--messy",
    )
    files = sorted((source / "smart_meter_kafka").iterdir())
    later = [f.rename(base / f.name) for f in files[1:]]
    grid("run", "smart_meter_readings", "--source", str(source), "--lake", str(lake), "--slice-rows", "9000")
    for file in later:
        file.rename(source / "smart_meter_kafka" / file.name)
    grid("run", "--source", str(source), "--lake", str(lake), "--slice-rows", "15000")
    return source, lake


def test_the_ledger_balances_and_is_the_truth(messy):
    source, lake = messy
    (row,) = told("ledger", "--lake", str(lake))
    truth = json.loads((source / "truth.json").read_text())["smart_meter_readings"]
    assert row["balanced"] is True
    assert row["read"] == row["landed"] + row["duplicates"] + row["late"] + row["rejected"] > 0
    assert {k: row[k] for k in ("read", "rejected", "late", "conflicts")} == {
        k: truth[k] for k in ("read", "rejected", "late", "conflicts")
    }
    assert row["landed"] - row["superseded"] == truth["landed - superseded"]
    assert row["duplicates"] + row["superseded"] == truth["duplicates + superseded"]


def test_the_tables_are_those_of_the_oracle(messy):
    source, lake = messy
    _, on_time = judge(log_of(source))
    first: dict = {}
    for record in on_time:
        first.setdefault((record["event_id"], record["timestamp"]), record)
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    kept = pa.Table.from_pylist([{**r, "t": r["time"]} for r in first.values()])
    con.register("kept", kept)
    rows = ask(
        "SELECT event_id, meter_id, reading_kwh, voltage_v, region, meter_status FROM silver.smart_meter_readings", lake
    )
    names = ("event_id", "meter_id", "reading_kwh", "voltage_v", "region", "meter_status")
    assert sorted(map(str, (tuple(r[n] for n in names) for r in rows))) == sorted(
        map(str, (tuple(r.get(n) for n in names) for r in first.values()))
    )
    for table, expected, by in (
        ("gold.energy_hourly", HOURLY, ("region", "grid_zone")),
        ("gold.meter_15min", QUARTERS, ("meter_id",)),
    ):
        con.register("found", pa.Table.from_pylist(ask(f"SELECT * FROM {table}", lake)))
        measures = [c[0] for c in con.execute(expected).description if c[0] not in (*by, "start")]
        joined = " AND ".join(f"f.{b} IS NOT DISTINCT FROM e.{b}" for b in by)
        differs = " OR ".join(
            f"(f.{m} IS NULL) <> (e.{m} IS NULL) OR abs(f.{m} - e.{m}) > 1e-9 * greatest(1, abs(e.{m}))"
            for m in measures
        )
        wrong, count = con.execute(
            f"SELECT count(*) FILTER (WHERE f.revision IS NULL OR e.start IS NULL OR {differs}), count(*) FROM found f "
            f"FULL JOIN ({expected}) e ON {joined} AND epoch_us(CAST(f.window_start AS TIMESTAMPTZ)) = e.start"
        ).fetchall()[0]
        assert count > 100 and wrong == 0, table


def test_final_windows_are_those_the_watermark_has_passed(messy):
    source, lake = messy
    _, on_time = judge(log_of(source))
    greatest = max(r["time"] for r in on_time)
    rows = ask("SELECT window_end, final FROM gold.energy_hourly", lake)
    passed = greatest.timestamp() - 4200
    from datetime import datetime

    assert {r["final"] for r in rows} == {True, False}
    for row in rows:
        assert row["final"] == (datetime.fromisoformat(row["window_end"]).timestamp() <= passed)


def test_bronze_holds_what_did_not_land(messy):
    source, lake = messy
    truth = json.loads((source / "truth.json").read_text())["smart_meter_readings"]
    causes = {r["cause"]: r["n"] for r in ask("SELECT cause, count(*) AS n FROM bronze.rejected GROUP BY cause", lake)}
    assert causes == truth["rejected_by_cause"]
    assert ask("SELECT count(*) AS n FROM bronze.late", lake) == [{"n": truth["late"]}]
    assert ask("SELECT count(*) AS n FROM bronze.conflicts WHERE counted", lake) == [{"n": truth["conflicts"]}]


def test_a_second_run_changes_nothing(messy):
    source, lake = messy
    before = ask("SHOW TABLES", lake), sorted(p.name for p in (lake / "landing").rglob("*.json"))
    done = grid("run", "smart_meter_readings", "--source", str(source), "--lake", str(lake))
    assert "nothing new" in done.stderr
    assert (ask("SHOW TABLES", lake), sorted(p.name for p in (lake / "landing").rglob("*.json"))) == before


def test_tables_made_anew_are_equal(messy):
    import shutil

    _source, lake = messy
    sql = "SELECT region, grid_zone, window_start, readings, peak_kwh, suspicious FROM gold.energy_hourly ORDER BY 1, 2, 3"
    rows = (
        "SELECT count(*) AS n, count(DISTINCT event_id) AS ids, max(_commit) AS last FROM silver.smart_meter_readings"
    )
    before = ask(sql, lake), ask(rows, lake)
    shutil.rmtree(lake / "tables")
    grid("refine", "--lake", str(lake))
    assert (ask(sql, lake), ask(rows, lake)) == before


def test_the_report_tells_of_it(messy, tmp_path):
    source, lake = messy
    grid("report", "--lake", str(lake), "--out", str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    assert f"{json.loads((source / 'truth.json').read_text())['smart_meter_readings']['read']:,}" in text
    assert 'src="http' not in text and 'href="http' not in text
