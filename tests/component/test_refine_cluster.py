"""`refine --spark-master` on a real Spark cluster: the tables that the session of one machine makes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beam_grid.landing import Lake
from beam_grid.refine import refine
from tests.beam_grid.three_kinds import assert_equal_tables, copied, land_drop, tables
from tests.component.conftest import free_ports
from tests.component.spark_cluster import SparkCluster

pytestmark = [pytest.mark.component, pytest.mark.spark]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    one, two, three, four = free_ports(4)
    running = SparkCluster(tmp_path_factory.mktemp("cluster"), (one, two, three, four))
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
    """First all that is known, then two commits merged into it, each by a run of its own."""
    alone = Lake.open(tmp_path / "alone")
    for drops in ([0], [1, 2]):
        for drop in drops:
            land_drop(alone, tmp_path / "in", drop)
        refine(alone)
        shared = copied(alone, tmp_path / "shared")  # what landed; the tables are the cluster's own
        done = refine_by_command(shared, cluster.url)
        assert done.returncode == 0, done.stderr
        assert "applied to 10 tables" in done.stderr
        assert_equal_tables(tables(shared), tables(alone))
    held = tables(alone)
    assert all(held.values()), {name: len(rows) for name, rows in held.items()}
    applications = finished(cluster, 2)
    assert [a["name"] for a in applications] == ["beam-grid refine"] * 2
    for application in applications:
        (said,) = cluster.executors(application["id"])
        assert "Running task" in said, "an executor of the cluster's worker did the work"


def finished(cluster: SparkCluster, count: int) -> list[dict[str, Any]]:
    """The applications that have come and gone; the master hears of an end a moment later."""
    deadline = time.monotonic() + 20
    while True:
        seen = cluster.status()
        assert seen is not None
        if len(seen["completedapps"]) >= count or time.monotonic() > deadline:
            assert not seen["activeapps"]
            return list(seen["completedapps"])
        time.sleep(0.2)


def test_a_master_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    land_drop(lake, tmp_path / "in", 0)
    (port,) = free_ports(1)
    started = time.monotonic()
    done = refine_by_command(lake, f"spark://127.0.0.1:{port}")
    assert done.returncode == 2 and f"does not answer at 127.0.0.1:{port}" in done.stderr, done.stderr
    assert time.monotonic() - started < 30
