"""Exports as they come: shifted columns, other delimiters and encodings, Parquet that was renamed, cut or written long ago.

Each is clear (a reject with its rule, or a named problem), counted, and nothing beside it is lost.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_grid.commit import Fates
from beam_grid.feeds import built_in
from data_sources.maintenance_logs.generate import generate as generate_logs
from data_sources.transformers.generate import generate as generate_transformers
from tests.beam_grid.test_land_changes import run, written

LOGS, ASSETS = built_in()["maintenance_logs"], built_in()["transformers"]


@pytest.fixture(scope="module")
def april(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The rows of a good monthly export, header first."""
    out = tmp_path_factory.mktemp("logs")
    generate_logs(out, seed=5)
    text = (out / "maintenance_csv" / "maintenance_logs_2025_04.csv").read_text(encoding="utf-8")
    return list(csv.reader(io.StringIO(text, newline="")))


def export(path: Path, rows: list[list[str]], encoding: str = "utf-8", delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as out:
        csv.writer(out, delimiter=delimiter).writerows(rows)


def landed(tmp: Path, feed: Any) -> tuple[Fates, Counter[str], list[str]]:
    done = run(tmp / "lake", feed, tmp / "in", slice_rows=40)
    rejects = Counter(f"{r['cause']}/{r['rule']}" for r in written(tmp / "lake", feed, "rejected"))
    assert done.fates.balanced
    assert sum(rejects.values()) == done.fates.rejected
    return done.fates, rejects, done.problems


def test_a_good_export_for_comparison(tmp_path: Path, april: list[list[str]]) -> None:
    export(tmp_path / "in" / "a.csv", april)
    fates, rejects, problems = landed(tmp_path, LOGS)
    assert fates.landed == len(april) - 1 and not rejects and not problems


def test_rows_with_a_shifted_column_are_rejected_alone(tmp_path: Path, april: list[list[str]]) -> None:
    rows = [list(r) for r in april]
    rows[3].insert(5, "shifted")
    del rows[7][2]
    rows[9] = [rows[9][-1], *rows[9][:-1]]  # all there, each one place further
    export(tmp_path / "in" / "a.csv", rows)
    fates, _, problems = landed(tmp_path, LOGS)
    assert fates.rejected == 3 and fates.landed == len(april) - 4 and not problems
    raws = b"\n".join(r["raw"] for r in written(tmp_path / "lake", LOGS, "rejected"))
    assert b"shifted" in raws


def test_a_changed_delimiter_is_a_named_problem_and_the_rest_lands(tmp_path: Path, april: list[list[str]]) -> None:
    export(tmp_path / "in" / "a.csv", april[:20], delimiter=";")
    export(tmp_path / "in" / "b.csv", april)
    fates, _, problems = landed(tmp_path, LOGS)
    assert fates.landed == len(april) - 1 and fates.rejected == 0
    assert len(problems) == 1 and "a.csv" in problems[0]


def test_a_byte_order_mark_changes_nothing(tmp_path: Path, april: list[list[str]]) -> None:
    export(tmp_path / "in" / "a.csv", april, encoding="utf-8-sig")
    fates, rejects, problems = landed(tmp_path, LOGS)
    assert fates.landed == len(april) - 1 and not rejects and not problems


def test_a_latin_1_file_loses_only_the_rows_that_are_no_utf_8(tmp_path: Path, april: list[list[str]]) -> None:
    rows = [list(r) for r in april]
    name = rows[0].index("technician_name")
    for n in range(1, len(rows)):
        rows[n] = [cell.encode("ascii", "ignore").decode() for cell in rows[n]]
    for n in (2, 5):
        rows[n][name] = "Ramón Müller"
    export(tmp_path / "in" / "a.csv", rows, encoding="latin-1")
    fates, rejects, _ = landed(tmp_path, LOGS)
    assert rejects == {"undecodable/utf-8": 2} and fates.landed == len(april) - 3
    told = LOGS.model_copy(update={"csv": LOGS.csv.model_copy(update={"encoding": "latin-1"}), "name": "logs_latin"})
    export(tmp_path / "two" / "in" / "a.csv", rows, encoding="latin-1")
    assert landed(tmp_path / "two", told)[0].landed == len(april) - 1
    assert "Ramón Müller" in {r["technician_name"] for r in written(tmp_path / "two" / "lake", told, "rows")}


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    out = tmp_path_factory.mktemp("masters")
    generate_transformers(out, seed=5)
    return pq.read_table(out / "transformer_parquet" / "transformer_master.parquet")


def write(path: Path, table: pa.Table, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)


def test_a_file_whose_key_column_is_renamed_is_left_out_with_the_likely_name(tmp_path: Path, masters: pa.Table) -> None:
    names = ["transformer" if n == "transformer_id" else n for n in masters.column_names]
    write(tmp_path / "in" / "transformer_master.parquet", masters.rename_columns(names))
    fates, _, problems = landed(tmp_path, ASSETS)
    assert fates.read == 0 and len(problems) == 1
    assert "no column 'transformer_id'" in problems[0] and "did you mean 'transformer'?" in problems[0]


def test_a_renamed_other_column_is_kept_as_unknown(tmp_path: Path, masters: pa.Table) -> None:
    names = ["maker" if n == "manufacturer" else n for n in masters.column_names]
    write(tmp_path / "in" / "transformer_master.parquet", masters.rename_columns(names))
    fates, rejects, problems = landed(tmp_path, ASSETS)
    assert fates.landed == masters.num_rows and not rejects
    assert len(problems) == 1 and "no column 'manufacturer'" in problems[0] and "null in all its rows" in problems[0]
    assert all('"maker"' in r["_extra"] for r in written(tmp_path / "lake", ASSETS, "rows"))


def test_a_cut_parquet_file_is_a_named_problem_and_the_rest_lands(tmp_path: Path, masters: pa.Table) -> None:
    write(tmp_path / "in" / "transformer_master.parquet", masters)
    write(tmp_path / "in" / "transformer_master_delta_1.parquet", masters.slice(0, 5))
    cut = tmp_path / "in" / "transformer_master_delta_1.parquet"
    cut.write_bytes(cut.read_bytes()[:-6])
    fates, _, problems = landed(tmp_path, ASSETS)
    assert fates.landed == masters.num_rows and len(problems) == 1 and "delta_1" in problems[0]


def test_int96_timestamps_are_read(tmp_path: Path) -> None:
    feed = built_in()["smart_meter_readings"]
    from datetime import UTC, datetime

    at = datetime(2025, 6, 15, 10, 0, 0, 123456, UTC)
    row: dict[str, Any] = {f.name: None for f in feed.fields} | {"event_id": "e1", "meter_id": "SM-N-00001", "reading_kwh": 1.5, "timestamp": at}  # fmt: skip
    as_parquet = feed.model_copy(update={"format": "parquet", "name": "readings_parquet"})
    write(tmp_path / "in" / "a.parquet", pa.Table.from_pylist([row], schema=pa.schema([f.with_nullable(True) for f in feed.schema])), use_deprecated_int96_timestamps=True)  # fmt: skip
    fates, rejects, _ = landed(tmp_path, as_parquet)
    assert fates.landed == 1 and not rejects
    assert written(tmp_path / "lake", as_parquet, "rows")[0]["timestamp"] == at
