"""Running a command as a whole process: wall seconds, CPU seconds and the peak memory of it and all it starts."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
_EVERY_S = 0.05


@dataclass(frozen=True)
class Run:
    """One finished process: seconds, and MiB of resident memory at the peak, children included."""

    wall_s: float
    cpu_s: float
    peak_mib: float


@dataclass
class Usage:
    """What a process and its descendants use, by looking now and then.

    CPU is kept per process as last seen, because a JVM whose parent does not wait for it is in nobody's children's
    time. Memory that processes share counts in each.
    """

    pid: int
    peak_mib: float = 0.0
    rss_mib: float = 0.0
    _cpu: dict[tuple[int, float], float] = field(default_factory=dict)

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu.values())

    def look(self) -> bool:
        """Take a sample; False when the process has ended."""
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            family = [process, *process.children(recursive=True)]
        except psutil.Error:
            return False
        total = 0
        for member in family:
            try:
                times = member.cpu_times()
                self._cpu[member.pid, member.create_time()] = times.user + times.system
                total += member.memory_info().rss
            except psutil.Error:
                continue
        self.rss_mib = total / 2**20
        self.peak_mib = max(self.peak_mib, self.rss_mib)
        return True


def start(arguments: list[str], log: Path, stdout: int | None = None) -> subprocess.Popen[bytes]:
    """Start a Python module or script of this checkout; what it prints goes to the log."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    with log.open("w") as out:
        return subprocess.Popen([sys.executable, *arguments], stdout=stdout or out, stderr=out, env=env)


def end(process: subprocess.Popen[bytes], within_s: float) -> None:
    """As a person would, by Ctrl-C; after so many seconds not as one would."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(within_s)
        process.kill()
        process.wait()


def run(arguments: list[str], log: Path) -> Run:
    """Run a Python module or script of this checkout to its end; raises RuntimeError with the log's tail if it fails."""
    before = os.times()
    started = time.perf_counter()
    process = start(arguments, log)
    usage = Usage(process.pid)
    watcher = threading.Thread(target=_watch, args=(usage,), daemon=True)
    watcher.start()
    code = process.wait()
    wall, after = time.perf_counter() - started, os.times()
    watcher.join()
    if code:
        raise RuntimeError(f"{' '.join(arguments)} ended with {code}:\n{log.read_text()[-2000:]}")
    waited = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(wall, max(waited, usage.cpu_s), usage.peak_mib)


def _watch(usage: Usage) -> None:
    while usage.look():
        time.sleep(_EVERY_S)


def median(runs: list[Run]) -> Run:
    """The medians of each figure."""
    return Run(*(statistics.median(getattr(r, f) for r in runs) for f in ("wall_s", "cpu_s", "peak_mib")))
