"""Spark's SQL as both engines understand it: each expression has the same value and type, written down here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_grid.analyses import parse
from beam_grid.analyses.sql import parameters, parts, put, reads, tree
from beam_grid.lakehouse import duck

Ask = Callable[[str], pa.Table]
INSTANT = pa.timestamp("us", "UTC")


@pytest.fixture(params=["embedded", pytest.param("spark", marks=pytest.mark.spark)], scope="module")
def ask(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    if request.param == "spark":
        from runners import delta

        spark = delta.session()
        yield lambda sql: spark.sql(put(tree(sql), "spark")).toArrow()
        return
    with duck.connect(tmp_path_factory.mktemp("scratch")) as engine:
        yield lambda sql: engine.sql(put(tree(sql), "duckdb")).to_arrow_table()


@pytest.mark.parametrize(
    ("expression", "value", "kind"),
    [
        ("weekday(TIMESTAMP '2025-06-01 23:59:59.9Z')", 6, pa.int32()),  # a Sunday
        ("weekday(TIMESTAMP '2025-06-02 00:00:00Z')", 0, pa.int32()),
        ("hour(TIMESTAMP '1969-12-31 23:59:59Z')", 23, pa.int32()),
        ("unix_micros(TIMESTAMP '1969-12-31 23:59:59.999999Z')", -1, pa.int64()),
        ("timestamp_micros(-1)", datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), INSTANT),
        ("unix_micros(TIMESTAMP '2025-06-01 00:00:00.6Z') DIV 1000000", 1748736000, pa.int64()),
        ("date_trunc('HOUR', TIMESTAMP '2025-06-01 10:59:59.9Z')", datetime(2025, 6, 1, 10, tzinfo=UTC), INSTANT),
        (
            "to_utc_timestamp(CAST(DATE '2021-07-01' AS TIMESTAMP), 'Europe/London')",
            datetime(2021, 6, 30, 23, tzinfo=UTC), INSTANT,
        ),
        (
            "to_utc_timestamp(CAST(DATE '2021-01-01' AS TIMESTAMP), 'Europe/London')",
            datetime(2021, 1, 1, tzinfo=UTC), INSTANT,
        ),
        ("CAST(from_utc_timestamp(TIMESTAMP '2021-06-30 23:30:00Z', 'Europe/London') AS DATE)", date(2021, 7, 1), pa.date32()),
        ("CAST(from_utc_timestamp(TIMESTAMP '2021-12-31 23:30:00Z', 'Europe/London') AS DATE)", date(2021, 12, 31), pa.date32()),
        ("CAST(-7 DIV 2 AS BIGINT)", -3, pa.int64()),
        ("-7 % 3", -1, pa.int32()),
        ("try_divide(CAST(1 AS DOUBLE), CAST(0 AS DOUBLE))", None, pa.float64()),
        ("CAST(1.0015 AS DECIMAL(10, 3))", Decimal("1.002"), pa.decimal128(10, 3)),
        ("CAST(-1.0015 AS DECIMAL(10, 3))", Decimal("-1.002"), pa.decimal128(10, 3)),
        ("CAST(NULL AS DOUBLE) <=> CAST(NULL AS DOUBLE)", True, pa.bool_()),
    ],
)  # fmt: skip
def test_a_value_is_the_same(ask: Ask, expression: str, value: Any, kind: pa.DataType) -> None:
    found = ask(f"SELECT {expression} AS value")
    assert found["value"].to_pylist() == [value]
    assert found.schema.field("value").type == kind


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        (["1.001", "1.002"], "1.0015000"),
        (["-1.001", "-1.002"], "-1.0015000"),
        (["0.001", "0.000", "0.000"], "0.0003333"),
        (["-0.001", "-0.001", "0.000"], "-0.0006667"),
        (["9999999.999"] * 3, "9999999.9990000"),
        (["1.000", None], "1.0000000"),
        ([None], None),
    ],
)
def test_a_mean_of_decimals_is_exact_and_rounded_half_up(ask: Ask, values: list[str | None], mean: str | None) -> None:
    rows = " UNION ALL ".join(f"SELECT {value or 'NULL'} AS x" for value in values)
    found = ask(f"SELECT avg(CAST(x AS DECIMAL(10, 3))) AS value FROM ({rows})")
    assert found["value"].to_pylist() == [mean and Decimal(mean)]
    assert found.schema.field("value").type == pa.decimal128(14, 7)


def test_spreads_of_one_value_and_of_none_are_null(ask: Ask) -> None:
    found = ask(
        "SELECT stddev(x) AS one, stddev(CASE WHEN x > 1 THEN x END) AS none FROM (SELECT CAST(1 AS DOUBLE) AS x)"
    )
    assert found.to_pylist() == [{"one": None, "none": None}]


def test_a_frame_by_range_ends_before_its_peers(ask: Ask) -> None:
    rows = " UNION ALL ".join(f"SELECT {h} AS h, CAST({x} AS DOUBLE) AS x" for h, x in ((1, 1), (1, 2), (2, 3), (4, 5)))
    found = ask(
        f"SELECT h, count(x) OVER w AS n, avg(x) OVER w AS mean FROM ({rows}) "
        "WINDOW w AS (ORDER BY h RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) ORDER BY h, n"
    )
    assert [tuple(row.values()) for row in found.to_pylist()] == [(1, 0, None), (1, 0, None), (2, 2, 1.5), (4, 3, 2.0)]


def test_nulls_sort_where_spark_sorts_them(ask: Ask) -> None:
    rows = "SELECT CAST(NULL AS INT) AS x UNION ALL SELECT 1 UNION ALL SELECT 2"
    for order, wanted in (("ASC", [None, 1, 2]), ("DESC", [2, 1, None])):
        found = ask(f"SELECT x, row_number() OVER (ORDER BY x {order}) AS n FROM ({rows}) ORDER BY n")
        assert found["x"].to_pylist() == wanted


class TestReading:
    def test_tables_in_the_order_of_the_text(self) -> None:
        found = tree(
            "WITH a AS (SELECT * FROM gold.one), b AS (SELECT * FROM a JOIN silver.two USING (x)) "
            "SELECT silver.three, (SELECT max(y) FROM bronze.four) FROM b silver JOIN gold.one ON true"
        )
        assert reads(found) == ("gold.one", "silver.two", "bronze.four")

    def test_parameters_are_none_within_strings_comments_and_formats(self) -> None:
        sql = "SELECT ':a', date_format(t, 'HH:mm'), `:b` /* :c */ FROM silver.x WHERE d = :d -- :e"
        assert parameters(tree(sql)) == {"d"}

    def test_a_table_keeps_its_name_for_the_columns_that_use_it(self) -> None:
        written = put(tree("SELECT x.a, y.b FROM silver.x JOIN gold.z y ON true"), "duckdb", lambda name: f"({name})")
        assert written == "SELECT x.a, y.b FROM (silver.x) AS x JOIN (gold.z) AS y ON TRUE"

    def test_a_value_is_a_whole_to_what_stands_around_it(self) -> None:
        written = put(tree("SELECT NOT :x AND b FROM silver.x"), "spark", lambda _: "t", {"x": "a OR b"})
        assert written == "SELECT NOT (a OR b) AND b FROM t AS x"

    def test_a_list_comes_apart_at_its_own_commas(self) -> None:
        assert parts("a, coalesce(b, ','), c + 1") == ["a", "COALESCE(b, ',')", "c + 1"]

    def test_what_cannot_be_read_says_where(self) -> None:
        with pytest.raises(ValueError, match=r"Line 1, Col: "):
            tree("SELECT a FROM (silver.x")


def test_since_without_groups_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gold\.x: since goes with touched, which says what the rows' groups are"):
        parse("x", "-- X.\n-- key: id\n-- since: at\nSELECT id, at FROM silver.readings\n")
