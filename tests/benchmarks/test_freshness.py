"""What the live bench makes of what it saw, and that it does not pass over a run that shows nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import freshness
from benchmarks.freshness import NotFresh, Reader, Sample, Watched, figures
from benchmarks.measure import Usage, start


def test_figures_of_ages_rates_and_cost() -> None:
    """Thirty seconds: 100 rows and a set a second; the last third costs twice as much a set and is older."""
    samples = [
        Sample(at_s=s, age_s=0.5 if s < 20 else 3.0, rows=100 * s, sets=s, cpu_s=s if s < 20 else 20 + 2 * (s - 20), rss_mib=200 + s)
        for s in range(31)
    ]  # fmt: skip
    found = figures(Watched(first_row_s=4, samples=samples, drained_s=2, sent=3100), rate=100)
    assert found["age of the newest row, median s"] == 0.5
    assert found["age of the newest row, greatest s"] == 3.0
    assert found["rows queryable a second"] == 100
    assert found["CPU s a set, at first"] == 1
    assert found["CPU s a set, at the end"] == 2
    assert (found["age, median s, at first"], found["age, median s, at the end"]) == (0.5, 3.0)
    assert found["memory MiB, at first"] < found["memory MiB, at the end"]


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = start(["-c", "import time; time.sleep(60)"], tmp_path / "log")
    yield process
    process.kill()
    process.wait()


def live(tmp_path: Path, process: subprocess.Popen[bytes]) -> freshness.Live:
    return freshness.Live(Reader(tmp_path / "lake"), Usage(process.pid), {process: tmp_path / "log"})


def test_no_row_in_time_is_a_failure(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    with pytest.raises(NotFresh, match=r"no row was queryable in 1 s; .*log ends:"):
        live(tmp_path, sleeper).until(lambda: False, 1)


def test_a_run_that_ends_is_a_failure(tmp_path: Path) -> None:
    process = start(["-c", "raise SystemExit('it broke')"], tmp_path / "log")
    process.wait()
    with pytest.raises(NotFresh, match=r"log ended with 1:\nit broke"):
        live(tmp_path, process).look()


def test_usage_counts_the_cpu_of_children(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time\\nwhile time.process_time() < 1: pass'])"
    process = subprocess.Popen([sys.executable, "-c", code])
    usage = Usage(process.pid)
    while usage.look():
        time.sleep(0.02)
    process.wait()
    assert 0.8 < usage.cpu_s < 1.5
    assert usage.peak_mib > 5
