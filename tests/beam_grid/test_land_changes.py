"""Changes and master data land: copies are equal in all fields, nothing is late, any order and slicing gives the same."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_grid.errors import GridError
from beam_grid.feeds import built_in
from beam_grid.lakehouse.held import Snapshots
from beam_grid.lakehouse.tables import Batch
from beam_grid.land import Landed, Options, land
from beam_grid.landing import Lake
from data_sources.contract import Contract, parse_contract
from tests.conftest import examples
from tests.data_sources.decode.test_debezium import bills
from transforms.shard import row_hashes

NOW = 1_760_000_000_000_000
MASTERS: dict[str, Any] = {
    "name": "assets", "format": "csv", "event_time": "day",
    "lake": {"load": "scd2", "key": ["id"], "effective_from": "day", "as_of": "column:day",
             "snapshot_files": ["full_*.csv"], "delta_files": ["delta_*.csv"]},
    "fields": [{"name": "id", "type": "string"}, {"name": "day", "type": "date"}, {"name": "status", "type": "string"}],
}  # fmt: skip


def run(lake: Path, feed: Contract, source: Path, slice_rows: int = 1000) -> Landed:
    opened = Lake.open(lake)
    with opened.lock("land"):
        return land(opened, feed, Options(source=str(source), now=NOW, slice_rows=slice_rows, shards=2))


def written(lake: Path, feed: Contract, kind: str) -> list[dict[str, Any]]:
    log = Lake.open(lake).feed(feed.name)
    entries = [e for c in log.commits() for e in c.listed(kind)]
    return [row for e in entries for row in pq.read_table(log.path / e.path).to_pylist()]


CHANGE = st.fixed_dictionaries(
    {
        "__$operation": st.sampled_from([0, 1, 2, 3, 4, 9, None]), "__$start_lsn": st.sampled_from(["0x01", "0x02", "0xZZ"]),
        "__$seqval": st.sampled_from(["0x01", None]), "id": st.sampled_from(["a", "b", None]),
        "amount": st.sampled_from([None, "1.50", 1.5, 2]),
        "cdc_timestamp": st.sampled_from(["2025-01-01T00:00:00Z", "2024-01-01T00:00:00Z"]),
    }
)  # fmt: skip


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.one_of(CHANGE, st.none()), min_size=1, max_size=25), seed=st.integers(0, 9), cut=st.integers(1, 30))  # fmt: skip
def test_changes_land_once_in_any_order_and_slicing(changes: list[Any], seed: int, cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:  # fmt: skip
    tmp = tmp_path_factory.mktemp("changes")
    feed = bills()
    random.Random(seed).shuffle(changes)
    (tmp / "in").mkdir()
    for n, part in enumerate((changes[:cut], changes[cut:])):
        (tmp / "in" / f"{n}.json").write_text("".join(json.dumps(c) + "\n" for c in part))
    done = run(tmp / "lake", feed, tmp / "in", slice_rows=7)
    good = [
        c for c in changes
        if c is None or (c["id"] is not None and c["__$operation"] in (1, 2, 3, 4) and c["__$start_lsn"] != "0xZZ")
    ]  # fmt: skip
    values = {json.dumps(c and {**c, "amount": c["amount"] and float(c["amount"])}, sort_keys=True) for c in good}
    assert done.fates.read == len(changes) and done.fates.rejected == len(changes) - len(good)
    assert done.fates.landed == len(values) and done.fates.late == 0 and done.fates.conflicts == 0
    assert len(written(tmp / "lake", feed, "rows")) == len(values)


def test_snapshot_reads_that_share_one_lsn_are_no_copies(tmp_path: Path) -> None:
    reads = [{"op": "r", "after": {"id": f"k{n}", "amount": 1}, "source": {"commit_lsn": "0x01", "ts_ms": 1}} for n in range(20)]  # fmt: skip
    (tmp_path / "a.json").write_text("".join(json.dumps(r) + "\n" for r in [*reads, *reads]))
    done = run(tmp_path / "lake", bills(), tmp_path / "a.json", slice_rows=11)
    assert (done.fates.landed, done.fates.duplicates) == (20, 20)


def test_a_snapshot_says_which_keys_and_rows_it_held_also_where_all_were_copies(tmp_path: Path) -> None:
    feed = parse_contract(MASTERS, "tests")
    source = tmp_path / "in"
    source.mkdir()
    head = "id,day,status\n"
    (source / "full_1.csv").write_text(head + "a,2025-01-01,A\nb,2025-01-03,A\nb,2025-01-03,A\n")
    (source / "delta_1.csv").write_text(head + "a,2025-02-01,\n")
    run(tmp_path / "lake", feed, source, slice_rows=2)
    (source / "full_2.csv").write_text(head + "a,2025-01-01,A\n")
    done = run(tmp_path / "lake", feed, source)
    assert (done.fates.landed, done.fates.duplicates) == (0, 1)
    held = written(tmp_path / "lake", feed, "snapshot")
    assert sorted((h["_source"], h["id"]) for h in held) == [
        ("full_1.csv", "a"), ("full_1.csv", "b"), ("full_1.csv", "b"), ("full_2.csv", "a"),
    ]  # fmt: skip
    log = Lake.open(tmp_path / "lake").feed("assets")
    rows = [pq.read_table(log.path / e.path) for c in log.commits() for e in c.listed("rows")]
    known = {int(h) for t in rows for h in row_hashes(t, feed.schema.names).view("int64")}
    assert {h["_hash"] for h in held} <= known and len(known) == 3
    ends = {e.name: (e.role, e.done) for c in log.commits() for p in c.partitions for e in p.ends}
    assert ends == {"full_1.csv": ("snapshot", True), "delta_1.csv": ("delta", True), "full_2.csv": ("snapshot", True)}
    assert [(h["_source"], h["id"]) for h in written(tmp_path / "lake", feed, "changes")] == [("delta_1.csv", "a")]


def test_a_snapshot_in_a_table_of_a_database_is_known_by_the_name_its_records_have(tmp_path: Path) -> None:
    raw = {**MASTERS, "format": "sqlite", "sqlite": {"table": "assets"}}
    feed = parse_contract({**raw, "lake": {**MASTERS["lake"], "snapshot_files": ["full_*.db"]}}, "tests")
    source = tmp_path / "in"
    source.mkdir()
    with closing(sqlite3.connect(source / "full_1.db")) as database, database:
        database.execute("CREATE TABLE assets (id, day, status)")
        database.execute("INSERT INTO assets VALUES ('a', '2025-01-01', 'A')")
    assert run(tmp_path / "lake", feed, source).fates.landed == 1
    log = Lake.open(tmp_path / "lake").feed("assets")
    (part,) = Snapshots.of(Batch(log, feed, list(log.commits()), 0)).parts
    assert {h["_source"] for h in written(tmp_path / "lake", feed, "snapshot")} == {part.name} == {"full_1.db:assets"}


def test_a_snapshot_of_changes_says_where_in_the_log_each_record_stood(tmp_path: Path) -> None:
    raw = bills().to_dict()
    feed = parse_contract({**raw, "lake": {**raw["lake"], "snapshot_files": ["full_*.json"]}}, "tests")
    source = tmp_path / "in"
    source.mkdir()
    reads = [{"op": "r", "after": {"id": k, "amount": 1}, "source": {"commit_lsn": "0x09", "ts_ms": 1}} for k in "aab"]
    for name in ("changes_1.json", "full_1.json"):
        (source / name).write_text("".join(json.dumps(r) + "\n" for r in reads))
    (source / "full_2.json").write_text("")
    done = run(tmp_path / "lake", feed, source)
    assert (done.fates.landed, done.fates.duplicates) == (2, 4)
    assert len(done.problems) == 1 and "full_2.json" in done.problems[0] and "without any record" in done.problems[0]
    held = written(tmp_path / "lake", feed, "snapshot")
    assert [(h["_source"], h["id"], h["__$operation"], h["__$start_lsn"]) for h in held] == [
        ("full_1.json", k, 2, "0x09") for k in "aab"
    ]
    assert {h["_as_of"] for h in held} == {h[feed.event_time] for h in held}
    assert written(tmp_path / "lake", feed, "changes") == []


def test_a_snapshot_that_cannot_tell_of_deletes_is_named(tmp_path: Path) -> None:
    feed = parse_contract(MASTERS, "tests")
    source = tmp_path / "in"
    source.mkdir()
    (source / "full_1.csv").write_text("id,day,status\n")
    (source / "full_2.csv").write_text("id,day,status\na,2025-01-01,A\nb,2025-01-01,A")
    (source / "full_3.csv").write_text("id,day,status\na,2025-01-01,A\n")
    (source / "delta_1.csv").write_text("id,day,status\n")

    def problems() -> list[tuple[str, str]]:
        found = run(tmp_path / "lake", feed, source).problems
        return [(p.split(":")[0], "no record" if "without any record" in p else "no end" if "no line end" in p else p) for p in found]  # fmt: skip

    waiting = [("full_1.csv", "no record"), ("full_2.csv", "no end")]
    assert problems() == waiting and problems() == waiting
    with (source / "full_2.csv").open("a") as out:
        out.write("\n")
    assert problems() == waiting[:1]
    ends = {e.name: e.done for c in Lake.open(tmp_path / "lake").feed("assets").commits() for p in c.partitions for e in p.ends}  # fmt: skip
    assert ends == {"full_2.csv": True, "full_3.csv": True}


def test_a_file_of_no_role_is_named_and_the_rest_lands(tmp_path: Path) -> None:
    feed = parse_contract(MASTERS, "tests")
    source = tmp_path / "in"
    source.mkdir()
    (source / "odd.csv").write_text("id,day,status\na,2025-01-01,A\n")
    (source / "full_1.csv").write_text("id,day,status\na,2025-01-01,A\n")
    done = run(tmp_path / "lake", feed, source)
    assert done.fates.landed == 1 and ["odd.csv" in p and "snapshot_files" in p for p in done.problems] == [True]


def test_a_field_that_comes_later_makes_no_old_row_new(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "full_1.csv").write_text("id,day,status\na,2025-01-01,A\nb,2025-01-01,A\n")
    run(tmp_path / "lake", parse_contract(MASTERS, "tests"), source)
    grown = parse_contract({**MASTERS, "fields": [*MASTERS["fields"], {"name": "owner", "type": "string", "since": "2"}]}, "tests")  # fmt: skip
    (source / "full_2.csv").write_text("id,day,status,owner\na,2025-01-01,A,\nb,2025-01-01,A,me\n")
    done = run(tmp_path / "lake", grown, source)
    assert (done.fates.landed, done.fates.duplicates) == (1, 1)


def test_what_names_a_row_may_not_change(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "full_1.csv").write_text("id,day,status\na,2025-01-01,A\n")
    run(tmp_path / "lake", parse_contract(MASTERS, "tests"), source)
    other = {**MASTERS, "lake": {**MASTERS["lake"], "key": ["id", "status"]}}
    with pytest.raises(GridError, match=r"lake.key was \['id'\]"):
        run(tmp_path / "lake", parse_contract(other, "tests"), source)


def test_a_lake_of_the_old_order_of_bills_goes_on_with_the_new_one(tmp_path: Path) -> None:
    """Lakes landed before `__$command_id` was part of the order; less, or another order, is refused as before."""
    now = built_in()["billing_transactions"]
    raw = now.to_dict()
    fields = [name for name in raw["lake"]["sequence_by"] if name != "__$command_id"]
    before = parse_contract({**raw, "lake": {**raw["lake"], "sequence_by": fields}}, "tests")
    feed = Path(__file__).parents[1] / "cases/cdc-command-id/given/billing_cdc/billing_cdc_feed.json"
    lines = feed.read_text(encoding="utf-8").splitlines(keepends=True)
    source = tmp_path / "in"
    source.mkdir()
    for number, contract in enumerate((before, now)):
        (source / f"{number}.json").write_text("".join(lines[number::2]), encoding="utf-8")
        assert run(tmp_path / "lake", contract, source).fates.landed == 3
    with pytest.raises(GridError, match=r"lake.sequence_by was \['__\$start_lsn', '__\$command_id'"):
        run(tmp_path / "lake", before, source)


def test_row_hashes_see_a_value_that_moved_to_another_field() -> None:
    table = duckdb.sql("SELECT * FROM (VALUES (1, NULL), (NULL, 1), (1, NULL)) t(x, y)").to_arrow_table()
    one, two, three = row_hashes(table, ["x", "y"]).tolist()
    assert one == three != two
