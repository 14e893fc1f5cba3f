"""Quantiles and distinct counts of windows: exact of few values, within the stated bounds of many, however merged."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from data_sources.contract import ContractError
from tests.transforms.test_tiles import FIELDS, feed
from transforms import sketches
from transforms.measures import aggregates
from transforms.tiles import merge_tiles, tile_rows, tile_schema
from transforms.windows_stream import window_rows

DAY = datetime(2025, 6, 15, tzinfo=UTC)
START = int(DAY.timestamp()) * 1_000_000
RANKS = (0, 0.05, 0.5, 0.95, 1)
MEASURES = {
    **{f"q{n}": f"quantile(f, {rank})" for n, rank in enumerate(RANKS)},
    "q_i": "quantile(i, 0.5)",
    "q_d": "quantile(d, 0.9)",
    **{f"n_{x}": f"distinct({x})" for x in ("f", "i", "d", "b", "day", "s", "t")},
}
WINDOW = {"size": "1d", "by": ["g"], "measures": MEASURES}


def rows(count: int, spread: int, groups: str = "a", seed: int = 1) -> pa.Table:
    """Rows of one day; `spread` is about how many values each field has."""
    of, _ = feed(WINDOW)
    rng = random.Random(seed)

    def value(n: int) -> dict[str, Any]:
        v = rng.randrange(spread)
        return {
            "id": str(n), "at": DAY + timedelta(seconds=n % 86_400), "f": v / 7 - 5, "i": v - spread // 2, "d": Decimal(v) / 8,
            "b": v % 2 == 0, "day": date(2000, 1, 1) + timedelta(v % 9000), "s": f"m-{v}", "t": DAY + timedelta(seconds=v),
            "g": rng.choice(groups),
        }  # fmt: skip

    made = pa.Table.from_pylist([value(n) for n in range(count)], pa.schema([(f.name, f.arrow) for f in of.fields]))  # fmt: skip
    return made.append_column("_commit", pa.array(np.arange(count) % 3 + 1, pa.int64()))


def values_of(tiles: pa.Table) -> dict[str, dict[str, Any]]:
    of, window = feed(WINDOW)
    batch = tiles.combine_chunks().to_batches()[0]
    found = window_rows({START: batch}, of, window)[START].to_pylist()
    return {row["g"]: row for row in found}


def merged(table: pa.Table, order: random.Random) -> pa.Table:
    """Tiles of the rows in pieces, merged in an order and grouping that chance chooses."""
    of, window = feed(WINDOW)
    cuts = sorted(order.sample(range(1, table.num_rows), 5))
    pieces = [tile_rows(table.slice(a, b - a), of, window) for a, b in zip([0, *cuts], [*cuts, table.num_rows], strict=True)]  # fmt: skip
    order.shuffle(pieces)
    while len(pieces) > 1:
        pieces = [merge_tiles(pa.concat_tables(pieces[n : n + 2]), of, window) for n in range(0, len(pieces), 2)]
    return pieces[0]


def exact(table: pa.Table) -> dict[str, dict[str, Any]]:
    wanted = [f"quantile_disc(f, {rank}) AS q{n}" for n, rank in enumerate(RANKS)]
    wanted += ["CAST(quantile_disc(i, 0.5) AS DOUBLE) AS q_i", "CAST(quantile_disc(d, 0.9) AS DOUBLE) AS q_d"]
    wanted += [f"count(DISTINCT {x}) AS n_{x}" for x in ("f", "i", "d", "b", "day", "s", "t")]
    engine = duckdb.connect()
    engine.register("t", table)
    found = engine.sql(f"SELECT g, {', '.join(wanted)} FROM t GROUP BY g").to_arrow_table().to_pylist()
    return {row.pop("g"): row for row in found}


def test_of_few_values_they_are_exact() -> None:
    table = rows(600, 40, groups="abcd")
    found = values_of(merged(table, random.Random(2)))
    assert {g: {name: row[name] for name in MEASURES} for g, row in found.items()} == exact(table)


@pytest.mark.parametrize("seed", [1, 2])
def test_of_many_values_they_stay_within_the_bounds_in_any_order_of_merging(seed: int) -> None:
    table = rows(30_000, 20_000, seed=seed)
    found, truth = values_of(merged(table, random.Random(seed)))["a"], exact(table)["a"]
    for name in MEASURES:
        if name.startswith("n_"):
            assert found[name] == pytest.approx(truth[name], rel=sketches.HLL_ERROR), name
    ordered = np.sort(table["f"].to_numpy())
    for n, rank in enumerate(RANKS):
        low = np.searchsorted(ordered, found[f"q{n}"], side="left") / len(ordered)
        high = np.searchsorted(ordered, found[f"q{n}"], side="right") / len(ordered)
        assert low - 2 * sketches.KLL_RANK_ERROR <= rank <= high + 2 * sketches.KLL_RANK_ERROR  # of 99 %, so twice
    assert found["n_f"] != truth["n_f"] or found["q2"] != truth["q2"]  # sketches, not the values themselves


def test_no_values_are_null_and_none_and_odd_ones_count_as_in_sql() -> None:
    of, window = feed(WINDOW)
    at = {"at": DAY, "g": "a", "_commit": 1}
    made = [
        {**at, "id": "1"},
        {**at, "id": "2", "g": "b", "s": "", "f": 0.0},
        {**at, "id": "3", "g": "b", "s": "x", "f": -0.0},
        {**at, "id": "4", "g": "c", "f": float("nan")},
    ]
    table = pa.Table.from_pylist(made, pa.schema([*((f.name, f.arrow) for f in of.fields), ("_commit", pa.int64())]))
    found = values_of(tile_rows(table, of, window))
    assert {found["a"][name] for name in MEASURES} == {None, 0}
    assert (found["b"]["n_s"], found["b"]["n_f"], found["b"]["n_i"]) == (2, 1, 0)
    assert found["c"]["q1"] is None


def test_tiles_of_sketches_are_small() -> None:
    of, window = feed({"size": "1d", "measures": {"q": "quantile(f, 0.9)", "n": "distinct(s)"}})
    tiles = tile_rows(rows(60_000, 50_000).set_column(11, "_commit", pa.array([1] * 60_000)), of, window)
    assert tiles.schema == tile_schema(of, window)
    assert len(tiles["q"][0].as_py()) < 8_000 and len(tiles["n"][0].as_py()) < 5_000


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        ("quantile(f)", "as in quantile(kwh, 0.95)"),
        ("quantile(f, 1.5)", "a rank from 0 to 1"),
        ("quantile(f, 95)", "a rank from 0 to 1"),
        ("quantile(s, 0.5)", "quantile needs a number, 's' is a string"),
        ("quantile(nope, 0.5)", "no field 'nope'"),
        ("distinct()", "distinct() needs a field"),
        ("distinct(nope)", "no field 'nope'"),
    ],
)
def test_what_cannot_be_measured_is_refused(measure: str, said: str) -> None:
    with pytest.raises(ContractError) as caught:
        feed({"size": "1d", "measures": {"m": measure}})
    assert said in str(caught.value)


def test_no_condition_of_a_contract_calls_a_sketch() -> None:
    tile_rows(rows(3, 3), *feed(WINDOW))
    with pytest.raises(ContractError, match="not allowed"):
        feed({"size": "1d", "measures": {"m": "count_if(hll_count(CAST(s AS BLOB)) > 0)"}}, FIELDS)


@pytest.mark.spark
def test_spark_reads_these_bytes_and_writes_such() -> None:
    from runners.delta import session

    of, window = feed({"size": "1d", "measures": {"q": "quantile(f, 0.95)", "n": "distinct(s)", "w": "distinct(i)"}})
    table = rows(20_000, 8_000)
    pieces = [tile_rows(table.slice(at, 5_000), of, window) for at in range(0, 20_000, 5_000)]
    tiles = pa.concat_tables(pieces).select(["q", "n", "w"])
    spark = session(brief=True)
    spark.createDataFrame([tuple(map(bytearray, r.values())) for r in tiles.to_pylist()], "q binary, n binary, w binary").createOrReplaceTempView("tiles")  # fmt: skip
    sql = ", ".join(f"{a.spark} AS {a.measure.name}" for a in aggregates(of, window))
    found = spark.sql(f"SELECT {sql} FROM tiles").collect()[0]
    ordered, distinct = np.sort(table["f"].to_numpy()), len(table["s"].unique())
    assert np.searchsorted(ordered, found.q) / 20_000 == pytest.approx(0.95, abs=2 * sketches.KLL_RANK_ERROR)
    assert found.n == pytest.approx(distinct, rel=sketches.HLL_ERROR)
    assert found.w == pytest.approx(distinct, rel=sketches.HLL_ERROR)
    theirs = spark.sql(
        "SELECT kll_sketch_agg_double(CAST(id AS DOUBLE)) AS q, hll_sketch_agg(concat('m-', id)) AS n, hll_sketch_agg(id) AS w FROM range(300)"
    ).collect()[0]
    ours = pa.table({"f": [float(n) for n in range(300)], "s": [f"m-{n}" for n in range(300)], "i": list(range(300))})
    with duckdb.connect() as engine:
        sketches.prepare(engine)
        engine.register("ours", ours)
        engine.execute(
            "CREATE TABLE theirs AS SELECT ?::BLOB AS q, ?::BLOB AS n, ?::BLOB AS w", [bytes(x) for x in theirs]
        )
        ranks, texts, whole = engine.execute(
            "SELECT kll_quantile(t.q, 0.5::DOUBLE), hll_count(hll_merged([t.n, o.n])), hll_count(hll_merged([t.w, o.w])) FROM theirs t, "
            "(SELECT hll_of_text(list(s)) AS n, hll_of_whole(list(i)) AS w FROM ours) o"
        ).fetchall()[0]
    assert ranks == pytest.approx(150, abs=9) and (texts, whole) == (300, 300)  # equal values hash alike
