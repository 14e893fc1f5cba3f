"""What a statement may be, asked of the engine a worker has; nothing is served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from beam_grid.lakehouse.bounds import Parameter
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.landing import Lake
from beam_grid.server.answers import table_of
from beam_grid.server.engine import Limits
from beam_grid.server.jobs import Job
from beam_grid.server.rewriting import Rewritten
from beam_grid.server.worker import Answering


@pytest.fixture(scope="module")
def worker(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answering]:
    yield Answering(lake, tmp_path_factory.mktemp("spill"), Limits(memory_mib=256))


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT 1", ()),
        ("VALUES (1), (2)", ()),
        ("FROM silver.readings LIMIT 1", ("silver.readings",)),
        ("WITH a AS (SELECT * FROM silver.readings), b AS (SELECT * FROM a) SELECT count(*) FROM b", ("silver.readings",)),
        ("WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 9) SELECT sum(i) FROM r", ()),
        ("SELECT * FROM gold.hourly WHERE n IN (SELECT count(*) FROM silver.readings)", ("gold.hourly", "silver.readings")),
        ("DESCRIBE silver.readings", ("silver.readings",)),
        ("SUMMARIZE gold.hourly", ("gold.hourly",)),
        ("SELECT u FROM unnest([1, 2]) t(u), range(3)", ()),
        ("SELECT 'COPY x; DROP TABLE y' AS \"delete\" -- ; DROP", ()),
        ("SELECT * FROM gold.query_report", ("gold.query_report",)),
        ("WITH \"K\" AS (SELECT 1 AS n) SELECT n FROM k", ()),
    ],
)  # fmt: skip
def test_reading_is_answered(worker: Answering, sql: str, tables: tuple[str, ...]) -> None:
    told, _ = worker.answer(Job(kind="sql", sql=sql))
    assert told.status == "ok", told.message
    assert sorted(told.tables) == sorted(tables)


@pytest.mark.parametrize(
    "sql",
    [
        "",
        ";",
        "SELECT 1; SELECT 2",
        "COPY silver.readings TO 'out.csv'",
        "COPY (SELECT 1) TO '/tmp/out.parquet'",
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO silver.readings VALUES (1)",
        "DROP VIEW silver.readings",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '99GB'",
        "PRAGMA database_list",
        "EXPLAIN ANALYZE SELECT 1",
        "CALL pragma_version()",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "PIVOT silver.readings ON meter USING sum(kwh)",
        "EXPORT DATABASE 'x'",
        "SELECT json_serialize_plan('SELECT current_setting(''allowed_directories'')')",
        "SELECT json_serialize_plan('SELECT min(kwh) FROM silver.readings' || meter) FROM silver.readings",
        "SELECT json_serialize_sql('SELECT 1'), json_deserialize_sql('{}')",
        'WITH "duc\u212adb_views" AS (SELECT 1) SELECT view_name, sql FROM duckdb_views WHERE NOT internal',
        'WITH "\u212a" AS (SELECT 1) SELECT * FROM k',
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'data.parquet'",
        "SELECT (SELECT content FROM read_text('/etc/passwd'))",
        "SELECT * FROM silver.readings WHERE meter IN (SELECT content FROM read_text('/etc/passwd'))",
        "WITH a AS (SELECT * FROM glob('/*')) SELECT * FROM a",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('silver.readings')",
        "SELECT * FROM json_execute_serialized_sql('{}')",
        "SELECT * FROM duckdb_views()",
        "SELECT * FROM duckdb_views",
        "WITH duckdb_views AS (SELECT * FROM duckdb_views) SELECT * FROM duckdb_views",
        "SELECT * FROM (WITH duckdb_views AS (SELECT 1) SELECT 1) t, duckdb_views",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM pg_catalog.pg_views",
        "SELECT * FROM memory.main.x",
        "DESCRIBE duckdb_views",
        "SELECT current_setting('temp_directory')",
        "SELECT pg_get_viewdef(1)",
        "SELECT * FROM silver.nope",
        "SELECT \0 1",
        "SELECT " + "(" * 10_000 + "1" + ")" * 10_000,
        "SELECT " + "NOT " * 10_000 + "true",
        "SELECT " + "[" * 10_000 + "]" * 10_000,
        "SELECT * FROM " + "(SELECT * FROM " * 5_000 + "silver.readings" + ")" * 5_000,
        "WITH " + ", ".join(f"a{n} AS (SELECT 1)" for n in range(20_000)) + " SELECT 1",
    ],
    ids=lambda sql: sql[:60],
)
def test_all_else_is_refused(worker: Answering, sql: str) -> None:
    told, _ = worker.answer(Job(kind="sql", sql=sql))
    assert told.status in ("refused", "not_there") and told.message, told
    assert worker.answer(Job(kind="sql", sql="SELECT 1"))[0].status == "ok"


@pytest.mark.parametrize("where", ["1) UNION SELECT (1", "true) ORDER BY (1", "1; DROP TABLE x", "true) --", "", "1, 2", "kwh > 1) AND (true) OR (SELECT true FROM read_text('/etc/passwd')"])  # fmt: skip
def test_a_condition_is_one_condition(worker: Answering, where: str) -> None:
    told, _ = worker.answer(Job(kind="table", table="silver.readings", where=where or " ", limit=5))
    assert told.status == "refused", told


def test_the_engine_itself_reads_and_writes_nothing_outside(worker: Answering, lake: Lake, tmp_path: Path) -> None:
    """What stands if the guard is ever passed by."""
    duck = worker._engine._duck
    for sql in (
        "SELECT * FROM read_text('/etc/passwd')",
        f"COPY (SELECT 1) TO '{tmp_path / 'out.csv'}'",
        f"SELECT * FROM read_text('{lake.path / 'lake.json'}')",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        f"ATTACH '{tmp_path / 'x.db'}'",
        "INSTALL httpfs",
    ):
        with pytest.raises(Exception, match=r"disabled|locked|Cannot|cannot"):
            duck.execute(sql).fetchall()
    assert not list(tmp_path.iterdir())


def test_a_key_reaches_its_tables_alone(worker: Answering) -> None:
    only = ("gold.*",)
    for job in (
        Job(kind="sql", sql="SELECT * FROM silver.readings", allowed=only),
        Job(kind="sql", sql="SELECT * FROM SILVER.READINGS", allowed=only),
        Job(kind="sql", sql="SELECT * FROM gold.hourly WHERE n > (SELECT count(*) FROM silver.readings)", allowed=only),
        Job(kind="table", table="silver.readings", limit=1, allowed=only),
        Job(kind="table", table="gold.hourly", where="n > (SELECT count(*) FROM silver.readings)", limit=1, allowed=only),
        Job(kind="lineage", table="silver.readings", allowed=only),
        Job(kind="lineage", table="gold.hourly", where="n > (SELECT count(*) FROM silver.readings)", allowed=only),
    ):  # fmt: skip
        assert worker.answer(job)[0].status == "forbidden", job
    assert worker.answer(Job(kind="sql", sql="SELECT * FROM gold.hourly", allowed=only))[0].status == "ok"
    told, rows = worker.answer(Job(kind="tables", allowed=only))
    assert told.status == "ok" and all(name.startswith("gold.") for name in table_of(rows)["table"].to_pylist())
    assert table_of(worker.answer(Job(kind="ledger", allowed=only))[1]).num_rows == 0


def test_a_rewriter_may_answer_from_other_tables(lake: Lake, tmp_path: Path) -> None:
    """By the key's tables it is judged what was asked, not what answers."""

    def rewriter(sql: str, tables: list[str], found: TableSet, parameters: Sequence[Parameter]) -> Rewritten | None:
        if "count(*)" in sql and "gold.hourly" in found.tables:
            return Rewritten("SELECT CAST(sum(n) AS BIGINT) AS n FROM gold.hourly", "hourly")
        return None

    worker = Answering(lake, tmp_path, Limits(), (rewriter,))
    told, rows = worker.answer(Job(kind="sql", sql="SELECT count(*) AS n FROM silver.readings", allowed=("silver.*",)))
    assert (told.answered_by, told.tables) == ("hourly", ("silver.readings",))
    assert table_of(rows).to_pylist() == [{"n": 960}]
    assert worker.answer(Job(kind="sql", sql="SELECT 1 AS one"))[0].answered_by is None


def test_a_name_is_suggested_to_who_may_see_it(worker: Answering) -> None:
    job = Job(kind="sql", sql="SELECT * FROM silver.reading")
    assert "did you mean silver.readings" in worker.answer(job)[0].message
    job.allowed = ("gold.*",)
    told = worker.answer(job)[0]
    assert told.status == "not_there" and "readings" not in told.message
