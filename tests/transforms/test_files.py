"""Landing files: what is written, what the manifest says of it, and what is never done."""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.transforms.making import contract, minute, rows, seen
from transforms.files import write_file

TABLE = seen(rows(contract(), ("b", 2, 1.0, "m2"), ("a", 3, None, "m1"), ("c", 1, 2.0, None), ("d", 1, 2.0, "m1")))


def written(tmp_path: Path, table: pa.Table = TABLE, sort_by: Any = (), bounds: Any = (), **facts: Any) -> Any:
    entry = write_file(tmp_path / "data" / "attempt", "rows", table, list(sort_by), list(bounds), **facts)
    return entry, pq.read_table(tmp_path / entry.path)


def test_the_entry_says_what_is_in_the_file(tmp_path: Path) -> None:
    entry, table = written(tmp_path, bounds=["id", "at"], shard=3)
    assert entry.kind == "rows" and entry.shard == 3 and entry.rows == table.num_rows == 4
    assert entry.bytes == os.path.getsize(tmp_path / entry.path)
    assert Path(entry.path).parts[:2] == ("data", "attempt")
    assert (entry.min["id"], entry.max["id"]) == ("a", "d")
    assert (entry.min["at"], entry.max["at"]) == tuple(int(minute(m).timestamp()) * 1_000_000 for m in (1, 3))


def test_rows_are_sorted_nulls_first_and_ties_keep_their_order(tmp_path: Path) -> None:
    _, table = written(tmp_path, sort_by=["meter", "at"])
    assert table["id"].to_pylist() == ["c", "d", "a", "b"]
    twins = pa.table({"k": [1] * 100, "n": list(range(100))})
    assert written(tmp_path, twins, sort_by=["k"])[1]["n"].to_pylist() == list(range(100))


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["b", None, "a", "ß", "", "Z"]),
        pa.array(["b", None, "a", "b"]).dictionary_encode(),
        pa.array([2, None, -(2**62), 2**62]),
        pa.array([0.5, None, -1e308, 1e308]),
        pa.array([Decimal("10.5"), None, Decimal("-9.25"), Decimal("9.25")], pa.decimal128(12, 2)),
        pa.array([date(2025, 1, 1), None, date(1900, 1, 1)]),
        pa.array([True, None, False]),
        pa.chunked_array([pa.array(["z", "y"]).dictionary_encode(), pa.array(["a", None]).dictionary_encode()]),
    ],
    ids=["text", "dictionary", "int", "float", "decimal", "date", "bool", "two dictionaries"],
)
def test_each_type_sorts_as_its_values_do(tmp_path: Path, values: Any) -> None:
    _, table = written(tmp_path, pa.table({"k": values}), sort_by=["k"])
    plain = values.to_pylist()
    least = [v for v in plain if v is None]
    assert table["k"].to_pylist() == least + sorted(
        (v for v in plain if v is not None), key=lambda v: v.encode() if isinstance(v, str) else v
    )


def test_any_engine_reads_it(tmp_path: Path) -> None:
    entry, _ = written(tmp_path, bounds=["id", "at"])
    meta = pq.ParquetFile(tmp_path / entry.path).metadata
    columns = {meta.row_group(0).column(n).path_in_schema: meta.row_group(0).column(n) for n in range(meta.num_columns)}
    assert {c.compression for c in columns.values()} == {"ZSTD"}
    assert columns["id"].statistics.has_min_max and columns["at"].statistics.has_min_max
    assert b"ARROW:schema" not in (meta.metadata or {})
    assert str(pq.read_schema(tmp_path / entry.path).field("at").type) == "timestamp[us, tz=UTC]"


def test_no_file_is_ever_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.files.secrets.token_hex", lambda n: "0" * 2 * n)
    entry, _ = written(tmp_path)
    before = (tmp_path / entry.path).read_bytes()
    with pytest.raises(FileExistsError):
        written(tmp_path, TABLE.slice(0, 1))
    assert (tmp_path / entry.path).read_bytes() == before


def test_files_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))[1])
    entry, _ = written(tmp_path)
    assert str(tmp_path / entry.path) in synced


def test_an_error_is_fatal(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(OSError):
        written(tmp_path)


def test_an_empty_table_is_written_with_no_bounds(tmp_path: Path) -> None:
    entry, table = written(tmp_path, TABLE.slice(0, 0), sort_by=["id"], bounds=["id", "at"])
    assert table.num_rows == 0 and entry.min == {"id": None, "at": None}


def test_large_input_has_row_groups_worth_pruning(tmp_path: Path) -> None:
    entry, _ = written(tmp_path, pa.table({"n": list(range(300_000))}), sort_by=["n"])
    assert pq.ParquetFile(tmp_path / entry.path).metadata.num_row_groups == 3
