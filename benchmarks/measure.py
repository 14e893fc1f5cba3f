"""Running a command as a whole process: wall seconds, CPU seconds and the peak memory of it and its children."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Run:
    """One finished process: seconds, and MiB of resident memory at the peak, children included."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def run(arguments: list[str], log: Path) -> Run:
    """Run a Python module or script of this checkout to its end; raises RuntimeError with the log's tail if it fails."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "PYSPARK_PYTHON": sys.executable}
    with log.open("w") as out:
        before = os.times()
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, *arguments], stdout=out, stderr=out, env=env)
        peak = [0.0]
        watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
        watcher.start()
        code = process.wait()
        wall, after = time.perf_counter() - started, os.times()
        watcher.join()
    if code:
        raise RuntimeError(f"{' '.join(arguments)} ended with {code}:\n{log.read_text()[-2000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(wall, cpu, peak[0])


def _watch(pid: int, peak: list[float]) -> None:
    while True:
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            if process.status() == psutil.STATUS_ZOMBIE:
                return
            total = 0
            for member in family:
                try:
                    total += member.memory_info().rss
                except psutil.Error:
                    continue
            peak[0] = max(peak[0], total / 2**20)
        except psutil.Error:
            return
        time.sleep(0.03)


def median(runs: list[Run]) -> Run:
    """The medians of each figure."""
    return Run(*(statistics.median(getattr(r, f) for r in runs) for f in ("wall_s", "cpu_s", "peak_mib")))
