"""What the server answers, beside DuckDB over the CSV that was landed."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import duckdb
import httpx
import pyarrow as pa
import pytest

from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.ledger import ledger
from tests.beam_grid.server.serving import FORMULA, SCRIPT, sql

ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def raw(lake: Lake) -> duckdb.DuckDBPyConnection:
    """`readings`: the source's rows, each key once, those that a rule rejects left out."""
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    source = Path(lake.path).parent / "source" / "*.csv"
    engine.execute(
        f"CREATE TABLE readings AS SELECT DISTINCT ON (meter, read_at) meter, TRY_CAST(read_at AS TIMESTAMPTZ) AS read_at, kwh "
        f"FROM read_csv('{source}', types = {{'read_at': 'VARCHAR'}}) WHERE TRY_CAST(read_at AS TIMESTAMPTZ) IS NOT NULL AND kwh >= 0"
    )
    return engine


def test_sql_answers_as_the_source_does(client: httpx.Client, raw: duckdb.DuckDBPyConnection) -> None:
    ask = "SELECT meter, count(*) AS n, round(sum(kwh), 6) AS kwh FROM {} GROUP BY meter ORDER BY meter"
    answer = sql(client, ask.format("silver.readings"))
    assert answer.status_code == 200
    told = answer.json()
    assert [tuple(row.values()) for row in told["rows"]] == raw.execute(ask.format("readings")).fetchall()
    assert told["total"] == 20 and told["next"] is None and told["set"] == int(answer.headers["Beam-Grid-Set"])
    assert [column["name"] for column in told["columns"]] == ["meter", "n", "kwh"]


def test_windows_answer_as_the_source_does(client: httpx.Client, raw: duckdb.DuckDBPyConnection) -> None:
    told = sql(client, "SELECT window_start, meter, n, round(kwh, 6) AS kwh FROM gold.hourly ORDER BY ALL", ARROW)
    rows = [tuple(row.values()) for row in pa.ipc.open_stream(told.content).read_all().to_pylist()]
    wanted = "SELECT date_trunc('hour', read_at), meter, count(*), round(sum(kwh), 6) FROM readings GROUP BY ALL ORDER BY ALL"
    assert rows == raw.execute(wanted).fetchall()


@pytest.mark.parametrize(
    ("limit", "order"), [(97, ""), (960, ""), (100, "-kwh"), (300, "meter,-read_at"), (10_000, "-kwh")]
)
def test_pages_hold_each_row_once_and_in_order(client: httpx.Client, lake: Lake, limit: int, order: str) -> None:
    rows, cursor = [], ""
    while cursor is not None:
        page = client.get(
            "/api/v1/tables/silver.readings", params={"limit": limit, "order": order, "cursor": cursor}
        ).json()
        assert len(page["rows"]) <= limit
        rows += [(row["meter"], row["read_at"], row["kwh"]) for row in page["rows"]]
        cursor = page["next"]
    answer = query(lake, "SELECT meter, read_at, kwh FROM silver.readings")
    expected = sorted(zip(answer["meter"].to_pylist(), (t.isoformat().replace("+00:00", "Z") for t in answer["read_at"].to_pylist()), answer["kwh"].to_pylist(), strict=True))  # fmt: skip
    assert sorted(rows) == expected
    if order == "-kwh":
        assert [row[2] for row in rows] == sorted((row[2] for row in expected), reverse=True)


def test_a_condition_and_an_order_are_the_tables(client: httpx.Client) -> None:
    found = client.get(
        "/api/v1/tables/silver.readings",
        params={"where": "meter = 'M-002' AND kwh > 4", "order": "read_at", "limit": 3},
    )
    rows = found.json()["rows"]
    assert len(rows) == 3 and all(row["meter"] == "M-002" and row["kwh"] > 4 for row in rows)
    assert client.get("/api/v1/tables/SILVER.Readings?limit=1").status_code == 200
    assert "no column 'nope'" in client.get("/api/v1/tables/silver.readings?order=nope").json()["detail"]


def test_a_long_answer_is_computed_once_and_given_by_the_page(client: httpx.Client) -> None:
    first = sql(client, "SELECT random() AS r, * FROM silver.readings", limit=400).json()
    rows, cursor = first["rows"], first["next"]
    while cursor:
        page = client.post("/api/v1/sql", json={"cursor": cursor, "limit": 400}).json()
        assert page["set"] == first["set"]
        rows, cursor = rows + page["rows"], page["next"]
    assert len(rows) == first["total"] == 960
    assert len({(row["meter"], row["read_at"]) for row in rows}) == 960
    assert client.post("/api/v1/sql", json={"cursor": "never:0"}).status_code == 410


def test_script_in_a_meters_name_is_text_in_every_form(client: httpx.Client) -> None:
    answer = sql(client, "SELECT DISTINCT meter FROM silver.readings WHERE meter LIKE '<%'")
    assert answer.json()["rows"] == [{"meter": SCRIPT}]
    assert b"<" not in answer.content and answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/json"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    as_csv = sql(client, "SELECT DISTINCT meter, -1 AS less FROM silver.readings WHERE meter LIKE '=%'", "text/csv")
    assert list(csv.reader(io.StringIO(as_csv.text))) == [["meter", "less"], [f"'{FORMULA}", "-1"]]
    assert (
        as_csv.headers["content-type"].startswith("text/csv") and "attachment" in as_csv.headers["content-disposition"]
    )
    refused = sql(client, f'SELECT "{SCRIPT}" FROM silver.readings')
    assert refused.status_code == 400 and "<script>" not in refused.text.split("detail")[0]
    assert refused.headers["content-type"] == "application/problem+json"


def test_a_time_without_end_is_told_as_such(client: httpx.Client) -> None:
    text = "SELECT 'infinity'::TIMESTAMPTZ AS until, '-infinity'::DATE AS since"
    assert sql(client, text).json()["rows"] == [{"until": "infinity", "since": "-infinity"}]
    rows = list(csv.reader(io.StringIO(sql(client, text, "text/csv").text)))
    assert rows == [["until", "since"], ["infinity", "'-infinity"]]


def test_tables_are_those_of_the_set(client: httpx.Client) -> None:
    told = client.get("/api/v1/tables").json()
    by_name = {table["table"]: table for table in told["tables"]}
    assert by_name["silver.readings"]["rows"] == 960 and by_name["bronze.rejected"]["rows"] == 2
    assert {"gold.hourly", "gold.query_log", "gold.query_report"} <= by_name.keys()
    assert "did you mean silver.readings?" in client.get("/api/v1/tables/silver.reading").json()["detail"]


def test_ledger_lineage_and_status(client: httpx.Client, lake: Lake) -> None:
    told = client.get("/api/v1/ledger").json()
    assert told == {"feeds": ledger(lake).to_pylist(), "balanced": True}
    assert told["feeds"][0]["read"] == 963 and told["feeds"][0]["rejected"] == 2 and told["feeds"][0]["duplicates"] == 1
    traced = client.get("/api/v1/lineage", params={"table": "silver.readings", "where": "meter = 'M-002'"}).json()[
        "lineage"
    ]
    assert [(line["feed"], line["rows"]) for line in traced] == [("readings", 48)] and "day1.csv" in traced[0]["source"]
    assert client.get("/api/v1/lineage?feed=readings").json()["lineage"]
    status = client.get("/api/v1/status").json()
    assert status["feeds"][0]["feed"] == "readings" and status["set"] >= 1
    assert str(lake.path) not in client.get("/api/v1/status").text


def test_what_programs_and_people_find_first(client: httpx.Client) -> None:
    described = client.get("/api/v1/openapi.json").json()
    assert {"/api/v1/sql", "/api/v1/tables/{name}", "/api/v1/events", "/healthz"} <= described["paths"].keys()
    asked = described["paths"]["/api/v1/sql"]["post"]
    assert (
        asked["requestBody"]["content"]["application/json"]["examples"]
        and "text/csv" in asked["responses"]["200"]["content"]
    )
    dashboard = client.get("/")
    assert dashboard.status_code == 200 and "app.js" in dashboard.text and "http" not in dashboard.text
    page = client.get("/api/v1")
    assert (
        page.status_code == 200
        and "/api/v1/tables/{name}" in page.text
        and "http" not in page.text.replace("http://HOST", "")
    )
    assert client.get("/healthz").text == client.get("/readyz").text == "ok\n"
    client.post("/api/v1/sql", json={"sql": "SELECT 1"}).raise_for_status()
    assert 'beam_grid_server_queries_total{kind="sql",status="ok"}' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv;q=0.5, application/json;q=0.4", "text/csv; charset=utf-8"),
        (f"text/html, {ARROW}", ARROW),
    ],
)
def test_the_form_is_the_one_preferred(client: httpx.Client, accept: str, kind: str) -> None:
    assert sql(client, "SELECT 1 AS one", accept).headers["content-type"] == kind
    assert sql(client, "SELECT 1 AS one", "image/png").status_code == 406


def test_values_of_a_statement_are_bound_not_text(client: httpx.Client) -> None:
    hostile = [SCRIPT, FORMULA, "x' OR 'a' = 'a", 'M-002"; DROP TABLE silver.readings']
    ask = "SELECT DISTINCT meter FROM silver.readings WHERE meter = $1"
    for text in hostile:
        rows = sql(client, ask, parameters=[text]).json()["rows"]
        assert [row["meter"] for row in rows] == ([text] if text in (SCRIPT, FORMULA) else [])
    assert sql(client, ask).status_code == 400 and sql(client, ask, parameters=[{"a": 1}]).status_code == 422
    assert sql(client, "SELECT $2 - $1 AS d", parameters=[2, 44]).json()["rows"] == [{"d": 42}]


def test_a_value_that_is_no_number_of_json_is_refused_and_not_taken_for_null(client: httpx.Client) -> None:
    for number in ("1e999", "-1e999", "NaN", "Infinity"):
        body = f'{{"sql": "SELECT count(*) AS c FROM silver.readings WHERE kwh < $1", "parameters": [{number}]}}'
        told = client.post("/api/v1/sql", content=body, headers={"Content-Type": "application/json"})
        assert told.status_code in (400, 422), (number, told.text)


def test_a_statement_that_recurs_over_a_table_ends(client: httpx.Client) -> None:
    text = "WITH RECURSIVE r AS (SELECT 0 AS n UNION ALL SELECT r.n + 1 FROM r, (SELECT DISTINCT meter FROM silver.readings LIMIT 1) m WHERE r.n < 3) SELECT max(n) AS n FROM r"
    assert sql(client, text).json()["rows"] == [{"n": 3}]
