"""What a look reads: files with rows of the span, tables that changed; and the rows are the same where bounds tell less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from beam_grid.alerts.declared import declared
from beam_grid.alerts.evaluate import Evaluation
from beam_grid.alerts.store import opened
from beam_grid.lakehouse import delta_log, vectors
from beam_grid.lakehouse.statistics import statistics
from beam_grid.lakehouse.table_set import PublishedTable
from beam_grid.lakehouse.versions import Content, newest_number, publish
from tests.beam_grid.alerts.published import READINGS, RULE, TO_FILE, Published, keys, minute

WITHIN = RULE.replace('time = "at"', 'time = "at"\nwithin = "1h"')
EVERYWHERE = RULE.replace('"high"', '"ever"').replace('time = "at"\n', "")


def _spoil(file: Path) -> None:
    """Leave the footer as it is, and no page that can be read."""
    data = file.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    file.write_bytes(data[:4] + b"\xff" * (len(data) - 4 - footer) + data[-footer:])


def test_a_file_of_older_rows_is_not_read(tmp_path: Path) -> None:
    """Its pages are spoilt: a rule over all rows cannot be asked, the other can."""
    here = Published(tmp_path, WITHIN + EVERYWHERE + TO_FILE)
    here.readings(("old", 0, 30.0), ("older", -5, 30.0))
    (old,) = DeltaTable(str(here.lake.path / "tables/silver.readings")).file_uris()
    here.readings(("new", 600, 30.0), ("low", 610, 1.0), ("before", 500, 30.0))
    _spoil(Path(old))
    assert here.check() == 1 and "rule ever: " in "\n".join(here.said), "the file is spoilt"
    assert [(one["rule"], keys(one)) for one in here.told()] == [("high", ["new"])]


FILES = {
    "first": [("a", 0, 30.0), ("b", 100, 30.0)],
    "middle": [("c", 640, 30.0), ("d", 700, 30.0), ("e", 639, 30.0)],
    "last": [("f", 5000, 30.0), ("g", 650, 30.0), ("h", 660, 1.0)],
}


@pytest.mark.parametrize("what", ["all is told", "the newest row is deleted", "nothing is told of the newest file"])
def test_the_rows_are_those_of_the_newest_hour(tmp_path: Path, what: str) -> None:
    here = Published(tmp_path, WITHIN + TO_FILE)
    path = here.lake.path / "tables" / "silver.readings"
    path.mkdir(parents=True)
    delta_log.create(path, READINGS, name="readings", cluster_by=[])
    actions = []
    for name, rows in FILES.items():
        table = pa.Table.from_pylist([{"meter": m, "at": minute(n), "kwh": k} for m, n, k in rows], schema=READINGS)
        pq.write_table(table, path / f"{name}.parquet")
        told = (
            None
            if what.startswith("nothing") and name == "last"
            else statistics(path / f"{name}.parquet", READINGS.names)
        )
        action = delta_log.added(f"{name}.parquet", (path / f"{name}.parquet").stat().st_size, told)
        action["add"]["stats"] = told
        actions.append(action)
    at = delta_log.read(path)
    assert at is not None
    delta_log.put(path, at, actions, "WRITE")
    live = [row for rows in FILES.values() for row in rows]
    if what.startswith("the newest"):
        at = delta_log.read(path)
        assert at is not None
        (last,) = (file for file in at.files if file.path == "last.parquet")
        delta_log.put(path, at, delta_log.revectored(last, vectors.write(path, np.array([0], np.uint64))), "DELETE")
        live.remove(("f", 5000, 30.0))
    at = delta_log.read(path)
    assert at is not None
    publish(
        here.lake,
        Content(
            tables={"silver.readings": PublishedTable(path="tables/silver.readings", version=at.version, id=at.id)}
        ),
    )
    assert here.check() == 0
    newest = max(n for _, n, _ in live)
    wanted = sorted(m for m, n, kwh in live if kwh > 20 and n >= newest - 60)
    assert sorted(key for one in here.told() for key in keys(one)) == wanted
    assert len(wanted) == (3 if what.startswith("the newest") else 1)


def test_a_rule_whose_tables_are_as_they_were_is_not_asked_again_unless_it_asks_a_clock(tmp_path: Path) -> None:
    """The only file is spoilt after the first look, and another table is published."""
    clock = RULE.replace('"high"', '"clock"').replace("kwh > 20", "kwh > 20 AND now() > TIMESTAMPTZ '2026-01-01'")
    here = Published(tmp_path, RULE + clock + TO_FILE)
    here.readings(("a", 0, 30.0))
    known = declared(here.lake)
    assert known is not None
    with opened(here.lake) as store:
        evaluation = Evaluation(here.lake, known, store, tmp_path / "scratch")
        assert evaluation.look(newest_number(here.lake)).raised == 2
        _spoil(Path(DeltaTable(str(here.lake.path / "tables/silver.readings")).file_uris()[0]))
        here.table("gold.other", pa.table({"n": [1]}))
        told = evaluation.look(newest_number(here.lake))
        assert (told.raised, told.cleared, [*told.errors]) == (0, 0, ["clock"])
        here.readings(("b", 0, 30.0), mode="overwrite")
        told = evaluation.look(newest_number(here.lake))
        assert (told.raised, told.cleared, told.errors) == (2, 2, {}), "a new version is looked at"
