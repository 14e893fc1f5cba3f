"""A machine without Java: all of append feeds works; changes and master data wait, are named, and come with Java."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from beam_grid.lakehouse import maintain as maintenance
from beam_grid.landing import Lake

REMEDY = "install a JDK or JRE 17 or later"


def grid(*arguments: str | Path, java: bool = False, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own; without `java` nothing at all is on its PATH."""
    env = {**os.environ, "BEAM_GRID_DEBUG": ""}
    if not java:
        env = {name: value for name, value in env.items() if name != "JAVA_HOME"} | {"PATH": "/nowhere"}
    words = [sys.executable, "-m", "beam_grid", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def ask(lake: Path, sql: str, java: bool = False) -> list[dict[str, Any]]:
    return json.loads(grid("query", sql, "--lake", lake, "--format", "json", java=java).stdout)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of an append, a cdc and an scd2 feed; in `lake` the first of them, made without Java."""
    base = tmp_path_factory.mktemp("no-java")
    feeds = ("smart_meter_readings", "billing_transactions", "transformers")
    grid("generate", *feeds, "--out", base / "data", "--scale", "0.005", "--messy")
    done = grid("run", "smart_meter_readings", "--source", base / "data" / "smart_meter_kafka", "--lake", base / "lake")
    assert "left out" not in done.stderr
    return base


@pytest.fixture(scope="module")
def mixed(base: Path) -> Path:
    """A copy of the lake to which the other feeds have come."""
    shutil.copytree(base / "lake", base / "mixed")
    done = grid("run", "--source", base / "data", "--lake", base / "mixed", code=1)
    (line,) = [line for line in done.stderr.splitlines() if "left out" in line]
    assert "billing_transactions, transformers" in line and REMEDY in line and "beam-grid refine --lake" in line
    return base / "mixed"


def test_append_feeds_have_tables_windows_analyses_and_a_report(base: Path) -> None:
    lake = base / "lake"
    (counts,) = ask(lake, "SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM silver.smart_meter_readings")
    truth = json.loads((base / "data" / "truth.json").read_text())["smart_meter_readings"]
    assert counts["n"] == truth["landed - superseded"]
    tables = {row["table"] for row in ask(lake, "SHOW TABLES")}
    assert tables == {
        "silver.smart_meter_readings", "gold.meter_15min", "gold.energy_hourly", "gold.anomalies",
        "bronze.rejected", "bronze.late", "bronze.conflicts",
    }  # fmt: skip
    assert ask(lake, "SELECT sum(readings) AS n FROM gold.meter_15min") == [{"n": counts["n"]}]
    assert "nothing new" in grid("refine", "--lake", lake).stderr
    grid("report", "--lake", lake, "--out", base / "report.html")
    assert f"{truth['read']:,}" in (base / "report.html").read_text()


def test_what_needs_spark_is_left_out_again_and_all_else_stays_queryable(mixed: Path) -> None:
    assert REMEDY in grid("refine", "--lake", mixed, code=1).stderr
    tables = {row["table"] for row in ask(mixed, "SHOW TABLES")}
    assert "gold.billing_changes_daily" in tables and "silver.billing_transactions" not in tables
    assert {row["feed"] for row in ask(mixed, "SELECT DISTINCT feed FROM bronze.rejected")} >= {"billing_transactions"}
    assert ask(mixed, "SELECT count(*) > 0 AS some FROM silver.smart_meter_readings") == [{"some": True}]


def test_spark_asked_for_ends_with_2_before_anything_lands(base: Path, mixed: Path) -> None:
    for arguments in (
        ("refine", "--lake", mixed, "--engine", "spark"),
        ("refine", "--lake", mixed, "--spark-master", "local[1]"),
        ("run", "--source", base / "data", "--lake", base / "new", "--engine", "spark"),
        ("run", "--source", base / "data", "--lake", base / "new", "--engine", "spark", "--follow"),
    ):
        assert REMEDY in grid(*arguments, code=2).stderr
    assert not (base / "new").exists()


def test_doctor_names_what_is_missing_and_ends_well() -> None:
    assert "none  java" in grid("doctor").stdout


def test_maintain_names_what_would_pay(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "CLUSTER_FROM_BYTES", 0)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    done = {entry.table: entry for entry in maintenance.maintain(Lake.open(base / "lake"))}
    told = str(done["silver.smart_meter_readings"])
    assert "left out, OPTIMIZE would pay and needs Spark" in told and REMEDY in told
    assert done["gold.meter_15min"].action == "skipped"


@pytest.mark.spark
def test_with_java_refine_brings_what_waited(mixed: Path, base: Path, tmp_path: Path) -> None:
    before = ask(mixed, "SELECT count(*) AS n FROM bronze.rejected")
    grid("refine", "--lake", mixed, java=True)
    truth = json.loads((base / "data" / "truth.json").read_text())
    for feed in ("billing_transactions", "transformers"):
        assert ask(mixed, f"SELECT count(*) > 0 AS some FROM silver.{feed}") == [{"some": True}]
        (book,) = [
            row for row in json.loads(grid("ledger", "--lake", mixed, "--format", "json").stdout) if row["feed"] == feed
        ]
        assert book["balanced"] and book["read"] == truth[feed]["read"]
    assert ask(mixed, "SELECT count(*) AS n FROM bronze.rejected") == before
    assert "nothing new" in grid("refine", "--lake", mixed).stderr, "without Java there is nothing left to leave out"
