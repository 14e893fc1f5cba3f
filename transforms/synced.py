"""A file that is on the disk when it is closed: what every new file of a lake is written through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from transforms.faults import step


@contextmanager
def synced_file(path: Path) -> Iterator[BinaryIO]:
    """A new file, open for writing, synced at the end; its name is not, before its folder is (durable.sync_folder).

    Raises FileExistsError, and OSError where it cannot be written: what is there then is to be removed by the caller.
    """
    with path.open("xb") as out:
        with step("write", path):
            yield out
            out.flush()
        with step("sync", path):
            os.fsync(out.fileno())
