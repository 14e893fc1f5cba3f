"""query over tables made by delta-rs: what may be asked, what is refused, how answers and refusals read."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from beam_grid.errors import GridError
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.table_set import PublishedTable
from beam_grid.lakehouse.versions import Content, publish
from beam_grid.landing import Lake

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """silver.meters at version 0 with two rows, though the table has a third row at version 1; gold.hourly."""
    lake = Lake.open(tmp_path / "lake")
    rows = pa.table({"meter": ["a", None], "at": pa.array([AT, AT], pa.timestamp("us", "UTC")), "kwh": [1.5, None]})
    tables = {}
    for name in ("silver.meters", "gold.hourly"):
        path = f"tables/{name.replace('.', '/')}"
        (lake.path / path).parent.mkdir(parents=True, exist_ok=True)
        write_deltalake(str(lake.path / path), rows)
        tables[name] = PublishedTable(path=path, version=0, id=str(DeltaTable(str(lake.path / path)).metadata().id))
    write_deltalake(str(lake.path / "tables/silver/meters"), rows.slice(0, 1), mode="append")
    publish(lake, Content({"meters": 1}, tables))
    return lake


def test_answers_are_of_the_newest_set_and_in_utc(lake: Lake) -> None:
    answer = query(lake, "SELECT meter, at, kwh FROM silver.meters ORDER BY meter NULLS LAST")
    assert answer.to_pylist() == [{"meter": "a", "at": AT, "kwh": 1.5}, {"meter": None, "at": AT, "kwh": None}]
    assert answer.schema.field("at").type == pa.timestamp("us", "UTC")
    binned = query(
        lake, "SELECT date_bin(INTERVAL '15 minutes', at, TIMESTAMP '1970-01-01T00:00:00Z') AS b FROM silver.meters"
    )
    assert binned.schema.field("b").type == pa.timestamp("us", "UTC") and binned["b"].to_pylist() == [AT, AT]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT count(*) FROM silver.meters;", 1),
        ("  -- a comment; with a sign\n select 1 /* and /* nested */ one */", 1),
        ("WITH a AS (SELECT * FROM silver.meters) SELECT * FROM a", 2),
        ("(SELECT 1) UNION ALL (SELECT 2)", 2),
        ("VALUES (1), (2), (3)", 3),
        ("EXPLAIN SELECT * FROM silver.meters", None),
        ("EXPLAIN ANALYZE SELECT * FROM silver.meters", None),
        ("SHOW TABLES", 2),
        ("DESCRIBE silver.meters", 3),
        ('SELECT \'a; DROP TABLE x\' AS text, "kwh" AS "insert" FROM silver.meters', 2),
        ("SELECT replace('a', 'a', 'b') AS \"delete\"", 1),
        ('SELECT m.kwh FROM "silver"."meters" m JOIN gold.hourly h ON m.at = h.at', 4),
    ],
)
def test_reading_statements(lake: Lake, sql: str, rows: int | None) -> None:
    answer = query(lake, sql)
    assert rows is None or answer.num_rows == rows


@pytest.mark.parametrize(
    "sql",
    [
        "",
        " ; ",
        "-- nothing",
        "COPY silver.meters TO 'out.csv'",
        "COPY (SELECT 1) TO 'out.parquet' STORED AS PARQUET",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION 'x.csv'",
        "CREATE VIEW v AS SELECT 1",
        "INSERT INTO silver.meters VALUES ('x', NULL, 1)",
        "WITH a AS (SELECT 1) INSERT INTO silver.meters SELECT * FROM a",
        "WITH a AS (INSERT INTO silver.meters VALUES (1)) SELECT * FROM a",
        "UPDATE silver.meters SET kwh = 1",
        "DELETE FROM silver.meters",
        "DROP TABLE silver.meters",
        "EXPLAIN ANALYZE COPY silver.meters TO 'out.csv'",
        "EXPLAIN ANALYZE INSERT INTO silver.meters VALUES (1)",
        "EXPLAIN",
        "SET datafusion.execution.batch_size = 1",
        "SHOW ALL",
        "SELECT 1; DROP TABLE silver.meters",
        "SELECT 1 INTO x",
        "/* SELECT */ DROP TABLE silver.meters",
        "SELECT 'open",
        "SELECT /* open",
        "DESCRIBE",
    ],
)
def test_everything_else_is_refused(lake: Lake, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    with pytest.raises(GridError, match="query: "):
        query(lake, sql)
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before


def test_an_unknown_table_lists_those_there_are(lake: Lake) -> None:
    for sql in (
        "SELECT * FROM silver.metres",
        "SELECT * FROM meters",
        "DESCRIBE silver.metres",
        "SELECT * FROM 'x.csv'",
    ):
        with pytest.raises(GridError, match=r"tables: gold.hourly, silver.meters"):
            query(lake, sql)
    for sql in ("SELECT * FROM silver.metres", "SELECT * FROM SILVER.Meters", "SELECT * FROM meters"):
        with pytest.raises(GridError, match=r"did you mean silver\.meters"):
            query(lake, sql)
    with pytest.raises(GridError, match=r"(?i)nosuch"):
        query(lake, "SELECT nosuch FROM silver.meters")


def test_files_beside_the_lake_cannot_be_read(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(GridError):
        query(lake, f"SELECT * FROM '{tmp_path}/secret.csv'")


def test_a_lake_without_tables_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="beam-grid refine"):
        query(Lake.open(tmp_path / "new"), "SELECT 1")


def test_the_whole_process_is_quick_because_it_imports_little(lake: Lake) -> None:
    code = (
        "import sys; from beam_grid.lakehouse.query import query; from beam_grid.landing import Lake; "
        f"query(Lake.open({str(lake.path)!r}), 'SELECT * FROM silver.meters'); "
        "print(*{'pydantic', 'duckdb', 'polars', 'apache_beam', 'pyspark', 'numpy.ma'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
