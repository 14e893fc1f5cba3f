"""Expectations asked of both engines: the same counts, and the same example to the letter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_grid.analyses.sql import put, tree
from beam_grid.lakehouse import duck, expected
from data_sources.expectations import parse_expectation

AT = datetime(2025, 6, 1, 12, 30, 5, 250_000, UTC)
SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("n", pa.int64()), ("x", pa.float64()), ("d", pa.decimal128(10, 3)), ("at", pa.timestamp("us", "UTC")),
        ("day", pa.date32()), ("is_new", pa.bool_()),
    ]
)  # fmt: skip
ROWS: list[tuple[Any, ...]] = [
    ("b", 1, 1e10, Decimal("1.500"), AT, date(9999, 12, 31), True),
    ("b", 1, 0.1, None, None, None, None),
    ("é\"'", 2, 1e-7, Decimal("-0.001"), AT.replace(microsecond=1), date(2025, 6, 1), False),
    (None, 3, None, None, AT, None, None),
    (None, 3, 2.0, None, AT, None, None),
    ("z", None, 100.0, None, AT, None, None),
]
PARENTS = pa.table({"key": ["b", "b", None]})
Ask = Callable[[str, dict[str, str]], pa.Table]


@pytest.fixture(params=["embedded", pytest.param("spark", marks=pytest.mark.spark)])
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ask]:
    """Asks one of the engines, whose views `rows` and `parents` hold the above."""
    rows = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in ROWS], schema=SCHEMA)
    if request.param == "spark":
        from runners import delta

        spark = delta.session()
        for name, table in (("rows", rows), ("parents", PARENTS)):
            spark.createDataFrame(table).createOrReplaceTempView(name)
        yield lambda sql, places: spark.sql(put(tree(sql), "spark", places.__getitem__)).toArrow()
        return
    with duck.connect(tmp_path) as engine:
        engine.register("rows", rows)
        engine.register("parents", PARENTS)
        yield lambda sql, places: engine.sql(put(tree(sql), "duckdb", places.__getitem__)).to_arrow_table()


def test_counts_and_examples(ask: Ask) -> None:
    texts = {
        "unique(id)": (6, 2, '{"id":"b"}'),
        "unique(id, x)": (6, 0, None),
        "not_null(n)": (6, 1, '{"id":"z","x":100.0,"at":"2025-06-01T12:30:05.250Z"}'),
        "not_null(day)": (6, 4, '{"id":"b","n":1,"x":0.1}'),
        "references(id) in parents(key)": (6, 2, '{"id":"z"}'),
        "references(id, id) in parents(key, key)": (6, 2, '{"id":"z","id":"z"}'),
        "check(x >= 1)": (
            6, 2, '{"id":"b","n":1,"x":0.1}',
        ),
        "check(x < 1e9)": (
            6, 1, '{"id":"b","n":1,"x":10000000000.0,"d":1.500,"at":"2025-06-01T12:30:05.250Z","day":"9999-12-31","is_new":true}',
        ),
        "check(id < 'c')": (
            6, 2, '{"id":"z","x":100.0,"at":"2025-06-01T12:30:05.250Z"}',
        ),
        "check(d >= 0)": (
            6, 1, '{"id":"é\\"\'","n":2,"x":1e-07,"d":-0.001,"at":"2025-06-01T12:30:05.000001Z","day":"2025-06-01","is_new":false}',
        ),
    }  # fmt: skip
    asked = []
    for number, text in enumerate(texts):
        expectation = parse_expectation(f"E{number}", text, "warn")
        asked.append(expected.Asked("silver.x", expectation, "rows", SCHEMA, "parents" if expectation.feed else None))
    found = expected.answers(asked, ask)
    for line, (text, (looked, failed, example)) in zip(found, texts.items(), strict=True):
        status = "warned" if failed else "passed"
        assert (line["rule"], line["status"]) == (text, status)
        assert (line["rows_checked"], line["failed_rows"], line["example"]) == (looked, failed, example), text


def test_rows_that_fail_are_dropped_and_nulls_pass(ask: Ask) -> None:
    kept = []
    for text in ("check(n < 3)", "references(id) in parents(key)", "not_null(id)"):
        sql = expected.kept_sql(parse_expectation("E", text, "drop"), "silver.rows", "silver.parents")
        answer = ask(sql, {"silver.rows": "rows", "silver.parents": "parents"})
        kept.append(sorted(map(str, answer["x"].to_pylist())))
    everything = sorted(str(row[2]) for row in ROWS)
    assert kept == [
        [x for x in everything if x not in ("None", "2.0")],
        [x for x in everything if x not in ("1e-07", "100.0")],
        [x for x in everything if x not in ("None", "2.0")],
    ]
