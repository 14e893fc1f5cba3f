"""The bench of the server: that its history lands whole, its answers are compared, and its ages are of messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from beam_grid.server.serve import serve
from beam_grid.server.settings import Settings
from benchmarks.measure import run
from benchmarks.questions import LOG, QUESTIONS, REFLECTIONS, Client, Filled, by_duckdb, differs, filled, put
from benchmarks.sensors import FEED, history, parquet_contract
from benchmarks.serve import Listener, _compare
from data_sources.grid_sensors.readings import HOUR_MS
from tests.waiting import PATIENCE_S

SENSORS, HOURS = 40, 30


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    home = tmp_path_factory.mktemp("serve")
    until_ms = int(time.time() * 1000) // HOUR_MS * HOUR_MS
    rows = history(home / "history", SENSORS, SENSORS * HOURS, until_ms)
    (home / "lake").mkdir()
    (home / "lake" / "reflections.toml").write_text(REFLECTIONS)
    contract = parquet_contract(home / "contract.toml")
    run(["-m", "beam_grid", "run", FEED, "--contract", str(contract), "--source", str(home / "history"), "--lake", str(home / "lake")], home / "log")  # fmt: skip
    made = Lake.open(home / "lake")
    assert query(made, f"SELECT count(*) AS n FROM silver.{FEED}").to_pylist() == [{"n": rows}]
    assert SENSORS * HOURS * 0.9 < rows <= SENSORS * HOURS
    return made


@pytest.fixture(scope="module")
def port(lake: Lake) -> Iterator[int]:
    told: list[str] = []
    ending, started = threading.Event(), threading.Event()

    def listening(url: str) -> None:
        told.append(url)
        started.set()

    server = threading.Thread(target=serve, args=(Settings(lake=lake, port=0, workers=2), ending, listening))
    server.start()
    assert started.wait(PATIENCE_S)
    yield int(told[0].rpartition(":")[2])
    ending.set()
    server.join()


def test_each_way_answers_the_same(lake: Lake, port: int) -> None:
    found = newest(lake)
    assert found is not None
    with_, without = Client(port), Client(port, with_reflections=False)
    _compare(with_, without, lake, found, SENSORS)
    answered = {name: by for name, by in with_.answered_by.items() if by != {"table"}}
    assert answered == {
        "an hour by minute": {"reflection.by_minute"},
        "all days by hour": {"reflection.by_hour"},
        "values, a sensor": {"reflection.last_week"},
    }
    assert set().union(*without.answered_by.values()) == {"table"}


def test_an_answer_that_is_off_is_told(lake: Lake, port: int) -> None:
    found = newest(lake)
    assert found is not None
    engine, question = by_duckdb(lake, found), filled("all days by hour", SENSORS, np.random.default_rng(0))
    engine.execute(f"CREATE TABLE kept AS FROM silver.{FEED}")
    engine.execute(
        f"CREATE OR REPLACE VIEW silver.{FEED} AS SELECT * REPLACE (temperature_c + 1e-6 AS temperature_c) FROM kept"
    )
    off = engine.sql(question.text).to_arrow_table()
    assert "mean_c" in differs(Client(port).table("", question, found.number), off)
    assert differs(off, off.slice(1)) == f"{off.num_rows} rows of {off.column_names} beside {off.num_rows - 1} of {off.column_names}"  # fmt: skip


def test_clients_ask_each_kind_in_turn(port: int) -> None:
    taken = put([Client(port), Client(port)], SENSORS, 3)
    assert set(taken) == set(QUESTIONS)
    assert sum(map(len, taken.values())) >= 2
    assert LOG in taken


def test_a_client_that_is_not_answered_ends_the_round(port: int) -> None:
    def ask(name: str, question: Filled) -> None:
        Client(port)(name, Filled("SELECT nothing FROM silver.nowhere", ()))

    with pytest.raises(RuntimeError, match="404"):
        put([ask, Client(port)], SENSORS, 60)


def test_ages_are_of_messages(tmp_path: Path) -> None:
    """Told at 102: all up to 100; told at 103: those up to 101, which were two to three seconds old."""
    listener = Listener(tmp_path, seen=[(102.0, 100.0), (103.0, 101.0), (900.0, 102.0)])
    ages = listener.ages(101, 104)
    assert len(ages) == 20
    assert 2.0 < min(ages) < 2.1
    assert max(ages) == 3.0
