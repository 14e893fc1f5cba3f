"""`python -m beam_grid.service.child PARENT CORES ARGUMENT...`: a lake's process, as `beam-grid run-lakes` starts it.

It keeps to the cores it is given (comma-separated, or - for all), and gets SIGTERM from the kernel when its parent dies,
so that no follower is left over; it looks once whether the parent died before that was asked for.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, cores, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if cores != "-":
            os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    if os.getppid() != int(parent):
        sys.exit(1)
    sys.argv = ["beam-grid", *arguments]

    from beam_grid.cli import main as grid

    grid()


if __name__ == "__main__":
    main()
