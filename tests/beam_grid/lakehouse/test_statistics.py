"""Statistics of data files: never narrower than the values, and no reader that skips by them loses a row."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_grid.lakehouse import data_files, delta_log, scan, statistics
from beam_grid.lakehouse.live import live
from tests.conftest import examples

TIME = pa.timestamp("us", "UTC")
LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
ASTRAL = "\U0001f50c" * 40


def stats_of(folder: Path, column: pa.Array, **options: Any) -> dict[str, Any]:
    path = folder / "file.parquet"
    pq.write_table(pa.table({"x": column}), path, **options)
    return json.loads(statistics.statistics(path, ["x", "lacking"]), parse_float=Decimal)


CASES: dict[str, tuple[list[Any], pa.DataType, Any, Any]] = {
    "whole numbers": ([3, None, -(2**63), 2**63 - 1], pa.int64(), -(2**63), 2**63 - 1),
    "small whole numbers": ([3, None, 4], pa.int32(), 3, 4),
    "fractions": ([1.5, -0.25, None], pa.float64(), Decimal("-0.25"), Decimal("1.5")),
    "infinities": ([1.5, math.inf], pa.float64(), None, None),
    "no number at all": ([math.nan, None], pa.float64(), None, None),
    "truths": ([True, False, None], pa.bool_(), None, None),
    "bytes": ([b"a", None], pa.binary(), None, None),
    "days": ([date(1, 1, 1), None, date(9999, 12, 31)], pa.date32(), "0001-01-01", "9999-12-31"),
    "days no text tells": ([3_000_000, 1], pa.date32(), None, None),
    "text": (["b", None, "a"], pa.string(), "a", "b"),
    "long text": (["a" * 40, "b" * 40], pa.string(), "a" * 32, "b" * 32 + "\U0010ffff"),
    "astral text": ([ASTRAL], pa.string(), ASTRAL[:32], ASTRAL[:32] + "\U0010ffff"),
    "text of greatest characters": (["\U0010ffff" * 40], pa.string(), None, None),
    "text a footer has no bounds of": (["a" * 5000, "b"], pa.string(), "a" * 32, "b"),
    "such text as a dictionary": (["a" * 5000, "b"], pa.dictionary(pa.int32(), pa.string()), "a" * 32, "b"),
    "instants": (
        [datetime(2026, 3, 1, 0, 0, 0, 1, tzinfo=UTC), None, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)],
        TIME, "1969-12-31T23:59:59.999Z", "2026-03-01T00:00:00.001Z",
    ),
    "the last instant": ([LAST, LAST], TIME, "9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999999Z"),
    "instants no text tells": ([2**62, 0], TIME, None, None),
    "38 digits": (
        [Decimal("-" + "9" * 36 + ".99"), None, Decimal("1" * 36 + ".23")], pa.decimal128(38, 2),
        Decimal("-" + "9" * 36 + ".99"), Decimal("1" * 36 + ".23"),
    ),
    "nulls alone": ([None, None], pa.int64(), None, None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_type_has_its_bounds_or_none(case: str, tmp_path: Path) -> None:
    values, kind, least, greatest = CASES[case]
    found = stats_of(tmp_path, pa.array(values, kind))
    assert (found["minValues"].get("x"), found["maxValues"].get("x")) == (least, greatest)
    assert found["nullCount"] == {"x": values.count(None), "lacking": len(values)}
    assert found["numRecords"] == len(values) and "lacking" not in found["minValues"]


def test_bounds_are_those_of_all_row_groups(tmp_path: Path) -> None:
    found = stats_of(tmp_path, pa.array([5, None, 1, 9, 3, None]), row_group_size=2)
    assert (found["minValues"]["x"], found["maxValues"]["x"], found["nullCount"]["x"]) == (1, 9, 2)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), min_size=1, max_size=6))
def test_text_lies_within_its_bounds_byte_by_byte(texts: list[str]) -> None:
    least, greatest = (
        statistics._bound(pa.string(), pick(texts, key=str.encode), up=up) for pick, up in ((min, False), (max, True))
    )
    assert least is None or all(least.encode() <= text.encode() for text in texts)
    assert greatest is None or all(text.encode() <= greatest.encode() for text in texts)
    assert greatest is not None or max(texts, key=str.encode)[32] == "\U0010ffff"


@settings(max_examples=examples(60), deadline=None)
@given(st.datetimes(timezones=st.just(UTC)))
def test_instants_lie_within_their_bounds(moment: datetime) -> None:
    micros = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    least, greatest = (datetime.fromisoformat(statistics.instant(micros, up=up)) for up in (False, True))
    assert least <= moment <= greatest and greatest - least <= timedelta(milliseconds=1)


def test_a_fraction_that_is_none_leaves_its_column_without_bounds(tmp_path: Path) -> None:
    """A Parquet footer passes NaN over; readers sort it behind all numbers, so `x > 5` must find it."""
    schema = pa.schema([("x", pa.float64()), ("y", pa.float64())])
    delta_log.create(tmp_path / "t", schema, name="t")
    rows = pa.record_batch([pa.array([1.0, math.nan]), pa.array([1.0, 2.0])], schema=schema)
    stats = json.loads(data_files.write(tmp_path / "t", [rows], schema, 10, ["x", "y"])[0]["add"]["stats"])
    assert stats["minValues"] == {"y": 1.0} and stats["maxValues"] == {"y": 2.0}


BOUNDARIES = pa.schema(
    [("n", pa.int64()), ("text", pa.string()), ("at", TIME), ("price", pa.decimal128(38, 2)), ("day", pa.date32())]
)


def boundary_table(path: Path) -> list[list[Any]]:
    """A clustered table of one file a row, each of which a reader that trusts narrow bounds would lose."""
    texts = ["a" * 32 + "b", "a" * 32 + "\U0010fffe", ASTRAL, "z"]
    times = [datetime(2026, 3, 1, 0, 0, 0, n, tzinfo=UTC) for n in (1, 999, 1001)] + [LAST]
    big = "123456789012345678901234567890123456"
    prices = [Decimal(text) for text in (f"{big}.78", f"{big}.79", f"-{big}.78", "0.10")]
    rows = [
        list(values)
        for values in zip(
            [2**53, 2**53 + 1, -(2**63), 2**63 - 1], texts, times, prices,
            [date(2026, 3, 1), date(1, 1, 1), date(9999, 12, 31), date(1969, 12, 31)], strict=True,
        )
    ]  # fmt: skip
    delta_log.create(path, BOUNDARIES, name="t", cluster_by=["n"], properties={"delta.enableDeletionVectors": "true"})
    actions = []
    for row in rows:
        batch = pa.record_batch([pa.array([value], f.type) for value, f in zip(row, BOUNDARIES, strict=True)], schema=BOUNDARIES)  # fmt: skip
        actions += data_files.write(path, [batch], BOUNDARIES, 10, BOUNDARIES.names)
    delta_log.put(path, live(path), actions, "WRITE")
    return rows


def literals(row: list[Any]) -> list[str]:
    n, text, at, price, day = row
    return [
        f"n = CAST('{n}' AS BIGINT)", f"text = '{text}'", f"at = TIMESTAMP '{at.isoformat(sep=' ').replace('+00:00', 'Z')}'",
        f"price = CAST('{price}' AS DECIMAL(38, 2))", f"day = DATE '{day.isoformat()}'",
    ]  # fmt: skip


def test_a_brief_file_has_the_same_rows_and_bounds(tmp_path: Path) -> None:
    boundary_table(tmp_path / "t")
    rows = pa.concat_tables([pq.read_table(tmp_path / "t" / file.path) for file in live(tmp_path / "t").files])
    rows = rows.append_column("x", pa.array([1.5, math.nan, None, -0.0]))
    lasting, brief = (
        data_files.write(tmp_path / "t", rows.to_batches(), rows.schema, 100, rows.schema.names, is_brief=is_brief)[0][
            "add"
        ]
        for is_brief in (False, True)
    )
    assert brief["stats"] == lasting["stats"] and brief["path"] != lasting["path"]
    files = [pq.ParquetFile(tmp_path / "t" / add["path"]) for add in (lasting, brief)]
    assert [str(file.read().to_pylist()) for file in files] == [str(rows.to_pylist())] * 2
    kinds = [{file.metadata.row_group(0).column(n).compression for n in range(rows.num_columns)} for file in files]
    assert kinds == [{"ZSTD"}, {"SNAPPY"}]


def test_duckdb_finds_what_is_no_number_whatever_the_footer_could_say(tmp_path: Path) -> None:
    table, schema = tmp_path / "gold" / "shares", pa.schema([("n", pa.int64()), ("share", pa.float64())])
    rows = pa.table({"n": range(25), "share": [math.nan if n == 3 else n % 3 for n in range(25)]}, schema)
    delta_log.create(table, schema, name="gold.shares")
    at = delta_log.read(table)
    assert at is not None
    delta_log.put(table, at, data_files.write(table, rows.to_batches(), schema, 100, schema.names), "WRITE")
    with duckdb.connect() as engine:
        of = scan.relation(engine, table)
        for where in ("share > 5", "isnan(share)"):
            assert engine.execute(f"SELECT n FROM {of} WHERE {where}").fetchall() == [(3,)]
        assert engine.execute(f"SELECT count(*) FROM {of} WHERE n > 3").fetchall() == [(21,)]


def test_a_query_pruned_by_delta_rs_finds_the_rows_at_the_bounds(tmp_path: Path) -> None:
    rows = boundary_table(tmp_path / "t")
    engine = QueryBuilder().register("t", DeltaTable(str(tmp_path / "t")))
    for row in rows:
        for condition in literals(row):
            if condition.startswith("at"):  # its own literals are of nanoseconds, which end in 2262
                condition = f"at = arrow_cast('{row[2].isoformat()}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
            found = engine.execute(f"SELECT n FROM t WHERE {condition}").read_all()
            assert [value.as_py() for value in found.column(0)] == [row[0]], condition


def test_a_vector_added_later_keeps_every_digit_of_the_bounds(tmp_path: Path) -> None:
    boundary_table(tmp_path / "t")
    for file in live(tmp_path / "t").files:
        added = delta_log.revectored(file, {"storageType": "i"})[1]["add"]
        before, after = (json.loads(text, parse_float=Decimal) for text in (file.action["stats"], added["stats"]))
        assert after == {**before, "tightBounds": False}


@pytest.mark.spark
def test_a_query_pruned_by_spark_finds_the_rows_at_the_bounds(tmp_path: Path) -> None:
    from runners import delta

    rows = boundary_table(tmp_path / "t")
    table = f"delta.`{tmp_path / 't'}`"
    asked = [(row[0], condition) for row in rows for condition in literals(row)]
    queries = [f"SELECT '{n}' AS expected, CAST(n AS STRING) AS n FROM {table} WHERE {c}" for n, c in asked]
    found = delta.session().sql(" UNION ALL ".join(queries)).collect()
    assert [(str(n), str(n)) for n, _ in asked] == [(row["expected"], row["n"]) for row in found]
