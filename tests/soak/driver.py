"""`python -m tests.soak.driver`: the command line in a child process per line of stdin, everything loaded once.

A line is JSON: `arguments` of `beam-grid`, `environment`, `err` (a file for stderr), `settings` (module constants, so that
what a lake does after many commits is done after a few), `within_s`, and `quiet_s`: 0, or so long after its last
step a run that follows is told to end. The answer, a line, is the child's exit code, below 0 for the signal that ended it; 1, and a traceback of all threads, where it did not end in time.
"""

from __future__ import annotations

import faulthandler
import functools
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from transforms import faults

LOADED = (
    "apache_beam", "beam_grid.cli", "beam_grid.cli.landing", "beam_grid.land", "beam_grid.refine", "beam_grid.feeds", "beam_grid.lakehouse.gold",
    "beam_grid.lakehouse.derived", "beam_grid.lakehouse.engines", "beam_grid.lakehouse.maintain", "data_sources.sources",
    "beam_grid.segments", "beam_grid.checkpoints", "beam_grid.history", "transforms.merge_files", "data_sources.decode", "deltalake", "duckdb", "polars", "pyarrow.parquet", "pyroaring", "transforms.land", "filelock",
)  # fmt: skip


def child(job: dict[str, Any]) -> None:
    """Never returns."""
    from beam_grid import cli

    err = os.open(job["err"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(err, 2)
    os.dup2(err, 1)
    os.environ.update(job["environment"])
    for name, value in job["settings"].items():
        module, _, attributes = name.partition(":")
        *way, last = attributes.split(".")
        owner = functools.reduce(getattr, way, importlib.import_module(module))
        getattr(owner, last)  # AttributeError where it has another name by now
        setattr(owner, last, tuple(value) if isinstance(value, list) else value)
    faults.load(os.environ)
    faulthandler.dump_traceback_later(job["within_s"], exit=True)
    sys.argv = ["beam-grid", *job["arguments"]]
    cli.main()


def ended(pid: int, job: dict[str, Any]) -> int:
    """The exit code; a child whose steps are waited for to cease is ended by SIGTERM when they have."""
    quiet_s = job["quiet_s"]
    while quiet_s:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        log = Path(job["environment"][faults.LOG])
        if log.exists() and time.time() - log.stat().st_mtime > quiet_s:
            os.kill(pid, signal.SIGTERM)
            break
        time.sleep(0.2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    for module in LOADED:
        importlib.import_module(module)
    print("ready", flush=True)
    for line in sys.stdin:
        if not (pid := os.fork()):
            child(json.loads(line))
        print(ended(pid, json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
