"""A notebook on a lake that a run changes meanwhile: it sees one version set, is told what is gone, and stops nobody."""

from __future__ import annotations

import shutil
import threading
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import beam_grid as bg
from beam_grid.lakehouse.maintain import maintain
from beam_grid.lakehouse.versions import KEPT_SETS, Content, content_of, newest, publish
from beam_grid.landing import Lake
from tests.beam_grid.python_api.conftest import pumps

MORE = "pump,read_at,kwh\nP-3,2025-05-01T0{}:10:00Z,10.0\n"


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> bg.OpenLake:
    """A lake of set 1 that the tests here add to, each a file of its own."""
    return pumps(tmp_path_factory.mktemp("changing"))


def add(lake: bg.OpenLake, n: int) -> bg.Done:
    """Land and publish a reading of 10 kWh, as another process would."""
    source = lake.path.parent / "data" / f"more-{n}.csv"
    source.write_text(MORE.format(n))
    return bg.open(lake.path).run(source.parent, contract=lake.path.parent / "pumps.toml")


def total(lake: bg.OpenLake) -> tuple[float, float, int]:
    """The sum in silver by SQL, in gold by the table, and how many tables there are: of one set they agree."""
    silver = lake.sql("SELECT sum(kwh) AS kwh FROM silver.pumps").polars().item()
    return silver, lake["gold.pump_hourly"].polars()["kwh"].sum(), len(lake.tables)


def test_a_reader_sees_one_set_while_others_are_published(changing: bg.OpenLake) -> None:
    reader, table = bg.open(changing.path), changing["silver.pumps"]
    before, failed = total(reader), []
    assert before == (4.5, 4.5, 5)

    def publisher() -> None:
        try:
            for n in (1, 2):
                assert add(changing, n).ok
        except BaseException as cause:
            failed.append(cause)

    thread = threading.Thread(target=publisher)
    thread.start()
    looks = 0
    while thread.is_alive():
        assert total(reader) == before and table.polars()["kwh"].sum() == 4.5
        assert all(reader.ledger.polars()["balanced"]), "the ledger is of the set whose commits it looked at"
        looks += 1
    thread.join()
    assert not failed, failed
    assert looks > 1, "looked while it was published"
    assert total(reader) == before and reader.set == 1
    assert total(reader.refresh()) == (24.5, 24.5, 5) and reader.set == 3
    assert table.set == 1 and table.polars().height == 3, "a table taken before stays"


def test_as_of_a_number_and_a_time(changing: bg.OpenLake) -> None:
    now = bg.open(changing.path)
    assert now.set == 3
    past = now.as_of(set=2)
    assert total(past)[0] == 14.5 and past.set == 2 and now.set == 3
    moment = past.set_at
    assert moment is not None
    for time in (moment, moment.isoformat(), moment.replace(tzinfo=None), moment + timedelta(microseconds=1)):
        assert now.as_of(time=time).set == 2
    assert now.as_of(time=moment - timedelta(microseconds=1)).set == 1
    with pytest.raises(bg.GridError, match=r"no version set 9; kept are 1 to 3"):
        now.as_of(set=9)
    with pytest.raises(bg.GridError, match="one of them"):
        now.as_of()
    with pytest.raises(bg.GridError, match="not a time"):
        now.as_of(time="yesterday")
    with pytest.raises(bg.GridError, match="open it anew"):
        past.run("data")
    with pytest.raises(bg.GridError, match="as of version set 2"):
        past.refresh()


def test_a_run_waits_for_no_reader_and_a_second_run_is_told(changing: bg.OpenLake) -> None:
    with Lake(changing.path).lock("land"), pytest.raises(bg.LakeBusy, match="another land or run"):
        add(changing, 8)
    with Lake(changing.path).lock("tables"):
        assert bg.open(changing.path)["silver.pumps"].polars().height == 5, "readers take no lock"
    (changing.path.parent / "data" / "more-8.csv").unlink()


def test_maintenance_takes_nothing_that_a_set_of_this_week_needs(changing: bg.OpenLake) -> None:
    past = changing.as_of(set=1)
    maintain(Lake(changing.path), spark_master=None)
    assert total(past) == (4.5, 4.5, 5)


def test_what_a_vacuum_took_is_named(changing: bg.OpenLake, tmp_path: Path) -> None:
    """As if the week had passed: the first set's files are gone, and the newest set's stay."""
    from deltalake import DeltaTable

    copy = tmp_path / "lake"
    shutil.copytree(changing.path, copy)
    past, now = bg.open(copy).as_of(set=1), bg.open(copy)
    gold = DeltaTable(str(copy / "tables" / "gold" / "pump_hourly"))
    assert gold.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(bg.GridError, match=r"version set 1 needs is gone .*ask the newest set"):
        past["gold.pump_hourly"].arrow()
    assert now["gold.pump_hourly"].polars()["kwh"].sum() == 24.5


def test_a_table_that_is_deleted_and_made_anew_is_not_taken_for_the_old_one(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "lake"
    shutil.copytree(home / "lake", copy)
    reader = bg.open(copy)
    version = reader["silver.pumps"].version
    shutil.rmtree(copy / "tables" / "silver" / "pumps")
    with pytest.raises(bg.GridError, match=r"silver\.pumps.*refine"):
        reader["silver.pumps"].arrow()
    bg.open(copy).refine()
    assert bg.open(copy)["silver.pumps"].version == version, "its number alone would not tell"
    with pytest.raises(bg.GridError, match=r"silver\.pumps: was made anew since version set 1"):
        reader["silver.pumps"].arrow()
    assert total(reader.refresh())[0] == 4.5


def test_the_oldest_set_that_is_kept_is_named(changing: bg.OpenLake, tmp_path: Path) -> None:
    copy = tmp_path / "lake"
    shutil.copytree(changing.path, copy)
    lake, held = Lake(copy), bg.open(copy).as_of(set=2)
    content = content_of(newest(lake))
    for n in range(KEPT_SETS):
        publish(lake, Content(content.commits, content.tables, {}, {}) if n % 2 else _without_late(content))
    with pytest.raises(bg.GridError, match="no version set 2; kept are 4 to 103"):
        bg.open(copy).as_of(set=2)
    assert total(held)[0] == 14.5, "who looks at it already goes on"


def _without_late(content: Content) -> Content:
    return Content(content.commits, {k: t for k, t in content.tables.items() if k != "bronze.late"}, {}, {})


def test_the_rows_are_the_delta_versions_own(changing: bg.OpenLake) -> None:
    """The oracle: delta-rs opens the version that the set names."""
    from deltalake import DeltaTable

    past = changing.as_of(set=2)["silver.pumps"]
    raw = DeltaTable(str(changing.path / "tables" / "silver" / "pumps"), version=past.version).to_pyarrow_table()
    assert pa.table(past.select("pump", "kwh")).sort_by("kwh") == raw.select(["pump", "kwh"]).sort_by("kwh").cast(
        past.select("pump", "kwh").schema
    )
