"""Which files under a source are a feed's, and which are nobody's.

A feed's are those whose ending its format has, and those that the contract's `files` match; where several feeds read
one source, those alone that `files` match. Of a .zip archive the members are files, named `a.zip/b.csv`.

Passed over without a word: what begins with a dot, a lake (a folder with a lake.json), and what a file .beamgridignore beside it names (patterns, one a
line, as our generators write it for what they put beside their data).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch

from data_sources.contract import Contract
from data_sources.formats import format_of
from data_sources.sources.errors import SourceError
from data_sources.sources.opening import bare, members, place

IGNORE = ".beamgridignore"


@dataclass(frozen=True)
class Found:
    """A file under a source: absolute path and the name relative to the source, `/` between parts."""

    path: str
    name: str


def find_files(source: str, contract: Contract, own_globs: bool) -> list[Found]:
    """Files of the feed under a file, folder or glob, sorted by relative name, bytewise.

    With `own_globs` the contract's `files` decide which are the feed's, else every file that can be its format, too.
    Raises SourceError where nothing is there.
    """
    if os.path.isfile(source) and not source.lower().endswith(".zip"):
        name = os.fsencode(os.path.basename(source)).decode("utf-8", "backslashreplace")
        return [Found(os.path.abspath(source), name)]
    return [found for found in list_files(source) if is_of(found, contract, own_globs)]


def is_of(file: Found, contract: Contract, own_globs: bool) -> bool:
    """Whether a file is the feed's, by its name."""
    named = [file.name, *_archives(file.name)]
    if any(fnmatch(name, pattern) or fnmatch(name, f"*/{pattern}") for name in named for pattern in contract.files):
        return True
    if own_globs:
        return False
    kind = format_of(contract)
    return bare(file.path).lower().endswith(kind.endings) and (".zip/" not in file.path.lower() or kind.is_text)


def unread(source: str, feeds: Iterable[tuple[Contract, bool]]) -> list[Found]:
    """The files under a folder, glob or archive that none of the feeds (each with its `own_globs`) takes."""
    if os.path.isfile(source) and not source.lower().endswith(".zip"):
        return []
    known = list(feeds)
    return [file for file in list_files(source) if not any(is_of(file, *feed) for feed in known)]


def why_unread(file: Found, chosen: Iterable[Contract]) -> str:
    """Why no feed takes a file, and what to do. chosen: those that were asked to."""
    if os.path.isdir(file.path):
        return (
            "is a folder that this user may not list or enter, and nothing below it is read; allow it, or name the folder in a "
            f"{IGNORE} beside it"
        )
    if file.path.lower().endswith(".zip") and ".zip/" not in file.path.lower():
        try:
            members(file.path)
        except (SourceError, OSError) as cause:
            return str(cause)
        return "is an archive without files"
    if ".zip/" in file.path.lower() and file.path.lower().endswith(".zip"):
        return "is an archive within an archive; unpack it"
    could = [contract.name for contract in chosen if is_of(file, contract, own_globs=False)]
    if could:
        return (
            f"several feeds read this source, and `files` of none takes it; it could be of {' or '.join(could)}: write files = "
            '["..."] into the contract'
        )
    return "no feed's format or `files` takes it"


def list_files(source: str) -> list[Found]:
    """All files under a folder, glob or archive but those passed over, sorted by relative name, bytewise; among them folders
    that cannot be listed, which no feed takes."""
    if os.path.isdir(source):
        paths = _walk(source)
        if paths == [source]:
            raise SourceError(f"source {source}: this user may not list or enter the folder; allow it")
    elif os.path.isfile(source):
        paths = [source]
    elif glob.has_magic(source):
        matches = glob.glob(source, recursive=True)
        paths = [p for p in matches if os.path.isfile(p)]
        for folder in sorted(p for p in matches if os.path.isdir(p)):
            paths += _walk(folder)
    else:
        raise SourceError(f"source {source}: there is no such file or folder; check the path")
    root, ignored = _root(source), _Ignored()
    found: list[tuple[bytes, Found]] = []
    for path in {os.path.abspath(p) for p in paths}:
        name = os.path.relpath(path, root).replace(os.sep, "/")
        if any(part.startswith(".") for part in name.split("/")) or ignored(path):
            continue
        for one in _with_members(path, name):
            found.append((os.fsencode(one.name), _writable(one)))
    return [file for _, file in sorted(found, key=lambda pair: pair[0])]


def gone(source: str, paths: Iterable[str]) -> list[Found]:
    """Those of these absolute paths where nothing is any more, and that the source would have if something were."""
    whole, root, ignored, found = os.path.abspath(source), _root(source), _Ignored(), []
    pattern = whole.split(os.sep) if glob.has_magic(source) and not os.path.exists(source) else None
    for path in paths:
        if not (_reaches(pattern, path.split(os.sep)) if pattern else path.startswith(os.path.join(whole, ""))):
            continue
        name = os.path.relpath(path, root).replace(os.sep, "/")
        if any(part.startswith(".") for part in name.split("/")) or any(map(ignored, [path, *_archives(path)])):
            continue
        if not _is_there(path):
            found.append(_writable(Found(path, name)))
    return found


def _root(source: str) -> str:
    """What names of files are relative to."""
    if os.path.isdir(source):
        return os.path.abspath(source)
    start = source if os.path.isfile(source) else re.split(r"[*?\[]", source, maxsplit=1)[0]
    return os.path.abspath(os.path.dirname(start) or ".")


def _writable(file: Found) -> Found:
    """With a name that can be written as UTF-8."""
    return Found(file.path, os.fsencode(file.name).decode("utf-8", "backslashreplace"))


def _archives(path: str) -> list[str]:
    """The archives that a path leads through."""
    return [path[: at.end() - 1] for at in re.finditer(r"(?i)\.zip/", path)]


def _reaches(pattern: list[str], parts: list[str]) -> bool:
    """Whether a glob, split at its separators, matches a path or a folder that it is below."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_reaches(pattern[1:], parts[n:]) for n in range(len(parts) + 1))
    return bool(parts) and fnmatch(parts[0], pattern[0]) and _reaches(pattern[1:], parts[1:])


def _is_there(path: str) -> bool:
    """Also where it cannot be told, of a member of an archive that cannot be opened."""
    where = place(path)
    try:
        return os.path.lexists(path) if where.member is None else where.member in members(where.file)
    except (SourceError, OSError):
        return True


def _with_members(path: str, name: str) -> list[Found]:
    """The file, or of an archive its members; one that cannot be opened is met, and told, when it is read."""
    if not path.lower().endswith(".zip"):
        return [Found(path, name)]
    try:
        every = members(path)
    except (SourceError, OSError):
        return [Found(path, name)]
    inside = dict.fromkeys(m for m in every if not any(map(_is_hidden, m.split("/"))))
    return [Found(f"{path}/{member}", f"{name}/{member}") for member in inside] if every else [Found(path, name)]


def _is_hidden(part: str) -> bool:
    return part.startswith((".", "__MACOSX")) and part not in (".", "..")


def _walk(folder: str) -> list[str]:
    """Regular files (and links that lead nowhere) below a folder, and folders that cannot be listed or entered; each real
    folder once, however links lead to it."""
    been: set[str] = set()
    paths: list[str] = []

    def closed(cause: OSError) -> None:
        if not isinstance(cause, FileNotFoundError | NotADirectoryError):  # gone meanwhile
            paths.append(cause.filename)

    for at, folders, names in os.walk(folder, onerror=closed, followlinks=True):
        if (real := os.path.realpath(at)) in been:
            folders.clear()
            continue
        been.add(real)
        if "lake.json" in names:  # what was landed is no source
            folders.clear()
            continue
        if not os.access(at, os.X_OK):
            folders.clear()
            paths.append(at)
            continue
        folders.sort()
        paths += [p for name in names if os.path.isfile(p := os.path.join(at, name)) or os.path.islink(p)]
    return paths


class _Ignored:
    """Whether the folder a file lies in says that it is no data."""

    def __init__(self) -> None:
        self._patterns: dict[str, list[str]] = {}

    def __call__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._patterns:
            try:
                with open(os.path.join(folder, IGNORE), encoding="utf-8") as text:
                    rows = [row.strip() for row in text]
            except (OSError, UnicodeDecodeError):
                rows = []
            self._patterns[folder] = [row for row in rows if row and not row.startswith("#")]
        return any(fnmatch(name, pattern) for pattern in self._patterns[folder])
