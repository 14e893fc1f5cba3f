"""Windows from tiles against one SQL over the raw rows: any cut into commits, any window, any year; and beside Spark."""

from __future__ import annotations

import itertools
import math
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_grid.lakehouse.windows import expanded_sql, merged_sql
from data_sources import contract as contracts
from data_sources.contract import Contract, WindowSpec
from data_sources.expressions import sandbox
from tests.conftest import EXAMPLES
from tests.transforms.test_tiles import MEASURES, SQL, assert_same, feed, random_rows
from transforms.measures import FUNCTIONS, aggregates
from transforms.tiles import merge_tiles, tile_rows, tile_schema
from transforms.windows import window_schema, windows_sql

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2025, 6, 15, 12, tzinfo=UTC)
SHAPES = {
    "tumbling": {"size": "1h"},
    "with an offset": {"size": "1h", "offset": "7m"},
    "an offset longer than the size": {"size": "15m", "offset": "2h"},
    "sliding": {"size": "1h", "every": "15m"},
    "size no multiple of step": {"size": "1h", "every": "25m", "offset": "5m"},
    "with gaps": {"size": "10m", "every": "25m"},
}
EDGES = {"__rows": "count(*)", "__newest": "max(_commit)", "revision": "count(DISTINCT _commit)"}


def windows_of(tiles: pa.Table, of: Contract, window: WindowSpec) -> dict[Any, dict[str, Any]]:
    """The product's windows: (by, start, end) to values."""
    with sandbox().cursor() as cursor:
        cursor.register("landed_tiles", tiles)
        found = cursor.sql(windows_sql("landed_tiles", of, window)).to_arrow_table()
    wanted = window_schema(of, window)
    assert found.column_names == [*(n for n in wanted.names if n not in ("final", "revision")), *EDGES]
    for name in found.column_names:
        kind = wanted.field(name).type if name in wanted.names else pa.int64()
        assert str(found.schema.field(name).type).replace("Etc/", "") == str(kind), name
    return _keyed(found, window)


def by_raw_sql(rows: pa.Table, window: WindowSpec, sql: dict[str, str]) -> dict[Any, dict[str, Any]]:
    """The same from the rows, each given by hand to the windows that contain it."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    starts = [_starts(at, window) for at in rows["at"].to_pylist()]
    which = [n for n, found in enumerate(starts) for _ in found]
    instants = pa.array([s for found in starts for s in found], pa.timestamp("us", "UTC"))
    table = rows.take(pa.array(which, pa.int64())).append_column("window_start", instants)
    connection.register("expanded", table)
    keys = ", ".join([*window.by, "window_start"])
    values = ", ".join(f"{text} AS {name}" for name, text in {**sql, **EDGES}.items())
    size = f"window_start + INTERVAL {window.size // timedelta(seconds=1)} SECOND AS window_end"
    return _keyed(connection.sql(f"SELECT {keys}, {size}, {values} FROM expanded GROUP BY {keys}").to_arrow_table(), window)  # fmt: skip


def _starts(instant: datetime, window: WindowSpec) -> list[datetime]:
    """Every start on the grid of which the half-open window holds the instant."""
    nearest = (instant - EPOCH - window.offset) // window.step
    reach = window.size // window.step + 1
    grid = (EPOCH + window.offset + n * window.step for n in range(nearest - reach, nearest + reach + 1))
    return [start for start in grid if start <= instant < start + window.size]


def _keyed(table: pa.Table, window: WindowSpec) -> dict[Any, dict[str, Any]]:
    keys = [*window.by, "window_start", "window_end"]
    found = {tuple(row.pop(k) for k in keys): row for row in table.to_pylist()}
    assert len(found) == table.num_rows
    return found


def in_commits(rows: pa.Table, of: Contract, window: WindowSpec, commits: list[int], merged: bool) -> tuple[pa.Table, pa.Table]:  # fmt: skip
    """The rows with the commits they landed in, and the tiles of those commits, of each in two pieces or merged."""
    at = rows.column_names.index("_commit")
    rows = rows.set_column(at, "_commit", pa.array(commits, pa.int64()))
    tiles = [tile_schema(of, window).empty_table()]
    for commit in set(commits):
        mine = rows.filter(pa.array([c == commit for c in commits]))
        pieces = [tile_rows(mine.take(pa.array(range(k, mine.num_rows, 2), pa.int64())), of, window) for k in (0, 1)]
        tiles.append(merge_tiles(pa.concat_tables(pieces), of, window) if merged else pa.concat_tables(pieces))
    return rows, pa.concat_tables(tiles)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_tiles_of_any_commits_give_the_windows_of_one_sql_over_the_rows(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(list(SHAPES)))
    of, window = feed({**SHAPES[shape], "by": ["g"], "measures": MEASURES})
    count = data.draw(st.integers(0, 60))
    year = data.draw(st.sampled_from([2, 1850, 1969, 1970, 2025, 9998]))
    rows = random_rows(of, count, data.draw(st.integers(0, 10**6)), datetime(year, 12, 31, 23, 55, tzinfo=UTC))
    commits = data.draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    rows, tiles = in_commits(rows, of, window, commits, data.draw(st.booleans()))
    assert_same(windows_of(tiles, of, window), by_raw_sql(rows, window, SQL))


@pytest.mark.parametrize("shape", SHAPES)
def test_windows_of_many_rows(shape: str) -> None:
    of, window = feed({**SHAPES[shape], "by": ["g"], "measures": MEASURES})
    rows = random_rows(of, 3000)
    rows, tiles = in_commits(rows, of, window, [1 + n % 3 for n in range(3000)], True)
    wanted = by_raw_sql(rows, window, SQL)
    assert any(k[0] is None for k in wanted) and any(row["sum_f"] is None for row in wanted.values())
    assert_same(windows_of(tiles, of, window), wanted)


@pytest.mark.spark
@pytest.mark.parametrize("shape", SHAPES)
def test_spark_merges_the_same_tiles_to_the_same_windows(shape: str, tmp_path: Any) -> None:
    import pyarrow.parquet as pq

    from runners.delta import session

    of, window = feed({**SHAPES[shape], "by": ["g"], "measures": MEASURES})
    rows = random_rows(of, 400, around=datetime(1970, 1, 1, 3, tzinfo=UTC))
    _, tiles = in_commits(rows, of, window, [1 + n % 5 for n in range(400)], False)
    pq.write_table(tiles, tmp_path / "tiles.parquet")
    spark = session()
    spark.read.parquet(str(tmp_path / "tiles.parquet")).createOrReplaceTempView("tiles_of_test")
    merged = merged_sql(f"({expanded_sql('tiles_of_test', of, window)})", of, window, "false")
    names = ", ".join(f"`{name}`" for name in [*window.by, *window.measures, *EDGES])
    size = window.size // timedelta(microseconds=1)
    bounds = f"timestamp_micros(__start) AS window_start, timestamp_micros(__start + {size}L) AS window_end"
    by_spark = spark.sql(f"SELECT {bounds}, {names} FROM ({merged})").toArrow()
    assert_same(windows_of(tiles, of, window), _keyed(by_spark, window))


@pytest.mark.parametrize("tiles", [1, 7, 100])
def test_a_register_keeps_its_variance(tiles: int) -> None:
    """1e7 +- 0.01: the sum of squares is wrong by 650 x, and a pivot of another group's would be as bad."""
    of, window = feed({"size": "1d", "by": ["g"], "measures": {"spread": "stddev(f)"}})
    rng = random.Random(7)
    registers = {"A": 1e7, "B": -3e9, "C": 0.0}
    values = {g: [high + rng.uniform(-0.01, 0.01) for _ in range(2000)] for g, high in registers.items()}
    made = [{"id": f"{g}{n}", "at": NOON, "g": g, "f": v, "_commit": 1} for g, of_g in values.items() for n, v in enumerate(of_g)]  # fmt: skip
    rng.shuffle(made)
    rows = pa.Table.from_pylist(made, schema=of.schema.append(pa.field("_commit", pa.int64())))
    parts = [tile_rows(rows.take(list(range(n, 6000, tiles))), of, window) for n in range(tiles)]
    for found in (pa.concat_tables(parts), merge_tiles(pa.concat_tables(parts), of, window)):
        for (g, *_), row in windows_of(found, of, window).items():
            mean = math.fsum(values[g]) / 2000
            exact = math.sqrt(math.fsum((v - mean) ** 2 for v in values[g]) / 1999)
            assert math.isclose(row["spread"], exact, rel_tol=1e-6 if g != "B" else 1e-3), g


def test_ties_of_first_and_last_go_by_the_key() -> None:
    of, window = feed({"size": "1h", "measures": {"opened": "first(s)", "closed": "last(s)"}})
    made = [{"id": k, "at": NOON, "s": s, "_commit": 1} for k, s in (("b", "from b"), ("a", "from a"), ("c", "from c"), ("0", None))]  # fmt: skip
    schema = of.schema.append(pa.field("_commit", pa.int64()))
    for order in itertools.permutations(made):
        tiles = [tile_rows(pa.Table.from_pylist([row], schema=schema), of, window) for row in order]
        (row,) = windows_of(pa.concat_tables(tiles), of, window).values()
        assert (row["opened"], row["closed"]) == ("from a", "from c")


def test_tiles_without_a_commit_add_no_revision_and_marks_without_rows_no_rows() -> None:
    of, window = feed({"size": "1h", "measures": {"n": "count()", "kwh": "sum(f)"}})
    schema = tile_schema(of, window)
    made = [
        {"_cell": NOON, "_commit": None, "_rows": 2, "n": 2, "kwh": 3.5},
        {"_cell": NOON, "_commit": 7, "_rows": None, "n": None, "kwh": None},
        {"_cell": NOON, "_commit": 3, "_rows": None, "n": None, "kwh": None},
        {"_cell": NOON + timedelta(hours=1), "_commit": 7, "_rows": None, "n": None, "kwh": None},
        {"_cell": NOON + timedelta(hours=2), "_commit": None, "_rows": 1, "n": 1, "kwh": None},
    ]
    found = windows_of(pa.Table.from_pylist(made, schema=schema), of, window)
    assert [tuple(row.values()) for _, row in sorted(found.items())] == [
        (2, 3.5, 2, 7, 2),
        (0, None, 0, 7, 1),
        (1, None, 1, 0, 0),
    ]


def test_sums_of_whole_numbers_and_decimals_are_exact() -> None:
    of, window = feed({"size": "1d", "measures": {"i": "sum(i)", "d": "sum(d)"}})
    made = [{"id": str(n), "at": NOON, "i": 2**63 - 1, "d": Decimal("999999999.999"), "_commit": n // 100} for n in range(1000)]  # fmt: skip
    rows = pa.Table.from_pylist(made, schema=of.schema.append(pa.field("_commit", pa.int64())))
    (row,) = windows_of(tile_rows(rows, of, window), of, window).values()
    assert (row["i"], row["d"]) == ((2**63 - 1) * 1000, Decimal("999999999.999") * 1000)
    assert row["revision"] == 10


def test_names_that_sql_would_misread() -> None:
    of, window = feed(
        {"size": "1h", "by": ["group"], "measures": {"select": "sum(select)", "at": "max(a.b)", "order": "last(Größe)", "n": "count()", "id": "first(id)", "spread": "stddev(select)"}},
        {"id": "string", "at": "timestamp", "group": "string", "select": "float64", "a.b": "float64", "Größe": "int64"},
    )  # fmt: skip
    rows = pa.table({"id": ["a", "b"], "at": pa.array([NOON, NOON], pa.timestamp("us", "UTC")), "group": ["g", "g"], "select": [1.0, 2.0], "a.b": [5.0, 6.0], "Größe": [7, 8], "_commit": [1, 2]})  # fmt: skip
    (row,) = windows_of(tile_rows(rows, of, window), of, window).values()
    assert tuple(row[name] for name in window.measures) == (3.0, 6.0, 8, 2, "a", math.sqrt(0.5))


def test_every_function_a_contract_knows_has_its_class() -> None:
    assert list(FUNCTIONS) == list(contracts.MEASURES)


def test_what_a_measure_starts_and_merges_are_its_tile_columns() -> None:
    of, window = feed({"size": "1h", "measures": MEASURES})
    for aggregate in aggregates(of, window):
        assert list(aggregate.merge) == list(aggregate.columns) and aggregate.start.keys() <= aggregate.columns.keys()
        parts = {name.removeprefix(aggregate.measure.name) for name in aggregate.columns} - {""}
        assert parts <= {f"__{part}" for part in contracts.MEASURE_PARTS}, "names that a contract keeps free"
