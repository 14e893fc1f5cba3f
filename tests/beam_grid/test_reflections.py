"""Reflections: whatever lands, goes or is asked, an answer with them is the answer without them.

Lakes are made by hand (`Landing`), refined as users do, and asked through `query`; the server's engine, DuckDB, is asked the
plan's SQL beside it. The oracle is the same SELECT over the table itself.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beam_grid.cli import cli
from beam_grid.errors import GridError
from beam_grid.lakehouse import delta_log, maintain, query_log, scan
from beam_grid.lakehouse.live import LiveFile, live
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.tables import Table
from beam_grid.lakehouse.versions import content_of, newest
from beam_grid.landing import Lake
from beam_grid.refine import Refinement, contracts_of, refine
from beam_grid.reflections import keep, plan, runs
from beam_grid.reflections.asked import Dialect, Unanswered, asked
from beam_grid.reflections.check import check, differs
from beam_grid.reflections.command import listed
from beam_grid.reflections.declared import declared, parsed
from beam_grid.reflections.keep import is_due
from beam_grid.reflections.plan import AnswerPlan, answer_plan
from beam_grid.reflections.suggest import needs, suggested
from beam_grid.server.answers import table_of
from beam_grid.server.engine import Limits
from beam_grid.server.jobs import Job
from beam_grid.server.worker import Answering
from data_sources.contract import parse_contract
from tests.beam_grid.test_refine import CONTRACT, START, Landing, readings, superseding
from tests.beam_grid.three_kinds import DROPS, land_drop
from transforms import sketches

DECLARED = """
[[reflections]]
name = "by_zone"
table = "silver.meters"
dimensions = ["zone", "hour(at)"]
measures = ["count()", "count(kwh)", "sum(kwh)", "avg(register)", "min(price)", "max(price)", "sum(price)", "sum(order)",
            "quantile(kwh, 0.9)", "distinct(meter)"]

[[reflections]]
name = "all_of_it"
table = "silver.meters"
measures = ["sum(order)"]

[[reflections]]
name = "newest"
table = "silver.meters"
raw = { days = 1, time = "at", sort = ["meter", "at"] }
"""
PLAIN = {**CONTRACT, "windows": []}


def made(home: Path, text: str = DECLARED, **contract: Any) -> Landing:
    landing = Landing(Lake.open(home / "lake"), parse_contract({**PLAIN, **contract}, "test"))
    (home / "lake" / "reflections.toml").write_text(text)
    return landing


def plan_of(lake: Lake, sql: str) -> AnswerPlan:
    """How it is answered, after both answers were found to be the same, on both engines."""
    plan = answer_plan(lake, sql)
    assert differs(query(lake, sql), query(lake, sql, with_reflections=False)) == "", plan
    assert differs(*in_duckdb(lake, sql)) == ""
    return plan


def in_duckdb(lake: Lake, sql: str, bound: tuple[Any, ...] = ()) -> tuple[Any, Any]:
    """The answers of the server's engine, with and without reflections."""
    found = newest(lake)
    assert found is not None
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        sketches.prepare(engine)
        for schema in ("silver", "gold", "reflection"):
            engine.execute(f"CREATE SCHEMA {schema}")
        for name, table in found.tables.items():
            if not name.startswith("bronze."):
                where = scan.relation(engine, lake.path.resolve() / table.path, table.version)
                engine.execute(f"CREATE VIEW {name} AS SELECT * FROM {where}")
        plan = answer_plan(lake, sql, "duckdb", parameters=bound)
        return tuple(engine.sql(text, params=bound or None).to_arrow_table() for text in (plan.sql, sql))


ANSWERED = {
    "SELECT zone, sum(kwh), count(*), count(kwh) FROM silver.meters GROUP BY zone": "by_zone",
    "SELECT m.zone AS z, round(sum(m.kwh), 1) AS s FROM silver.meters AS m GROUP BY m.zone HAVING sum(m.kwh) > 1 ORDER BY s DESC LIMIT 2": "by_zone",
    "SELECT date_trunc('day', \"at\") AS d, avg(register) AS register FROM silver.meters GROUP BY 1 ORDER BY d": "by_zone",
    "SELECT date_trunc('hour', \"at\") AS h, min(price) AS low FROM silver.meters WHERE \"at\" >= '2026-03-01T01:00:00Z' AND zone IN ('A', 'B') GROUP BY h": "by_zone",
    "SELECT sum(price) AS p, max(price) AS q FROM silver.meters WHERE \"at\" < '2026-03-01 02:00:00' AND (zone = 'A' OR zone IS NULL)": "by_zone",
    "SELECT CASE WHEN zone = 'A' THEN 1 ELSE 2 END AS c, 2 * sum(\"order\") AS o FROM silver.meters GROUP BY 1": "by_zone",
    "SELECT sum(\"order\") AS o, count(*) AS n FROM silver.meters": "all_of_it",
    "SELECT avg(register) AS register FROM silver.meters WHERE zone = 'nowhere'": "by_zone",
    "SELECT zone, sum(\"order\"), avg(register), max(meters.price) FROM silver.meters GROUP BY zone": "by_zone",
    "SELECT zone, round(avg(register), 1) AS a, round(-avg(register) / count(*), 12) AS b, round(1.25, 1) AS c FROM silver.meters GROUP BY zone": "by_zone",
    "SELECT zone, round(CAST(sum(kwh) AS DOUBLE), 12) AS a, round(CASE WHEN count(*) > 1 THEN avg(register) END, 2) AS b FROM silver.meters GROUP BY zone": "by_zone",
    "SELECT zone, coalesce(sum(price), 0) AS p, round(sum(price), 1) AS q FROM silver.meters GROUP BY zone": "by_zone",
}  # fmt: skip

NOT_ANSWERED = {
    "SELECT meter, sum(kwh) AS s FROM silver.meters GROUP BY meter": "meter is none of its dimensions",
    "SELECT zone, stddev(kwh) AS s FROM silver.meters GROUP BY zone": "not looked into",
    "SELECT zone, count(DISTINCT meter) AS s FROM silver.meters GROUP BY zone": "count(DISTINCT x) is exact",
    "SELECT zone, sum(kwh) FILTER (WHERE kwh > 1) AS s FROM silver.meters GROUP BY zone": "not looked into",
    "SELECT zone, sum(kwh) AS s FROM silver.meters WHERE \"at\" >= '2026-03-01T01:30:00Z' GROUP BY zone": "at is none of its dimensions",
    "SELECT zone, sum(kwh) AS s FROM silver.meters WHERE \"at\" <= '2026-03-01T01:00:00Z' GROUP BY zone": "at is none of its dimensions",
    "SELECT zone, sum(kwh + 1) AS s FROM silver.meters GROUP BY zone": "more than a column",
    "SELECT zone, kwh FROM silver.meters": "holds groups",
    "SELECT zone, avg(price) AS p FROM silver.meters GROUP BY zone": "decimals",
    "SELECT zone, min(kwh) AS p FROM silver.meters GROUP BY zone": "has no min(kwh)",
    "SELECT zone || 'x' AS z, sum(kwh) AS p FROM silver.meters GROUP BY 1": "not looked into",
    "SELECT date_trunc('minute', \"at\") AS m, sum(kwh) AS p FROM silver.meters GROUP BY 1": "by minute is not told",
    "SELECT avg(register) AS zone, zone AS z FROM silver.meters GROUP BY zone": "an alias",
    "SELECT zone, max(price) AS p, min(price) AS p FROM silver.meters GROUP BY zone HAVING p > 3": "two columns are called p",
    "SELECT zone, max(price, 2) AS p FROM silver.meters GROUP BY zone": "not looked into",
    "SELECT CAST(sum(kwh) AS FLOAT) AS s FROM silver.meters": "not looked into",
    "SELECT CAST(count(*) AS TINYINT) AS s FROM silver.meters WHERE zone = 'A'": "not looked into",
    "SELECT TRY_CAST(zone AS INT) AS z, sum(kwh) AS s FROM silver.meters GROUP BY 1": "not looked into",
    "SELECT sum(kwh) AS s FROM silver.meters WHERE \"at\" >= TIMESTAMP '2026-03-01T01:30:00+00:30'": "at is none of its dimensions",
    "SELECT sum(kwh) AS s FROM silver.meters WHERE \"at\" >= '2026-03-01 01:00:00.0000009'": "at is none of its dimensions",
}  # fmt: skip

DOUBTFUL = [
    ("datafusion", "SELECT zone, ifnull(sum(price), 0) AS v FROM silver.meters GROUP BY zone"),
    ("datafusion", "SELECT zone, nvl(sum(price), 0) AS v FROM silver.meters GROUP BY zone"),
    ("datafusion", "SELECT if(zone = 'A', 1, 2) AS v, count(*) AS n FROM silver.meters GROUP BY 1"),
    ("datafusion", "SELECT ZONE, count(*) AS n FROM silver.meters GROUP BY ZONE"),
    ("datafusion", "SELECT count(*) AS n FROM SILVER.METERS"),
    ("datafusion", "SELECT zone AS z, count(*) AS n FROM silver.meters WHERE z = 'A' GROUP BY zone"),
    ("duckdb", "SELECT zone, nvl(sum(price), 0) AS v FROM silver.meters GROUP BY zone"),
    ("duckdb", 'SELECT date_trunc(zone, "at") AS d, count(*) AS n FROM silver.meters GROUP BY 1'),
    *(
        (dialect, sql)
        for dialect in ("datafusion", "duckdb")
        for sql in (
            'SELECT date_trunc(hour, "at") AS d, count(*) AS n FROM silver.meters GROUP BY 1',
            'SELECT date_trunc("day", "at") AS d, count(*) AS n FROM silver.meters GROUP BY 1',
            "SELECT date_trunc(replace('day', 'day', 'minute'), \"at\") AS d, count(*) AS n FROM silver.meters GROUP BY 1",
            "SELECT date_trunc('da' || 'y', \"at\") AS d, count(*) AS n FROM silver.meters GROUP BY 1",
            'SELECT timestamp_trunc("at", hour) AS d, count(*) AS n FROM silver.meters GROUP BY 1',
            "SELECT iif(zone = 'A', 1, 2) AS v, count(*) AS n FROM silver.meters GROUP BY 1",
            "SELECT +sum(kwh) FROM silver.meters",
            "SELECT zone, 1 + +sum(kwh) AS s FROM silver.meters GROUP BY zone",
            "SELECT zone, (+count(*)) AS n FROM silver.meters GROUP BY zone",
            'SELECT "sum"(kwh) AS s FROM silver.meters',
            "SELECT count(* EXCLUDE (zone)) AS n FROM silver.meters",
            "SELECT 2 AS k, zone, count(*) AS n FROM silver.meters GROUP BY 1",
            "SELECT 2 AS k, count(*) AS n FROM silver.meters GROUP BY k",
        )
    ),
]

NOT_CONSIDERED = {
    "SELECT zone, sum(kwh) AS s FROM silver.meters GROUP BY zone LIMIT 1": "LIMIT without ORDER BY",
    "SELECT s.zone, count(*) AS n FROM silver.meters s JOIN silver.meters t ON s.id = t.id GROUP BY s.zone": "more than",
    "SELECT zone, sum(kwh) AS s FROM silver.meters GROUP BY zone OFFSET 1": "LIMIT without ORDER BY",
    "WITH x AS (SELECT 1 AS a) SELECT count(*) AS n FROM x": "more than",
    "SELECT count(*) AS n FROM (SELECT zone FROM silver.meters) AS t": "more than one table",
    "SELECT DISTINCT zone FROM silver.meters": "distinct",
    "SELECT zone, count(*) AS n, row_number() OVER (ORDER BY zone) AS r FROM silver.meters GROUP BY zone": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """After rows that came, came late, and were superseded."""
    landing = made(tmp_path_factory.mktemp("reflections"))
    landing.land(readings(120, 1))
    refine(landing.lake)
    landing.land([{**row, "at": row["at"] - timedelta(days=3)} for row in readings(30, 2)])
    refine(landing.lake)
    landing.land([*superseding(landing, 14, zone="Z"), *readings(40, 3)])
    refine(landing.lake)
    return landing


@pytest.mark.parametrize("sql", ANSWERED)
def test_what_a_reflection_answers(landing: Landing, sql: str) -> None:
    assert plan_of(landing.lake, sql).answered_by == f"reflection.{ANSWERED[sql]}"
    assert answer_plan(landing.lake, sql, "duckdb").answered_by == f"reflection.{ANSWERED[sql]}"


@pytest.mark.parametrize("sql", NOT_ANSWERED)
def test_what_none_can_answer_and_why(landing: Landing, sql: str) -> None:
    plan = answer_plan(landing.lake, sql)
    why = next(one.why for one in plan.considered if one.name == "reflection.by_zone")
    assert plan.answered_by != "reflection.by_zone"
    assert NOT_ANSWERED[sql] in why


@pytest.mark.parametrize(("dialect", "sql"), DOUBTFUL)
def test_what_the_tree_does_not_tell_is_not_answered(landing: Landing, dialect: Dialect, sql: str) -> None:
    """Some the table answers otherwise, some it refuses."""
    assert answer_plan(landing.lake, sql, dialect).answered_by is None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT zone, ifnull(sum(price), 0) AS v FROM silver.meters GROUP BY zone",
        "SELECT IF (zone = 'A', 1, 2) AS v, count (*) AS n FROM silver.meters GROUP BY 1",
        "SELECT try_cast(zone AS INT) AS v, CAST(sum(price) AS DOUBLE) AS n FROM silver.meters GROUP BY 1",
        "SELECT ZONE, sum(Kwh) + 1 AS s, CASE WHEN count(*) > 1 THEN 1 END + 2 AS t FROM Silver.METERS GROUP BY zone",
        "SELECT zone, datetrunc('day', \"at\") AS d, 'x' AS label, count(*) AS n FROM silver.meters GROUP BY 1, 2, 3",
        "SELECT zone AS z, $1::INT + 1 AS t, count(*) AS n FROM silver.meters WHERE z NOT IN ('A') AND (zone LIKE ('%')) GROUP BY zone",
    ],
)  # fmt: skip
def test_what_the_servers_engine_is_answered_too(landing: Landing, sql: str) -> None:
    bound = (7,) if "$1" in sql else ()
    plan = answer_plan(landing.lake, sql, "duckdb", parameters=bound)
    assert plan.answered_by == "reflection.by_zone", plan
    assert differs(*in_duckdb(landing.lake, sql, bound)) == ""


@pytest.mark.parametrize("sql", NOT_CONSIDERED)
def test_what_is_left_as_it_is(landing: Landing, sql: str) -> None:
    plan = answer_plan(landing.lake, sql)
    assert plan.answered_by is None and plan.sql == sql and NOT_CONSIDERED[sql] in plan.why


@pytest.mark.parametrize("sql", ["SELECT (((", "SELECT " + "(" * 9000 + "1" + ")" * 9000, "", "SHOW TABLES", "SELECT 1; SELECT 2", "EXPLAIN SELECT count(*) FROM silver.meters", "SELECT \x00"])  # fmt: skip
def test_nothing_is_raised_for_what_is_no_query(landing: Landing, sql: str) -> None:
    assert answer_plan(landing.lake, sql).answered_by is None
    assert answer_plan(landing.lake, sql, "duckdb").answered_by is None


@pytest.mark.parametrize(
    ("named", "by"),
    [
        ("meter = 'm1'", "reflection.newest"),
        ("meters.meter IN ('m1', 'm2')", "reflection.newest"),
        ("zone = 'A'", None),
        ("meter <> 'm1'", None),
        ("(meter = 'm1' OR zone = 'A')", None),
        ("meter IN (zone)", None),
    ],
)
def test_what_is_sorted_by_it_answers_for_one_meter(tmp_path: Path, named: str, by: str | None) -> None:
    landing = made(tmp_path)
    landing.land(readings(60, 1))
    refine(landing.lake)
    said = plan_of(landing.lake, f'SELECT "at", kwh FROM silver.meters WHERE {named} AND "at" >= \'2026-03-01\'')
    assert said.answered_by == by, said


def test_the_newest_rows_are_read_where_the_statement_asks_for_no_others(landing: Landing) -> None:
    said = plan_of(
        landing.lake, "SELECT meter, kwh FROM silver.meters WHERE \"at\" >= '2026-03-01T02:00:00Z' ORDER BY kwh, meter"
    )
    assert said.answered_by == "reflection.newest" and said.saved is not None and said.saved[0] > 0
    said = plan_of(
        landing.lake,
        "SELECT count(*) AS n FROM silver.meters AS s WHERE s.\"at\" BETWEEN '2026-03-01' AND '2026-03-02' AND s.kwh > 3",
    )
    assert said.answered_by == "reflection.newest"
    cut = ("\"at\" >= CAST('2026-02-28 23:00:00' AS DATE)", "\"at\" > TIMESTAMP '2026-02-28T01:00:00-12:00'")
    for where in (
        *cut,
        "\"at\" >= '2026-02-01'",
        "\"at\" < '2026-03-01'",
        "\"at\" >= '2026-03-01' OR zone = 'A'",
        "kwh > 3",
    ):
        assert (
            plan_of(landing.lake, f"SELECT count(*) AS n FROM silver.meters WHERE kwh > 1 AND ({where})").answered_by
            is None
        )


def test_a_statement_asked_again_is_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at the same set nor at a new one, and its answer is that of the new one."""
    landing = made(tmp_path)
    worker = Answering(landing.lake, tmp_path / "spill", Limits(memory_mib=256))
    job = Job(kind="sql", sql="SELECT zone, count(*) AS n FROM silver.meters GROUP BY zone ORDER BY zone")

    def asked() -> list[dict[str, Any]]:
        told, rows = worker.answer(job)
        assert told.answered_by == "reflection.by_zone", told
        return table_of(rows).to_pylist()

    landing.land(readings(60, 1))
    refine(landing.lake)
    before = asked()
    landing.land(readings(90, 2))
    refine(landing.lake)
    monkeypatch.setattr("sqlglot.parse", None)
    monkeypatch.setattr("sqlglot.parse_one", None)
    again = asked()
    assert again == query(landing.lake, job.sql, with_reflections=False).to_pylist() and again != before
    assert "TypeError" in worker.answer(Job(kind="sql", sql=f"{job.sql} LIMIT 9"))[0].message  # it would have shown


def test_sketches_are_merged_in_the_servers_engine(landing: Landing) -> None:
    sql = "SELECT zone, approx_quantile(kwh, 0.9) AS q, approx_quantile(kwh, 0.5) AS m, approx_count_distinct(meter) AS n FROM silver.meters GROUP BY zone"
    assert answer_plan(landing.lake, sql, "duckdb").answered_by == "reflection.by_zone"
    ours, _ = in_duckdb(landing.lake, sql)
    exact = "SELECT zone, quantile_disc(kwh, 0.9) AS q, quantile_disc(kwh, 0.5) AS m, count(DISTINCT meter) AS n FROM silver.meters GROUP BY zone"
    _, theirs = in_duckdb(landing.lake, exact)
    assert differs(ours, theirs) == ""
    said = answer_plan(landing.lake, "SELECT zone, approx_distinct(meter) AS n FROM silver.meters GROUP BY zone")
    assert said.answered_by is None and any("beam-grid serve" in one.why for one in said.considered)


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 25).map(lambda n: f"r{n}"),
            "at": st.integers(0, 40).map(lambda n: START + timedelta(minutes=17 * n)),
            "meter": st.sampled_from([None, "m1", "m2"]),
            "zone": st.sampled_from([None, "A", "B"]),
            "kwh": st.sampled_from([None, 0.0, 1.25, 7.5, -3.0]),
            "order": st.integers(1, 9),
        }
    ),
    min_size=1,
    max_size=25,
)
TERMS = {"zone": "zone", "date_trunc('hour', \"at\")": "h", "date_trunc('day', \"at\")": "d", "meter": "meter"}
VALUES = ["count(*)", "count(kwh)", "sum(kwh)", "min(kwh)", "max(kwh)", "avg(kwh)", 'sum("order")', "min(zone)"]
WHERES = ["zone = 'A'", "zone IS NULL", "\"at\" >= '2026-03-01T03:00:00Z'", "\"at\" < '2026-03-01T06:00:00+01:00'", "meter IN ('m1', 'm2')", "NOT (zone = 'B')", "kwh > 1", "\"at\" >= '2026-03-01T03:17:00Z'"]  # fmt: skip
RANDOM = """
[[reflections]]
name = "fine"
table = "silver.meters"
dimensions = ["zone", "meter", "hour(at)"]
measures = ["count(kwh)", "sum(kwh)", "min(kwh)", "max(kwh)", "avg(kwh)", "sum(order)"]

[[reflections]]
name = "coarse"
table = "silver.meters"
dimensions = ["day(at)", "zone"]
measures = ["avg(kwh)", "min(kwh)"]

[[reflections]]
name = "rows"
table = "silver.meters"
raw = { days = 1, time = "at" }
"""


@st.composite
def questions(draw: st.DrawFn) -> str:
    terms = draw(st.lists(st.sampled_from(sorted(TERMS)), max_size=2, unique=True))
    values = draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=3, unique=True))
    wheres = draw(st.lists(st.sampled_from(WHERES), max_size=2, unique=True))
    picked = [f"{term} AS {TERMS[term]}" for term in terms] + [f"{value} AS v{n}" for n, value in enumerate(values)]
    sql = f"SELECT {', '.join(picked)} FROM silver.meters"
    sql += f" WHERE {' AND '.join(wheres)}" if wheres else ""
    return sql + (f" GROUP BY {', '.join(terms)}" if terms else "")


COUNTS: Counter[str | None] = Counter()


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(drops=st.lists(ROWS, min_size=1, max_size=4), asked=st.lists(questions(), min_size=4, max_size=8, unique=True))
def test_random_questions_of_random_histories(
    tmp_path_factory: pytest.TempPathFactory, drops: list[list[dict[str, Any]]], asked: list[str]
) -> None:
    """Rows of one id and time supersede each other; each drop is a commit, and refined."""
    landing = made(tmp_path_factory.mktemp("random"), RANDOM)
    for drop in drops:
        landing.land(list({(row["id"], row["at"]): row for row in drop}.values()))
        refine(landing.lake)
    for sql in asked:
        plan = plan_of(landing.lake, sql)
        assert not any(one.outcome == "behind" for one in plan.considered)
        COUNTS[plan.answered_by] += 1


def test_and_reflections_answered_many_of_them() -> None:
    if not COUNTS:
        pytest.skip("asked alone")
    assert COUNTS["reflection.fine"] + COUNTS["reflection.coarse"] > COUNTS[None] / 10, COUNTS


def test_rows_that_come_are_added_and_rows_that_go_cost_their_groups(tmp_path: Path) -> None:
    landing = made(tmp_path)
    landing.land(readings(120, 1))
    refine(landing.lake)
    first = files(landing)
    landing.land([{**row, "at": row["at"] + timedelta(days=1)} for row in readings(30, 2)])
    refine(landing.lake)
    assert first < files(landing)  # one file more, none touched
    old = next(row for row in landing.current if row["at"] < START + timedelta(days=1) and row["kwh"] is not None)
    landing.land([{**{name: old[name] for name in landing.contract.schema.names}, "order": 99, "kwh": 0.5}])
    refine(landing.lake)
    third = files(landing)
    assert len(third) == len(first) + 1 and not first & third  # the file of that day was rewritten, the other stands
    for number in range(3, 14):
        landing.land(readings(4, number))
        refine(landing.lake)
    assert len(files(landing)) <= 9
    assert {one.outcome for one in check(landing.lake)} <= {"equal", "not answered"}


def test_rows_of_a_day_are_in_files_of_their_own_and_one_that_changes_costs_those_of_its_meter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "FILE_ROWS", 10)
    text = '[[reflections]]\nname = "rows"\ntable = "silver.meters"\nraw = { days = 9, time = "at", sort = ["meter", "at"] }\n'
    landing = made(tmp_path, text)
    table = landing.lake.path / "tables" / "reflection" / "rows"
    landing.land([{**row, "at": row["at"] + timedelta(days=number % 3)} for number, row in enumerate(readings(95, 1))])
    refine(landing.lake)
    before = live(table).files
    assert len(before) >= 9
    for file in before:
        assert file.least["at"][:10] == file.greatest["at"][:10], "a file of two days is read for both, whatever meter"

    def is_then(file: LiveFile, row: dict[str, Any]) -> bool:
        return bool(file.least["at"][:13] <= row["at"].isoformat()[:13] <= file.greatest["at"][:13])

    def is_of(file: LiveFile, meter: str) -> bool:
        return "meter" not in file.least or file.may_hold("meter", meter, meter)  # those of no meter have no bounds

    named = [row for row in landing.current if row["meter"] is not None]
    old = next(row for row in named if any(is_then(f, row) and not is_of(f, row["meter"]) for f in before))
    mine = old["meter"]
    changed = {**{name: old[name] for name in landing.contract.schema.names}, "order": 99, "kwh": 0.5}
    landing.land([changed])
    refine(landing.lake)
    now = {file.path for file in live(table).files}
    for file in before:
        assert (file.path in now) == (not (is_of(file, mine) and is_then(file, old))), file.least
    assert len(now & {file.path for file in before}) >= len(before) - 3
    assert {one.outcome for one in check(landing.lake)} <= {"equal", "not answered"}
    sql = f"SELECT * FROM silver.meters WHERE meter = '{mine}' AND \"at\" >= '2026-03-01T00:00:00Z' ORDER BY \"at\", id"
    assert plan_of(landing.lake, sql).answered_by == "reflection.rows"
    landing.land([{**changed, "order": 100, "meter": "m0"}])  # of another meter from now on
    refine(landing.lake)
    for meter in ("m0", mine):
        assert plan_of(landing.lake, sql.replace(mine, meter)).answered_by == "reflection.rows"


@pytest.mark.parametrize("sort", ['["at"]', '["order", "at"]', '["price", "meter"]', '["zone"]'])
def test_rows_in_any_order_are_kept_right(tmp_path: Path, sort: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an instant, whole numbers, decimals, and words that are missing in some rows."""
    monkeypatch.setattr(runs, "FILE_ROWS", 10)
    text = (
        f'[[reflections]]\nname = "rows"\ntable = "silver.meters"\nraw = {{ days = 9, time = "at", sort = {sort} }}\n'
    )
    landing = made(tmp_path, text)
    for number in range(4):
        landing.land(
            [*readings(40, number), *superseding(landing, 8, zone=None if number % 2 else "Z")]
            if number
            else readings(40, number)
        )
        refine(landing.lake)
        asked = 'SELECT * FROM silver.meters WHERE "at" >= \'2026-03-01T00:00:00Z\' ORDER BY id, "order"'
        reflected = query(landing.lake, asked.replace("silver.meters", "reflection.rows")).to_pylist()
        assert reflected == query(landing.lake, asked, with_reflections=False).to_pylist() and reflected


BOUND: dict[str, tuple[str, tuple[str | int | float | None, ...]]] = {
    "SELECT * FROM silver.meters WHERE meter = $1 AND \"at\" >= $2 ORDER BY id, \"order\"": ("newest", ("m1", "2026-03-01T00:00:00Z")),
    "SELECT id, kwh FROM silver.meters WHERE meter IN ($2, 'm2') AND \"at\" >= CAST($1 AS TIMESTAMPTZ) ORDER BY id, kwh": ("newest", ("2026-03-01", "m1")),
    "SELECT zone, sum(kwh) AS s FROM silver.meters WHERE zone = $1 AND \"at\" >= $2 GROUP BY zone ORDER BY zone": ("by_zone", ("A", "2026-03-01T01:00:00Z")),
    "SELECT zone, count(*) AS n, $1 AS word FROM silver.meters WHERE zone IN ($1, $2) GROUP BY zone ORDER BY zone LIMIT $3": ("by_zone", ("A", "B", 2)),
    "SELECT zone, max(price) AS p FROM silver.meters GROUP BY zone HAVING count(*) > $1 ORDER BY zone": ("by_zone", (3,)),
}  # fmt: skip


@pytest.mark.parametrize("sql", BOUND)
def test_values_that_are_bound_are_answered_for_too(landing: Landing, tmp_path: Path, sql: str) -> None:
    by, values = BOUND[sql]
    with_, without = (
        Answering(landing.lake, tmp_path / name, Limits(), rewriters)
        for name, rewriters in (("with", None), ("without", ()))
    )
    answers = [one.answer(Job(kind="sql", sql=sql, parameters=values)) for one in (with_, without)]
    assert [told.answered_by for told, _ in answers] == [f"reflection.{by}", None], answers[0][0]
    mine, other = (table_of(body) for _, body in answers)
    assert differs(mine, other) == "" and mine.num_rows > 0


@pytest.mark.parametrize("value", ["2020-01-01", "2026-03-01T00:30:00Z", "soon", 3, None, True])
def test_another_value_is_looked_at_anew(landing: Landing, value: str | int | None) -> None:
    """Before the reflection begins, within a bucket, no instant: a match of the same text with another value says nothing."""
    rows = 'SELECT * FROM silver.meters WHERE meter = $1 AND "at" >= $2'
    groups = 'SELECT zone, sum(kwh) AS s FROM silver.meters WHERE "at" >= $1 GROUP BY zone'

    def by(sql: str, *values: str | int | None) -> str | None:
        return answer_plan(landing.lake, sql, "duckdb", parameters=values).answered_by

    assert by(rows, "m1", "2026-03-01T00:00:00Z") == "reflection.newest"
    assert by(groups, "2026-03-01T00:00:00Z") == "reflection.by_zone"
    is_within = value == "2026-03-01T00:30:00Z"
    assert by(groups, value) == (
        {"2020-01-01": "reflection.by_zone"}.get(str(value), "reflection.newest" if is_within else None)
    )
    assert by(rows, "m1", value) == ("reflection.newest" if is_within else None)
    assert by(rows, "m1") is None and by(groups) is None, "no value at all"
    assert by(groups.replace("$1", "?"), "2026-03-01T00:00:00Z") is None, "one that is counted where it stands"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("SELECT zone, sum(kwh) AS s FROM silver.meters GROUP BY 1 ORDER BY 1 OFFSET ? LIMIT ?", (2, 1)),
        ("SELECT zone, sum(kwh) AS s FROM silver.meters GROUP BY 1 ORDER BY 1 LIMIT ? OFFSET ?", (2, 1)),
        ("SELECT zone, sum(kwh) AS s FROM silver.meters GROUP BY 1 ORDER BY 1 OFFSET $1 LIMIT $2", (2, 1)),
        ("SELECT zone, sum(kwh) AS s FROM silver.meters GROUP BY 1 ORDER BY 1 LIMIT $1 %", (50,)),
    ],
)
def test_where_values_are_bound_by_their_place_and_what_cannot_be_written(
    landing: Landing, tmp_path: Path, text: str, values: tuple[int, ...]
) -> None:
    with_, without = Answering(landing.lake, tmp_path, Limits()), Answering(landing.lake, tmp_path, Limits(), ())
    job = Job(kind="sql", sql=text, parameters=values)
    (told, mine), (_, other) = with_.answer(job), without.answer(job)
    assert told.status == "ok", told
    assert table_of(mine).equals(table_of(other)) and table_of(mine).num_rows


def test_a_match_is_remembered_whatever_else_is_bound(landing: Landing) -> None:
    text = 'SELECT id AS this_one FROM silver.meters WHERE meter = $1 AND "at" >= $2'
    before = plan._match.cache_info().misses
    for meter in range(20):
        found = answer_plan(landing.lake, text, "duckdb", parameters=(f"m{meter}" * 1000, "2026-03-01T00:00:00Z"))
        assert found.answered_by == "reflection.newest"
    assert plan._match.cache_info().misses - before <= 3


@pytest.mark.parametrize("name", ["first", "hour"])
def test_a_column_of_any_name_tells_the_time(tmp_path: Path, name: str) -> None:
    """Also one that is called as the groups are that are made anew."""
    text = f'[[reflections]]\nname = "rows"\ntable = "silver.meters"\nraw = {{ days = 9, time = "{name}", sort = ["meter"] }}\n'
    landing = made(tmp_path, text, fields=[*PLAIN["fields"], {"name": name, "type": "timestamp"}])
    landing.land([{**row, name: row["at"] + timedelta(hours=1)} for row in readings(60, 1)])
    refine(landing.lake)
    landing.land(superseding(landing, 9, zone="Z"))
    said: list[str] = []
    run = Refinement(landing.lake, contracts_of(landing.lake, landing.lake.feeds), say=said.append)
    run.publish(landing.lake.feeds)
    assert not [line for line in said if "left out" in line], said
    rows, same = (
        query(landing.lake, f'SELECT * FROM {table} ORDER BY id, "order"', with_reflections=False).to_pylist()
        for table in ("silver.meters", "reflection.rows")
    )
    assert rows == same and len(rows) >= 60


def test_many_commits_leave_few_files_to_read_for_one_meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty rows a commit, in files of ten, runs put together from thirty rows on: as millions are, with less work."""
    monkeypatch.setattr(runs, "FILE_ROWS", 10)
    monkeypatch.setattr(runs, "SIZES", (40, 300, 2_000))
    monkeypatch.setattr(runs, "MANY", 3)
    text = '[[reflections]]\nname = "rows"\ntable = "silver.meters"\nraw = { days = 7, time = "at", sort = ["meter", "at"] }\n'
    landing, written, most = made(tmp_path, text), 0, 0
    table = landing.lake.path / "tables" / "reflection" / "rows"
    before: set[str] = set()
    for number in range(40):
        landing.land(readings(30, number))
        refine(landing.lake)
        now = live(table).files
        written += sum(file.rows or 0 for file in now if file.path not in before)
        before = {file.path for file in now}
        most = max(most, len({file.tags["BEAM_GRID_RUN"] for file in now}))
    rows = query(landing.lake, "SELECT count(*) AS n FROM silver.meters").to_pylist()[0]["n"]
    assert sum(file.rows or 0 for file in now) == rows > 1_000
    assert most <= 8 and written <= 4 * rows
    sql = "SELECT * FROM silver.meters WHERE meter = 'm3' AND \"at\" >= '2026-03-01T00:00:00Z' ORDER BY \"at\", id"
    assert plan_of(landing.lake, sql).answered_by == "reflection.rows"
    assert {one.outcome for one in check(landing.lake)} <= {"equal", "not answered"}
    asked = [file for file in now if file.may_hold("meter", "m3", "m3")]
    assert len(asked) < len(now) / 2


def test_large_files_of_a_version_that_named_no_runs_are_left_alone() -> None:
    def file(rows: int, run: str | None = None) -> LiveFile:
        tags = {"tags": {"BEAM_GRID_RUN": run}} if run else {}
        return LiveFile(f"{run}-{rows}", rows, rows=rows, action=tags)

    old = [file(200_000 - n) for n in range(9)]
    assert runs.to_merge(old) == []
    small = [file(100 + n) for n in range(7)]
    assert runs.to_merge([*old, *small]) == [] and runs.to_merge([*old, *small, file(1, "a")]) == [file(1, "a"), *small]


def test_runs_that_waited_are_put_together_some_at_a_time() -> None:
    """Rows that went or changed write runs, and put none together."""
    kept = [LiveFile(str(n), 0, rows=1_000_000, action={"tags": {"BEAM_GRID_RUN": str(n)}}) for n in range(40)]
    assert len(runs.to_merge(kept)) == 4


@pytest.mark.parametrize("publish", [833, 38_000, 350_000, 3_000_000])
def test_no_publish_waits_for_more_than_some_million_rows(publish: int) -> None:
    """Files of one run each, as `keep` writes them; sixty million rows in all."""
    kept: list[LiveFile] = []
    most_read, runs_left, written = 0, 0, 0
    for number in range(60_000_000 // publish if publish > 1_000 else 5_000):
        merged = runs.to_merge(kept)
        rows = publish + sum(file.rows or 0 for file in merged)
        kept = [file for file in kept if file not in merged]
        kept.append(LiveFile(str(number), 0, rows=rows, action={"tags": {"BEAM_GRID_RUN": str(number)}}))
        most_read, runs_left, written = max(most_read, rows), max(runs_left, len(kept)), written + rows
    assert sum(file.rows or 0 for file in kept) == publish * (number + 1)
    assert most_read < 2 * runs.SIZES[-1] + publish and runs_left < 45
    assert written < 12 * publish * (number + 1)


def files(landing: Landing) -> set[str]:
    return {file.path for file in live(landing.lake.path / "tables" / "reflection" / "by_zone").files}


def test_a_table_made_anew_a_contract_that_grows_and_another_declaration(tmp_path: Path) -> None:
    landing = made(tmp_path)
    landing.land(readings(60, 1))
    refine(landing.lake)
    shutil.rmtree(landing.lake.path / "tables")
    refine(landing.lake)
    sql = next(iter(ANSWERED))
    assert plan_of(landing.lake, sql).answered_by == "reflection.by_zone"
    grown = {**PLAIN, "fields": [*PLAIN["fields"], {"name": "tariff", "type": "int64", "since": "2"}], "version": "2"}
    landing.contract = parse_contract(grown, "test")
    landing.land([{**row, "tariff": 3} for row in readings(40, 2)])
    refine(landing.lake)
    rows = "SELECT tariff, count(*) AS n FROM silver.meters WHERE \"at\" >= '2026-03-01' GROUP BY tariff"
    assert plan_of(landing.lake, sql).answered_by == "reflection.by_zone"
    plan_of(landing.lake, rows)
    (landing.lake.path / "reflections.toml").write_text(
        DECLARED.replace('"zone", "hour(at)"', '"tariff"').replace("by_zone", "by_tariff")
    )
    refine(landing.lake)  # nothing landed, and yet there is something to do
    assert (
        plan_of(landing.lake, rows.replace(" WHERE \"at\" >= '2026-03-01'", "")).answered_by == "reflection.by_tariff"
    )
    assert "reflection.by_zone" not in listed(landing.lake)["reflection"].to_pylist()


def test_one_that_does_not_fit_is_said_and_keeps_no_table_from_being_published(tmp_path: Path) -> None:
    text = DECLARED + '\n[[reflections]]\nname = "odd"\ntable = "silver.meters"\ndimensions = ["nope"]\n'
    landing = made(tmp_path, text)
    landing.land(readings(60, 1))
    said: list[str] = []
    refine(landing.lake, progress=said.append)
    assert any("reflection.odd: left out" in line and "no column 'nope'" in line for line in said)
    states = dict(zip(*(listed(landing.lake)[name].to_pylist() for name in ("reflection", "state")), strict=True))
    assert states["reflection.odd"] == "missing" and states["reflection.by_zone"] == "current"


def test_one_that_is_brought_up_seldom_is_not_read_meanwhile(tmp_path: Path) -> None:
    landing = made(tmp_path, DECLARED.replace('name = "by_zone"', 'name = "by_zone"\nrefresh = "1h"'))
    landing.land(readings(60, 1))
    refine(landing.lake)
    landing.land(readings(60, 2))
    refine(landing.lake)
    plan = plan_of(landing.lake, "SELECT zone, avg(register) AS r FROM silver.meters GROUP BY zone")
    assert plan.answered_by is None
    assert next(one.outcome for one in plan.considered if one.name == "reflection.by_zone") == "behind"
    (landing.lake.path / "reflections.toml").write_text(
        DECLARED.replace('name = "newest"', 'name = "newest"\nrefresh = "1h"')
    )
    again = refine(landing.lake).set
    assert plan_of(landing.lake, next(iter(ANSWERED))).answered_by == "reflection.by_zone"
    assert refine(landing.lake).set == again  # what was read is as good; the other pause is known, and nothing is due
    found = newest(landing.lake)
    assert found is not None and not is_due(landing.lake, content_of(found), declared(landing.lake))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[reflections]]\nname = 'x'", "missing required field `table`"),
        ("[[reflections]]\nname = 'x'\ntable = 'silver.m'\ncolumns = ['a']", "unknown field `columns`"),
        ("[[reflections]]\nname = 'X y'\ntable = 'silver.m'\ndimensions = ['a']", "cannot name a table"),
        ("[[reflections]]\nname = 'x'\ntable = 'm'\ndimensions = ['a']", "silver.FEED or gold.WINDOW"),
        ("[[reflections]]\nname = 'x'\ntable = 'silver.m'", "dimensions: are missing"),
        ("[[reflections]]\nname = 'x'\ntable = 'silver.m'\ndimensions = ['week(a)']", "is not a column, nor one of"),
        ("[[reflections]]\nname = 'x'\ntable = 'silver.m'\nmeasures = ['stddev(a)']", "'stddev(a)' is not one of"),
        ("[[reflections]]\nname = 'x'\ntable = 'silver.m'\nmeasures = ['quantile(a)']", "a rank from 0 to 1"),
        ("[[reflections]]\nname = 'x'\ntable = 'silver.m'\nmeasures = ['sum(a)', 'sum(a)']", "is there twice"),
        ("[[reflections]]\nname = 'x'\ntable = 'silver.m'\nmeasures = ['avg(a)', 'avg(a)']", "is there twice"),
        ("[[reflections]]\nname = 'x'\ntable = 'silver.m'\nmeasures = ['sum(a__n)', 'avg(a)']\ndimensions = ['avg__a__n']", "is there twice"),
        ("[[reflections]]\nname = 'x'\ntable = 'silver.m'\ndimensions = ['a']\nrefresh = 'often'", "refresh:"),
        ("[[reflections]]\nname = 'x'\ntable = 'silver.m'\nraw = { days = 0, time = 't' }", "raw.days: 0"),
        ("[[reflections]]\nname = 'x'\ntable = 'silver.m'\ndimensions = ['a']\nraw = { days = 1, time = 't' }", "leave dimensions"),
        ("[[reflections]\n", "write [[reflections]]"),
    ],
)  # fmt: skip
def test_a_declaration_that_cannot_be_used_is_refused(text: str, said: str) -> None:
    with pytest.raises(GridError) as caught:
        parsed(text, "reflections.toml")
    assert said in str(caught.value) and "reflections.toml" in str(caught.value)


@pytest.mark.parametrize(
    "measures", [["count(kwh)", "count()"], ["count()", "count(kwh)"], ["sum(a__n)", "sum(a)", "avg(a)"]]
)
def test_measures_are_declared_in_any_order(measures: list[str]) -> None:
    text = f"[[reflections]]\nname = 'x'\ntable = 'silver.m'\nmeasures = {measures}"
    assert parsed(text, "reflections.toml")["reflection.x"].measures == tuple(measures)


def test_one_of_a_table_without_rows_is_checked_and_explained(tmp_path: Path) -> None:
    raw = 'table = "bronze.rejected"\nraw = { days = 2, time = "_ingested_at" }'
    landing = made(tmp_path, f'[[reflections]]\nname = "x"\n{raw}\n')
    landing.land(readings(5, 1))
    refine(landing.lake)
    assert {one.outcome for one in check(landing.lake)} <= {"equal", "not answered"}
    (one,) = answer_plan(landing.lake, "SELECT raw FROM bronze.rejected WHERE cause = 'x'").considered
    assert "it holds rows from 0001-01-01" in one.why


def test_a_row_of_a_clock_that_is_far_ahead_leaves_the_newest_rows_where_they_are(tmp_path: Path) -> None:
    landing = made(tmp_path)
    landing.land([*readings(20, 1), {**readings(1, 2)[0], "at": datetime(2099, 1, 1, tzinfo=UTC)}])
    refine(landing.lake)
    found = newest(landing.lake)
    assert found is not None
    kept = found.tables["reflection.newest"].reflection
    assert kept is not None and kept.since is not None
    assert kept.since <= (time.time() + 86_400) * 1e6


def test_an_alias_that_it_is_ordered_by_is_no_dimension() -> None:
    sql = "SELECT zone, sum(kwh) AS kwh FROM silver.meters GROUP BY zone ORDER BY kwh DESC"
    assert needs(asked(sql, "duckdb"), {"zone": "string", "kwh": "double"}) == (("zone",), {"sum(kwh)"})


def test_one_that_an_older_version_left_far_ahead_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    landing, far = made(tmp_path), int(datetime(2099, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    landing.land([*readings(20, 1), {**readings(1, 2)[0], "at": datetime(2099, 1, 1, tzinfo=UTC)}])
    with monkeypatch.context() as patch:
        patch.setattr(keep, "_most", lambda: far)
        refine(landing.lake)
    landing.land(readings(5, 3))
    refine(landing.lake)
    found = newest(landing.lake)
    assert found is not None
    kept = found.tables["reflection.newest"].reflection
    assert kept is not None and kept.since is not None and kept.since < far - 30 * 86_400_000_000


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT kwh, count(*) AS n FROM silver.meters GROUP BY kwh",
        "SELECT zone, count(*) AS n FROM silver.meters WHERE kwh > 2 GROUP BY zone",
    ],
)
def test_what_refine_would_leave_out_is_not_suggested(sql: str) -> None:
    with pytest.raises(Unanswered, match="kwh is double, which tells no groups apart"):
        needs(asked(sql, "duckdb"), {"zone": "string", "kwh": "double"})


def test_a_broken_file_stops_a_refine_at_once(tmp_path: Path) -> None:
    landing = made(tmp_path, "[[reflections]]\nname = 1")
    landing.land(readings(3, 1))
    with pytest.raises(GridError, match=r"reflections\.toml"):
        refine(landing.lake)
    assert newest(landing.lake) is None


def test_a_refine_that_was_cut_off_before_the_set_is_made_good(tmp_path: Path) -> None:
    landing = made(tmp_path)
    landing.land(readings(60, 1))
    refine(landing.lake)
    landing.land([*superseding(landing, 9, zone="Z"), *readings(60, 2)])
    refine(landing.lake)
    for name in sorted((landing.lake.path / "versions").glob("*.json"))[1:]:
        name.unlink()  # tables and reflections are ahead of what readers are told
    refine(landing.lake)
    for sql in ANSWERED:
        assert plan_of(landing.lake, sql).answered_by is not None


@pytest.mark.parametrize("lost", ["", "*.parquet"])
def test_files_that_somebody_deleted_are_made_again_and_not_missed_meanwhile(tmp_path: Path, lost: str) -> None:
    landing = made(tmp_path)
    landing.land(readings(60, 1))
    refine(landing.lake)
    sql, folder = next(iter(ANSWERED)), landing.lake.path / "tables" / "reflection" / "by_zone"
    worker = Answering(landing.lake, tmp_path / "scratch", Limits())
    assert worker.answer(Job(kind="sql", sql=sql))[0].answered_by == "reflection.by_zone"
    for path in folder.rglob(lost) if lost else [folder]:
        path.unlink() if path.is_file() else shutil.rmtree(path)
    worker = Answering(landing.lake, tmp_path / "scratch", Limits())
    told, _ = worker.answer(Job(kind="sql", sql=sql))
    assert (told.status, told.answered_by) == ("ok", None)
    assert differs(query(landing.lake, sql), query(landing.lake, sql, with_reflections=False)) == ""
    if not lost:
        refine(landing.lake)
        assert plan_of(landing.lake, sql).answered_by == "reflection.by_zone"


def test_windows_have_reflections_too(tmp_path: Path) -> None:
    text = """[[reflections]]
        name = "days"
        table = "gold.fixed"
        dimensions = ["day(window_start)"]
        measures = ["sum(n)", "max(top)", "min(low)", "sum(cost)"]"""
    landing = Landing(Lake.open(tmp_path / "lake"), parse_contract(CONTRACT, "test"))
    (tmp_path / "lake" / "reflections.toml").write_text(text)
    for number in range(3):
        landing.land([*superseding(landing, 5 * number), *readings(60, number)])
        refine(landing.lake)
        for picked in ("sum(n) AS n, max(top) AS top, min(low) AS low", "sum(cost) AS cost"):
            sql = f"SELECT date_trunc('month', window_start) AS m, {picked} FROM gold.fixed GROUP BY 1"
            assert plan_of(landing.lake, sql).answered_by == "reflection.days"


def test_on_the_command_line(landing: Landing) -> None:
    where = ["--lake", str(landing.lake.path), "--format", "csv"]
    explained = CliRunner().invoke(cli, ["query", "--explain", next(iter(ANSWERED)), *where])
    assert (
        explained.exit_code == 0
        and "reflection.by_zone,chosen" in explained.output
        and "fewer to look at" in explained.output
    )
    checked = CliRunner().invoke(cli, ["reflections", "check", *where])
    assert checked.exit_code == 0 and "equal" in checked.output and "differs" not in checked.output
    shown = CliRunner().invoke(cli, ["reflections", "list", *where])
    assert shown.output.count("current") == 3
    status = CliRunner().invoke(cli, ["status", *where[:2]])
    assert "reflection.by_zone: current, brought up" in status.output
    plain = CliRunner().invoke(cli, ["query", "--no-reflections", "SELECT count(*) AS n FROM silver.meters", *where])
    assert plain.output.split() == ["n", str(len(landing.current))]


def test_the_server_answers_by_them_and_what_it_logs_suggests_others(landing: Landing, tmp_path: Path) -> None:
    worker = Answering(landing.lake, tmp_path, Limits())
    sql = "SELECT zone, approx_quantile(kwh, 0.9) AS q, sum(kwh) FROM silver.meters GROUP BY zone ORDER BY zone"
    told, body = worker.answer(Job(kind="sql", sql=sql, allowed=("silver.*",)))
    assert (told.answered_by, told.tables) == ("reflection.by_zone", ("silver.meters",)), told
    exact = sql.replace("approx_quantile", "quantile_disc")
    told, other = worker.answer(Job(kind="sql", sql=exact))
    assert told.answered_by is None
    assert differs(pa.ipc.open_stream(body).read_all(), pa.ipc.open_stream(other).read_all()) == ""
    assert (
        worker.answer(Job(kind="sql", sql="SELECT * FROM reflection.by_zone", allowed=("silver.*",)))[0].status
        == "forbidden"
    )
    for text in ("hll_count('x'::BLOB)", "kll_quantile('x'::BLOB, 0.5)"):
        assert worker.answer(Job(kind="sql", sql=f"SELECT {text}"))[0].status == "refused"
    with pytest.raises(GridError, match="no query was logged"):
        suggested(landing.lake)
    asked = "SELECT meter, date_trunc('hour', \"at\") AS h, sum(kwh) AS s FROM silver.meters WHERE \"at\" >= '2026-03-01' GROUP BY 1, 2"
    rows = [query_log.Asked(started_at=START, kind="sql", statement=text, execution_time_ms=ms) for text, ms in ((asked, 900.0), (asked, 700.0), ("SELECT 1", 5.0), ("SELECT * FROM silver.meters", 50.0), ("SELECT count(*) FROM gold.nothing", 1.0))]  # fmt: skip
    query_log.append(landing.lake, rows)
    (line,) = suggested(landing.lake).to_pylist()
    assert (line["table"], line["queries"], line["spent_ms"]) == ("silver.meters", 2, 1600.0)
    assert 0 < line["saved_ms"] < 1600 and line["ms_per_mib"] > 0
    landing.lake.path.joinpath("reflections.toml").write_text(DECLARED + line["toml"])
    refine(landing.lake)
    assert (
        plan_of(landing.lake, asked).answered_by == f"reflection.{next(iter(parsed(line['toml'], 'x').values())).name}"
    )


@pytest.mark.spark
@pytest.mark.parametrize("meanwhile", [(), (4, 5)])
@pytest.mark.parametrize("at_once", [(), (6,), (6, 7)])
def test_a_refine_beside_a_run_that_publishes_counts_nothing_twice(
    meanwhile: tuple[int, ...], at_once: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = made(tmp_path)
    landing.land(readings(60, 1))
    refine(landing.lake)
    feed = landing.contract.name
    beside, publishing = (Refinement(landing.lake, contracts_of(landing.lake, [feed])) for _ in range(2))
    silver = Table(landing.lake, f"silver.{feed}")

    def publish(seed: int) -> None:
        landing.land(readings(40, seed))
        publishing.publish([feed])

    def tidied(self: Refinement, feeds: Any, content: Any, *more: Any, **words: Any) -> list[Any]:
        delta_log.put(silver.path, live(silver.path), [], "OPTIMIZE")  # so that reflections have something to go on to
        self._go_on(content, silver.name)
        for seed in meanwhile:
            publish(seed)
        left.extend(at_once)
        return []

    def hooked(name: str) -> None:
        done = getattr(scan, name)

        def look(*asked: Any, **words: Any) -> Any:
            if left and not busy:  # the refine has looked at the reflection, and has not written to it yet
                busy.append(True)
                publish(left.pop(0))
                busy.clear()
            return done(*asked, **words)

        monkeypatch.setattr(scan, name, look)

    left: list[int] = []
    busy: list[bool] = []
    monkeypatch.setattr(Refinement, "_tidied", tidied)
    hooked("added")
    hooked("selected")
    beside.refine([feed])
    publish(8)
    assert not left
    for sql in ANSWERED:
        assert plan_of(landing.lake, sql).answered_by is not None
        assert differs(query(landing.lake, sql), query(landing.lake, sql, with_reflections=False)) == "", sql


def test_maintain_leaves_them_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    landing = made(tmp_path)
    for seed in range(4):
        landing.land(readings(20, seed))
        refine(landing.lake)
    monkeypatch.setattr(maintain, "MANY_SMALL", 2)
    monkeypatch.setattr(maintain, "_no_spark", lambda master: "there is none here")
    would = {entry.table for entry in maintain.maintain(landing.lake) if "OPTIMIZE would pay" in entry.reason}
    assert f"silver.{landing.contract.name}" in would
    assert not [name for name in would if name.startswith("reflection.")], (
        "Spark would put their files together unsorted"
    )


def test_of_changes_and_master_data_too(tmp_path: Path) -> None:
    """Spark merges these tables; what it changed is told by their change data and deletion vectors."""
    lake = Lake.open(tmp_path / "lake")
    found = {"bills_transactions": ("op", "amount"), "assets": ("status", "level")}
    (tmp_path / "lake" / "reflections.toml").write_text(
        "\n".join(
            f"[[reflections]]\nname = '{table}_by'\ntable = 'silver.{table}'\ndimensions = ['{by}']\nmeasures = ['sum({of})', 'max({of})']"
            for table, (by, of) in found.items()
        )
    )
    for drop in range(DROPS):
        land_drop(lake, tmp_path / "in", drop)
        refine(lake)
        told = check(lake)
        assert {one.outcome for one in told} == {"equal"}, told
        assert len({one.reflection for one in told}) == 2
