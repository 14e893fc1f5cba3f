"""What `run --follow` has beside it while the lake has an alerts.toml: a process that watches (`beam-grid alerts watch`).

    run --follow ──publishes──► LAKE/versions ──► alerts watch        the two share files, and nothing else
         └── starts it, starts it anew when it ends, ends it at its own end; the kernel does where it is killed

A failure of it is said, and tried again with growing pauses; landing goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from beam_grid import console
from beam_grid.alerts.declared import FILE, declared
from beam_grid.landing import Lake

_LOOKS_EVERY_S = 0.5
_SHORTEST_S, _LONGEST_S, _WELL_AFTER_S = 1.0, 60.0, 60.0
_GRACE_S = 5.0
"""How long it may take to look at the last set."""


@contextmanager
def watched(lake: Lake, say: Callable[[str], None]) -> Iterator[None]:
    """Have the lake's alerts watched while open. Raises GridError for an alerts.toml that is wrong."""
    declared(lake)
    ending = threading.Event()
    thread = threading.Thread(target=_keep, args=(lake, ending, say), name="alerts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(_GRACE_S + 2.0)


def _keep(lake: Lake, ending: threading.Event, say: Callable[[str], None]) -> None:
    """The thread lives as long as the process it starts: the kernel ends that with it."""
    process: subprocess.Popen[bytes] | None = None
    pause, due, began = _SHORTEST_S, 0.0, 0.0
    while not ending.is_set():
        if process is not None and process.poll() is not None:
            if time.monotonic() - began > _WELL_AFTER_S:
                pause = _SHORTEST_S
            say(
                f"alerts: the process that watches ended (exit code {process.returncode}); started again in {pause:.0f} s"
            )
            process, due, pause = None, time.monotonic() + pause, min(2 * pause, _LONGEST_S)
        if process is None and time.monotonic() >= due and (lake.path / FILE).exists():
            try:
                process, began = _started(lake), time.monotonic()
            except OSError as cause:
                say(f"alerts: cannot be watched ({cause.strerror or cause}); tried again in {pause:.0f} s")
                due, pause = time.monotonic() + pause, min(2 * pause, _LONGEST_S)
        ending.wait(_LOOKS_EVERY_S)
    if process is not None:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(1.0)


def _started(lake: Lake) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "beam_grid.service.child",
        str(os.getpid()),
        "-",
        "alerts",
        "watch",
        "--lake",
        str(lake.path),
    ]
    env = {**os.environ, "BEAM_GRID_LOG_FORMAT": "json" if console.is_json() else "text"}
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=env, start_new_session=True
    )
