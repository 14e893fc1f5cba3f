"""A disk that gets full, or may not be written, on any machine.

As root it is a real file system, a tmpfs. A container's root may not mount one: there the same errors come out of each
step that the product takes on disk (transforms/faults.py), so that no test is left out; not covered then is what
libraries write by themselves.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

import pytest

from transforms import faults


class SmallDisk:
    """`path` is a folder with room for so many megabytes, or for so many written files, until it grows."""

    def __init__(self, path: Path, megabytes: int, files: int | None = None) -> None:
        """`files`: where nothing can be mounted, the writes that still find room; all of them, where it is not said."""
        self.path, self._megabytes, self._files = path, megabytes, files
        self._mounts: list[Path] = []
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Self:
        self.path.mkdir()
        if self._mount("-t", "tmpfs", "-o", f"size={self._megabytes}m", "tmpfs", at=self.path):
            return self
        if self._files is not None:
            self._fails("write", self.path, "ENOSPC", self._files + 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._works_again()
        for mounted in reversed(self._mounts):
            subprocess.run(["umount", "-l", str(mounted)], check=True)

    @property
    def is_mounted(self) -> bool:
        return self.path in self._mounts

    def fill(self) -> None:
        """To the last byte."""
        if not self.is_mounted:
            self._fails("write", self.path, "ENOSPC")
            return
        with (self.path / "filler").open("wb", buffering=0) as out, pytest.raises(OSError, match="No space"):
            while out.write(bytes(512)):
                pass

    def refuse(self, part: Path) -> None:
        """Nothing below this folder can be written from now on."""
        part.mkdir(exist_ok=True)
        if not self.is_mounted:
            self._fails("*", part, "EACCES")
        elif self._mount("--bind", str(part), at=part):
            subprocess.run(["mount", "-o", "remount,ro,bind", str(part)], check=True)

    def grow(self) -> None:
        """There is room, and all may be written."""
        self._works_again()
        while self._mounts[1:]:
            subprocess.run(["umount", "-l", str(self._mounts.pop())], check=True)
        if self.is_mounted:
            (self.path / "filler").unlink(missing_ok=True)
            subprocess.run(["mount", "-o", "remount,size=100m", str(self.path)], check=True)

    def _mount(self, *what: str, at: Path) -> bool:
        if shutil.which("mount") is None or subprocess.run(["mount", *what, str(at)], capture_output=True).returncode:
            return False
        self._mounts.append(at)
        return True

    def _fails(self, operation: str, folder: Path, kind: str, nth: int = 1) -> None:
        """In this process and in those it starts."""
        lines = [*os.environ.get(faults.VARIABLE, "").splitlines(), f"{operation}|{folder}/*|{nth}+|{kind}"]
        self._patch.setenv(faults.VARIABLE, "\n".join(lines))
        faults.load(os.environ)

    def _works_again(self) -> None:
        self._patch.undo()
        faults.load(os.environ)
