"""Files chosen by their bounds: whatever is asked, the answer is that over all files.

One table of odd files, written by hand: nulls, no statistics, text that is cut, instants as Spark cuts them, a column that
a file lacks or has in another type, rows that a vector takes out. The oracle is DuckDB over all rows.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_grid.lakehouse import delta_log, scan, vectors
from beam_grid.lakehouse import live as live_module
from beam_grid.lakehouse.statistics import statistics
from beam_grid.lakehouse.table_set import PublishedTable, View
from beam_grid.lakehouse.versions import Content, publish
from beam_grid.landing import Lake
from beam_grid.server.answers import table_of
from beam_grid.server.engine import Limits
from beam_grid.server.guard import Guard
from beam_grid.server.jobs import Job
from beam_grid.server.scanned import Layouts, Scanned
from beam_grid.server.worker import Answering

AT = datetime(2026, 3, 1, tzinfo=UTC)
LONG = "m" * 32
NAMES = ["n", "meter", "read_at", "day", "kwh", "Zone"]
SCHEMA = pa.schema(
    [("n", pa.int64()), ("meter", pa.string()), ("read_at", pa.timestamp("us", "UTC")), ("day", pa.date32()),
     ("kwh", pa.float64()), ("Zone", pa.string())]
)  # fmt: skip


def rows(first: int, meters: list[str | None], hour: int, micros: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "n": first + i,
            "meter": meter,
            "read_at": AT + timedelta(hours=hour, minutes=7 * i, microseconds=micros),
            "day": date(2026, 3, 1) + timedelta(days=hour // 24 + i),
            "kwh": first / 10 + i,
            "Zone": "AB"[i % 2],
        }
        for i, meter in enumerate(meters)
    ]


FILES: dict[str, list[dict[str, Any]]] = {
    "first": rows(0, ["m1", "m2", "m3"], 0),
    "cut": rows(10, [LONG + "a", LONG + "é", LONG + "\U0001f600z"], 5),
    "null": [row | {"n": None, "read_at": None, "day": None} for row in rows(20, [None, None], 0)],
    "some": [*rows(30, ["m1", None, "m9"], 30), {"n": 33}],
    "uncounted": rows(40, ["m5", "z"], 60),
    "half": rows(50, ["m6", "m7"], 61),
    "spark": rows(60, ["m8", "é", "\uffff"], 70, micros=999_999),
    "narrow": [{"n": 70, "read_at": AT}, {"n": 71, "read_at": AT + timedelta(days=9)}],
    "small": [{**row, "n": row["n"]} for row in rows(80, ["m1", "m2"], 100)],
    "vector": rows(90, ["m4", "gone", "m4"], 110),
    "late": rows(2**40, ["", "\x00", "%"], 500),
}  # fmt: skip


def stats_of(name: str, path: Path) -> str | None:
    """The log's statistics of a file: as we write them, or as somebody else would."""
    if name == "uncounted":
        return None
    stats = json.loads(statistics(path, NAMES, unbounded=["kwh"]))
    if name == "half":
        del stats["minValues"]["meter"], stats["maxValues"]["read_at"], stats["nullCount"]
    if name == "spark":  # the millisecond in which the greatest lies
        greatest = datetime.fromisoformat(stats["maxValues"]["read_at"]) - timedelta(milliseconds=1)
        stats["maxValues"]["read_at"] = greatest.isoformat(timespec="milliseconds")
    return json.dumps(stats)


def make(path: Path) -> str:
    delta_log.create(path, SCHEMA, name="m", cluster_by=[])
    actions = []
    for name, listed in FILES.items():
        schema = SCHEMA
        if name == "narrow":
            schema = pa.schema([SCHEMA.field("n"), SCHEMA.field("read_at")])
        if name == "small":
            schema = pa.schema([("day", pa.date32()), ("meter", pa.string()), ("n", pa.int32()), *list(SCHEMA)[2:3]])
        file = f"{name}.parquet"
        table = pa.Table.from_pylist([{key: row.get(key) for key in schema.names} for row in listed], schema=schema)
        pq.write_table(table, path / file)
        action = delta_log.added(file, (path / file).stat().st_size, statistics(path / file, NAMES))
        action["add"]["stats"] = stats_of(name, path / file)
        actions.append(action)
    at = delta_log.read(path)
    assert at is not None
    delta_log.put(path, at, actions, "WRITE")
    at = delta_log.read(path)
    assert at is not None
    (last,) = (file for file in at.files if file.path == "vector.parquet")
    delta_log.put(path, at, delta_log.revectored(last, vectors.write(path, np.array([1], np.uint64))), "DELETE")
    return at.id


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table in a lake, published, with a view of it."""
    lake = Lake.open(tmp_path_factory.mktemp("odd") / "lake")
    path = lake.path / "tables" / "silver" / "m"
    path.mkdir(parents=True)
    published = PublishedTable(path="tables/silver/m", version=2, id=make(path))
    view = View(sql="SELECT * FROM silver.m WHERE n < 50", reads=("silver.m",), description="")
    publish(lake, Content(tables={"silver.m": published}, views={"gold.low": view}))
    return path


@pytest.fixture(scope="module")
def oracle(table: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'; CREATE SCHEMA silver; CREATE SCHEMA gold; CREATE TABLE silver.m AS SELECT * FROM " + scan.relation(engine, table))  # fmt: skip
        engine.execute("CREATE VIEW gold.low AS SELECT * FROM silver.m WHERE n < 50")
        yield engine


@pytest.fixture(scope="module")
def worker(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Answering:
    lake = Lake.open(table.parents[2], create=False)
    return Answering(lake, tmp_path_factory.mktemp("spill"), Limits(memory_mib=256))


def text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


INTEGERS = st.sampled_from([None, -1, 0, 2, 10, 12, 33, 50, 61, 80, 92, 2**31, 2**40 + 1, 10**20])
METERS = st.sampled_from(
    [None, "", "\x01", "%", "A", "m", "m1", "m2", "m4", "m9", LONG, LONG + "a", LONG + "é", LONG + "z", LONG + "\U0001f600z",
     "z", "é", "\uffff", "\U0001f600", "gone"]
)  # fmt: skip
MOMENTS = st.sampled_from(
    ["2026-03-01", "2026-03-01T00:07:00Z", "2026-03-01 02:14+02:00", "2026-03-01 05:00:00", "2026-03-03T22:00:00.999999Z",
     "2026-03-03T22:14:00.999999+00:00", "2026-03-03 22:14:01", "2026-03-10", "2026-03-21T20:14:00Z", "9999-12-31", "0001-01-01"]
)  # fmt: skip
OPERATORS = st.sampled_from(["=", "<", "<=", ">", ">=", "<>"])
COLUMNS = {
    "n": INTEGERS.map(str),
    "meter": METERS.map(lambda value: "NULL" if value is None else text(value)),
    "read_at": st.one_of(
        MOMENTS.map(text),
        MOMENTS.map(lambda said: f"TIMESTAMPTZ {text(said)}"),
        MOMENTS.map(lambda said: f"TIMESTAMP {text(said)}"),
        MOMENTS.map(lambda said: f"CAST({text(said)} AS DATE)"),
    ),
    "day": st.one_of(MOMENTS.map(text), MOMENTS.map(lambda said: f"DATE {text(said[:10])}")),
    "kwh": st.sampled_from(["0", "1.5", "5.0", "'NaN'", "1e3"]),
    "Zone": st.sampled_from(["'A'", "'B'", "'b'"]),
}
COLUMNS["n"] = COLUMNS["n"].map(lambda said: "NULL" if said == "None" else said)


@st.composite
def plain(draw: st.DrawFn) -> str:
    """A comparison of a column with what its type is compared with."""
    column = draw(st.sampled_from(list(COLUMNS)))
    value = COLUMNS[column]
    spelt = draw(st.sampled_from([column, column.upper(), f"m.{column}"]))
    form = draw(st.integers(0, 3))
    if form == 0:
        return f"{spelt} BETWEEN {draw(value)} AND {draw(value)}"
    if form == 1:
        return f"{spelt} IN ({', '.join(draw(st.lists(value, min_size=1, max_size=3)))})"
    sides = [spelt, draw(value)] if form == 2 else [draw(value), spelt]
    return f" {draw(OPERATORS)} ".join(sides)


ODD = st.sampled_from(
    ["n = '12'", "n < 12.5", "CAST(n AS VARCHAR) < '3'", "CAST(read_at AS DATE) = '2026-03-01'", "CAST(n AS TINYINT) = 0", "n + 0 = 12",
     "lower(meter) = 'm1'", "meter COLLATE NOCASE = 'M1'", "meter LIKE 'm%'", "NOT n < 50", "n IS NULL", "meter IS NOT DISTINCT FROM NULL",
     "(n < 3 OR meter = 'm9')", "n IN (SELECT n FROM silver.m WHERE n > 60)", "read_at::TIMESTAMP > '2026-03-01 05:00:00+05:00'",
     "TRY_CAST(meter AS INT) IS NULL", "read_at > TIMESTAMP '2026-03-03 22:00:00+05:00'", "n = 1_0", "n IN (10, 70.0)", "n NOT BETWEEN 5 AND 80",
     "EXISTS (SELECT 1 FROM silver.m o WHERE o.n = m.n AND o.n > 30)"]
)  # fmt: skip
WHERE = st.lists(st.one_of(plain(), plain(), ODD), min_size=1, max_size=3).map(" AND ".join)
SHAPES = st.sampled_from(
    ["SELECT * FROM silver.m WHERE {0}",
     "SELECT count(*) AS c, sum(n) AS s, max(meter) AS t FROM silver.m WHERE {0} GROUP BY Zone",
     "SELECT n % 3 AS n, 'x' AS meter, day AS read_at FROM silver.m WHERE {0}",
     "SELECT * FROM (SELECT * FROM silver.m AS m WHERE {0}) m WHERE {1}",
     "WITH a AS (SELECT * FROM silver.m WHERE {0}), b AS (SELECT * FROM silver.m WHERE {1}) SELECT * FROM a UNION ALL SELECT * FROM b",
     "SELECT m.*, o.n AS o FROM silver.m m LEFT JOIN (SELECT * FROM silver.m WHERE n < 20) o ON m.meter = o.meter WHERE {0}",
     "SELECT n, (SELECT count(*) FROM silver.m AS i WHERE i.n < m.n) AS c FROM silver.m WHERE {0}",
     "SELECT m.n, o.read_at AS o FROM silver.m m ASOF LEFT JOIN silver.m o ON m.read_at >= o.read_at WHERE {0}",
     "SELECT n, sum(n) OVER (ORDER BY n) AS s FROM silver.m WHERE {0} QUALIFY s > 5",
     "SELECT * FROM gold.low AS m WHERE {0}",
     "SELECT m.n, low.meter AS o FROM silver.m AS m, gold.low AS low WHERE m.n = low.n AND {0}",
     "SELECT meter FROM silver.m WHERE {0} EXCEPT SELECT meter FROM silver.m WHERE {1}"]
)  # fmt: skip


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(SHAPES, WHERE, WHERE)
def test_an_answer_is_that_over_all_files(
    worker: Answering, oracle: duckdb.DuckDBPyConnection, shape: str, one: str, other: str
) -> None:
    sql = shape.format(one, other)
    try:
        expected = oracle.sql(sql).to_arrow_table()
    except duckdb.Error:  # a value that is none of its type; fewer files may have none
        return
    told, body = worker.answer(Job(kind="sql", sql=sql))
    assert told.status == "ok", (sql, told.message)
    assert sorted(map(repr, table_of(body).to_pylist())) == sorted(map(repr, expected.to_pylist())), sql


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["n = $1", "n > $1", "meter <= $1", "read_at >= $1", "day = $1", "kwh > $1", "Zone = $1", "$1 > read_at", "n IN (10, $1)", "n BETWEEN 3 AND $1"]),
    st.one_of(INTEGERS.filter(lambda n: n is None or n < 2**63), METERS, MOMENTS, st.booleans(), st.floats(0, 99)),
)  # fmt: skip
def test_a_parameter_is_a_value_of_its_own_type(
    worker: Answering, oracle: duckdb.DuckDBPyConnection, where: str, value: int | str | float | bool | None
) -> None:
    sql = f"SELECT * FROM silver.m WHERE {where}"
    try:
        expected = oracle.sql(sql, params=[value]).to_arrow_table()
    except duckdb.Error:
        return
    told, body = worker.answer(Job(kind="sql", sql=sql, parameters=(value,)))
    assert told.status == "ok", (sql, value, told.message)
    assert sorted(map(repr, table_of(body).to_pylist())) == sorted(map(repr, expected.to_pylist())), (sql, value)


def test_a_table_by_the_page_is_that_over_all_files(worker: Answering, oracle: duckdb.DuckDBPyConnection) -> None:
    told, body = worker.answer(Job(kind="table", table="silver.m", where="n >= 30 AND meter < 'm9'", order=("n",), limit=9))  # fmt: skip
    assert told.status == "ok", told.message
    expected = oracle.sql("SELECT * FROM silver.m WHERE n >= 30 AND meter < 'm9' ORDER BY n LIMIT 9").to_arrow_table()
    assert repr(table_of(body).to_pylist()) == repr(expected.to_pylist())


ALWAYS = {"uncounted"}
"""Nobody counted it."""


@pytest.mark.parametrize(
    ("where", "files"),
    [
        ("n = 12", {"cut"}),
        ("12 = n", {"cut"}),
        ("m.n IN (1, 71)", {"first", "narrow"}),
        ("n < 12 AND meter = 'm2'", {"first"}),
        ("meter = 'gone'", {"half"}),  # its least is not known; of `vector` the rows that are left lie beside it
        ("read_at >= '2026-03-20'", {"late", "half"}),
        ("read_at BETWEEN '2026-03-03T22:14:00.999999Z' AND '2026-03-04T01:00:00Z'", {"spark", "half", "narrow"}),
        ("read_at < TIMESTAMPTZ '2026-03-01 02:00:00+02:00'", {"first", "narrow"}),
        ("day < DATE '2026-03-02'", {"first", "cut", "some"}),
        ("n > 5 OR meter = 'm1'", None),
        ("n <> 5", None),
        ("kwh < 0", None),
        ("n < 5.5", None),
        ("CAST(n AS INT) = 5", None),
        ("n = (SELECT max(n) FROM silver.m)", None),
    ],
)  # fmt: skip
def test_what_the_bounds_leave_out_is_not_read(table: Path, where: str, files: set[str] | None) -> None:
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'; CREATE SCHEMA silver")
        scanned = Scanned(engine, table, live_module.live(table), Layouts(engine), "files")
        scanned.show([], ())
        everything = {Path(name).stem for name in scanned.shown}
        assert everything == set(FILES)
        engine.execute(f"CREATE VIEW silver.m AS {scanned.sql}")
        reading = Guard(engine).reading(f"SELECT * FROM silver.m WHERE {where}")
        scanned.show([one.conditions for one in reading.references], ())
        shown = {Path(name).stem for name in scanned.shown}
        if files is None:
            assert shown == everything
        else:  # of each layout one is left
            assert shown >= files | ALWAYS and len(shown) <= len(files | ALWAYS) + 3, shown
            assert everything - shown
        scanned.show([], ())
        assert {Path(name).stem for name in scanned.shown} == everything


def test_a_table_that_cannot_be_read_leaves_nothing_in_the_engine(table: Path, tmp_path: Path) -> None:
    shutil.copytree(table, tmp_path / "m")
    (tmp_path / "m" / "vector.parquet").unlink()
    with duckdb.connect() as engine:
        with pytest.raises(duckdb.IOException):
            Scanned(engine, tmp_path / "m", live_module.live(tmp_path / "m", 2), Layouts(engine), "files")
        assert engine.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall() == []


def test_a_recursive_statement_over_a_small_table_ends(
    table: Path, oracle: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    text = "WITH RECURSIVE r AS (SELECT 12 AS n UNION ALL SELECT m.n FROM r, silver.m m WHERE m.n = r.n + 20) SELECT * FROM r ORDER BY n"
    for threads in (1, 2):
        answering = Answering(
            Lake.open(table.parents[2], create=False), tmp_path / str(threads), Limits(threads=threads)
        )
        told, rows = answering.answer(Job(kind="sql", sql=text))
        assert told.status == "ok" and table_of(rows)["n"].to_pylist() == [
            n for (n,) in oracle.execute(text).fetchall()
        ]


def test_an_alias_is_told_from_another_as_duckdb_does(
    table: Path, worker: Answering, oracle: duckdb.DuckDBPyConnection
) -> None:
    """The Kelvin sign is no k."""
    text = 'SELECT (SELECT count(*) FROM silver.m AS k WHERE "\u212a".n = 12) AS c FROM (SELECT 12 AS n) AS "\u212a"'
    told, rows = worker.answer(Job(kind="sql", sql=text))
    assert told.status == "ok" and table_of(rows)["c"].to_pylist() == [n for (n,) in oracle.execute(text).fetchall()]


def test_pages_fit_together_though_a_checkpoint_lists_files_in_another_order(tmp_path: Path) -> None:
    lake, schema = Lake.open(tmp_path / "lake"), pa.schema([("n", pa.int64())])
    path = lake.path / "tables" / "silver" / "p"
    path.mkdir(parents=True)
    delta_log.create(path, schema, name="p", cluster_by=[])
    for n, name in enumerate("dafceb"):
        pq.write_table(pa.table({"n": [10 * n, 10 * n + 1]}, schema=schema), path / f"{name}.parquet")
        at = delta_log.read(path)
        assert at is not None
        size = (path / f"{name}.parquet").stat().st_size
        delta_log.put(
            path, at, [delta_log.added(f"{name}.parquet", size, statistics(path / f"{name}.parquet", ["n"]))], "WRITE"
        )
    at = delta_log.read(path)
    assert at is not None
    publish(lake, Content(tables={"silver.p": PublishedTable(path="tables/silver/p", version=at.version, id=at.id)}))
    seen = []
    for offset in (0, 4, 8):
        answering = Answering(lake, tmp_path / f"spill-{offset}", Limits(memory_mib=256))
        told, rows = answering.answer(Job(kind="table", table="silver.p", limit=4, offset=offset, set_number=1))
        assert told.status == "ok"
        seen += table_of(rows)["n"].to_pylist()
        DeltaTable(str(path)).create_checkpoint()
        live_module._KNOWN.clear()  # another process
    assert sorted(seen) == [10 * n + k for n in range(6) for k in (0, 1)]
