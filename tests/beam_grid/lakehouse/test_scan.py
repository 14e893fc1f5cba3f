"""A version of a Delta table as DuckDB sees it, and what changed between two, against the rows written down here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_grid.lakehouse import delta_log, duck, scan, vectors
from beam_grid.lakehouse.statistics import statistics

AT = datetime(2025, 6, 1, tzinfo=UTC)
FAR = datetime(9999, 12, 31, tzinfo=UTC)
NARROW = pa.schema([("id", pa.string()), ("select", pa.int64()), ("at", pa.timestamp("us", "UTC"))])
WIDE = NARROW.append(pa.field("kwh", pa.decimal128(10, 3)))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duck.connect(tmp_path / "scratch") as engine:
        yield engine


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """An empty table in a folder whose name is not plain."""
    path = tmp_path / "it's [a] table*"
    delta_log.create(path, NARROW, name="t", cluster_by=["id"])
    return path


def add(path: Path, name: str, rows: list[dict[str, Any]], schema: pa.Schema = NARROW, **how: Any) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path / name, **how)
    at = delta_log.read(path)
    assert at is not None
    action = delta_log.added(name, (path / name).stat().st_size, statistics(path / name, ["id"]))
    delta_log.put(path, at, [*delta_log.with_columns(at, schema, "t"), action], "WRITE")


def numbered(first: int, last: int) -> list[dict[str, Any]]:
    return [{"id": f"i{n}", "select": n, "at": AT + timedelta(hours=n)} for n in range(first, last)]


def take_out(path: Path, name: str, positions: list[int]) -> None:
    at = delta_log.read(path)
    assert at is not None
    (file,) = (file for file in at.files if file.path == name)
    gone = np.union1d(vectors.deleted(path, file.vector), np.array(positions, np.uint64))
    delta_log.put(path, at, delta_log.revectored(file, vectors.write(path, gone)), "DELETE")


def seen(engine: duckdb.DuckDBPyConnection, relation: str | None) -> list[str]:
    assert relation is not None
    return [id for (id,) in engine.sql(f"SELECT DISTINCT id FROM {relation} ORDER BY ALL").fetchall()]


def test_rows_are_those_of_the_version_in_the_columns_of_its_schema(
    engine: duckdb.DuckDBPyConnection, table: Path
) -> None:
    add(table, "a.parquet", numbered(0, 2))
    add(table, "b.parquet", [{**row, "kwh": None} for row in numbered(2, 3)], WIDE)
    before = engine.sql(f"FROM {scan.relation(engine, table, 1)} ORDER BY id").to_arrow_table()
    assert before.schema == NARROW and before.to_pylist() == numbered(0, 2)
    now = engine.sql(f"FROM {scan.relation(engine, table)} ORDER BY id").to_arrow_table()
    assert now.schema == WIDE
    assert [row["kwh"] for row in now.to_pylist()] == [None] * 3


def test_a_table_without_a_file_has_its_columns(engine: duckdb.DuckDBPyConnection, table: Path) -> None:
    assert engine.sql(f"FROM {scan.relation(engine, table)}").to_arrow_table().schema == NARROW


def test_times_of_int96_are_times_in_utc(engine: duckdb.DuckDBPyConnection, table: Path) -> None:
    rows = [{"id": "i", "select": 1, "at": moment} for moment in (FAR, AT)]
    add(table, "a.parquet", rows, use_deprecated_int96_timestamps=True)
    found = engine.sql(f'SELECT "at" FROM {scan.relation(engine, table)}').to_arrow_table()
    assert found.schema.field("at").type == pa.timestamp("us", "UTC")
    assert found["at"].to_pylist() == [FAR, AT]


def test_rows_that_a_vector_names_are_gone(engine: duckdb.DuckDBPyConnection, table: Path) -> None:
    add(table, "a.parquet", numbered(0, 5))
    add(table, "b.parquet", numbered(5, 9))
    take_out(table, "a.parquet", [0, 3])
    take_out(table, "b.parquet", [0, 1, 2, 3])
    assert seen(engine, scan.relation(engine, table)) == ["i1", "i2", "i4"]
    assert len(seen(engine, scan.relation(engine, table, 2))) == 9


def test_changes_are_the_rows_that_came_or_went(engine: duckdb.DuckDBPyConnection, table: Path) -> None:
    add(table, "a.parquet", numbered(0, 4))  # version 1
    add(table, "b.parquet", numbered(4, 6))
    take_out(table, "a.parquet", [1])
    take_out(table, "a.parquet", [2])
    assert seen(engine, scan.changes(engine, table, 1, 2)) == ["i4", "i5"]
    assert seen(engine, scan.changes(engine, table, 2, 3)) == ["i1"]
    assert seen(engine, scan.changes(engine, table, 1, 4)) == ["i1", "i2", "i4", "i5"]
    assert seen(engine, scan.changes(engine, table, 4, 4)) == []


def test_a_file_that_only_moved_rows_changes_none(engine: duckdb.DuckDBPyConnection, table: Path) -> None:
    add(table, "a.parquet", numbered(0, 4))
    take_out(table, "a.parquet", [1])
    at = delta_log.read(table)
    assert at is not None
    kept = [row for row in numbered(0, 4) if row["id"] != "i1"]
    pq.write_table(pa.Table.from_pylist(kept, schema=NARROW), table / "c.parquet")
    moved = delta_log.added("c.parquet", 1, statistics(table / "c.parquet", ["id"]), changes_rows=False)
    delta_log.put(table, at, [*(delta_log.removed(f, changes_rows=False) for f in at.files), moved], "OPTIMIZE")
    assert seen(engine, scan.changes(engine, table, 2, 3)) == []
    add(table, "d.parquet", numbered(7, 8))
    assert seen(engine, scan.changes(engine, table, 2, 4)) == ["i7"]


def test_a_file_that_came_and_went_changed_all_it_ever_showed(engine: duckdb.DuckDBPyConnection, table: Path) -> None:
    add(table, "a.parquet", numbered(0, 4))
    take_out(table, "a.parquet", [1])
    at = delta_log.read(table)
    assert at is not None
    delta_log.put(table, at, map(delta_log.removed, at.files), "DELETE")
    assert seen(engine, scan.changes(engine, table, 0, 3)) == ["i0", "i1", "i2", "i3"]
    assert seen(engine, scan.changes(engine, table, 2, 3)) == ["i0", "i2", "i3"]


def test_change_files_tell_what_an_update_changed(engine: duckdb.DuckDBPyConnection, table: Path) -> None:
    """As Spark's MERGE writes them where it rewrites whole files."""
    add(table, "a.parquet", numbered(0, 4))
    at = delta_log.read(table)
    assert at is not None
    (table / "_change_data").mkdir()
    told = pa.Table.from_pylist(numbered(2, 3), schema=NARROW)
    pq.write_table(told.append_column("_change_type", pa.array(["delete"])), table / "_change_data" / "c.parquet")
    left = [row for row in numbered(0, 4) if row["id"] != "i2"]
    pq.write_table(pa.Table.from_pylist(left, schema=NARROW), table / "b.parquet")
    cdc = {"cdc": {"path": "_change_data/c.parquet", "partitionValues": {}, "size": 1, "dataChange": False}}
    again = delta_log.added("b.parquet", 1, statistics(table / "b.parquet", ["id"]))
    delta_log.put(table, at, [*map(delta_log.removed, at.files), again, cdc], "MERGE")
    assert seen(engine, scan.changes(engine, table, 1, 2)) == ["i2"]


def test_what_cannot_be_told_is_not_guessed(engine: duckdb.DuckDBPyConnection, table: Path) -> None:
    add(table, "a.parquet", numbered(0, 4))
    add(table, "b.parquet", numbered(4, 5))
    (table / "b.parquet").unlink()
    assert scan.changes(engine, table, 1, 2) is None
    (table / "_delta_log" / f"{1:020d}.json").unlink()
    assert scan.changes(engine, table, 0, 1) is None


@pytest.mark.spark
def test_what_spark_deleted_is_gone(engine: duckdb.DuckDBPyConnection, table: Path) -> None:
    from runners import delta

    add(table, "a.parquet", numbered(0, 50))
    name = f"delta.`{table}`"
    spark = delta.session()
    spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    spark.sql(f"DELETE FROM {name} WHERE `select` % 7 = 0")
    spark.sql(f"UPDATE {name} SET id = 'u' WHERE `select` = 1")
    at = delta_log.read(table)
    assert at is not None and any(file.vector for file in at.files), "no vector was written"
    found = seen(engine, scan.relation(engine, table))
    assert found == sorted(row["id"] for row in spark.sql(f"SELECT id FROM {name}").collect())
    assert len(found) == 42
    gone = seen(engine, scan.changes(engine, table, 1, at.version))
    assert set(gone) == {f"i{n}" for n in range(0, 50, 7)} | {"i1", "u"}
