"""How much a lake holds: files and bytes by part, from a walk in a thread of its own, now and then.

A walk takes some microseconds a file; the next one begins no sooner than a minute, and 100 times as long as the last
took, after it: at most a hundredth of a core, however large the lake is.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LEAST_S = 60.0


@dataclass
class Size:
    files: int = 0
    bytes: int = 0


class Sizes:
    """Of one lake."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._guard = threading.Lock()
        self._known: dict[str, Size] | None = None
        self._next = 0.0
        self._walk = threading.Thread()

    def newest(self) -> dict[str, Size]:
        """As the last walk found it; the first call waits for one, later ones may begin one and do not wait."""
        with self._guard:
            if self._known is None:
                self._measure()
            elif time.monotonic() >= self._next and not self._walk.is_alive():
                self._walk = threading.Thread(target=self._measure, name="sizes", daemon=True)
                self._walk.start()
            return self._known or {}

    def _measure(self) -> None:
        began = time.monotonic()
        self._known = sizes(self._lake)
        self._next = time.monotonic() + max(_LEAST_S, 100 * (time.monotonic() - began))


def sizes(lake: Path) -> dict[str, Size]:
    """By part, which is the name of a folder: of LAKE/landing/FEED (data, commits, ...), of LAKE (tables, versions, ...).

    A file with two names, as one that landed and is a table's too, counts once, in the landing zone. What goes away
    meanwhile is not counted.
    """
    found: dict[str, Size] = {}
    linked: set[int] = set()
    for part, folder in _parts(lake):
        size = found.setdefault(part, Size())
        for entry in _files(folder):
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if status.st_nlink > 1:
                if status.st_ino in linked:
                    continue
                linked.add(status.st_ino)
            size.files += 1
            size.bytes += status.st_size
    return found


def _parts(lake: Path) -> Iterator[tuple[str, Path]]:
    for folder in sorted(lake.glob("landing/*/*/")):
        yield folder.name, folder
    for folder in sorted(lake.glob("*/")):
        if folder.name != "landing":
            yield folder.name, folder


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        yield entry
        except OSError:
            continue
