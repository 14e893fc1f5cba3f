"""`python -m benchmarks.cluster`: landing on Spark beside landing in process, and two workers beside one.

    direct      beam-grid land                                  slices of the default size
    local[2]    beam-grid land --runner spark                   one slice, Spark in the job server's JVM
    one, two    ... --spark-master spark://...                  a real standalone cluster of daemons, a core each, pinned

Each is a process of its own, timed from its start to its end; the counts of all must be equal. On a cluster what is timed
includes starting executors and sending them Beam's jars, once a slice.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.measure import Run, run
from runners.spark import JARS_VARIABLE
from tests.component import jars
from tests.component.spark_cluster import SparkCluster, spark35_home

FEED = "smart_meter_readings"


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """The URL of a standalone cluster's master; its daemons end with the context."""
    with tempfile.TemporaryDirectory(prefix="beam-grid-cluster-") as folder:
        running = SparkCluster(
            Path(folder), home=spark35_home(Path(folder)), workers=workers, cores=1, memory_gib=4, pinned=True
        )
        running.start()
        try:
            yield running.url
        finally:
            running.stop()


def land(folder: Path, name: str, *options: str) -> tuple[Run, str]:
    """One run into a lake of its own; what it used, and the fates it counted. Raises SystemExit where it failed."""
    lake = folder / "lakes" / name
    shutil.rmtree(lake, ignore_errors=True)
    command = ["-m", "beam_grid", "land", FEED, "--source", str(folder / "source"), "--lake", str(lake)]
    used = run([*command, "--now", "2100-01-01T00:00:00Z", *options], folder / f"{name}.log")
    asked = [sys.executable, "-m", "beam_grid", "ledger", "--lake", str(lake), "--format", "json"]
    (counts,) = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
    return used, json.dumps({fate: counts[fate] for fate in ("read", "landed", "duplicates", "late", "rejected")})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="readings, about (default 2,000,000)")
    parser.add_argument("--folder", type=Path, default=Path("bench-data/cluster"))
    parser.add_argument("--only", choices=["direct", "local", "one", "two"], nargs="*", default=None)
    given = parser.parse_args()
    measure(given.folder, given.rows, given.only)


def measure(folder: Path, rows: int, only: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """Figures, printed. Raises SystemExit where a run failed or counted otherwise."""
    wanted = only or ["direct", "local", "one", "two"]
    os.environ.setdefault(JARS_VARIABLE, str(jars.resolve(_POM)[0].parent))
    records = data.make(folder, rows)
    whole = ("--runner", "spark", "--slice-rows", "400000000")
    found: dict[str, tuple[Run, str]] = {}
    if "direct" in wanted:
        found["direct"] = _told(records, "direct", land(folder, "direct"))
    if "local" in wanted:
        found["local"] = _told(records, "local[2]", land(folder, "local", *whole))
    for workers, name in ((1, "one"), (2, "two")):
        if name in wanted:
            with cluster(workers) as url:
                done = land(folder, name, *whole, "--spark-master", url)
            found[name] = _told(records, f"{name} worker{'s' * (workers > 1)}", done)
    if len({counts for _, counts in found.values()}) > 1:
        raise SystemExit(f"the counts differ: { {name: counts for name, (_, counts) in found.items()} }")
    for slow, fast, aim in (("local", "direct", "aim: at most 2"), ("one", "two", "aim: at least 1.6")):
        if slow in found and fast in found:
            print(f"{slow} / {fast}: {found[slow][0].wall_s / found[fast][0].wall_s:.2f} ({aim})", flush=True)
    return {f"cluster: {name}": {"wall_s": used.wall_s, "cpu_s": used.cpu_s} for name, (used, _) in found.items()}


def _told(records: int, name: str, done: tuple[Run, str]) -> tuple[Run, str]:
    used = done[0]
    print(
        f"{name:12} {records:,} records  {used.wall_s:7.1f} s  {records / used.wall_s:10,.0f} records/s  "
        f"CPU {used.cpu_s:7.1f} s  peak {used.peak_mib:,.0f} MiB",
        flush=True,
    )
    return done


_POM = Path(__file__).resolve().parent.parent / "runners" / "spark_job_server" / "pom.xml"

if __name__ == "__main__":
    main()
