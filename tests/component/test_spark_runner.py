"""The same graph on Beam's Spark runner, in one JVM and on a cluster: slice by slice the tables that the in-process
runner lands, whatever happens to an executor."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_grid.feeds import built_in
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from data_sources.contract import Contract, parse_contract
from data_sources.formats import lines
from data_sources.smart_meter_readings.generate import FEED, FOLDER, generate
from runners.spark import JARS_VARIABLE
from tests.component.spark_cluster import SparkCluster, spark35_home
from tests.properties.oracle import slice_independent
from transforms import pieces
from transforms.tiles import merge_tiles, tile_rows

pytestmark = [pytest.mark.component]

NOW = int(datetime(2025, 6, 18, tzinfo=UTC).timestamp() * 1e6)
LATEST = {"key": ["event_id", "timestamp"], "keep": "latest", "order_by": ["voltage_v"]}


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """About 6,000 messy readings and the truth about them."""
    folder = tmp_path_factory.mktemp("messy")
    truth = generate(folder, seed=7, scale=0.05, messy=True)
    return folder / FOLDER, truth


def feed(**changes: Any) -> Contract:
    plain = built_in()[FEED].to_dict()
    return parse_contract({**plain, **changes}, "tests")


def landed_by(
    runner: str, lake: Path, of: Contract, source: Path, slice_rows: int, master: str = "local[2]"
) -> dict[str, Any]:
    opened = Lake.open(lake)
    with opened.lock("land"):
        done = land(opened, of, Options(str(source), runner=runner, spark_master=master, slice_rows=slice_rows, now=NOW))  # fmt: skip
    log = opened.feed(of.name)
    names = [f.name for f in of.fields]
    rows, gone, aside, commits = [], set(), {}, []
    tiles: dict[str, list[pa.Table]] = {}
    for commit in log.commits():
        commits.append({"fates": commit.fates, "rejected": commit.rejected_by, "warned": commit.warned_by, "watermark": commit.watermark, "delays": commit.delays})  # fmt: skip
        for entry in commit.files:
            table = pq.read_table(log.path / entry.path)
            if entry.kind == "rows":
                rows.append(table)
            elif entry.kind == "tiles":
                tiles.setdefault(entry.window, []).append(table)
            else:
                where = ["_commit", "_source", "_position"]
                aside.setdefault(entry.kind, []).extend(zip(*(table[n].to_pylist() for n in where), strict=True))
                if entry.kind == "superseded":
                    gone |= set(aside["superseded"])
    table = pa.concat_tables(rows)
    per_commit = {}
    for window in of.windows:
        merged = merge_tiles(pa.concat_tables(tiles[window.name]), of, window)
        direct = merge_tiles(tile_rows(table, of, window), of, window)
        assert sum(merged["_rows"].to_pylist()) == sum(direct["_rows"].to_pylist()) == table.num_rows
        order = [*window.by, "_cell", "_commit"]
        per_commit[window.name] = merged.sort_by([(n, "ascending") for n in order]).to_pylist()
    identity = list(zip(*(table[n].to_pylist() for n in ("_commit", "_source", "_position")), strict=True))
    current = table.filter(pa.array([i not in gone for i in identity], pa.bool_()))
    return {
        "commits": commits,
        "counts": slice_independent(done.fates.by_name()),
        "rows": sorted(zip(*(current[n].to_pylist() for n in names), strict=True), key=str),
        "aside": {kind: sorted(found) for kind, found in aside.items()},
        "tiles": per_commit,
    }


def assert_same_tiles(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    for seen, want in zip(found, wanted, strict=True):
        for name, value in want.items():
            if isinstance(value, float):
                assert math.isclose(seen[name], value, rel_tol=1e-9, abs_tol=1e-9), (name, seen, want)
            else:
                assert seen[name] == value, (name, seen, want)


def assert_equal(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for window, tiles in wanted["tiles"].items():
        assert_same_tiles(found["tiles"][window], tiles)
    for name in set(wanted) - {"tiles"}:
        assert found[name] == wanted[name], name


@pytest.mark.parametrize("dedup", [None, LATEST], ids=["first", "latest"])
def test_spark_lands_what_the_in_process_runner_lands(
    dedup: Any, messy: tuple[Path, dict[str, int]], tmp_path: Path, spark_job_server_jars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    source, truth = messy
    of = feed(**({"dedup": dedup} if dedup else {}))
    monkeypatch.setenv(JARS_VARIABLE, str(spark_job_server_jars))
    monkeypatch.setattr(pieces, "PIECE_ROWS", 150)
    monkeypatch.setattr(lines, "BLOCK", 1 << 14)
    spark = landed_by("spark", tmp_path / "spark", of, source, 2_000)
    direct = landed_by("direct", tmp_path / "direct", of, source, 2_000)
    assert_equal(spark, direct)
    assert len(spark["commits"]) >= 3 and all(c["fates"].landed for c in spark["commits"][:2])
    assert {"rejected", "late", "conflicts"} <= set(spark["aside"])
    assert ("superseded" in spark["aside"]) == bool(dedup)
    assert spark["counts"] == {name: truth[name] for name in spark["counts"]}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    """Spark 3.5 with two workers of one core, without a jar of Beam's."""
    folder = tmp_path_factory.mktemp("spark35")
    running = SparkCluster(folder, home=spark35_home(folder), workers=2, cores=1)
    try:
        running.start()
        yield running
    finally:
        running.stop()


def test_a_cluster_of_two_workers_lands_the_same_although_an_executor_is_killed(
    messy: tuple[Path, dict[str, int]], tmp_path: Path, spark_job_server_jars: Path, monkeypatch: pytest.MonkeyPatch,
    cluster: SparkCluster,
) -> None:  # fmt: skip
    """The executor that dies has decoded a piece: its shuffle files and what it kept are gone with it."""
    source, truth = messy
    monkeypatch.setenv(JARS_VARIABLE, str(spark_job_server_jars))
    monkeypatch.setattr(pieces, "PIECE_ROWS", 500)
    monkeypatch.setattr(lines, "BLOCK", 1 << 14)
    monkeypatch.chdir(tmp_path)  # executors are somewhere else, and still find a lake that was given by a relative path
    ended, killed = threading.Event(), []

    def kill() -> None:
        while not ended.wait(0.1):
            for executor in cluster.executor_processes():
                if cluster.has_finished_tasks(3):
                    executor.kill()
                    killed.append(executor.pid)
                    return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        spark = landed_by("spark", Path("spark"), feed(), source, 100_000, cluster.url)
    finally:
        was_at_work = bool(killed)
        ended.set()
        killer.join()
    assert was_at_work, "no executor was killed while the slice ran"
    assert_equal(spark, landed_by("direct", tmp_path / "direct", feed(), source, 100_000))
    assert spark["counts"] == {name: truth[name] for name in spark["counts"]}
    assert len(cluster.executors_of_last()) >= 3, "one of two died and was started anew"
