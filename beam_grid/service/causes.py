"""Why a step failed, as far as it decides what comes next: wait, stop, or look for the record.

away       the source does not answer                       wait, however long
denied     it does not know who asks                        at the start: stop; later: wait
source     it answers and cannot be read as it is           the same; of a feed that has commits: wait
lake       the lake's files: full, read-only, rights, lost  stop loudly; a rerun goes on where the last commit stands
usage      a contract, an option, somebody else's commit    stop
slice      all else: the records, or a fault of ours        try again, then narrow down to the record
"""

from __future__ import annotations

import re
from typing import Literal

import pyarrow as pa

from beam_grid.errors import GridError, RunFailed
from data_sources.sources.errors import SourceAway, SourceDenied, SourceError

Cause = Literal["away", "denied", "source", "lake", "usage", "slice"]

_WHILE_RUNNING = re.compile(r" ?\[while running '[^']*'\]")
_OS_ERROR = re.compile(r"\b\w+Error: \[Errno \d+\]")
"""Beam makes a RuntimeError of what a step raises where it cannot make another of its kind; the kind is in the text."""

_BEHIND_READING = re.compile(r"\[while running 'Land/(?!Read/)")
"""Steps behind reading open no files but the lake's own: what Arrow cannot read there is a damaged one, not a record."""

_NO_ROOM = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|Permission denied|Operation not permitted"
    r"|File too large|Input/output error|\(os error (1|5|13|27|28|30|122)\)"
)


def cause_of(error: BaseException) -> Cause:
    """Sorts an error of planning, landing or publishing."""
    chain = chain_of(error)
    if any(isinstance(one, SourceAway) for one in chain):
        return "away"
    if any(isinstance(one, SourceDenied) for one in chain):
        return "denied"
    if any(isinstance(one, SourceError) for one in chain):
        return "source"
    if any(isinstance(one, OSError) for one in chain) or any(_OS_ERROR.search(str(one)) for one in chain):
        return "lake"
    if any(isinstance(one, pa.ArrowInvalid) and _BEHIND_READING.search(str(one)) for one in chain):
        return "lake"
    return "usage" if isinstance(error, GridError) and not isinstance(error, RunFailed) else "slice"


def is_no_room(error: BaseException) -> bool:
    """Whether it is the disk or the rights to it, whichever library met them: no waiting mends that."""
    return any(_NO_ROOM.search(str(one)) for one in chain_of(error))


def chain_of(error: BaseException) -> list[BaseException]:
    """The error, what it was raised from, and so on."""
    chain = [error]
    while (earlier := chain[-1].__cause__) is not None and earlier not in chain:
        chain.append(earlier)
    return chain


def root_of(error: BaseException) -> tuple[str, str]:
    """(name of the kind, text) of what an error began with, without Beam's words about where."""
    root = chain_of(error)[-1]
    text = _WHILE_RUNNING.sub("", str(root)).strip().strip('"')
    kind, named, rest = text.partition(": ")
    if isinstance(root, RuntimeError) and named and re.fullmatch(r"[\w.]+(Error|Exception|Invalid)", kind):
        return kind.rpartition(".")[2], rest
    if isinstance(root, RuntimeError) and re.fullmatch(r"\w+(Error|Exception)", text):
        return text, ""
    return type(root).__name__, text


def one_line(error: BaseException, most: int = 400) -> str:
    """The error as one line for people."""
    text = str(error) if isinstance(error, GridError) else ": ".join(filter(None, root_of(error)))
    return " ".join(_WHILE_RUNNING.sub("", text).split())[:most]
