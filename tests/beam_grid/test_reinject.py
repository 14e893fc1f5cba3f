"""`reinject late`: what was late lands after all, once, and the ledger goes on balancing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beam_grid.errors import GridError
from beam_grid.inspect import inspect
from beam_grid.land import Landed
from beam_grid.landing import Lake
from beam_grid.ledger import ledger
from beam_grid.reinject import reinject
from data_sources.contract import Contract, parse_contract
from tests import command_line
from tests.conftest import EXAMPLES
from tests.properties.oracle import as_lines, assert_same_windows, landed, oracle, run
from tests.properties.test_any_slicing import DEDUPS, WIDE, Drop, drops
from tests.transforms.making import LATEST, contract, minute

NEVER_LATE = {"allowed_lateness": "36000d"}
"""The same feed, for the oracle: everything is on time."""


slow = settings(
    deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.reuse, Phase.generate]
)


def again(lake: Path, feed: Contract, slice_rows: int = 1000) -> Landed:
    opened = Lake.open(lake)
    with opened.lock("land"):
        return reinject(opened, feed.name, slice_rows=slice_rows)


def reading(name: str, minutes: float, kwh: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"id": name, "at": minute(minutes).isoformat(), "kwh": kwh, "meter": "m1", "version": 1, **more}


def rows_of(lake: Lake, commit: int) -> list[dict[str, Any]]:
    log = lake.feed("readings")
    files = [log.path / e.path for e in log.read(commit).listed("rows")]
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def book(lake: Path) -> dict[str, Any]:
    (row,) = ledger(Lake.open(lake)).to_pylist()
    return row


def settled(record: dict[str, Any]) -> dict[str, Any]:
    """With a payload that its key decides: keep = "first" knows which of two stays by their arrival alone."""
    return {"id": record["id"], "at": record["at"], "kwh": ord(record["id"]) / 4, "meter": record["at"][15]}


@pytest.mark.parametrize("keep", ["latest", "latest, timeless", "first"])
@settings(slow, max_examples=max(2, EXAMPLES // 3))
@given(given_drops=drops(WIDE), slices=st.integers(1, 4), between=st.booleans())
def test_with_its_late_rows_taken_in_a_lake_is_that_of_input_on_time(
    keep: str, given_drops: list[Drop], slices: int, between: bool
) -> None:
    """Taken in after each drop, or only after the last."""
    dedup = DEDUPS[keep]
    feed = contract(dedup=dedup)
    if keep == "first":
        given_drops = [
            Drop({name: [r if isinstance(r, str) else settled(r) for r in lines] for name, lines in drop.files.items()})
            for drop in given_drops
        ]
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), []
        (folder / "in").mkdir()
        rows = max(1, sum(len(lines) for drop in given_drops for lines in drop.files.values()) // slices)
        late = 0
        for drop in given_drops:
            for file, lines in sorted(drop.files.items()):
                (folder / "in" / file).write_text(as_lines(lines))
                log.append(folder / "in" / file)
            late += run(folder / "lake", feed, folder / "in", slice_rows=rows).fates.late
            if between and Lake.open(folder / "lake").feeds:
                again(folder / "lake", feed, slice_rows=2)
        if Lake.open(folder / "lake").feeds:
            again(folder / "lake", feed, slice_rows=2)
        found, wanted = landed(Lake.open(folder / "lake"), feed), oracle(log, contract(dedup=dedup, **NEVER_LATE))
        assert found["counts"] == wanted["counts"], "late rows count as if they had been on time"
        assert found["rows"] == wanted["rows"]
        assert_same_windows(found["windows"], wanted["windows"])
        assert len(found["late"]) == late, "that they were late stays on record"
        if log and Lake.open(folder / "lake").feeds:
            assert book(folder / "lake")["balanced"]


def test_each_late_row_is_taken_in_once_with_the_place_it_came_from(tmp_path: Path) -> None:
    feed = contract()
    source, lake = tmp_path / "in", tmp_path / "lake"
    source.mkdir()
    (source / "1.json").write_text(as_lines([reading("a", 100), reading("b", 0, extra=7), reading("a", 0, kwh=2.0)]))
    run(lake, feed, source)
    (source / "2.json").write_text(as_lines([reading("a", 0, kwh=3.0), reading("c", 99)]))
    run(lake, feed, source)
    assert book(lake) | {"balanced": None} == {
        "feed": "readings", "read": 5, "landed": 2, "duplicates": 0, "late": 3, "rejected": 0, "superseded": 0, "conflicts": 0, "balanced": None,
    }  # fmt: skip
    before = Lake.open(lake).feed("readings").read(2).watermark
    done = again(lake, feed)
    assert (done.commits, done.fates.landed, done.fates.duplicates, done.fates.late) == (1, 2, 1, -3)
    assert book(lake) == {
        "feed": "readings", "read": 5, "landed": 4, "duplicates": 1, "late": 0, "rejected": 0, "superseded": 0, "conflicts": 1, "balanced": True,
    }  # fmt: skip
    log = Lake.open(lake).feed("readings")
    commit = log.read(3)
    assert commit.watermark == before and commit.fates.read == 0
    rows = rows_of(Lake.open(lake), 3)
    assert sorted(
        (r["id"], r["kwh"], r["_source"], r["_position"], r["_commit"], r["_extra"] is None) for r in rows
    ) == [
        ("a", 2.0, "1.json", 3, 3, True),
        ("b", 1.0, "1.json", 2, 3, False),
    ]
    assert inspect(Lake.open(lake), "late").num_rows == 3 and inspect(Lake.open(lake), "lineage").num_rows == 4
    assert again(lake, feed).commits == 0
    run(lake, feed, source)
    assert log.last == 3


POINTS = ["land:before-commit", "land:committed"]


def test_killed_anywhere_a_rerun_takes_in_the_same(tmp_path: Path) -> None:
    feed = contract(dedup=LATEST)
    (tmp_path / "1.json").write_text(
        as_lines([reading("z", 200), *(reading(f"r{n}", n, version=n) for n in range(9)), reading("r1", 1, version=8)])
    )
    whole = tmp_path / "whole"
    run(whole, feed, tmp_path / "1.json")
    again(whole, feed)
    wanted = landed(Lake.open(whole), feed)
    for point in POINTS:
        lake = tmp_path / point.replace(":", "-")
        run(lake, feed, tmp_path / "1.json")
        done = command(lake, BEAM_GRID_KILL_AT=point)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert Lake.open(lake).feed("readings").last == (2 if point == "land:committed" else 1)
        done = command(lake)
        assert done.returncode == 0, done.stderr
        assert (
            "no late rows" if point == "land:committed" else "10 late rows = landed 9 + duplicates 1"
        ) in done.stderr
        found = landed(Lake.open(lake), feed)
        assert found["rows"] == wanted["rows"] and found["counts"] == wanted["counts"]
        assert_same_windows(found["windows"], wanted["windows"])
        assert book(lake)["balanced"]


def command(lake: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    arguments = ["reinject", "late", "--feed", "readings", "--lake", str(lake)]
    if not environment:
        return command_line.grid(*arguments)
    return subprocess.run(
        [sys.executable, "-m", "beam_grid", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "BEAM_GRID_DEBUG": "", **environment},
    )


def test_a_feed_that_never_landed_is_named(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="'readings': nothing of it has landed"):
        again(tmp_path / "lake", contract())


def test_rows_kept_before_a_field_was_there_come_in_without_it(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(as_lines([reading("a", 100), reading("b", 0)]))
    run(tmp_path / "lake", contract(), tmp_path / "1.json")
    said = contract().to_dict()
    said["fields"].append({"name": "phase", "type": "int64", "since": "2"})
    grown = parse_contract(said, "tests")
    (tmp_path / "2.json").write_text(json.dumps(reading("c", 101, phase=3)) + "\n")
    run(tmp_path / "lake", grown, tmp_path / "2.json")
    assert again(tmp_path / "lake", grown).fates.landed == 1
    found = rows_of(Lake.open(tmp_path / "lake"), 3)
    assert [(row["id"], row["phase"]) for row in found] == [("b", None)]
    assert book(tmp_path / "lake")["balanced"]
