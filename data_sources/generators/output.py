"""Where generated files go: folders emptied of an earlier run's files, and files that appear only when whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def check_arguments(seed: int, scale: float, days: int) -> None:
    """Raises ValueError that names an argument out of range; nothing has been written then."""
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}: give a number above 0, such as 1")
    if days < 1:
        raise ValueError(f"days is {days}: give at least 1")
    if seed < 0:
        raise ValueError(f"seed is {seed}: give 0 or more")


def emptied(folder: Path, *patterns: str) -> Path:
    """The folder, made if missing, without files of these names and without their unfinished parts."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in patterns:
        for stale in [*folder.glob(pattern), *folder.glob(f".{pattern}.part")]:
            stale.unlink()
    return folder


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file under a hidden name, renamed when it is whole: no source picks up half a file."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        yield file
    part.rename(path)
