"""Tiles against plain SQL over the rows: every measure and type, merged in any grouping."""

from __future__ import annotations

import itertools
import math
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from data_sources.contract import Contract, WindowSpec, parse_contract
from transforms.tiles import merge_tiles, split_by_cell, tile_rows, tile_schema

FIELDS = {"id": "string", "at": "timestamp", "f": "float64", "i": "int64", "d": "decimal(12,3)", "b": "bool", "day": "date", "s": "string", "t": "timestamp", "g": "string"}  # fmt: skip
ORDERED = ("f", "i", "d", "b", "day", "s", "t")
NUMBERS = ("f", "i", "d")
MEASURES = {
    "n": "count()",
    "high": "count_if(f > 0 AND s = 'x')",
    **{f"n_{x}": f"count({x})" for x in ORDERED},
    **{f"{m}_{x}": f"{m}({x})" for m in ("min", "max", "first", "last") for x in ORDERED},
    **{f"{m}_{x}": f"{m}({x})" for m in ("sum", "avg", "stddev") for x in NUMBERS},
}
SQL = {
    "n": "count(*)",
    "high": "count(*) FILTER (WHERE f > 0 AND s = 'x')",
    **{f"n_{x}": f"count({x})" for x in ORDERED},
    **{f"{m}_{x}": f"{m}({x})" for m in ("min", "max") for x in ORDERED},
    **{f"first_{x}": f'(list({x} ORDER BY "at", id) FILTER (WHERE {x} IS NOT NULL))[1]' for x in ORDERED},
    **{f"last_{x}": f'(list({x} ORDER BY "at", id) FILTER (WHERE {x} IS NOT NULL))[-1]' for x in ORDERED},
    **{f"sum_{x}": f"sum({x})" for x in NUMBERS},
    **{f"avg_{x}": f"CAST(sum({x}) AS DOUBLE) / nullif(count({x}), 0)" for x in NUMBERS},
    **{f"stddev_{x}": f"stddev_samp(CAST({x} AS DOUBLE))" for x in NUMBERS},
}


def feed(window: dict[str, Any], fields: dict[str, str] = FIELDS, event_time: str = "at", key: Any = ("id", "at")) -> tuple[Contract, WindowSpec]:  # fmt: skip
    made = parse_contract(
        {
            "name": "f", "format": "json", "event_time": event_time, "dedup": {"key": list(key)},
            "windows": [{"name": "w", **window}], "fields": [{"name": n, "type": t} for n, t in fields.items()],
        },
        "tests",
    )  # fmt: skip
    return made, made.windows[0]


def random_rows(of: Contract, count: int, seed: int = 1, around: datetime = datetime(2025, 6, 15, tzinfo=UTC)) -> pa.Table:  # fmt: skip
    rng = random.Random(seed)
    pick: dict[str, Any] = {
        "f": lambda: rng.choice([rng.uniform(-5, 5), 0.0, 1e12]),
        "i": lambda: rng.choice([rng.randint(-9, 9), 2**62, -(2**62)]),
        "d": lambda: Decimal(rng.randint(-(10**11), 10**11)).scaleb(-3),
        "b": lambda: rng.random() < 0.5,
        "day": lambda: date(2025, 1, 1) + timedelta(rng.randint(-30000, 300)),
        "s": lambda: rng.choice(["x", "y", "ß", "", "X"]),
        "t": lambda: around + timedelta(microseconds=rng.randint(-(10**12), 10**12)),
    }
    made = []
    for n in range(count):
        row = {k: (None if rng.random() < 0.25 else make()) for k, make in pick.items()}
        row |= {"id": f"k{n:05d}", "g": rng.choice(["A", "B", None, "empty"])}
        row["at"] = around + timedelta(minutes=rng.randint(-600, 600))
        if row["g"] == "empty":
            row |= dict.fromkeys(pick)
        made.append(row)
    table = pa.Table.from_pylist(made, schema=pa.schema([f.with_nullable(True) for f in of.schema]))
    return table.append_column("_commit", pa.array([1] * count, pa.int64()))


def windowed(tiles: pa.Table, window: WindowSpec) -> dict[Any, dict[str, Any]]:
    """A tile's measures as the reader of a table would have them."""
    out = {}
    for row in tiles.to_pylist():
        values = {}
        for m in window.parsed:
            if m.function == "avg":
                n = row[f"{m.name}__n"]
                values[m.name] = float(row[f"{m.name}__sum"]) / n if n else None
            elif m.function == "stddev":
                n = row[f"{m.name}__n"]
                values[m.name] = math.sqrt(row[f"{m.name}__m2"] / (n - 1)) if n > 1 else None
            else:
                values[m.name] = row[m.name]
        out[(*(row[b] for b in window.by), row["_cell"])] = {**values, "_rows": row["_rows"]}
    return out


def by_sql(
    table: pa.Table, window: WindowSpec, sql: dict[str, str] = SQL, time: str = "at"
) -> dict[Any, dict[str, Any]]:
    cell, offset = window.cell // timedelta(microseconds=1), window.offset // timedelta(microseconds=1)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("rows", table)
    start = f'make_timestamptz((floor((epoch_us("{time}"::TIMESTAMPTZ)::HUGEINT - {offset}) / {cell}::DECIMAL(38,0)) * {cell} + {offset})::BIGINT)'
    wanted = ", ".join(f"{text} AS {name}" for name, text in {**sql, "_rows": "count(*)"}.items())
    by = "".join(f"{b}, " for b in window.by)
    found = connection.sql(f"SELECT {by}{start} AS _cell, {wanted} FROM rows GROUP BY ALL").to_arrow_table()
    return {(*(r.pop(b) for b in window.by), r.pop("_cell")): r for r in found.to_pylist()}


def assert_same(found: dict[Any, dict[str, Any]], wanted: dict[Any, dict[str, Any]]) -> None:
    assert found.keys() == wanted.keys()
    for key, row in wanted.items():
        for name, value in row.items():
            seen = found[key][name]
            if isinstance(value, float) or isinstance(seen, float):
                assert seen is not None and value is not None, (key, name, seen, value)
                assert math.isclose(seen, float(value), rel_tol=1e-9, abs_tol=1e-7), (key, name)
            else:
                assert seen == value, (key, name)


EVERYTHING, EVERY = feed({"size": "1h", "every": "40m", "offset": "5m", "by": ["g"], "measures": MEASURES})


def test_every_measure_of_every_type_is_what_sql_says() -> None:
    table = random_rows(EVERYTHING, 2000)
    tiles = tile_rows(table, EVERYTHING, EVERY)
    assert tiles.schema == tile_schema(EVERYTHING, EVERY)
    wanted = by_sql(table, EVERY)
    assert any(k[0] is None for k in wanted) and any(k[0] == "empty" for k in wanted), "null groups and groups of nulls"
    assert_same(windowed(tiles, EVERY), wanted)


@pytest.mark.parametrize("pieces", [2, 7, 50])
def test_merged_tiles_are_the_tiles_of_all_rows(pieces: int) -> None:
    table = random_rows(EVERYTHING, 1500, seed=pieces)
    shuffled = table.take(random.Random(pieces).sample(range(1500), 1500))
    tiles = [tile_rows(shuffled.take(list(range(n, 1500, pieces))), EVERYTHING, EVERY) for n in range(pieces)]
    assert_same(windowed(merge_tiles(pa.concat_tables(tiles), EVERYTHING, EVERY), EVERY), by_sql(table, EVERY))


def test_merging_is_associative_and_commutative() -> None:
    table = random_rows(EVERYTHING, 600, seed=3)
    a, b, c = (tile_rows(table.take(list(range(n, 600, 3))), EVERYTHING, EVERY) for n in range(3))

    def merge(*parts: pa.Table) -> pa.Table:
        return merge_tiles(pa.concat_tables(parts), EVERYTHING, EVERY)

    wanted = by_sql(table, EVERY)
    for x, y, z in itertools.permutations((a, b, c)):
        assert_same(windowed(merge(merge(x, y), z), EVERY), wanted)
    assert_same(windowed(merge(a, merge(b, c)), EVERY), wanted)


def test_tiles_of_other_commits_stay_apart() -> None:
    table = random_rows(EVERYTHING, 50)
    second = table.set_column(table.column_names.index("_commit"), "_commit", pa.array([2] * 50, pa.int64()))
    tiles = merge_tiles(pa.concat_tables([tile_rows(t, EVERYTHING, EVERY) for t in (table, second)]), EVERYTHING, EVERY)
    assert sum(tiles["_rows"].to_pylist()) == 100 and set(tiles["_commit"].to_pylist()) == {1, 2}


@pytest.mark.parametrize("merged", [False, True])
def test_a_register_keeps_its_variance(merged: bool) -> None:
    """1e7 +- 0.01: the sum of squares is wrong by 650 x."""
    of, window = feed({"size": "1d", "measures": {"spread": "stddev(f)"}})
    rng = random.Random(7)
    values = [1e7 + rng.uniform(-0.01, 0.01) for _ in range(4000)]
    table = random_rows(of, 4000)
    table = table.set_column(table.column_names.index("f"), "f", pa.array(values))
    at = pa.array([datetime(2025, 6, 15, tzinfo=UTC)] * 4000, pa.timestamp("us", "UTC"))
    table = table.set_column(table.column_names.index("at"), "at", at)
    parts = [table.slice(n * 80, 80) for n in range(50)] if merged else [table]
    tiles = merge_tiles(pa.concat_tables([tile_rows(p, of, window) for p in parts]), of, window)
    mean = math.fsum(values) / 4000
    exact = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / 3999)
    (found,) = windowed(tiles, window).values()
    assert math.isclose(found["spread"], exact, rel_tol=1e-6)


def test_ties_of_first_and_last_go_by_the_key() -> None:
    of, window = feed({"size": "1h", "measures": {"opened": "first(s)", "closed": "last(s)"}})
    at = datetime(2025, 6, 15, tzinfo=UTC)
    made = [{"id": k, "at": at, "s": s} for k, s in (("b", "from b"), ("a", "from a"), ("c", "from c"), ("0", None))]
    for order in itertools.permutations(made):
        table = pa.Table.from_pylist(list(order), schema=of.schema).append_column("_commit", pa.array([1] * 4))
        parts = [tile_rows(table.slice(0, 2), of, window), tile_rows(table.slice(2), of, window)]
        for tiles in (tile_rows(table, of, window), merge_tiles(pa.concat_tables(parts), of, window)):
            assert (tiles["opened"].to_pylist(), tiles["closed"].to_pylist()) == (["from a"], ["from c"])


def test_last_of_a_group_without_values_gives_way_to_a_value() -> None:
    of, window = feed({"size": "1h", "measures": {"closed": "last(s)"}})
    at = datetime(2025, 6, 15, tzinfo=UTC)
    tables = [
        pa.Table.from_pylist([{"id": "a", "at": at + timedelta(minutes=m), "s": s, "_commit": 1}], schema=of.schema.append(pa.field("_commit", pa.int64())))
        for m, s in ((1, "value"), (2, None))
    ]  # fmt: skip
    for order in (tables, tables[::-1]):
        tiles = merge_tiles(pa.concat_tables([tile_rows(t, of, window) for t in order]), of, window)
        assert tiles["closed"].to_pylist() == ["value"]


@pytest.mark.parametrize("window", [{"size": "7m"}, {"size": "1h", "offset": "13m"}, {"size": "1d", "every": "5h"}, {"size": "15m", "offset": "2h"}])  # fmt: skip
@pytest.mark.parametrize("year", [1, 1850, 1969, 1970, 2025, 9998])
def test_cells_lie_on_the_epoch_plus_offset_in_any_year(window: dict[str, str], year: int) -> None:
    of, spec = feed({**window, "measures": {"n": "count()"}})
    table = random_rows(of, 60, around=datetime(year, 12, 31, 23, 55, tzinfo=UTC))
    if year == 1:
        assert min(table["at"].to_pylist()).year == 1
    assert_same(windowed(tile_rows(table, of, spec), spec), by_sql(table, spec, {"n": "count(*)"}))


def test_a_date_as_event_time_stands_for_its_midnight_utc() -> None:
    of, window = feed({"size": "1d", "measures": {"n": "count()", "closed": "last(x)"}}, {"id": "string", "day": "date", "x": "int64"}, "day", ("id", "day"))  # fmt: skip
    days = [date(1969, 12, 31), date(1970, 1, 1), date(2025, 6, 15), date(2025, 6, 15)]
    table = pa.table({"id": ["a", "b", "c", "d"], "day": days, "x": [1, 2, 3, 4], "_commit": [1] * 4})
    found = windowed(tile_rows(table, of, window), window)
    assert {k[0].date(): (v["n"], v["closed"]) for k, v in found.items()} == {
        days[0]: (1, 1), days[1]: (1, 2), days[2]: (2, 4)
    }  # fmt: skip


def test_names_that_sql_would_misread() -> None:
    fields = {
        "id": "string",
        "at": "timestamp",
        "group": "string",
        "select": "float64",
        "a.b": "float64",
        "Größe": "int64",
    }
    of, window = feed(
        {"size": "1h", "by": ["group"], "measures": {"select": "sum(select)", "at": "max(a.b)", "order": "last(Größe)", "n": "count()", "id": "first(id)"}},
        fields,
    )  # fmt: skip
    at = datetime(2025, 6, 15, 1, 30, tzinfo=UTC)
    table = pa.table({"id": ["a", "b"], "at": pa.array([at, at], pa.timestamp("us", "UTC")), "group": ["g", "g"], "select": [1.0, 2.0], "a.b": [5.0, 6.0], "Größe": [7, 8], "_commit": [1, 1]})  # fmt: skip
    (row,) = merge_tiles(pa.concat_tables([tile_rows(table.slice(n, 1), of, window) for n in (0, 1)]), of, window).to_pylist()  # fmt: skip
    assert (row["select"], row["at"], row["order"], row["n"], row["id"]) == (3.0, 6.0, 8, 2, "a")
    assert row["_cell"] == at.replace(minute=0)


def test_sums_of_whole_numbers_and_decimals_are_exact() -> None:
    of, window = feed({"size": "1d", "measures": {"i": "sum(i)", "d": "sum(d)"}})
    at = datetime(2025, 6, 15, tzinfo=UTC)
    made = [{"id": str(n), "at": at, "i": 2**63 - 1, "d": Decimal("999999999.999")} for n in range(1000)]
    table = pa.Table.from_pylist(made, schema=of.schema).append_column("_commit", pa.array([1] * 1000))
    parts = [tile_rows(table.slice(n, 100), of, window) for n in range(0, 1000, 100)]
    (row,) = merge_tiles(pa.concat_tables(parts), of, window).to_pylist()
    assert row["i"] == (2**63 - 1) * 1000 and row["d"] == Decimal("999999999.999") * 1000


def test_hostile_numbers_do_not_stop_a_slice() -> None:
    of, window = feed({"size": "1d", "measures": {"s": "sum(f)", "m": "avg(f)", "v": "stddev(f)"}})
    at = datetime(2025, 6, 15, tzinfo=UTC)
    made = [{"id": str(n), "at": at, "f": v} for n, v in enumerate([1.7e308, 1.7e308, -1.7e308, 1e200, -1e200])]
    table = pa.Table.from_pylist(made, schema=of.schema).append_column("_commit", pa.array([1] * 5))
    parts = [tile_rows(table.slice(n, 1), of, window) for n in range(5)]
    assert merge_tiles(pa.concat_tables(parts), of, window).num_rows == 1
    assert tile_rows(table, of, window).num_rows == 1


def test_no_rows_no_tiles() -> None:
    empty = random_rows(EVERYTHING, 1).slice(0, 0)
    tiles = tile_rows(empty, EVERYTHING, EVERY)
    assert tiles.num_rows == 0 and tiles.schema == tile_schema(EVERYTHING, EVERY)
    assert merge_tiles(tiles, EVERYTHING, EVERY).num_rows == 0
    assert list(split_by_cell(tiles)) == []


def test_a_window_over_everything_has_no_groups() -> None:
    of, window = feed({"size": "1d", "measures": {"n": "count()"}})
    table = random_rows(of, 100)
    assert_same(windowed(tile_rows(table, of, window), window), by_sql(table, window, {"n": "count(*)"}))


def test_split_by_cell_gives_each_cell_once_and_every_tile() -> None:
    tiles = tile_rows(random_rows(EVERYTHING, 500), EVERYTHING, EVERY)
    parts = list(split_by_cell(tiles))
    assert len({cell for cell, _ in parts}) == len(parts)
    assert sum(part.num_rows for _, part in parts) == tiles.num_rows
    for cell, part in parts:
        assert set(part["_cell"].cast(pa.int64()).to_pylist()) == {cell}
