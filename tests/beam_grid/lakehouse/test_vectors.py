"""Deletion vectors: what is written is read back, by delta-rs and DuckDB too; what is damaged is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_grid.errors import GridError
from beam_grid.lakehouse import data_files, delta_log, vectors
from beam_grid.lakehouse.duck import connect
from beam_grid.lakehouse.live import live
from beam_grid.lakehouse.scan import relation
from tests.conftest import examples

SCATTERED = np.arange(0, 90_000, 3)
"""More than stands in the log."""


@settings(max_examples=examples(60), deadline=None)
@given(st.sets(st.integers(0, 2**40), max_size=400), st.booleans())
def test_positions_come_back_as_they_went(
    tmp_path_factory: pytest.TempPathFactory, rows: set[int], dense: bool
) -> None:
    folder = tmp_path_factory.mktemp("v")
    positions = np.array(sorted(rows | set(range(1000)) if dense else rows), np.int64)
    vector = vectors.write(folder, np.random.default_rng(1).permutation(positions))
    assert vectors.deleted(folder, vector).tolist() == positions.tolist()
    assert vector["cardinality"] == len(positions)


def test_a_small_vector_stands_in_the_log_and_a_large_one_beside_the_data(tmp_path: Path) -> None:
    assert vectors.write(tmp_path, np.array([7]))["storageType"] == "i" and not list(tmp_path.iterdir())
    large = vectors.write(tmp_path, SCATTERED)
    (file,) = tmp_path.glob("deletion_vector_*.bin")
    assert large["storageType"] == "u" and file.stat().st_size == large["sizeInBytes"] + 9
    assert vectors.deleted(tmp_path, large).tolist() == SCATTERED.tolist()


@pytest.mark.parametrize("harm", ["a byte", "its end", "the file", "its magic number", "its place"])
def test_a_damaged_vector_is_named_with_the_way_out(harm: str, tmp_path: Path) -> None:
    vector = vectors.write(tmp_path, SCATTERED)
    (file,) = tmp_path.glob("deletion_vector_*.bin")
    content = file.read_bytes()
    if harm == "a byte":
        file.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    elif harm == "its end":
        file.write_bytes(content[:-1])
    elif harm == "the file":
        file.unlink()
    elif harm == "its magic number":
        vector = {**vectors.write(tmp_path, np.array([7])), "pathOrInlineDv": "0" * 50}
    else:
        vector["storageType"] = "p"
    with pytest.raises(GridError, match=r"move the table away and run refine"):
        vectors.deleted(tmp_path, vector)


@pytest.mark.parametrize("gone", [np.array([0, 41, 99_999]), SCATTERED, np.arange(100_000)], ids=["few", "many", "all"])
def test_delta_rs_and_duckdb_leave_out_the_same_rows(gone: np.ndarray, tmp_path: Path) -> None:
    path, schema = tmp_path / "t", pa.schema([("n", pa.int64())])
    delta_log.create(path, schema, name="t", cluster_by=["n"], properties={"delta.enableDeletionVectors": "true"})
    rows = pa.record_batch([pa.array(np.arange(100_000))], schema=schema)
    delta_log.put(path, live(path), data_files.write(path, [rows], schema, 200_000, ["n"]), "WRITE")
    at = live(path)
    delta_log.put(path, at, delta_log.revectored(at.files[0], vectors.write(path, gone)), "DELETE")
    wanted = (100_000 - len(gone), sum(range(100_000)) - int(gone.sum()) or None)
    with connect(tmp_path / "scratch") as engine:
        assert engine.sql(f"SELECT count(*), sum(n) FROM {relation(engine, path)}").fetchall() == [wanted]
    asked = QueryBuilder().register("t", DeltaTable(str(path))).execute("SELECT count(*), sum(n) FROM t").read_all()
    assert tuple(asked.column(n)[0].as_py() for n in (0, 1)) == wanted
