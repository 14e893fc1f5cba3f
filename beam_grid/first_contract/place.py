"""Where a first contract is written: into a file that is not there yet."""

from __future__ import annotations

from pathlib import Path

from beam_grid.errors import GridError


def check_place(out: str) -> None:
    """Raises GridError where the contract cannot be written to `out`."""
    path = Path(out)
    if path.exists():
        raise GridError(f"--out {out}: is there already, and nothing is overwritten; choose another name, or remove it")
    if not path.parent.is_dir():
        raise GridError(f"--out {out}: there is no folder {path.parent}; make it, or choose another")


def write_to(out: str, text: str) -> None:
    """Raises GridError where it cannot be written, or was made meanwhile."""
    try:
        with open(out, "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as cause:
        raise GridError(f"--out {out}: cannot be written ({cause.strerror})") from cause
