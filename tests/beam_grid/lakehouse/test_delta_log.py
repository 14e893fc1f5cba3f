"""Commits put to Delta's log: what may come between, what is refused, and how the log is read again."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from beam_grid.errors import GridError
from beam_grid.lakehouse import data_files, delta_log, vectors
from beam_grid.lakehouse.delta_log import Action, Conflict
from beam_grid.lakehouse.live import _KNOWN, Live, commit, live

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])
OURS = "lake/feed/silver.t"


def rows(path: Path, *numbers: int, changes_rows: bool = True) -> list[Action]:
    """A file of these rows, written, and the action that adds it."""
    batch = pa.record_batch([pa.array(numbers, pa.int64()), pa.array([str(n) for n in numbers])], schema=SCHEMA)
    return data_files.write(path, [batch], SCHEMA, 100, SCHEMA.names, changes_rows=changes_rows)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A clustered table with one file of ten rows."""
    path = tmp_path / "silver" / "t"
    delta_log.create(
        path, SCHEMA, name="silver.t", cluster_by=["n"], properties={"delta.enableDeletionVectors": "true"}
    )
    delta_log.put(path, live(path), rows(path, *range(10)), "WRITE", (OURS, 1))
    return path


def appended(path: Path, at: Live) -> list[Action]:
    return rows(path, 100)


def compacted(path: Path, at: Live) -> list[Action]:
    gone = [delta_log.removed(file, changes_rows=False) for file in at.files]
    return [*gone, *rows(path, *range(10), changes_rows=False)]


def taken_out(path: Path, at: Live) -> list[Action]:
    return delta_log.revectored(at.files[0], vectors.write(path, np.array([3])))


def columns(path: Path, at: Live) -> list[Action]:
    return delta_log.with_columns(at, SCHEMA.append(pa.field("more", pa.int64())), "silver.t")


def feature(path: Path, at: Live) -> list[Action]:
    names = ["deletionVectors", "rowTracking"]
    return [{"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": names[:1], "writerFeatures": names}}]  # fmt: skip


Make = Callable[[Path, Live], list[Action]]

BETWEEN: dict[str, tuple[Make, Make, bool]] = {
    "append, append": (appended, appended, True),
    "append, our compaction": (compacted, appended, True),
    "append, rows taken out": (taken_out, appended, True),
    "compaction, append": (appended, compacted, True),
    "rows taken out, append": (appended, taken_out, False),
    "rows taken out, OPTIMIZE of their file": (compacted, taken_out, False),
    "rows taken out, others taken out": (taken_out, taken_out, False),
    "compaction, rows taken out": (taken_out, compacted, False),
    "append, columns": (columns, appended, False),
    "append, a feature": (feature, appended, False),
}


@pytest.mark.parametrize("case", BETWEEN)
def test_what_comes_between_commutes_or_is_a_conflict(case: str, table: Path) -> None:
    theirs, ours, commutes = BETWEEN[case]
    at = live(table)
    actions = ours(table, at)
    delta_log.put(table, at, theirs(table, at), "OTHER")
    if commutes:
        assert delta_log.put(table, at, actions, "WRITE", (OURS, 2)) == at.version + 2
        assert live(table).transactions == {OURS: 2}
        return
    with pytest.raises(Conflict):
        delta_log.put(table, at, actions, "WRITE", (OURS, 2))
    assert live(table).version == at.version + 1 and live(table).transactions == {OURS: 1}


def test_our_own_transaction_between_writes_nothing_a_second_time(table: Path) -> None:
    at = live(table)
    assert delta_log.put(table, at, rows(table, 11), "WRITE", (OURS, 3)) == 2
    for number in (2, 3):
        assert delta_log.put(table, at, rows(table, 11), "WRITE", (OURS, number)) == 2
    assert live(table).version == 2
    with pytest.raises(Conflict, match="a part of the same commits"):
        delta_log.put(table, at, rows(table, 11, 12), "WRITE", (OURS, 4))


def test_work_is_done_anew_on_what_came_first_and_not_for_ever(table: Path) -> None:
    seen: list[int] = []

    def work(at: Live, every_time: bool = False) -> None:
        seen.append(at.version)
        if len(seen) == 1 or every_time:
            delta_log.put(table, at, compacted(table, at), "OPTIMIZE")
        delta_log.put(table, at, taken_out(table, at), "DELETE")

    delta_log.again_on_conflict(table, work)
    assert seen == [1, 2] and live(table).files[0].deleted == 1
    with pytest.raises(Conflict):
        delta_log.again_on_conflict(table, lambda at: work(at, every_time=True))
    assert len(seen) == 7


def test_many_writers_at_once_bring_all_rows_once(table: Path) -> None:
    have_read = threading.Barrier(8)  # who reads after another wrote would see that its transaction was there

    def write(n: int) -> None:
        at = live(table)
        have_read.wait()
        delta_log.put(table, at, rows(table, 100 + n), "WRITE", (f"{OURS}/{n % 4}", 1))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    at = live(table)
    assert at.version == 5 and sum(file.rows or 0 for file in at.files) == 14
    assert len(at.transactions) == 5


FOREIGN: dict[str, tuple[Callable[[Live], Action], str]] = {
    "a writer's feature": (lambda at: feature(Path(), at)[0], "rowTracking"),
    "an old version's features": (lambda at: {"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}}, "checkConstraints"),
    "a constraint": (lambda at: _with(at, {"delta.constraints.positive": "n > 0"}), "delta.constraints.positive"),
    "append only": (lambda at: _with(at, {"delta.appendOnly": "true"}), "delta.appendOnly"),
    "a condition of a column": (
        lambda at: _with(at, {}, {"delta.invariants": json.dumps({"expression": {"expression": "n > 0"}})}), "delta.invariants",
    ),
}  # fmt: skip


def _with(at: Live, properties: dict[str, str], of_column: dict[str, str] | None = None) -> Action:
    shape = json.loads(at.schema)
    shape["fields"][0]["metadata"] = of_column or {}
    return {"metaData": {"id": at.id, "schemaString": json.dumps(shape), "configuration": {**at.properties, **properties}}}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN)
def test_a_table_with_a_feature_that_is_not_ours_is_refused(case: str, table: Path) -> None:
    action, name = FOREIGN[case]
    delta_log.put(table, live(table), [action(live(table))], "SET TBLPROPERTIES")
    before = live(table)
    with pytest.raises(GridError, match=rf"table silver.t: .*'{name}'.*move .*silver/t away and run refine"):
        delta_log.put(table, before, rows(table, 1), "WRITE")
    assert live(table).version == before.version


@pytest.fixture
def early_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_log, "CHECKPOINT_EVERY", 20)


def history(path: Path) -> None:
    """Thirty commits of every kind, with checkpoints of delta-rs and a tag of Spark's OPTIMIZE among them."""
    for n in range(30):
        at = live(path)
        actions = [appended, columns, compacted, taken_out, appended][n % 5](path, at)
        if n % 5 == 2:
            actions[-1]["add"]["tags"] = {"ZCUBE_ID": f"cube {n}"}
            actions[-1]["add"]["stats"] = json.dumps({**json.loads(actions[-1]["add"]["stats"]), "numRecords": 12})
        delta_log.put(path, at, actions, "WRITE", (f"{OURS}/{n % 3}", n))
        delta_log.checkpoint(path, at)


def told(at: Live) -> dict[str, Any]:
    files = sorted((f.path, f.bytes, f.cube, f.rows, f.deleted, str(f.least), str(f.greatest), str(f.vector and {k: v for k, v in f.vector.items() if v is not None})) for f in at.files)  # fmt: skip
    rest = (at.version, at.cluster_by, at.id, at.schema, at.properties, at.transactions, at.features)
    return {"files": files, "rest": rest}


@pytest.mark.usefixtures("early_checkpoints")
def test_a_long_log_says_the_same_step_by_step_from_a_checkpoint_and_whole(table: Path, tmp_path: Path) -> None:
    history(table)
    step_by_step = live(table)
    assert list((table / "_delta_log").glob("*.checkpoint.parquet")) and step_by_step.log_files < 20
    _KNOWN.clear()
    from_checkpoint = live(table)
    shutil.copytree(table, tmp_path / "whole")
    for path in (tmp_path / "whole" / "_delta_log").glob("*checkpoint*"):
        path.unlink()
    whole = live(tmp_path / "whole")
    assert whole.log_files == 32 and any(file.cube for file in whole.files) and any(f.deleted for f in whole.files)
    assert told(step_by_step) == told(whole)
    assert told(from_checkpoint) == told(whole)
    assert told(live(table, 25)) == told(live(tmp_path / "whole", 25))
    assert {f.path for f in whole.files} == {path.rsplit("/", 1)[-1] for path in DeltaTable(str(table)).file_uris()}


def test_a_table_made_anew_under_the_cache_is_noticed(table: Path) -> None:
    before = live(table)
    saved = (table / "_delta_log" / f"{1:020d}.json").read_bytes()
    shutil.rmtree(table)
    delta_log.create(table, SCHEMA, name="silver.t", cluster_by=["n"])
    assert live(table).version == 0 and live(table).id != before.id and not live(table).files
    (table / "_delta_log" / f"{1:020d}.json").write_bytes(saved)
    assert live(table).id != before.id


def test_a_log_cut_short_under_the_cache_is_noticed(table: Path) -> None:
    delta_log.put(table, live(table), rows(table, 11), "WRITE")
    assert live(table).version == 2
    (table / "_delta_log" / f"{2:020d}.json").unlink()
    assert live(table).version == 1 and len(live(table).files) == 1
    (table / "_delta_log" / f"{0:020d}.json").unlink()
    _KNOWN.clear()
    with pytest.raises(GridError, match=r"its log lacks a commit.*move the table away and run refine"):
        live(table)


@pytest.mark.usefixtures("early_checkpoints")
def test_a_checkpoint_that_is_gone_is_named(table: Path) -> None:
    history(table)
    for path in (table / "_delta_log").glob("*.checkpoint.parquet"):
        path.unlink()
    _KNOWN.clear()
    with pytest.raises(GridError, match=r"checkpoint .* is missing; move the table away and run refine"):
        live(table)


@pytest.mark.usefixtures("early_checkpoints")
@pytest.mark.parametrize("torn", ["", "{", '{"version": 1'])
def test_what_a_loss_of_power_tore_of_a_checkpoint_is_done_without(torn: str, table: Path) -> None:
    history(table)
    wanted, log = told(live(table)), table / "_delta_log"
    (log / "_last_checkpoint").write_text(torn)
    _KNOWN.clear()
    assert told(live(table)) == wanted
    sorted(log.glob("*.checkpoint.parquet"))[-1].write_text(torn)
    _KNOWN.clear()
    assert told(live(table)) == wanted, "by the one before"


def test_a_checkpoint_is_on_the_disk_when_the_log_goes_on(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        "beam_grid.durable.os.fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}"))
    )
    delta_log.sum_up(table)
    (made,) = (table / "_delta_log").glob("*.checkpoint.parquet")
    assert synced == [str(made), str(made.with_name("_last_checkpoint")), str(made.parent)]


def test_names_of_statistics_columns_are_read_with_their_backticks(table: Path) -> None:
    named = {"delta.dataSkippingStatsColumns": "`a,b`,`c``d`, plain,`odd.name`"}
    delta_log.put(table, live(table), [_with(live(table), named)], "SET TBLPROPERTIES")
    assert delta_log.statistics_columns(live(table)) == ["a,b", "c`d", "plain", "odd.name"]


def test_a_commit_tells_its_history(table: Path) -> None:
    delta_log.put(table, live(table), rows(table, 1, 2), "WRITE", rows=2)
    told = next(action["commitInfo"] for action in commit(table, 2) if "commitInfo" in action)
    assert told["operation"] == "WRITE" and told["isBlindAppend"] and told["operationMetrics"] == {"numOutputRows": "2"}
