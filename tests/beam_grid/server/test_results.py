"""Answers that are kept while their set is the newest: what is answered from them, what never is, and for whom."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from beam_grid.landing import Lake
from beam_grid.server import logging_queries, results
from beam_grid.server import sql as of_sql
from beam_grid.server.jobs import Job, Told
from beam_grid.server.keys import Keys
from beam_grid.server.pool import Answer
from beam_grid.server.results import Results
from tests.beam_grid.server import serving
from tests.beam_grid.server.serving import lines, served, sql
from tests.beam_grid.server.test_hostile import comes, figure
from tests.waiting import PATIENCE_S

COUNT = "SELECT count(*) AS n FROM silver.readings"


def hits(client: httpx.Client) -> float:
    return figure(client, "kept_answers")


def test_the_same_question_is_computed_once_per_set(lake: Lake, tmp_path: Path) -> None:
    shutil.copytree(lake.path.parent, tmp_path, dirs_exist_ok=True)
    with served(Lake.open(tmp_path / "lake", create=False)) as client:
        first = sql(client, COUNT).json()
        assert comes(lambda: sql(client, COUNT).json()["rows"] == first["rows"] and hits(client) > 0)
        assert first["rows"] == [{"n": 960}]
        before = hits(client)
        assert sql(client, COUNT, "text/csv").text == "n\r\n960\r\n" and hits(client) == before + 1
        serving.write(tmp_path / "source", "day2.csv", lines(2))
        serving.run(tmp_path)
        assert comes(lambda: client.get("/api/v1/status").json()["set"] > first["set"])
        assert sql(client, COUNT).json()["rows"] == [{"n": 1920}]
        assert sql(client, COUNT, set=first["set"]).json()["rows"] == [{"n": 960}]
        assert sql(client, COUNT).json()["rows"] == [{"n": 1920}]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT random() AS r FROM silver.readings LIMIT 1",
        "SELECT * FROM silver.readings USING SAMPLE 5",
        "SELECT * FROM (SELECT * FROM silver.readings TABLESAMPLE 10%) LIMIT 1",
        "SELECT count(*) FROM silver.readings WHERE read_at < now()",
        "SELECT current_timestamp",
        "SELECT current_date",
        "SELECT localtimestamp",
        "SELECT current_localtime() AS t",
        "SELECT current_localtimestamp() AS t",
        "SELECT age(min(read_at)) FROM silver.readings",
        "SELECT count(*), random() FROM gold.query_log",
    ],
)
def test_what_may_change_is_asked_anew(client: httpx.Client, text: str) -> None:
    before = hits(client)
    for _ in range(3):
        assert sql(client, text).status_code == 200
    assert hits(client) == before


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*) AS n FROM gold.query_log",
        "SELECT count(*) AS n FROM gold.query_report",
        "SELECT 1 AS n WHERE 1 < (SELECT count(*) FROM gold.query_log)",
    ],
)
def test_what_reads_the_query_log_is_asked_anew_when_a_second_is_over(
    lake: Lake, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert results._OF_THE_LOG_S == 1.0
    monkeypatch.setattr(results, "_OF_THE_LOG_S", 60.0)  # however slow the machine is
    monkeypatch.setattr(logging_queries, "_EVERY_S", 600.0)
    with served(lake) as client:
        before = hits(client)
        for _ in range(3):
            assert sql(client, text).status_code == 200
        assert hits(client) == before + 2
        monkeypatch.setattr(results, "_OF_THE_LOG_S", 0.0)
        for _ in range(3):
            assert sql(client, f"{text} ").status_code == 200
        assert hits(client) == before + 2


def test_the_log_is_told_as_it_is_once_it_has_grown(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_OF_THE_LOG_S", 60.0)
    monkeypatch.setattr(logging_queries, "_EVERY_S", 0.3)
    text = "SELECT count(*) AS n FROM gold.query_log WHERE statement = 'SELECT 17 AS seventeen'"
    with served(lake) as client:
        assert sql(client, text).json()["rows"] == [{"n": 0}]
        assert sql(client, "SELECT 17 AS seventeen").status_code == 200
        until = time.monotonic() + PATIENCE_S
        while sql(client, text).json()["rows"] == [{"n": 0}]:
            assert time.monotonic() < until, "kept beyond the log's next batch"
            time.sleep(0.1)
        assert hits(client) > 0


def test_rows_with_a_condition_on_the_log_are_kept_as_long(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_OF_THE_LOG_S", 60.0)
    monkeypatch.setattr(logging_queries, "_EVERY_S", 600.0)
    where = "kwh >= 0 AND (SELECT count(*) FROM gold.query_log) >= 0"
    with served(lake) as client:
        before = hits(client)
        for _ in range(2):
            assert client.get("/api/v1/tables/silver.readings", params={"where": where}).status_code == 200
        assert hits(client) == before + 1
        monkeypatch.setattr(results, "_OF_THE_LOG_S", 0.0)
        for _ in range(2):
            assert client.get("/api/v1/tables/silver.readings", params={"where": f"{where} "}).status_code == 200
        assert hits(client) == before + 1


def test_a_page_is_made_once_and_of_as_many_rows_as_are_asked_for(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    made, text = list[int](), "SELECT * FROM silver.readings ORDER BY ALL LIMIT 30"
    records = of_sql.records

    def counted(table: pa.Table) -> list[dict[str, Any]]:
        made.append(table.num_rows)
        return records(table)

    monkeypatch.setattr(of_sql, "records", counted)
    with served(lake) as client:
        first, again = (sql(client, text).json() for _ in range(2))
        assert first.pop("took_ms") != again.pop("took_ms") and first == again
        assert made == [30]
        few = sql(client, text, limit=20).json()
        assert (len(few["rows"]), few["total"], few["rows"]) == (20, 30, first["rows"][:20])
        rest = client.post("/api/v1/sql", json={"cursor": few["next"]}).json()
        assert rest["rows"] == first["rows"][20:] and rest["next"] is None and rest["set"] == first["set"]
        assert made[:3] == [30, 20, 10]


def test_a_page_that_is_large_beside_its_rows_is_not_kept() -> None:
    one = Answer(Told(status="ok"), b"x" * 100)
    one.keep(10, b"y" * 301)
    assert one.pages == {}
    one.keep(10, b"y" * 300)
    one.keep(20, b"z")
    assert one.pages == {10: b"y" * 300}
    large = Answer(Told(status="ok"), b"x" * (2 << 20))
    large.keep(10, b"y")
    assert large.pages == {} and large.most_bytes == 2 << 20


def test_parameters_tell_questions_apart(client: httpx.Client) -> None:
    for value, kind in ((1, "BIGINT"), (1.0, "DOUBLE"), (True, "BOOLEAN"), ("1", "VARCHAR"), (1, "BIGINT")):
        answer = sql(client, "SELECT typeof($1) AS t", parameters=[value]).json()
        assert answer["rows"][0]["t"].replace("INTEGER", "BIGINT") == kind, (value, answer)


def test_a_key_gets_no_answer_of_another_with_more_reach(lake: Lake, tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    all_, gold = (
        keys.add(name, [lake], (tables,), "100/second") for name, tables in (("all", "*"), ("gold", "gold.*"))
    )
    with served(lake, keys_file=keys.path, require_keys=True) as client:
        for _ in range(3):
            headers = {"Authorization": f"Bearer {all_}"}
            assert client.post("/api/v1/sql", json={"sql": COUNT}, headers=headers).status_code == 200
        refused = client.post("/api/v1/sql", json={"sql": COUNT}, headers={"Authorization": f"Bearer {gold}"})
        assert refused.status_code == 403, refused.text


def test_many_at_once_ask_once(lake: Lake) -> None:
    slow = "SELECT sum(a.i * b.j) AS n FROM range(20000) a(i), range(5000) b(j)"
    with served(lake) as client:
        found: list[list[dict[str, int]]] = []

        def ask() -> None:
            found.append(sql(client, slow).json()["rows"])

        many = [threading.Thread(target=ask) for _ in range(8)]
        for one in many:
            one.start()
        for one in many:
            one.join()
        assert len(found) == 8 and all(rows == found[0] for rows in found)
        assert hits(client) >= 6


def answer(number: int, *, status: str = "ok", again: str = "same", size: int = 10) -> Answer:
    return Answer(Told(status=status, set_number=number, again=again), b"x" * size)  # type: ignore[arg-type]


class Asking:
    """Results, asked with answers given here; counts what was computed."""

    def __init__(self) -> None:
        self.results, self.computed = Results(), 0

    async def ask(self, text: str, newest: int, given: Answer) -> Answer:
        async def compute() -> Answer:
            self.computed += 1
            await asyncio.sleep(0)
            return given

        return await self.results.ask(Job(kind="sql", sql=text, set_number=newest), newest, asyncio.Future(), compute)


def test_a_lake_made_anew_has_none_of_the_old_answers() -> None:
    async def go() -> None:
        asking = Asking()
        await asking.ask("q", 7, answer(7))
        await asking.ask("q", 7, answer(7))
        assert asking.computed == 1
        await asking.ask("q", 2, answer(2))
        await asking.ask("q", 7, answer(7))
        assert asking.computed == 3

    asyncio.run(go())


def test_what_failed_is_not_kept_and_those_who_waited_ask_themselves() -> None:
    async def go() -> None:
        asking = Asking()
        many = await asyncio.gather(*(asking.ask("q", 1, answer(1, status="timeout")) for _ in range(3)))
        assert asking.computed == 3 and {one.told.status for one in many} == {"timeout"}
        await asking.ask("q", 1, answer(1, again="anew"))
        await asking.ask("q", 1, answer(1))
        assert asking.computed == 5

    asyncio.run(go())


def test_an_answer_that_came_while_the_log_grew_is_not_kept() -> None:
    async def go() -> None:
        found, began, going_on = Results(), asyncio.Event(), asyncio.Event()
        counts = iter(range(1, 9))

        async def compute() -> Answer:
            began.set()
            one = answer(1, again="same_till_logged", size=next(counts))
            await going_on.wait()
            return one

        def ask() -> Any:
            return found.ask(Job(kind="sql", sql="q", set_number=1), 1, asyncio.Future(), compute)

        first = asyncio.create_task(ask())
        await began.wait()
        found.forget_of_the_log()
        later = asyncio.create_task(ask())
        await asyncio.sleep(0)
        going_on.set()
        assert len((await first).rows) == 1 and len((await later).rows) == 2
        assert len((await ask()).rows) == 2, "asked after it had grown: that one is kept"

    asyncio.run(go())


def test_what_is_looked_up_by_takes_no_room_whatever_is_asked() -> None:
    async def go() -> None:
        asking = Asking()
        for number in range(50):
            await asking.ask(f"q{number}" + "x" * 100_000, 1, answer(1))
        assert asking.computed == 50
        assert sum(len(key[1]) for key in asking.results._kept) < 10_000

    asyncio.run(go())


def test_what_is_kept_is_bounded() -> None:
    async def go() -> None:
        asking = Asking()
        for number in range(9):
            await asking.ask(f"q{number}", 1, answer(1, size=8 << 20))
        await asking.ask("q8", 1, answer(1))
        assert asking.computed == 9
        await asking.ask("q0", 1, answer(1))
        assert asking.computed == 10

    asyncio.run(go())
