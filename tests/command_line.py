"""The command line in this process: what `python -m beam_grid` answers, without the seconds that a process takes to load.

Not what only a process has: signals, kills, faults, what is loaded and when. Tests of those start one.
"""

from __future__ import annotations

import io
import logging
import subprocess
import threading
from contextlib import redirect_stderr, redirect_stdout

import pytest

from beam_grid import cli


def grid(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Exit code, stdout and stderr, as from subprocess.run."""
    out, err, root = io.StringIO(), io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr("sys.argv", ["beam-grid", *arguments])
            for name, value in {"BEAM_GRID_DEBUG": "", **environment}.items():
                patch.setenv(name, value)
            code = cli._code(threading.Event())
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
