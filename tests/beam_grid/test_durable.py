"""Files whole or not at all, also where the file system cannot link."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from beam_grid import durable

CANNOT = [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV]


def forbid_links(monkeypatch: pytest.MonkeyPatch, number: int) -> list[Any]:
    """Have os.link answer with this error; returns where it was asked."""
    asked: list[Any] = []

    def link(source: Any, target: Any) -> None:
        asked.append(target)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    return asked


@pytest.mark.parametrize("number", CANNOT, ids=os.strerror)
def test_without_links_files_are_copied_and_names_given_by_renaming(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = forbid_links(monkeypatch, number)
    (tmp_path / "source").write_bytes(b"rows")
    assert durable.place(tmp_path / "source", tmp_path / "target") is False
    assert (tmp_path / "target").read_bytes() == b"rows" and (tmp_path / "source").exists()
    durable.create_once(tmp_path / "entry", b"first")
    with pytest.raises(FileExistsError):
        durable.create_once(tmp_path / "entry", b"second")
    assert (tmp_path / "entry").read_bytes() == b"first"
    assert len(asked) == 3 and sorted(os.listdir(tmp_path)) == ["entry", "source", "target"]


def test_without_links_one_of_many_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_links(monkeypatch, errno.EPERM)
    won: list[int] = []

    def write(n: int) -> None:
        try:
            durable.create_once(tmp_path / "entry", str(n).encode())
            won.append(n)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and (tmp_path / "entry").read_text() == str(won[0])


@pytest.mark.parametrize("has_call", [True, False])
def test_a_file_system_that_can_do_neither_is_named(
    has_call: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1

    class Library:
        pass

    library = Library()
    if has_call:
        library.renameat2 = refuse  # type: ignore[attr-defined]
    forbid_links(monkeypatch, errno.EPERM)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    with pytest.raises(OSError, match="can neither link nor rename without replacing"):
        durable.create_once(tmp_path / "entry", b"x")
    assert os.listdir(tmp_path) == []


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_links(monkeypatch, errno.EXDEV)
    (tmp_path / "source").write_bytes(b"rows")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        durable.place(tmp_path / "source", tmp_path / "target")
    assert os.listdir(tmp_path) == ["source"]
