"""Files that are there whole or not at all, synced, whatever happens to the process.

    draft ── write, fsync ──► link to its name (fails if taken) ──► fsync the folder

A file system without hard links gets a rename that replaces nothing (Linux's renameat2), and copies for links.

Each of these is a `step` (transforms/faults.py), so that tests can fail it: nothing of a lake is written, synced, linked,
renamed or removed but through here.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from transforms.faults import step
from transforms.synced import synced_file

__all__ = [
    "create_once",
    "place",
    "remove",
    "rename",
    "replace",
    "step",
    "sync",
    "sync_folder",
    "synced_file",
    "touch",
    "write_synced",
]

_CANNOT_LINK = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EACCES}
"""What link() answers where the file system, or the place of the two files, is the reason."""

_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
_NO_NAME = "the file system can neither link nor rename without replacing"


def create_once(path: Path, content: bytes) -> None:
    """Create `path` whole or not at all; FileExistsError if it is there already."""
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        write_synced(draft, content)
        _give_name(draft, path)
    finally:
        remove(draft)
    sync_folder(path.parent)


def replace(path: Path, content: bytes) -> None:
    """Replace `path` whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        write_synced(draft, content)
        rename(draft, path)
    finally:
        remove(draft)
    sync_folder(path.parent)


def place(source: Path, target: Path) -> bool:
    """Have the unchanging file `source` at `target` too: linked (True), or copied where links cannot be.

    A target that is there already is one that a run which was cut off placed: only whole files get that name.
    """
    try:
        with step("link", target):
            os.link(source, target)
        return True
    except FileExistsError:
        return True
    except OSError as cause:
        if cause.errno not in _CANNOT_LINK:
            raise
    import shutil  # each command that looks at a lake would wait for it, and few copy

    draft = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        with source.open("rb") as read, synced_file(draft) as write:
            shutil.copyfileobj(read, write, 1 << 20)
        rename(draft, target)
    finally:
        remove(draft)
    return False


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file whole; FileExistsError if it is there already."""
    with synced_file(path) as out:
        out.write(content)


def rename(source: Path, target: Path) -> None:
    """Give the file the name `target`, taking it from whatever file had it."""
    with step("rename", target):
        os.replace(source, target)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    if os.path.lexists(path):
        with step("remove", path):
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have a file that a library wrote outlive a loss of power."""
    with step("sync", path):
        _sync(path)


def touch(path: Path) -> None:
    """Make it as old as one that is new."""
    with step("touch", path):
        os.utime(path)


def sync_folder(folder: Path) -> None:
    """Have the names in the folder outlive a loss of power."""
    with step("sync-folder", folder):
        _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _give_name(draft: Path, path: Path) -> None:
    try:
        with step("link", path):
            os.link(draft, path)
        return
    except OSError as cause:
        if cause.errno not in _CANNOT_LINK:
            raise
    import ctypes

    renames = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renames is None:
        raise OSError(errno.ENOSYS, _NO_NAME, str(path))
    with step("rename", path):
        if renames(_AT_FDCWD, os.fsencode(draft), _AT_FDCWD, os.fsencode(path), _RENAME_NOREPLACE):
            number = ctypes.get_errno()
            raise OSError(number, _NO_NAME if number == errno.EINVAL else os.strerror(number), str(path))
