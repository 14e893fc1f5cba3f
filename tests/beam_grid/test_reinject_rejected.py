"""`reinject rejected`: what a wrong contract rejected lands under the mended one, once, and the ledger goes on balancing."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beam_grid.errors import GridError
from beam_grid.feeds import built_in
from beam_grid.inspect import inspect
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.trace import trace
from beam_grid.landing import Lake
from beam_grid.ledger import ledger
from beam_grid.refine import refine
from beam_grid.reinject_rejected import JudgedAgain, reinject_rejected
from data_sources.contract import Contract, parse_contract
from data_sources.records import Records, messages
from data_sources.sources import Listing, kafka
from data_sources.splits import KafkaEnd, KafkaSplit
from tests import command_line
from tests.conftest import EXAMPLES
from tests.properties.oracle import as_lines, assert_equal, landed, oracle, run
from tests.properties.published import assert_published, assert_tables
from tests.properties.test_any_slicing import DEDUPS, NEVER_LATE, Drop, drops
from tests.transforms.making import LATEST, contract, minute, plain_contract

slow = settings(
    deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.reuse, Phase.generate]
)

WRONG: dict[str, dict[str, Any]] = {
    "a rule too strict": {"rules": [{"id": "R-1", "check": "kwh >= 1"}]},
    "a field that may be null": {"version": {"nullable": False}},
    "times written otherwise": {"at": {"format": "%d/%m/%Y %H:%M"}},
    "two at once": {"rules": [{"id": "R-9", "check": "kwh IS NOT NULL AND kwh >= 0"}], "meter": {"nullable": False}},
}


def wrong(kind: str, **changes: Any) -> Contract:
    """The small feed with a contract that rejects what it should not."""
    said = plain_contract(file_order="none", **changes)
    for word, value in WRONG[kind].items():
        if word == "rules":
            said["rules"] = value
        else:
            next(field for field in said["fields"] if field["name"] == word).update(value)
    return parse_contract(said, "tests")


def again(lake: Path, mended: Contract | None, rule: str | None = None, slice_rows: int = 1000) -> JudgedAgain:
    opened = Lake.open(lake)
    with opened.lock("land"):
        return reinject_rejected(opened, "readings", mended=mended, rule=rule, slice_rows=slice_rows)


def book(lake: Path) -> dict[str, Any]:
    (row,) = ledger(Lake.open(lake)).to_pylist()
    return row


def reading(name: str, minutes: float, kwh: float | None = 1.0, **more: Any) -> dict[str, Any]:
    return {"id": name, "at": minute(minutes).isoformat(), "kwh": kwh, "meter": "m1", "version": 1, **more}


def settled(record: dict[str, Any]) -> dict[str, Any]:
    """With a payload that its key decides: keep = "first" knows which of two stays by their arrival alone."""
    letter = ord(record["id"])
    return record | {
        "kwh": None if letter % 3 == 0 else letter / 100, "meter": record["at"][15] if letter % 2 else None, "version": letter % 3 or None,
    }  # fmt: skip


@pytest.mark.parametrize("keep", ["latest", "latest, timeless", "first"])
@settings(slow, max_examples=max(2, EXAMPLES // 3))
@given(
    given_drops=drops(NEVER_LATE),
    slices=st.integers(1, 4),
    kind=st.sampled_from(list(WRONG)),
    mended_after=st.integers(0, 3),
    by_rule=st.booleans(),
)
def test_a_mended_lake_is_the_one_that_was_right_from_the_start(
    keep: str, given_drops: list[Drop], slices: int, kind: str, mended_after: int, by_rule: bool
) -> None:
    """Landed under a wrong contract up to some drop, then under the right one; rejects judged again at the end, all at
    once or first those of one rule."""
    right = contract(dedup=DEDUPS[keep], file_order="none")
    given_drops = [  # a file that begins with an array is no file of lines, and is left out whole
        Drop({name: [r for r in lines if r != "[1]"] for name, lines in drop.files.items()}) for drop in given_drops
    ]
    if keep == "first":
        given_drops = [
            Drop({name: [r if isinstance(r, str) else settled(r) for r in lines] for name, lines in drop.files.items()})
            for drop in given_drops
        ]
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), []
        (folder / "in").mkdir()
        rows = max(1, sum(len(lines) for drop in given_drops for lines in drop.files.values()) // slices)
        for number, drop in enumerate(given_drops):
            for file, lines in sorted(drop.files.items()):
                (folder / "in" / file).write_text(as_lines(lines))
                log.append(folder / "in" / file)
            feed = wrong(kind, dedup=DEDUPS[keep]) if number <= mended_after else right
            run(folder / "lake", feed, folder / "in", slice_rows=rows)
        lake = Lake.open(folder / "lake")
        if not lake.feeds:
            return
        refine(lake)
        rejected = inspect(lake, "rejected")
        if by_rule and rejected.num_rows:
            again(folder / "lake", right, rule=rejected["rule"][0].as_py(), slice_rows=2)
            assert landed(lake, right)["counts"]["read"] == book(folder / "lake")["read"]
        again(folder / "lake", right, slice_rows=2)
        wanted = oracle(log, right)
        assert_equal(landed(lake, right), wanted)
        assert inspect(lake, "rejected").num_rows == wanted["counts"]["rejected"]
        assert again(folder / "lake", right).commits == 0, "a record is judged once under a contract"
        assert_published(folder / "lake", right, wanted)
        assert book(folder / "lake")["balanced"]


def test_rejects_of_one_rule_land_and_the_others_stay_as_they_were(tmp_path: Path) -> None:
    rules = [{"id": "LOW", "check": "kwh > 1"}, {"id": "HIGH", "check": "kwh < 9"}]
    records = [reading("a", 0, 0.5), reading("b", 1, 20.0), reading("c", 2, 5.0), reading("d", 3, -1.0), "{broken"]
    (tmp_path / "1.json").write_text(as_lines(records))
    lake, mended = tmp_path / "lake", contract(rules=[{"id": "LOW", "check": "kwh >= 0"}])
    run(lake, contract(rules=rules), tmp_path / "1.json")
    refine(Lake.open(lake))
    before = inspect(Lake.open(lake), "rejected").to_pylist()
    done = again(lake, mended, rule="LOW")
    assert (done.judged, done.fates.landed, done.fates.rejected, done.still_rejected) == (2, 1, -1, 1)
    assert done.rejected_by == {"rule_broken/LOW": -1}
    now = {row["_position"]: row for row in inspect(Lake.open(lake), "rejected").to_pylist()}
    assert set(now) == {2, 4, 5}
    for was in before:
        if was["rule"] != "LOW":
            assert now[was["_position"]] == was
    assert now[4]["reason"] == "breaks kwh >= 0" and (now[4]["_commit"], now[4]["_judged"]) == (1, 2)
    with pytest.raises(GridError, match=r"--rule NONE: has no rejects in feed readings; there are: .*HIGH \(1\)"):
        again(lake, mended, rule="NONE")
    assert again(lake, mended, rule="LOW").commits == 0
    refine(Lake.open(lake))
    assert again(lake, mended, rule="rule_broken/HIGH").fates.landed == 1
    done = again(lake, mended)
    assert (done.judged, done.fates.landed) == (1, 0), "the broken line had not been judged yet"
    assert_published(lake, mended, oracle([tmp_path / "1.json"], contract(rules=[{"id": "R", "check": "kwh >= 0"}])))


def test_what_landed_leads_to_where_it_was_read(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(as_lines([reading("a", 0, 0.5), reading("b", 1, 2.0, extra="x")]))
    lake, mended = tmp_path / "lake", contract()
    run(lake, contract(rules=[{"id": "LOW", "check": "kwh > 5"}]), tmp_path / "1.json")
    assert again(lake, mended).fates.landed == 2
    log = Lake.open(lake).feed("readings")
    rows = [r for file in log.read(2).listed("rows") for r in pq.read_table(log.path / file.path).to_pylist()]
    found = sorted((r["id"], r["_source"], r["_partition"], r["_position"], r["_commit"], r["_extra"]) for r in rows)
    assert found == [("a", "1.json", None, 1, 2, None), ("b", "1.json", None, 2, 2, '{"extra": "x"}')]
    assert "rejects of commit 1" in inspect(Lake.open(lake), "lineage")["source"].to_pylist()


def test_the_future_is_judged_by_when_a_record_came(tmp_path: Path) -> None:
    """Not by when it is judged again, by which nothing lies ahead any more."""
    (tmp_path / "1.json").write_text(as_lines([reading("a", 50, 0.5), reading("b", 10, 0.5)]))
    lake = tmp_path / "lake"
    noon = int(minute(0).timestamp() * 1_000_000)
    run(lake, contract(max_future="5m"), tmp_path / "1.json", now=noon)
    done = again(lake, contract(max_future="20m"))
    assert (done.fates.landed, done.still_rejected) == (1, 1)
    (left,) = inspect(Lake.open(lake), "rejected").to_pylist()
    assert (left["rule"], left["_position"]) == ("max_future", 1)
    assert again(lake, contract(max_future="60m")).fates.landed == 1


def test_rejects_of_another_feed_stay_in_the_table_also_where_files_were_put_together(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    (tmp_path / "1.json").write_text(as_lines([reading("a", 0, 0.5), reading("b", 1, -1.0), reading("c", 2, 5.0)]))
    lake, rules = Lake.open(tmp_path / "lake"), [{"id": "LOW", "check": "kwh > 1"}]
    for name in ("readings", "others"):
        windows = [{**plain_contract()["windows"][0], "name": f"quarters_of_{name}"}]
        run(lake.path, contract(name=name, rules=rules, windows=windows), tmp_path / "1.json")
        refine(lake)
    path = lake.path / "tables" / "bronze" / "rejected"
    DeltaTable(path).optimize.compact()
    assert len(DeltaTable(path).file_uris()) == 1

    def counted() -> list[tuple[Any, ...]]:
        sql = "SELECT feed, rule, _position, raw_text FROM bronze.rejected ORDER BY feed, _position"
        return [tuple(row.values()) for row in query(lake, sql).to_pylist()]

    before = counted()
    assert len(before) == 4
    windows = [{**plain_contract()["windows"][0], "name": "quarters_of_readings"}]
    assert again(lake.path, contract(windows=windows)).fates.landed == 1
    assert counted() == before, "until refine has run"
    refine(lake)
    after = counted()
    assert after[:2] == before[:2] and [row[:3] for row in after[2:]] == [("readings", "R-1", 2)]
    shutil.rmtree(lake.path / "tables")
    refine(lake)
    assert counted() == after and all(row["balanced"] for row in ledger(lake).to_pylist())


POINTS = ["land:before-commit", "land:committed"]


def test_killed_anywhere_a_rerun_comes_to_the_same(tmp_path: Path) -> None:
    records = [*(reading(f"r{n}", n, n / 2, version=n) for n in range(9)), reading("r1", 1, 0.5, version=8)]
    (tmp_path / "1.json").write_text(as_lines(records))
    right = contract(dedup=LATEST)
    (tmp_path / "right.toml").write_text(toml(plain_contract(dedup=LATEST)))
    wanted = oracle([tmp_path / "1.json"], right)
    for point in POINTS:
        lake = tmp_path / point.replace(":", "-")
        run(lake, contract(dedup=LATEST, rules=[{"id": "R-1", "check": "kwh > 3"}]), tmp_path / "1.json")
        refine(Lake.open(lake))
        told = ["--contract", str(tmp_path / "right.toml")]
        done = command(lake, *told, BEAM_GRID_KILL_AT=point)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert Lake.open(lake).feed("readings").last == (2 if point == "land:committed" else 1)
        done = command(lake, *told)
        assert done.returncode == 0, done.stderr
        assert ("no rejects" if point == "land:committed" else "judged again: landed") in done.stderr
        assert_equal(landed(Lake.open(lake), right), wanted)
        kill_refine(lake)
        refine(Lake.open(lake))
        assert_tables(Lake.open(lake), right, wanted)


def kill_refine(lake: Path) -> None:
    """Once the rejects' table is written, before the set of tables is."""
    killed = grid("refine", "--lake", str(lake), BEAM_GRID_KILL_AT="publish:entry-bronze.rejected")
    assert killed.returncode == -signal.SIGKILL, killed.stderr


def command(lake: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return grid("reinject", "rejected", "--feed", "readings", "--lake", str(lake), *more, **environment)


def grid(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own where it is to be killed."""
    if not environment:
        return command_line.grid(*arguments)
    return subprocess.run(
        [sys.executable, "-m", "beam_grid", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "BEAM_GRID_DEBUG": "", **environment},
    )


def toml(said: dict[str, Any]) -> str:
    """A contract as TOML, inline tables throughout."""

    def value(one: Any) -> str:
        if isinstance(one, dict):
            return "{ " + ", ".join(f"{k} = {value(v)}" for k, v in one.items()) + " }"
        if isinstance(one, list):
            return "[" + ", ".join(map(value, one)) + "]"
        return json.dumps(one)

    return "".join(f"{k} = {value(v)}\n" for k, v in said.items())


def test_without_a_mended_contract_a_feed_of_ones_own_says_so(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(as_lines([reading("a", 0, -1.0)]))
    run(tmp_path / "lake", contract(), tmp_path / "1.json")
    with pytest.raises(GridError, match=r"under which nothing would change; give the mended one: --contract FILE"):
        again(tmp_path / "lake", None)
    (tmp_path / "2.json").write_text(as_lines([reading("b", 1)]))
    run(tmp_path / "lake", contract(rules=[]), tmp_path / "2.json")
    assert again(tmp_path / "lake", None).fates.landed == 1, "the lake remembers the mended one, it landed with it"


def test_what_identifies_a_row_may_not_change(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(as_lines([reading("a", 0, -1.0)]))
    run(tmp_path / "lake", contract(), tmp_path / "1.json")
    with pytest.raises(GridError, match="the contract differs from the one that landed here"):
        again(tmp_path / "lake", contract(dedup={"key": ["id"]}))
    with pytest.raises(GridError, match="--contract: is of feed 'others'"):
        again(tmp_path / "lake", contract(name="others"))
    with pytest.raises(GridError, match="'nothing': nothing of it has landed"):
        reinject_rejected(Lake.open(tmp_path / "lake"), "nothing")


def test_files_of_rejects_of_before_are_read(tmp_path: Path) -> None:
    """Without the columns that came with `reinject rejected`."""
    (tmp_path / "1.json").write_text(as_lines([reading("a", 0, -1.0)]))
    run(tmp_path / "lake", contract(), tmp_path / "1.json")
    log = Lake.open(tmp_path / "lake").feed("readings")
    (file,) = log.read(1).listed("rejected")
    table = pq.read_table(log.path / file.path)
    pq.write_table(table.drop_columns(["_arrival", "_judged"]), log.path / file.path)
    assert again(tmp_path / "lake", contract(rules=[])).fates.landed == 1


def test_a_cut_record_stays_rejected(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(as_lines([reading("b", 1, -1.0), reading("a", 0, note="x" * (1 << 20))]))
    run(tmp_path / "lake", contract(), tmp_path / "1.json")
    done = again(tmp_path / "lake", contract(rules=[]))
    assert (done.judged, done.fates.landed, done.still_rejected) == (2, 1, 1)
    assert again(tmp_path / "lake", contract(rules=[])).commits == 0
    assert inspect(Lake.open(tmp_path / "lake"), "rejected")["rule"].to_pylist() == ["size"]


def of_fields(kind: str, fields: list[dict[str, Any]], **words: Any) -> Contract:
    said = {"name": "readings", "format": kind, "event_time": "at", "out_of_orderness": "1h", "fields": fields, **words}
    if "lake" not in words:
        said["dedup"] = {"key": ["id", "at"]}
    return parse_contract(said, "tests")


def silver(lake: Path, feed: Contract) -> list[tuple[Any, ...]]:
    found = landed(Lake.open(lake), feed)["rows"]
    assert book(lake)["balanced"]
    return found


@pytest.mark.parametrize("short_rows", ["reject", "null"])
def test_of_an_unpivoted_row_the_columns_that_were_rejected_land(tmp_path: Path, short_rows: str) -> None:
    fields = [
        {"name": "id", "type": "string", "nullable": False},
        {"name": "slot", "type": "string"},
        {"name": "at", "type": "timestamp", "source": ["day", "slot"], "nullable": False},
        {"name": "kwh", "type": "float64"},
    ]
    words = {"unpivot": {"columns": r"^\d\d:\d\d$", "into": ["slot", "kwh"]}}
    (tmp_path / "1.csv").write_text(
        "id,day,00:00,00:30,01:00\na,2024-06-01,1,n/a,3\nb,2024-06-01,-,2,n/a\nc,2024-06-01,7\n"
    )
    wrong = of_fields("csv", fields, **words)
    right = of_fields("csv", fields, **words, csv={"null": ["", "n/a"], "short_rows": short_rows})
    run(tmp_path / "lake", wrong, tmp_path)
    assert book(tmp_path / "lake") | {"balanced": 0} == {
        "feed": "readings", "read": 7, "landed": 3, "duplicates": 0, "late": 0, "rejected": 4, "superseded": 0, "conflicts": 0, "balanced": 0,
    }  # fmt: skip
    done = again(tmp_path / "lake", right)
    run(tmp_path / "other", right, tmp_path)
    assert silver(tmp_path / "lake", right) == silver(tmp_path / "other", right)
    assert book(tmp_path / "lake") == book(tmp_path / "other")
    assert done.judged == 4 and done.fates.read == (2 if short_rows == "null" else 0)
    names = ["cause", "rule", "reason", "_source", "_position", "raw"]
    mine, others = (inspect(Lake.open(tmp_path / lake), "rejected").select(names) for lake in ("lake", "other"))
    assert mine.to_pylist() == others.to_pylist()


def test_a_file_keeps_its_header_its_name_and_its_preamble(tmp_path: Path) -> None:
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "string", "from_preamble": r"Meter;(\w+)", "nullable": False},
        {"name": "at", "type": "timestamp", "source": "Date", "format": "%d.%m.%Y %H:%M", "nullable": False},
        {"name": "kwh", "type": "float64"},
        {"name": "year", "type": "int64", "from_name": r"_(\d+)\."},
    ]
    words = {"csv": {"delimiter": ";", "header": "Date;"}}
    for meter, order in (("A1", "Date;kwh"), ("B2", "Date;other;kwh")):
        rows = ["01.06.2024 00:00;1,5", "01.06.2024 00:15;2.5"]
        rows = [row.replace(";", ";x;") if "other" in order else row for row in rows]
        (tmp_path / f"{meter}_2024.csv").write_text("\n".join([f"Meter;{meter}", order, *rows, ""]))
    run(tmp_path / "lake", of_fields("csv", fields, **words), tmp_path)
    assert book(tmp_path / "lake")["rejected"] == 2
    right = of_fields("csv", fields, csv={**words["csv"], "decimal": ","})
    assert again(tmp_path / "lake", right).fates.landed == 2
    run(tmp_path / "other", right, tmp_path)
    rows = silver(tmp_path / "lake", right)
    assert sorted((row[0], row[2], row[3]) for row in rows) == [
        ("A1", 1.5, 2024), ("A1", 2.5, 2024), ("B2", 1.5, 2024), ("B2", 2.5, 2024),
    ]  # fmt: skip


def test_bytes_in_another_encoding_and_quotes_over_lines(tmp_path: Path) -> None:
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "string", "nullable": False},
        {"name": "at", "type": "timestamp", "nullable": False},
        {"name": "kwh", "type": "float64"},
    ]
    text = 'id,at,kwh\nZähler,2024-06-01,1\n"two\nlines",2024-06-02,?\n"a,""b""",2024-06-03,?\n'
    (tmp_path / "1.csv").write_bytes(text.encode("cp1252"))
    run(tmp_path / "lake", of_fields("csv", fields), tmp_path)
    assert book(tmp_path / "lake")["rejected"] == 3
    right = of_fields("csv", fields, csv={"encoding": "cp1252", "null": ["?"]})
    assert again(tmp_path / "lake", right).fates.landed == 3
    assert [row[0] for row in silver(tmp_path / "lake", right)] == ["Zähler", "two\nlines", 'a,"b"'] or sorted(
        row[0] for row in silver(tmp_path / "lake", right)
    ) == sorted(["Zähler", "two\nlines", 'a,"b"'])


def test_an_autumn_hour_cannot_be_told_any_more(tmp_path: Path) -> None:
    at = {
        "name": "at",
        "type": "timestamp",
        "format": "%d.%m.%Y %H:%M",
        "time_zone": "Europe/Vienna",
        "on_dst": "in_order",
    }
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "string", "nullable": False},
        {**at, "nullable": False},
        {"name": "kwh", "type": "float64"},
    ]
    rows = ["a,27.10.2024 01:00,?", "a,27.10.2024 02:00,?", "a,27.10.2024 02:00,2", "a,27.10.2024 03:00,3"]
    (tmp_path / "1.csv").write_text("id,at,kwh\n" + "\n".join(rows) + "\n")
    run(tmp_path / "lake", of_fields("csv", fields), tmp_path)
    right = of_fields("csv", fields, csv={"null": ["?"]})
    done = again(tmp_path / "lake", right)
    assert (done.fates.landed, done.still_rejected) == (1, 1)
    (left,) = inspect(Lake.open(tmp_path / "lake"), "rejected").to_pylist()
    assert left["rule"] == "time:at" and "land a copy of the file under another name" in left["reason"]
    (tmp_path / "copy.csv").write_text((tmp_path / "1.csv").read_text())
    assert run(tmp_path / "lake", right, tmp_path).fates.landed == 1, "the way out that the reason names"


def test_rows_of_parquet_and_sqlite(tmp_path: Path) -> None:
    import sqlite3
    from decimal import Decimal

    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "string", "nullable": False},
        {"name": "at", "type": "timestamp", "nullable": False},
        {"name": "kwh", "type": "decimal(8,3)"},
        {"name": "n", "type": "int64"},
        {"name": "ok", "type": "bool"},
    ]
    table = pa.table(
        {
            "id": ["a", "b"],
            "at": pa.array([minute(0), minute(1)], pa.timestamp("us", "UTC")),
            "kwh": pa.array([Decimal("-1.250"), Decimal("2.000")]),
            "n": [1, None],
            "ok": [True, False],
        }
    )
    pq.write_table(table, tmp_path / "1.parquet")
    with sqlite3.connect(tmp_path / "1.db") as db:
        db.execute("CREATE TABLE t (id, at, kwh, n, ok)")
        db.execute(
            "INSERT INTO t VALUES ('a', '2025-06-15T12:00:00Z', -1.25, 1, 1), ('b', '2025-06-15T12:01:00Z', 2.0, NULL, 0)"
        )
    db.close()
    for kind, words in (("parquet", {}), ("sqlite", {"sqlite": {"table": "t"}})):
        lake, rule = tmp_path / kind, [{"id": "R", "check": "kwh > 0 AND n IS NOT NULL"}]
        run(lake, of_fields(kind, fields, rules=rule, **words), tmp_path)
        assert book(lake)["rejected"] == 1 or book(lake)["rejected"] == 2
        right = of_fields(kind, fields, **words)
        again(lake, right)
        run(tmp_path / f"other-{kind}", right, tmp_path)
        assert silver(lake, right) == silver(tmp_path / f"other-{kind}", right) and len(silver(lake, right)) == 2
        refine(Lake.open(lake))
        paths = trace(Lake.open(lake), "silver.readings", "true")["path"].to_pylist()
        assert {*paths} == {str(tmp_path / {"parquet": "1.parquet", "sqlite": "1.db"}[kind])}


CASE = Path(__file__).parents[1] / "cases" / "uci-split-time"


def test_a_null_word_that_the_first_contract_lacked(tmp_path: Path) -> None:
    """As people meet it: '?' stands for a value that is missing (UCI, household power)."""
    lake, told = str(tmp_path / "lake"), ["--lake", str(tmp_path / "lake")]
    mended = (CASE / "contract.toml").read_text()
    first = tmp_path / "first.toml"
    first.write_text(mended.replace(', null = ["", "?"]', ""))
    assert first.read_text() != mended
    done = grid("land", "--contract", str(first), "--source", str(CASE / "given"), *told)
    assert done.returncode == 0 and "landed 4" in done.stderr and "rejected 1" in done.stderr, done.stderr
    assert grid("refine", *told).returncode == 0
    done = grid("reinject", "rejected", "--feed", "household", *told)
    assert done.returncode == 2 and "give the mended one: --contract FILE" in done.stderr
    first.write_text(mended)
    done = grid("land", "--contract", str(first), "--source", str(CASE / "given"), *told)
    assert done.returncode == 0 and "nothing new" in done.stderr, "a mended contract goes on"
    done = grid("reinject", "rejected", "--feed", "household", "--contract", str(first), *told)
    assert done.returncode == 0 and "1 reject judged again: landed 1, " in done.stderr, done.stderr
    assert grid("refine", *told).returncode == 0
    expected = json.loads((CASE / "expected.json").read_text())
    (row,) = json.loads(grid("ledger", *told, "--format", "json").stdout)
    assert {name: row[name] for name in expected["ledger"]["household"]} == expected["ledger"]["household"]
    for sql, rows in expected["queries"].items():
        found = [
            list(one.values()) for one in json.loads(grid("query", sql, "--lake", lake, "--format", "json").stdout)
        ]
        assert [[start, n, kw if kw is None else float(kw)] for start, n, kw in found] == [
            [start, n, kw if kw is None else float(kw)] for start, n, kw in rows
        ]
    assert json.loads(grid("query", "SELECT * FROM bronze.rejected", "--lake", lake, "--format", "json").stdout) == []
    assert "no rejects" in grid("reinject", "rejected", "--feed", "household", "--contract", str(first), *told).stderr
    done = grid("reinject", "late", "--feed", "household", "--rule", "x", *told)
    assert done.returncode == 2 and "--rule: late rows are taken in as they are" in done.stderr


@pytest.mark.parametrize("feed", ["maintenance_logs", "renewable_production", "half_hourly_readings", "transformers"])
def test_of_a_feed_of_ours_the_contract_of_now_is_the_built_in_one(feed: str, tmp_path: Path) -> None:
    """All of it was rejected by a rule; in CSV, JSON lines, one document a file, and Parquet."""
    module = importlib.import_module(f"data_sources.{feed}.generate")
    module.generate(tmp_path / "in", seed=7, scale=0.05, messy=True)
    right = built_in()[feed]
    said = right.to_dict()
    said["rules"] = [*said.get("rules", []), {"id": "NEVER", "check": "false"}]
    for lake, contract_then in (("lake", parse_contract(said, "tests")), ("other", right)):
        run(tmp_path / lake, contract_then, tmp_path / "in", own_globs=True)
    lake, other = (Lake.open(tmp_path / name) for name in ("lake", "other"))
    assert book(lake.path)["landed"] == 0 and book(other.path)["landed"] > 0
    with lake.lock("land"):
        done = reinject_rejected(lake, feed)
    snapshots = [
        name for name in set(inspect(lake, "rejected")["_source"].to_pylist()) if name.endswith("master.parquet")
    ]
    assert bool(done.snapshots) == bool(snapshots) == (right.lake.load == "scd2")
    mine, others = (placed(one, feed, {*snapshots}) for one in (lake, other))
    assert mine == others and len(mine) > 0
    assert book(lake.path) == book(other.path) or snapshots


def placed(lake: Lake, feed: str, without: set[str]) -> list[str]:
    """Landed rows with their places, no payload left out, but those of some sources."""
    log = lake.feed(feed)
    rows = [r for c in log.commits() for f in c.listed("rows") for r in pq.read_table(log.path / f.path).to_pylist()]
    ours = ("_commit", "_ingested_at")
    return sorted(repr({k: v for k, v in r.items() if k not in ours}) for r in rows if r["_source"] not in without)


class Topic:
    """Messages as if a broker held them: (partition, offset) by place, in place of what the client would bring."""

    source = "kafka://localhost:9092/topic"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, messages: dict[int, list[tuple[bytes | None, float]]]) -> None:
        """messages: by partition (value, minute of its timestamp)."""
        self.messages = messages
        monkeypatch.setattr(kafka, "plan_topic", self._plan)
        monkeypatch.setattr(kafka, "_read_messages", self._read)

    def _plan(
        self, source: str, known: dict[str, KafkaEnd], config: str | None, rows: int, patience_s: float
    ) -> Listing:
        splits = []
        for partition, held in self.messages.items():
            end = known.get(f"topic/{partition}")
            start = end.offset if end else 0
            if start < len(held):
                number = len(splits)
                splits.append(
                    KafkaSplit(
                        topic="topic", bootstrap="x", partition=partition, start=start, end=len(held), number=number
                    )
                )
        return Listing(splits=list(splits))

    def _read(self, split: KafkaSplit, config: str | None, now: int) -> Iterator[Records]:
        held = self.messages[split.partition][split.start : split.end]
        arrivals = [int(minute(at).timestamp() * 1_000_000) for _, at in held]
        yield messages([value for value, _ in held], list(range(split.start, split.end)), arrivals)


def places(lake: Path) -> list[tuple[Any, ...]]:
    log = Lake.open(lake).feed("readings")
    rows = [r for c in log.commits() for f in c.listed("rows") for r in pq.read_table(log.path / f.path).to_pylist()]
    return sorted((r["id"], r["_source"], r["_partition"], r["_position"]) for r in rows)


def test_messages_keep_partition_offset_and_arrival(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {
        n: [(json.dumps(reading(f"{name}{n}", at, kwh)).encode(), 0.0) for name, at, kwh in
            (("a", 1, 0.5), ("b", 30, 5.0), ("c", 2, 5.0))]
        for n in (0, 3)
    }  # fmt: skip
    topic = Topic(monkeypatch, lines)
    topic.messages[3].append((None, 0.0))
    rules = [{"id": "LOW", "check": "kwh > 1"}]
    lake, mended = tmp_path / "lake", contract(max_future="20m")
    run(lake, contract(rules=rules, max_future="20m"), topic.source)
    assert book(lake)["rejected"] == 5
    done = again(lake, mended)
    assert (done.judged, done.fates.landed, done.still_rejected) == (5, 2, 3)
    run(tmp_path / "other", mended, topic.source)
    assert places(lake) == places(tmp_path / "other") and book(lake) == book(tmp_path / "other")
    names = ["cause", "rule", "reason", "_source", "_partition", "_position", "raw", "_arrival"]
    mine, others = (inspect(Lake.open(tmp_path / name), "rejected").select(names) for name in ("lake", "other"))
    assert mine.to_pylist() == others.to_pylist()
    assert set(mine["rule"].to_pylist()) == {"max_future", "json"} or mine.num_rows == 3


IN_MESSAGES: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "nullable": False},
    {"name": "at", "type": "timestamp", "nullable": False},
    {"name": "kwh", "type": "float64"},
    {"name": "site", "type": "string", "source": "$.site.name", "nullable": False},
]


@pytest.mark.parametrize(
    "was",
    [
        {},
        {"json": {"records": "values"}},
        {"json": {"records": "data.values"}, "rules": [{"id": "R", "check": "kwh > 1"}]},
    ],
)
def test_the_records_of_a_message_come_by_a_mended_path(
    was: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one message that was one reject come as many records as it holds, at their places in it."""

    def message(*records: dict[str, Any]) -> bytes:
        return json.dumps({"site": {"name": "S1"}, "data": {"values": records}}).encode()

    broken = b'{"site": {"name": "S1"}, "data": '
    held = [message(reading("a", 0), reading("b", 1, 2.0)), broken, message(reading("c", 2), reading("a", 0))]
    topic = Topic(monkeypatch, {0: [(one, 0.0) for one in held]})
    right = of_fields("json", IN_MESSAGES, json={"records": "data.values"})
    lake = tmp_path / "lake"
    run(lake, of_fields("json", IN_MESSAGES, **was), topic.source)
    before = book(lake)
    assert before["rejected"] >= 3
    again(lake, right)
    run(tmp_path / "other", right, topic.source)
    assert places(lake) == places(tmp_path / "other") and len(places(lake)) == 3
    assert book(lake) == book(tmp_path / "other"), "read, too, is what it had been from the start"
    again(lake, of_fields("json", IN_MESSAGES, json={"records": "data.values"}, description="x"))
    assert book(lake) == book(tmp_path / "other"), "and stays so when what is left is judged once more"
    assert places(lake) == places(tmp_path / "other")


def test_a_document_keeps_what_its_root_said(tmp_path: Path) -> None:
    said = {"site": {"name": "S1"}, "data": {"values": [reading("a", 0, 0.5), reading("b", 1, 2.0)]}}
    (tmp_path / "1.json").write_text(json.dumps(said, indent=1))
    words = {"json": {"records": "data.values"}}
    run(tmp_path / "lake", of_fields("json", IN_MESSAGES, **words, rules=[{"id": "R", "check": "kwh > 1"}]), tmp_path)
    right = of_fields("json", IN_MESSAGES, **words)
    assert again(tmp_path / "lake", right).fates.landed == 1
    rows = silver(tmp_path / "lake", right)
    assert [row[3] for row in rows] == ["S1", "S1"] and places(tmp_path / "lake")[0][3] == 1


CHANGES = {
    "load": "cdc", "key": ["id"], "operation": "op", "sequence_by": ["lsn"], "envelope": "auto",
}  # fmt: skip


def test_changes_of_a_log_land_and_a_changed_key_once(tmp_path: Path) -> None:
    """An update that changes its key is two records of one line, of which either may have been a reject, or both."""
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "int64"},
        {"name": "at", "type": "timestamp"},
        {"name": "kwh", "type": "float64"},
        {"name": "op", "type": "int64"},
        {"name": "lsn", "type": "int64", "source": "$.source.lsn"},
    ]

    def change(op: str, lsn: int, before: Any, after: Any) -> str:
        return json.dumps(
            {"op": op, "before": before, "after": after, "source": {"lsn": lsn, "ts_ms": 1750000000000 + lsn}}
        )

    def row(id: int, kwh: float) -> dict[str, Any]:
        return {"id": id, "kwh": kwh, "at": "2025-06-15T12:00:00Z"}

    lines = [
        change("c", 1, None, row(1, 5.0)),
        change("u", 2, row(1, 5.0), row(2, 0.5)),
        change("d", 3, row(9, 0.1), None),
        change("u", 4, row(3, 0.5), row(4, 0.6)),
        change("u", 5, row(5, 0.5), row(6, 5.0)),
    ]
    (tmp_path / "1.json").write_text("\n".join(lines) + "\n")
    words: dict[str, Any] = {"lake": CHANGES}

    def strict(*rules: tuple[str, str]) -> Contract:
        return of_fields("json", fields, **words, rules=[{"id": i, "check": check} for i, check in rules])

    lake, other, right = tmp_path / "lake", tmp_path / "other", of_fields("json", fields, **words)
    run(other, right, tmp_path)
    run(lake, strict(("R", "kwh > 1")), tmp_path)
    assert (book(lake)["read"], book(lake)["landed"], book(lake)["rejected"]) == (8, 3, 5)
    done = again(lake, strict(("R", "kwh > 0.9"), ("LATER", "id <> 4")))
    assert (done.judged, done.fates.read, done.fates.landed, done.still_rejected) == (5, 0, 0, 5)
    assert again(lake, strict(("LATER", "id <> 4"))).fates.landed == 4, "as many as they were"
    assert again(lake, right).fates.landed == 1
    assert places(lake) == places(other) and len(places(lake)) == 8
    assert book(lake) == book(other)


def test_a_changed_key_is_two_rejects_also_in_files_that_do_not_say_which(tmp_path: Path) -> None:
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "int64"}, {"name": "at", "type": "timestamp"}, {"name": "op", "type": "int64"},
        {"name": "lsn", "type": "int64", "source": "$.source.lsn"},
    ]  # fmt: skip
    image = {"at": "2025-06-15T12:00:00Z"}
    value = {"op": "u", "before": {"id": 1, **image}, "after": {"id": 2, **image}, "source": {"lsn": 1}}
    (tmp_path / "1.json").write_text(json.dumps(value) + "\n")
    lake, words = tmp_path / "lake", {"lake": CHANGES}
    run(lake, of_fields("json", fields, **words, rules=[{"id": "R", "check": "id > 5"}]), tmp_path)
    log = Lake.open(lake).feed("readings")
    (file,) = log.read(1).listed("rejected")
    table = pq.read_table(log.path / file.path)
    assert table["_half"].to_pylist() == [1, 2]
    pq.write_table(table.drop_columns(["_half"]), log.path / file.path)
    done = again(lake, of_fields("json", fields, **words, rules=[{"id": "R", "check": "id > 1"}]))
    assert (done.fates.read, done.fates.landed, done.still_rejected) == (0, 1, 1)
    assert again(lake, of_fields("json", fields, **words)).fates.landed == 1
    assert (book(lake)["read"], book(lake)["landed"]) == (2, 2)


def test_rejects_of_full_snapshots_are_left(tmp_path: Path) -> None:
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "string", "nullable": False},
        {"name": "at", "type": "timestamp", "nullable": False},
        {"name": "kwh", "type": "float64"},
    ]
    words: dict[str, Any] = {"lake": {"load": "scd2", "key": ["id"], "snapshot_files": ["full_*.csv"]}}
    (tmp_path / "full_1.csv").write_text("id,at,kwh\na,2025-06-15T12:00:00Z,1\nb,2025-06-15T12:00:00Z,?\n")
    (tmp_path / "more.csv").write_text("id,at,kwh\nc,2025-06-15T12:00:00Z,?\n")
    lake = tmp_path / "lake"
    run(lake, of_fields("csv", fields, **words), tmp_path)
    mended = of_fields("csv", fields, **words, csv={"null": ["", "?"]})
    done = again(lake, mended)
    assert (done.judged, done.fates.landed, done.snapshots) == (1, 1, 1)
    assert inspect(Lake.open(lake), "rejected")["_source"].to_pylist() == ["full_1.csv"] and book(lake)["balanced"]
    assert Lake.open(lake).feed("readings").read(2).listed("changes")[0].rows == 1
    assert again(lake, mended).commits == 0 and again(lake, None).commits == 0
