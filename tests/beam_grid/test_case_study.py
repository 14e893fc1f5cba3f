"""S1's five tables over messy sources, by contract and SQL, against an oracle that shares no code with the project."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from beam_grid.errors import GridError
from beam_grid.feeds import built_in
from beam_grid.lakehouse.engines import embedded
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.tables import Table
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from beam_grid.refine import refine
from data_sources.half_hourly_readings.generate import generate
from tests import s1_oracle
from tests.beam_grid.both_engines import assert_both_engines_agree

NOW = datetime(2021, 2, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    generate(out, messy=True, scale=0.5)
    return out


@pytest.fixture(scope="module")
def lake(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake.open(tmp_path_factory.mktemp("lake"))
    known = built_in()
    for name in s1_oracle.FEEDS:
        options = Options(source=str(source), own_globs=True, now=int(NOW.timestamp() * 1e6))
        assert not land(lake, known[name], options).problems
    refine(lake)
    return lake


def assert_equal(lake: Lake, name: str, wanted: list[dict[str, Any]]) -> None:
    columns = list(wanted[0])
    found = query(lake, f"SELECT * FROM gold.{name}").to_pylist()

    def order(row: dict[str, Any]) -> str:
        return repr([str(row[c]) for c in columns if not isinstance(row[c], float)])

    assert len(found) == len(wanted) > 0
    for one, other in zip(sorted(found, key=order), sorted(wanted, key=order), strict=True):
        assert list(one) == columns
        assert one == {c: pytest.approx(v, rel=1e-9) if isinstance(v, float) else v for c, v in other.items()}


@pytest.mark.parametrize("name", s1_oracle.TABLES)
def test_the_five_tables_are_those_of_the_raw_files(lake: Lake, source: Path, name: str) -> None:
    assert_equal(lake, name, s1_oracle.five_tables(source, date(2021, 1, 1), NOW)[name])


def test_half_hours_that_come_file_by_file_make_the_same_tables(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded.Embedded, "part_rows", 3_000)
    shutil.copytree(source, tmp_path / "source")
    files = sorted((tmp_path / "source").glob("**/readings/*.json"))
    aside = tmp_path / "aside"
    aside.mkdir()
    for file in files:
        file.rename(aside / file.name)
    lake, known = Lake.open(tmp_path / "lake"), built_in()
    options = Options(source=str(tmp_path / "source"), own_globs=True, now=int(NOW.timestamp() * 1e6))
    for turn in range(3):
        for file in files[turn::3]:
            (aside / file.name).rename(file)
        for name in s1_oracle.FEEDS:
            assert not land(lake, known[name], options).problems
        refine(lake)
    newest_first = [done["operation"] for done in DeltaTable(Table(lake, "gold.supplied_half_hours").path).history()]
    assert newest_first[:2] == ["MERGE", "MERGE"], "it was made anew instead of brought up"
    for name in s1_oracle.TABLES:
        assert_equal(lake, name, s1_oracle.five_tables(source, date(2021, 1, 1), NOW)[name])


def test_of_conflicting_half_hours_one_counts_and_both_are_listed(lake: Lake) -> None:
    ((conflicts, counted),) = [
        tuple(row.values())
        for row in query(
            lake, "SELECT count(*) AS n, count(*) FILTER (WHERE counted) AS c FROM bronze.conflicts WHERE feed = 'half_hourly_readings'"
        ).to_pylist()
    ]  # fmt: skip
    assert conflicts >= counted > 0
    found = query(lake, "SELECT kept, dropped FROM bronze.conflicts WHERE feed = 'half_hourly_readings'").to_pylist()
    assert all(row["kept"] != row["dropped"] for row in found)
    twice = "SELECT count(*) AS n FROM silver.half_hourly_readings GROUP BY interval_start, meterpoint_id HAVING count(*) > 1"
    assert query(lake, twice).num_rows == 0


@pytest.mark.spark
def test_spark_makes_the_same_tables(lake: Lake, tmp_path: Path) -> None:
    assert_both_engines_agree(lake, tmp_path)


def test_the_date_is_a_parameter_that_the_lake_keeps(lake: Lake, source: Path) -> None:
    wanted = s1_oracle.five_tables(source, date(2021, 1, 3), NOW)["active_agreements"]
    assert wanted != s1_oracle.five_tables(source, date(2021, 1, 1), NOW)["active_agreements"]
    done = refine(lake, parameters={"active_agreements.as_of": "2021-01-03"})
    assert done.analyses == ["gold.active_agreements", "gold.quality"]
    assert_equal(lake, "active_agreements", wanted)
    assert refine(lake).analyses == []
    assert_equal(lake, "active_agreements", wanted)


def test_a_date_that_is_none_is_refused(lake: Lake) -> None:
    with pytest.raises(GridError, match=r"parameter active_agreements\.as_of: '2021-02-30' is not a DATE"):
        refine(lake, parameters={"active_agreements.as_of": "2021-02-30"})


def test_what_refers_to_nothing_is_reported(lake: Lake) -> None:
    said = {
        row["expectation"]: (row["status"], row["failed_rows"] > 0)
        for row in query(lake, "SELECT * FROM gold.quality WHERE table_name LIKE 'silver.%'").to_pylist()
    }
    assert said == {"AG-E1": ("warned", True), "AG-E2": ("warned", True), "HH-E1": ("warned", True)}
