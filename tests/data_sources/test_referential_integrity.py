"""The sources speak of one grid: the nine relationships between them hold without an orphan, in SQL."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from data_sources import generate_all_data

ROOT = Path(__file__).parents[2]
FEEDS = {
    "smart_meter": "read_json('smart_meter_kafka/smart_meter_readings_*.json', format = 'newline_delimited')",
    "telemetry": "read_json('substation_iot/substation_telemetry_stream.json', format = 'newline_delimited')",
    "billing": "read_json('billing_cdc/billing_cdc_feed.json', format = 'newline_delimited')",
    "maintenance": """read_csv('maintenance_csv/*.csv', quote = '"', header = true)""",
    "transformer_master": "read_parquet('transformer_parquet/transformer_master*.parquet')",
    "customer_master": "read_parquet('transformer_parquet/customer_master.parquet')",
    "transformer_energy": "read_json('transformer_energy/*.json', format = 'newline_delimited')",
    "renewable": "read_json('renewable_autoloader/*.json', format = 'newline_delimited', union_by_name = true)",
}
"""The generated files, below the folder they were written to."""

RELATIONSHIPS = [
    ("smart_meter", "meter_id", "customer_master"),
    ("smart_meter", "customer_id", "customer_master"),
    ("billing", "customer_id", "customer_master"),
    ("billing", "meter_id", "smart_meter"),
    ("telemetry", "substation_id", "transformer_master"),
    ("telemetry", "transformer_id", "transformer_master"),
    ("maintenance", "transformer_id", "transformer_master"),
    ("transformer_energy", "transformer_id", "customer_master"),
    ("customer_master", "transformer_id", "transformer_master"),
]
PAIRS = [
    ("smart_meter", "customer_id, meter_id", "customer_master"),
    ("billing", "customer_id, meter_id", "customer_master"),
    ("billing", "customer_id, meter_id", "smart_meter"),
    ("telemetry", "substation_id, transformer_id", "transformer_master"),
    ("maintenance", "substation_id, transformer_id", "transformer_master"),
    ("transformer_energy", "substation_id, transformer_id", "transformer_master"),
]
"""Where two keys are given, they must belong together."""
PLACES = [
    ("smart_meter", "meter_id, region, state", "customer_master"),
    ("billing", "meter_id, region, state", "customer_master"),
    ("telemetry", "transformer_id, region, state", "transformer_master"),
    ("maintenance", "transformer_id, region, state", "transformer_master"),
]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """Every source that can be generated, small and clean; a view a feed."""
    out = tmp_path_factory.mktemp("grid")
    for name in generate_all_data.sources():
        scale = 0.01 if name == "smart_meter_readings" else 1
        importlib.import_module(f"data_sources.{name}.generate").generate(out, scale=scale)
    connection = duckdb.connect()
    for name, files in FEEDS.items():
        place, glob = files.split("('", 1)
        if list(out.glob(glob.split("'")[0])):
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {place}('{out}/{glob}")
    return connection


def orphans(grid: duckdb.DuckDBPyConnection, child: str, columns: str, parent: str) -> tuple[int, list[tuple]]:
    """Rows of `child`, and those of its keys that `parent` does not have; a null is an orphan."""
    (rows,) = grid.execute(f"SELECT count(*) FROM {child}").fetchone() or (0,)
    missing = grid.execute(f"SELECT {columns} FROM {child} EXCEPT SELECT {columns} FROM {parent}").fetchall()
    with_null = " OR ".join(f"{c} IS NULL" for c in columns.split(", "))
    return rows, missing + grid.execute(f"SELECT {columns} FROM {child} WHERE {with_null}").fetchall()


@pytest.mark.pipeline
@pytest.mark.parametrize(("child", "columns", "parent"), [*RELATIONSHIPS, *PAIRS, *PLACES])
def test_every_child_has_its_parent(grid: duckdb.DuckDBPyConnection, child: str, columns: str, parent: str) -> None:
    rows, found = orphans(grid, child, columns, parent)
    assert rows > 0
    assert found == []


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("change", "child", "columns", "parent"),
    [
        ("UPDATE billing SET customer_id = 'CUST-001001' WHERE rowid = 7", "billing", "customer_id", "customer_master"),
        ("UPDATE billing SET meter_id = NULL WHERE rowid = 7", "billing", "meter_id", "smart_meter"),
        (
            "UPDATE billing SET meter_id = (SELECT max(meter_id) FROM smart_meter) WHERE rowid = 7",
            "billing", "customer_id, meter_id", "smart_meter",
        ),
        (
            "DELETE FROM transformer_master WHERE transformer_id = 'TRF-W-0042'",
            "customer_master", "transformer_id", "transformer_master",
        ),
    ],
)  # fmt: skip
def test_an_orphan_would_be_found(
    grid: duckdb.DuckDBPyConnection, change: str, child: str, columns: str, parent: str
) -> None:
    grid.execute("BEGIN")
    try:
        grid.execute(change)
        _, found = orphans(grid, child, columns, parent)
    finally:
        grid.execute("ROLLBACK")
    assert len(found) >= 1


@pytest.mark.pipeline
def test_ids_lie_in_the_seeds_ranges(grid: duckdb.DuckDBPyConnection) -> None:
    def ids(query: str) -> set[str]:
        return {row[0] for row in grid.execute(query).fetchall()}

    letters = "NSEWC"
    assert ids("SELECT meter_id FROM smart_meter") == {f"SM-{r}-{i:05d}" for r in letters for i in range(1, 201)}
    assert ids("SELECT customer_id FROM customer_master") == {f"CUST-{i:06d}" for i in range(1, 1001)}
    every_transformer = {f"TRF-{r}-{i:04d}" for r in letters for i in range(1, 101)}
    every_substation = {f"SUB-{r}-{i:03d}" for r in letters for i in range(1, 51)}
    assert ids("SELECT transformer_id FROM transformer_master") == every_transformer
    assert ids("SELECT substation_id FROM transformer_master") == every_substation
    plants = {f"REN-{kind}-{i:03d}" for kind in ("SOLAR", "WIND", "HYDRO") for i in range(1, 31)}
    assert set() != ids("SELECT plant_id FROM renewable") <= plants


@pytest.mark.pipeline
def test_the_script_writes_every_source(tmp_path: Path) -> None:
    command = [sys.executable, "data_sources/generate_all_data.py", "--seed", "3", "--out", str(tmp_path / "all")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    known = sorted(path.parent.name for path in (ROOT / "data_sources").glob("*/generate.py"))
    assert {"billing_transactions", "customers", "smart_meter_readings", "transformers"} <= set(known)
    lines = done.stdout.splitlines()
    truth = json.loads((tmp_path / "all/truth.json").read_text())
    assert [line.split(":")[0] for line in lines] == known
    assert sorted(truth) == sorted(path.parent.name for path in (ROOT / "data_sources").glob("*/contract.toml"))
    for line, name in zip(lines, known, strict=True):
        assert line == f"{name}: {truth[name]['read']:,} records in {tmp_path / 'all'}"
    assert (tmp_path / "all/billing_cdc/billing_cdc_feed.json").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert generate_all_data.main(["--out", str(tmp_path / "file")]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err
