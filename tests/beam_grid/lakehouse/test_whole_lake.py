"""One lake with a feed of each kind: refined drop by drop, then asked, rebuilt, and corrected by what is found later."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyspark.sql.classic.dataframe as frames
import pytest

from beam_grid.errors import GridError
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.trace import ranges, trace
from beam_grid.landing import Lake
from beam_grid.ledger import ledger
from beam_grid.refine import refine
from beam_grid.reinject import reinject
from beam_grid.report.gather import gather
from runners import delta
from tests.beam_grid.test_openlineage import events, rows
from tests.beam_grid.three_kinds import DROPS, FEEDS, START, assert_equal_tables, land_drop, tables
from tests.properties.oracle import as_lines, assert_same_windows, oracle, run
from tests.transforms.making import contract, minute

pytestmark = pytest.mark.spark


@dataclass
class World:
    """A lake, its source folder, and of all refines: physical plans and what came to the driver, one number a call."""

    lake: Lake
    source: Path
    plans: list[str] = field(default_factory=list)
    collected: list[int] = field(default_factory=list)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    made = World(Lake.open(folder / "lake"), folder / "in")
    store = delta.session()._jsparkSession.sharedState().statusStore()
    earlier = {store.executionsList().apply(n).executionId() for n in range(store.executionsList().size())}
    with pytest.MonkeyPatch.context() as patched:
        for name in ("collect", "toLocalIterator", "toPandas", "toArrow"):
            patched.setattr(frames.DataFrame, name, _counting(getattr(frames.DataFrame, name), made.collected))
        for drop in range(DROPS):
            land_drop(made.lake, made.source, drop)
            refine(made.lake, engine="spark")
    ran = store.executionsList()
    own = [ran.apply(n) for n in range(ran.size()) if ran.apply(n).executionId() not in earlier]
    made.plans = [execution.physicalPlanDescription() for execution in own]
    yield made


def _counting(method: Any, counts: list[int]) -> Any:
    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        found = method(self, *arguments, **named)
        counts.append(len(found) if isinstance(found, list) else 1 << 30)
        return found

    return counted


def test_no_rows_come_to_the_driver(world: World) -> None:
    assert world.collected, "DESCRIBE DETAIL was seen, so the counting works"
    assert max(world.collected) <= 1


def test_little_is_sent_to_each_task_rather_than_all_moved(world: World) -> None:
    """Of each MERGE the smaller side is broadcast. A full outer join, of the touched keys alone, cannot be."""
    for name in (
        "silver/assets",
        "silver/bills_transactions",
        "silver/bills_history",
        "gold/by_meter",
    ):
        assert any("BroadcastHashJoin Inner" in plan and f"/tables/{name}]" in plan for plan in world.plans), name
    moved = [joined for plan in world.plans for joined in re.findall(r"SortMergeJoin ?(\w*)", plan)]
    assert set(moved) <= {"", "FullOuter"}, "a join's heading repeats its name without its kind"
    assert not any("ShuffledHashJoin" in plan or "CartesianProduct" in plan for plan in world.plans)


def test_only_the_range_that_a_batch_covers_is_read(world: World) -> None:
    """By what the manifest says of the batch, as literals: Delta skips files by them, Parquet row groups."""
    for place, column in (
        ("/tables/silver/bills_transactions]", "id"), ("/tables/silver/assets]", "id"),
        ("/tables/gold/by_meter]", "window_start"), ("/landing/bills_transactions/", "id"), ("/landing/readings/", "_cell"),
    ):  # fmt: skip
        scans = re.findall(r"^Location: ([^\n]*)\nPushedFilters: ([^\n]*)$", "\n".join(world.plans), re.M)
        filters = [said for location, said in scans if place in location]
        bounded = [f for f in filters if f"GreaterThanOrEqual({column}," in f and f"LessThanOrEqual({column}," in f]
        assert bounded, (place, sorted(set(filters)))


def test_the_tables_are_what_sql_makes_of_the_files(world: World) -> None:
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.execute(f"""
            CREATE TABLE kept AS SELECT * FROM (
                SELECT id, CAST("at" AS TIMESTAMPTZ) AS "at", version, meter, kwh,
                    row_number() OVER (PARTITION BY id, "at" ORDER BY version DESC, meter DESC NULLS LAST) AS place
                FROM read_json('{world.source}/readings/*.json', columns = {{id: 'VARCHAR', "at": 'VARCHAR', version: 'BIGINT', meter: 'VARCHAR', kwh: 'DOUBLE'}})
                WHERE kwh >= 0 AND id <> 'late') WHERE place = 1""")
        wanted = engine.execute("""
            SELECT meter, make_timestamptz((epoch_us("at") // 900000000 - k) * 900000000) AS s, count(*), sum(kwh), max(kwh),
                stddev_samp(kwh), arg_max(kwh, ("at", id)) FROM kept, unnest([0, 1]) AS n(k) GROUP BY ALL""").fetchall()
        current = engine.execute('SELECT id, "at", version, meter, kwh FROM kept').fetchall()
    found = query(
        world.lake, 'SELECT meter, window_start, n, kwh, "top", spread, closed FROM gold.by_meter'
    ).to_pylist()
    assert len(current) > 100 and len(wanted) > 20
    assert_same_windows({tuple(r.values())[:2]: tuple(r.values())[2:] for r in found}, {w[:2]: w[2:] for w in wanted})
    silver = query(world.lake, 'SELECT id, "at", version, meter, kwh FROM silver.readings').to_pylist()
    assert sorted(map(plain, (tuple(r.values()) for r in silver))) == sorted(map(plain, current))
    bills = query(world.lake, "SELECT id, amount FROM silver.bills_transactions ORDER BY id").to_pylist()
    assert bills == [{"id": "a", "amount": Decimal("5.50")}, {"id": "b", "amount": Decimal("9.50")}, {"id": "c", "amount": Decimal("8.50")}]  # fmt: skip
    assert [r["id"] for r in query(world.lake, "SELECT id FROM silver.bills_transactions_deleted").to_pylist()] == ["b"]
    assert versions_of(world.lake, "x") == [
        (date(2026, 1, 1), "new"), (date(2026, 1, 15), "checked"), (date(2026, 2, 1), "worn"),
    ]  # fmt: skip
    assert versions_of(world.lake, "y") == [(date(2026, 1, 1), "new"), (date(2026, 2, 20), "back")]
    for name in ("rejected", "late", "conflicts"):
        assert query(world.lake, f"SELECT * FROM bronze.{name}").num_rows >= DROPS


def plain(row: tuple[Any, ...]) -> str:
    return str([value.timestamp() if isinstance(value, datetime) else value for value in row])


def versions_of(lake: Lake, key: str) -> list[tuple[date, str]]:
    """An asset's history, checked to be without gap or overlap but where it was absent."""
    found = query(lake, f"SELECT * FROM silver.assets WHERE id = '{key}' ORDER BY scd_version").to_pylist()
    for version, following in pairwise(found):
        assert version["record_end_date"] <= following["record_effective_date"] and not version["is_current"]
    return [(r["record_effective_date"], r["status"]) for r in found]


def test_a_window_leads_back_to_the_lines_it_was_made_of(world: World) -> None:
    start = START + timedelta(minutes=45)
    where = f"meter = 'm1' AND window_start = '{start.isoformat()}'"
    (window,) = query(world.lake, f"SELECT n, kwh FROM gold.by_meter WHERE {where}").to_pylist()
    traced = trace(world.lake, "gold.by_meter", where).to_pylist()
    assert {r["source"] for r in traced} == {"0.json", "1.json"} and {r["feed"] for r in traced} == {"readings"}
    records = [record for row in traced for record in lines_of(row)]
    assert len(records) == window["n"] == sum(r["rows"] for r in traced)
    assert sum(r["kwh"] for r in records) == pytest.approx(window["kwh"], rel=1e-9)
    for record in records:
        assert record["meter"] == "m1" and start <= datetime.fromisoformat(record["at"]) < start + timedelta(minutes=30)
    both = trace(world.lake, "gold.by_meter", f"meter = 'm1' AND window_end > '{start.isoformat()}'").to_pylist()
    ids = {(r["id"], r["at"]) for row in both for r in lines_of(row)}
    assert sum(r["rows"] for r in both) == len(ids) > len(records), "a row of two windows is told once"
    nulls = trace(world.lake, "gold.by_meter", "meter IS NULL").to_pylist()
    assert {r["meter"] for row in nulls for r in lines_of(row)} == {None}


def lines_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The source's lines that a line of lineage names."""
    text = Path(row["path"]).read_text().splitlines()
    numbers = [tuple(map(int, (part.split("-") * 2)[:2])) for part in row["positions"].split(", ")]
    return [json.loads(text[n - 1]) for low, high in numbers for n in range(low, high + 1)]


def test_silver_and_bronze_rows_lead_back_too(world: World) -> None:
    (bill,) = trace(world.lake, "silver.bills_transactions", "id = 'a'").to_pylist()
    assert (bill["feed"], bill["source"], bill["positions"]) == ("bills_transactions", "0.json", "3")
    assert lines_of(bill)[0]["lsn"] == "0x0005"
    history = trace(world.lake, "silver.bills_history", "id = 'b'").to_pylist()
    assert {r["source"] for r in history} == {"0.json", "1.json"}
    (asset,) = trace(world.lake, "silver.assets", "id = 'x' AND status = 'checked'").to_pylist()
    assert (asset["source"], asset["positions"], asset["commit"]) == ("delta_1.csv", "2", 2)
    late = trace(world.lake, "bronze.late").to_pylist()
    assert [lines_of(row)[0]["id"] for row in late] == ["late"] * DROPS
    assert trace(world.lake, "silver.assets", "false").num_rows == 0


@pytest.mark.parametrize("where", ["true) UNION SELECT 1, 2, 3, 4, 5 FROM silver.assets s WHERE (true", "1 = 1; DROP TABLE x", "(true", "", "id = (COPY silver.assets TO '/tmp/x')"])  # fmt: skip
def test_a_condition_is_one_condition(where: str, world: World) -> None:
    with pytest.raises(GridError):
        trace(world.lake, "silver.assets", where)


def test_what_has_no_lineage_is_said(world: World) -> None:
    with pytest.raises(GridError, match=r"gold\.by_meter"):
        trace(world.lake, "gold.nothing")
    assert ranges([3, 4, 5, 7, 9, 10]) == "3-5, 7, 9-10" and ranges([]) == ""


def test_each_refine_told_its_lineage(world: World) -> None:
    told = [event for event in events(world.lake.path) if event["job"]["name"] == "refine"]
    assert [event["eventType"] for event in told] == ["START", "COMPLETE"] * DROPS
    last = told[-1]
    assert {d["name"]: rows(d, "input") for d in last["inputs"]} == {
        "landing.readings": 72, "landing.bills_transactions": 4, "landing.assets": 2,
    }  # fmt: skip
    outputs = {d["name"]: d for d in last["outputs"]}
    assert outputs.keys() == tables(world.lake).keys()
    assert rows(outputs["silver.readings"], "output") == 72 and rows(outputs["bronze.late"], "output") == 1
    assert rows(outputs["gold.by_meter"], "output") > 5
    fields = {f["name"]: f["type"] for f in outputs["silver.assets"]["facets"]["schema"]["fields"]}
    assert fields["record_end_date"] == "date" and fields["is_current"] == "boolean"
    assert int(outputs["silver.assets"]["facets"]["version"]["datasetVersion"]) > 0


def test_what_is_found_later_corrects_the_tables_it_belongs_to(world: World, tmp_path: Path) -> None:
    """An old file of a feed of whole files; a change of January; late rows that are taken in again."""
    whole = contract(name="whole", file_order="none")
    files = [tmp_path / "in" / "new.json", tmp_path / "in" / "old.json"]
    files[0].parent.mkdir()
    files[0].write_text(as_lines({"id": "a", "at": minute(n).isoformat(), "kwh": n / 3} for n in range(0, 120, 4)))
    run(world.lake.path, whole, files[0].parent)
    refine(world.lake, ["whole"])
    files[1].write_text(as_lines({"id": "b", "at": minute(n).isoformat(), "kwh": n / 7} for n in (-1500, 15, 16, 29)))
    assert run(world.lake.path, whole, files[0].parent).fates.late == 0
    (world.source / "assets" / "delta_old.csv").write_text("id,day,status,level\nx,2026-01-10,found,1\n")
    run(world.lake.path, FEEDS["assets"], world.source / "assets")
    with world.lake.lock("land"):
        again = reinject(world.lake, "readings")
    assert (again.fates.landed, again.fates.duplicates, again.fates.late) == (1, DROPS - 1, -DROPS)
    refine(world.lake)
    windows = query(world.lake, 'SELECT meter, window_start, n, kwh, "top", mean, spread, closed FROM gold.quarters')
    found = {tuple(r.values())[:2]: tuple(r.values())[2:] for r in windows.to_pylist()}
    assert_same_windows(found, oracle(files, whole)["windows"])
    revised = query(world.lake, "SELECT window_start FROM gold.quarters WHERE revision > 1")["window_start"].to_pylist()
    assert revised == [minute(15)], "of the windows that were there, the one the old file has rows of"
    assert versions_of(world.lake, "x") == [
        (date(2026, 1, 1), "new"), (date(2026, 1, 10), "found"), (date(2026, 1, 15), "checked"), (date(2026, 2, 1), "worn"),
    ]  # fmt: skip
    late = START - timedelta(hours=20)
    (window,) = query(
        world.lake, f"SELECT meter, n FROM gold.by_meter WHERE window_start = '{late.isoformat()}'"
    ).to_pylist()
    assert window == {"meter": "m2", "n": 1}
    (row,) = trace(world.lake, "gold.by_meter", f"window_start = '{late.isoformat()}'").to_pylist()
    assert (row["source"], row["positions"], row["rows"], row["commit"]) == ("0.json", "63", 1, DROPS + 1)
    assert lines_of(row)[0]["id"] == "late"
    assert query(world.lake, "SELECT * FROM bronze.late").num_rows == DROPS
    assert all(ledger(world.lake)["balanced"].to_pylist()) and gather(world.lake).balanced


def test_tables_dropped_and_made_from_commit_0_are_equal(world: World) -> None:
    """After all of the above: superseded rows, states, versions, what was taken in again; the version set stays."""
    before = tables(world.lake)
    assert len(before) >= 9 and all(before.values())
    shutil.rmtree(world.lake.path / "tables")
    refine(world.lake)
    assert_equal_tables(tables(world.lake), before)
