"""`refine --spark-master` on a real Spark cluster: the tables that the session of one machine makes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beam_grid.landing import Lake
from beam_grid.refine import refine
from tests.beam_grid.three_kinds import assert_equal_tables, land_drop, tables
from tests.component.broker import free_ports
from tests.component.spark_cluster import SparkCluster
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.component, pytest.mark.spark]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:

    running = SparkCluster(tmp_path_factory.mktemp("cluster"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


def refine_by_command(lake: Lake, master: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: a session that runs here cannot move to another master."""
    command = [sys.executable, "-m", "beam_grid", "refine", "--lake", str(lake.path), "--spark-master", master]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "BEAM_GRID_DEBUG": ""})


def test_a_cluster_makes_the_tables_of_one_machine(cluster: SparkCluster, tmp_path: Path) -> None:
    """It merges the second commit into tables of the first, and makes those of gold and of assets, which are gone, anew."""
    alone, shared = Lake.open(tmp_path / "alone"), Lake(tmp_path / "shared")
    land_drop(alone, tmp_path / "in", 0)
    refine(alone)
    land_drop(alone, tmp_path / "in", 1)
    shutil.copytree(alone.path, shared.path)
    shutil.rmtree(shared.path / "tables" / "gold")
    shutil.rmtree(shared.path / "tables" / "silver" / "assets")
    done = refine_by_command(shared, cluster.url)
    assert done.returncode == 0, done.stderr
    assert "applied to 9 tables" in done.stderr
    refine(alone)
    held = tables(alone)
    assert_equal_tables(tables(shared), held)
    assert all(held.values()), {name: len(rows) for name, rows in held.items()}
    (application,) = finished(cluster)
    assert application["name"] == "beam-grid refine"
    (said,) = cluster.executors(application["id"])
    assert "Running task" in said, "an executor of the cluster's worker did the work"


def finished(cluster: SparkCluster) -> list[dict[str, Any]]:
    """The applications that have come and gone; the master hears of an end a moment later."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        seen = cluster.status()
        assert seen is not None
        if seen["completedapps"] or time.monotonic() > deadline:
            assert not seen["activeapps"]
            return list(seen["completedapps"])
        time.sleep(0.2)


def test_a_master_that_is_not_there_is_said_at_once() -> None:
    (port,) = free_ports(1)
    code = f"from runners import delta; delta.session('spark://127.0.0.1:{port}')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert f"does not answer at 127.0.0.1:{port}" in done.stderr, done.stderr
