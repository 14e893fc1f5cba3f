"""The check that stands before every time the bench prints: it passes what is equal and refuses what is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from benchmarks.equal import check_tables, delta_tables, make_oracle
from data_sources.smart_meter_readings.generate import generate

METER = "meter_id = 'SM-N-00007'"


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readings")
    generate(folder, scale=0.05)
    lines = next((folder / "smart_meter_kafka").glob("smart_meter_readings_*.json")).read_bytes()
    (folder / "source").mkdir()
    (folder / "source" / "readings.json").write_bytes(lines + lines[: len(lines) // 2].rpartition(b"\n")[0] + b"\n")
    return make_oracle(str(folder / "source"), folder / "oracle")


@pytest.fixture(scope="module")
def made(oracle: Path) -> Path:
    """Silver and windows, as DuckDB and delta-rs make them."""
    source, out = str(oracle.parent / "source"), oracle.parent / "made"
    subprocess.run([sys.executable, "-m", "benchmarks.peers.duckdb_delta", source, str(out)], check=True)
    return out


@pytest.fixture
def tables(made: Path, tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "tables"))


def test_equal_tables_pass(tables: Path, oracle: Path) -> None:
    assert check_tables(delta_tables(tables), oracle) == "rows equal, meter_15min equal, energy_hourly equal"


@pytest.mark.parametrize("change", ["missing", "twice", "other"])
def test_silver_that_differs_by_a_row_is_refused(tables: Path, oracle: Path, change: str) -> None:
    silver = DeltaTable(str(tables / "silver"))
    if change == "missing":
        silver.delete(f"{METER} AND timestamp < '2025-06-15T06:00:00Z'")
    elif change == "twice":
        write_deltalake(silver, silver.to_pyarrow_table().slice(0, 1), mode="append")
    else:
        silver.update({"voltage_v": "voltage_v + 0.1"}, predicate=METER)
    with pytest.raises(SystemExit, match=r"^rows: "):
        check_tables(delta_tables(tables), oracle)


@pytest.mark.parametrize("measure", ["readings", "kwh", "mean_voltage_v"])
def test_a_measure_off_by_a_millionth_is_refused(tables: Path, oracle: Path, measure: str) -> None:
    value = f"{measure} + 1" if measure == "readings" else f"{measure} * 1.000001"
    DeltaTable(str(tables / "meter_15min")).update({measure: value}, predicate=METER)
    with pytest.raises(SystemExit, match=r"^meter_15min: \d+ windows wrong, 0 missing"):
        check_tables(delta_tables(tables), oracle)


def test_a_null_measure_is_refused(tables: Path, oracle: Path) -> None:
    DeltaTable(str(tables / "energy_hourly")).update({"stddev_kwh": "NULL"}, predicate="region = 'NORTH'")
    with pytest.raises(SystemExit, match=r"^energy_hourly: \d+ windows wrong"):
        check_tables(delta_tables(tables), oracle)


def test_windows_left_out_are_counted_where_they_may_be(tables: Path, oracle: Path) -> None:
    DeltaTable(str(tables / "meter_15min")).delete(METER)
    with pytest.raises(SystemExit, match=r"^meter_15min: 0 windows wrong, \d+ missing"):
        check_tables(delta_tables(tables), oracle)
    assert "left out" in check_tables(delta_tables(tables), oracle, whole=False)
