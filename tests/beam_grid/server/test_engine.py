"""Many version sets asked in any order of one engine, which keeps few: each answers as DuckDB does over its own files."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_grid.lakehouse import delta_log, scan, vectors
from beam_grid.lakehouse.statistics import statistics
from beam_grid.lakehouse.table_set import PublishedTable, TableSet, View
from beam_grid.lakehouse.versions import Content, at_number, publish
from beam_grid.landing import Lake
from beam_grid.server.engine import KEPT_SETS, Engine, Gone, Limits
from beam_grid.server.jobs import Job
from beam_grid.server.made import Made
from beam_grid.server.worker import Answering

SETS = 12
VIEWS = ["SELECT * FROM silver.m", "SELECT n FROM silver.m", "SELECT count(*) AS c, max(n) AS n FROM silver.m"]
SCHEMA = pa.schema([("n", pa.int64()), ("meter", pa.string())])


def change(path: Path, chance: random.Random, step: int) -> None:
    """One more version of the table: a file more, with columns or types of its own, or rows or a column taken out."""
    at = delta_log.read(path)
    assert at is not None
    kind = chance.choice(["append", "narrow", "wider", "vector", "replace"])
    if kind == "vector" and at.files and at.files[0].vector is None:
        delta_log.put(
            path, at, delta_log.revectored(at.files[0], vectors.write(path, np.array([0], np.uint64))), "DELETE"
        )
        return
    rows = pa.table({"n": pa.array([step * 10, step * 10 + 1]), "meter": [f"m{step}", None]})
    if kind == "narrow":
        rows = pa.table({"meter": [f"m{step}", "x"], "n": pa.array([step, step + 1], pa.int32())})
    if kind == "wider":
        rows = rows.append_column(f"more_{step}", pa.array([1.5, None]))
    file = path / f"part-{step}.parquet"
    pq.write_table(rows, file)
    wanted = pa.schema([*SCHEMA, *(field for field in rows.schema if field.name.startswith("more"))])
    columns = delta_log.with_columns(at, wanted, "m")
    gone = map(delta_log.removed, at.files if kind == "replace" else [])
    added = delta_log.added(file.name, file.stat().st_size, statistics(file, ["n", "meter"]))
    delta_log.put(path, at, [*columns, *gone, added], "WRITE")


def answers(path: Path, version: int, views: dict[str, View]) -> dict[str, list[dict[str, Any]]]:
    """What DuckDB says of each table and view, in order."""
    with duckdb.connect() as engine:
        engine.execute("CREATE SCHEMA silver; CREATE SCHEMA gold")
        engine.execute(f"CREATE VIEW silver.m AS FROM {scan.relation(engine, path, version)}")
        for name, view in views.items():
            engine.execute(f"CREATE VIEW {name} AS {view.sql}")
        return {
            name: engine.sql(f"FROM {name} ORDER BY ALL").to_arrow_table().to_pylist() for name in ("silver.m", *views)
        }


class Unsteady:
    """A connection of which now and then a statement is interrupted: before it was done, or when it had been."""

    def __init__(self, duck: duckdb.DuckDBPyConnection, chance: random.Random) -> None:
        self._duck, self._chance, self.share = duck, chance, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._duck, name)

    def execute(self, *asked: Any) -> Any:
        if self._chance.random() < self.share:
            if self._chance.random() < 0.5:
                self._duck.execute(*asked).fetchall()
            raise duckdb.InterruptException("here")
        return self._duck.execute(*asked)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("interrupted", [0.0, 0.15])
def test_sets_that_share_what_the_engine_keeps_answer_each_for_itself(
    tmp_path: Path, seed: int, interrupted: float
) -> None:
    chance, lake = random.Random(seed), Lake.open(tmp_path / "lake")
    path = lake.path / "tables" / "silver" / "m"
    path.mkdir(parents=True)
    delta_log.create(path, SCHEMA, name="m")
    sets: list[tuple[TableSet, dict[str, list[dict[str, Any]]]]] = []
    for step in range(SETS):
        change(path, chance, step)
        at = delta_log.read(path)
        assert at is not None
        outer = chance.choice(["gold.outer", "gold.Outer"])  # one name, to DuckDB
        views = {
            "gold.inner": View(sql=chance.choice(VIEWS), reads=("silver.m",), description=""),
            outer: View(
                sql=f"SELECT {chance.choice(['*', 'n AS o, *'])} FROM gold.inner", reads=("gold.inner",), description=""
            ),
        }
        table = PublishedTable(path="tables/silver/m", version=at.version, id=at.id)
        found = publish(lake, Content(tables={"silver.m": table}, views=views))
        sets.append((found, answers(path, at.version, views)))
    assert len(sets) > 2 * KEPT_SETS
    engine, made = Engine(lake, tmp_path / "scratch", Limits()), Made(tmp_path / "scratch" / "made")
    engine._duck = engine._layouts._duck = unsteady = Unsteady(engine._duck, chance)  # type: ignore[assignment]
    answered = 0
    for _ in range(300):
        number, expected = chance.choice(sets[-KEPT_SETS - 2 :] if chance.random() < 0.7 else sets)
        if (found := at_number(lake, number.number)) is None:
            continue
        unsteady.share = interrupted
        name, least = chance.choice(list(expected)), chance.randrange(10 * SETS)
        inner = f"SELECT (SELECT count(*) FROM gold.inner) AS c, count(*) AS m FROM silver.m WHERE n >= {least}"
        both = [{"c": len(expected["gold.inner"]), "m": sum((row["n"] or 0) >= least for row in expected["silver.m"])}]
        try:
            if chance.random() < 0.2:
                assert engine.make(found, "gold.inner")
            if chance.random() < 0.1:
                shutil.rmtree(made.folder, ignore_errors=True)
            if chance.random() < 0.5:
                engine.define(found, [name])
                text, rows = f"FROM {name} ORDER BY ALL", expected[name]
            else:
                engine.define(found, ["gold.inner", "silver.m"], engine.guard.reading(inner).references)
                text, rows = inner, both
        except duckdb.InterruptException:
            continue
        finally:
            unsteady.share = 0.0
        assert engine.batches(text).read_all().to_pylist() == rows, (found.number, text)
        answered += 1
    assert answered > 60


def one_set(lake: Lake, meters: list[str], before: str = "") -> TableSet:
    """Publish a table silver.m that has these, numbered. before: what the log has before the file's name."""
    path = lake.path / "tables" / "silver" / "m"
    path.mkdir(parents=True)
    delta_log.create(path, SCHEMA, name="m")
    pq.write_table(
        pa.table({"n": list(range(len(meters))), "meter": meters}), file := path / f"part-{meters[0]}.parquet"
    )
    at = delta_log.read(path)
    assert at is not None
    delta_log.put(
        path, at, [delta_log.added(before + file.name, file.stat().st_size, statistics(file, ["n"]))], "WRITE"
    )
    return publish(lake, Content(tables={"silver.m": PublishedTable(path="tables/silver/m", version=1, id=at.id)}))


def test_a_lake_made_anew_has_the_same_numbers(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    engine = Engine(lake, tmp_path / "scratch", Limits())
    for meters in (["a"], ["b", "c"]):
        shutil.rmtree(lake.path)
        lake = Lake.open(tmp_path / "lake")
        found = one_set(lake, meters)
        assert found.number == 1
        engine.define(found, ["silver.m"])
        assert engine.batches("SELECT meter FROM silver.m ORDER BY n").read_all()["meter"].to_pylist() == meters


def test_a_table_made_anew_is_not_taken_for_the_one_of_an_older_set(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    old = one_set(lake, ["a"])
    shutil.rmtree(lake.path / "tables" / "silver" / "m")
    new = one_set(lake, ["b", "c"])
    for engine in (Engine(lake, tmp_path / "scratch", Limits()) for _ in range(2)):
        with pytest.raises(Gone, match=r"silver\.m: was made anew since version set 1"):
            engine.define(old, ["silver.m"])
        engine.define(new, ["silver.m"])
        assert engine.batches("SELECT max(meter) AS m FROM silver.m").read_all().to_pylist() == [{"m": "c"}]
    told, _ = Answering(lake, tmp_path / "scratch", Limits()).answer(Job(kind="sql", sql="FROM silver.m", set_number=1))
    assert told.status == "gone"


def test_a_file_is_found_whatever_its_folder_is_called_and_however_it_is_written(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "o[d]d*? lake")
    found = one_set(lake, ["a", "b"], "./")
    engine = Engine(lake, tmp_path / "scratch", Limits())
    engine.define(found, ["silver.m"])
    assert engine.batches("SELECT max(meter) AS m FROM silver.m").read_all().to_pylist() == [{"m": "b"}]


def test_a_small_statement_has_one_thread_a_large_one_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.open(tmp_path / "lake")
    found = one_set(lake, ["a", "b", "c"])
    engine = Engine(lake, tmp_path / "scratch", Limits(threads=2))
    sql = "SELECT max(meter) AS m, current_setting('threads') AS t FROM silver.m"
    seen = engine.guard.reading("SELECT max(meter) FROM silver.m").references
    for few, expected in ((1 << 20, 1), (0, 2), (1 << 20, 1)):
        monkeypatch.setattr("beam_grid.server.engine._FEW_BYTES", few)
        engine.define(found, ["silver.m"], seen)
        assert engine.batches(sql).read_all().to_pylist() == [{"m": "c", "t": expected}]
    with pytest.raises(duckdb.InvalidInputException, match="locked"):
        engine.batches("SET memory_limit = '2GiB'")
