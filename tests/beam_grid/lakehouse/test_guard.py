"""Other writers: what they may do to a table, what refine says of the rest, and two at once."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_grid.errors import GridError
from beam_grid.lakehouse import delta_log
from beam_grid.lakehouse.maintain import maintain
from beam_grid.landing import Lake
from beam_grid.refine import refine, versions
from data_sources.contract import parse_contract
from tests.beam_grid.test_refine import CONTRACT, Landing, check, readings, superseding

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """A lake with forty readings in silver.meters and nothing else."""
    contract = parse_contract({**CONTRACT, "windows": []}, "test")
    landing = Landing(Lake.open(tmp_path_factory.mktemp("guard") / "lake"), contract)
    landing.land(readings(40, 1))
    refine(landing.lake)
    return landing


@pytest.fixture
def landing(refined: Landing, tmp_path: Path) -> Landing:
    """A copy of it."""
    shutil.copytree(refined.lake.path, tmp_path / "lake")
    found = copy.deepcopy(refined)
    found.lake = Lake.open(tmp_path / "lake")
    return found


def path_of(landing: Landing) -> Path:
    return landing.lake.path / "tables" / "silver" / "meters"


def sql(*statements: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        from runners import delta

        for statement in statements:
            delta.session().sql(statement.replace("{}", f"delta.`{path}`")).collect()

    return run


def plain_files(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()
    pq.write_table(pa.table({"id": ["x"]}), path / "part-0.parquet")


def another_table(path: Path) -> None:
    from deltalake import write_deltalake

    shutil.rmtree(path)
    write_deltalake(str(path), pa.table({"id": ["x"]}))


HANDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "rows deleted": (sql("DELETE FROM {} WHERE meter = 'm1'"), r"version 2 is DELETE by Apache-Spark"),
    "a row added": (sql("INSERT INTO {} SELECT * FROM {} LIMIT 1"), r"version 2 is WRITE by"),
    "a column dropped": (
        sql("ALTER TABLE {} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')", "ALTER TABLE {} DROP COLUMN kwh"),
        r"version 3 is DROP COLUMNS by",
    ),
    "files in its place": (plain_files, r"holds no Delta table"),
    "another table in its place": (another_table, r"a Delta table that refine did not make"),
}


@pytest.mark.parametrize("hand", HANDS)
def test_what_somebody_else_did_is_refused_and_the_way_out_works(hand: str, landing: Landing) -> None:
    do, words = HANDS[hand]
    do(path_of(landing))
    before = versions(landing.lake)
    landing.land(readings(5, 2))
    for run in (refine, maintain):
        with pytest.raises(
            GridError, match=rf"table silver.meters: .*{words}.*move .*silver/meters away and run refine"
        ):
            run(landing.lake)
    assert versions(landing.lake) == before
    shutil.move(path_of(landing), landing.lake.path.parent / "away")
    refine(landing.lake)
    check(landing)


def test_an_optimize_of_somebody_elses_changes_nothing(landing: Landing) -> None:
    sql("OPTIMIZE {}", "ALTER TABLE {} SET TBLPROPERTIES ('delta.checkpointInterval' = '50')")(path_of(landing))
    assert operations(landing)[-2:] == ["OPTIMIZE", "SET TBLPROPERTIES"]
    maintain(landing.lake)
    check(landing)
    landing.land(superseding(landing, 5))
    refine(landing.lake)
    check(landing)


def test_an_optimize_that_comes_first_makes_refine_take_rows_out_anew(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    refine      reads silver's log ─────────────────── entry: conflict ── reads it again ── entry
    another                          OPTIMIZE commits
    """
    put, came = delta_log.put, []

    def after_optimize(*given: Any, **named: Any) -> int:
        if not came:
            came.append(sql("OPTIMIZE {}")(path_of(landing)))
        return put(*given, **named)

    monkeypatch.setattr(delta_log, "put", after_optimize)
    landing.land(superseding(landing, 5))
    refine(landing.lake)
    assert operations(landing)[-2:] == ["OPTIMIZE", "MERGE"]
    check(landing)


def operations(landing: Landing) -> list[Any]:
    logs = sorted((path_of(landing) / "_delta_log").glob("[0-9]*.json"))
    actions = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    return [action["commitInfo"]["operation"] for action in actions if "commitInfo" in action]
