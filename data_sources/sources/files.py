"""Files as a source: what of them is new, and reading it block by block.

A file is identified by its absolute path and judged unchanged by size and time, else by its content: of what was
read, segment by segment, an xxh3 digest is kept. A file of lines may grow; packed ones, documents, Parquet and SQLite
never do.

    plan_files   ->  FileSplits, small, written down before reading
    read_file    ->  blocks of Records or Arrow tables, then a FileEnd
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from msgspec.structs import replace

from data_sources.contract import Contract
from data_sources.formats import Block, Planned, format_of
from data_sources.patterns import first_group
from data_sources.snapshots import as_of_name, role
from data_sources.sources import Listing
from data_sources.sources.errors import SourceError
from data_sources.sources.finding import Found, find_files, gone, is_of
from data_sources.sources.opening import digest, is_packed, stamp
from data_sources.splits import End, FileEnd, FileSplit

MOST_LOST = 20
"""Files that were taken away half read are named one by one up to so many."""

LOG = "files"
"""Key of the one partition that files in the order of their names form."""


@dataclass(frozen=True)
class Files:
    """A file, folder, archive or glob as a Source."""

    address: str
    own_globs: bool = False
    plans_ahead = True

    def holds(self, contract: Contract) -> bool:
        return bool(find_files(self.address, contract, own_globs=True))

    def plan(self, contract: Contract, ends: Mapping[str, End], rows: int) -> Listing:
        known = {key: end for key, end in ends.items() if isinstance(end, FileEnd)}
        found = find_files(self.address, contract, self.own_globs)
        listing = plan_files(found, known, contract, rows)
        listing.problems += self._lost(found, known, contract)
        return listing

    def _lost(self, found: list[Found], known: Mapping[str, FileEnd], contract: Contract) -> list[str]:
        """Files that were taken away before all of them was read."""
        there = {file.path for file in found}
        half_read = [path for path, end in known.items() if not end.done and path not in there]
        lost = [file for file in gone(self.address, half_read) if is_of(file, contract, self.own_globs)]
        said = [f"{file.name}: {_unread_of(known[file.path])}" for file in lost[:MOST_LOST]]
        return said + ([f"{len(lost) - MOST_LOST:,} more files are gone half read"] if len(lost) > MOST_LOST else [])

    def partitions(self, listing: Listing, contract: Contract) -> list[tuple[str, Sequence[FileSplit]]]:
        """Files in the order of their names form one log, else each is a partition."""
        splits = [split for split in listing.splits if isinstance(split, FileSplit)]
        if contract.file_order == "name":
            return [(LOG, splits)] if splits else []
        return [(split.path, [split]) for split in splits]


def plan_files(found: list[Found], known: Mapping[str, FileEnd], contract: Contract, rows: int) -> Listing:
    """The next slice: splits of at most `rows` rows together, numbered, in the order of the files.

    known: per absolute path where the commits stand. A full snapshot of which nothing more can be read and that was not
    read to its end is a problem: until it was, it tells of no deletes.
    """
    listing = Listing()
    for file in found:
        if rows <= 0:
            break
        try:
            planned = _plan_one(file, known.get(file.path), contract, rows)
            if planned.split is None:
                _check_snapshot(file, known.get(file.path), contract)
        except (OSError, pa.ArrowException, ValueError) as cause:
            listing.problems.append(f"{file.name}: left out: {_short(cause)}")
            continue
        listing.problems += [f"{file.name}: {note}" for note in planned.notes]
        if planned.waits:
            listing.waiting.append(f"{file.name}: {planned.waits}")
        if planned.split is not None:
            rows -= planned.split.rows
            listing.splits.append(replace(planned.split, number=len(listing.splits)))
    return listing


def _check_snapshot(file: Found, before: FileEnd | None, contract: Contract) -> None:
    """Raises ValueError for a full snapshot that waits, when there is nothing new in it."""
    if not contract.lake.tells_snapshots or (before and before.done) or role(file.name, contract.lake) == "delta":
        return
    if before is None:
        raise ValueError(
            "is a full snapshot without any record: ignored, an empty snapshot deletes nothing (remove it, or write what "
            "it should hold)"
        )
    raise ValueError(
        "is a full snapshot whose last line has no line end and waits; until it is read it deletes no key (write the "
        "line end, or land the file compressed)"
    )


def _plan_one(file: Found, before: FileEnd | None, contract: Contract, rows: int) -> Planned:
    """The split of one file to read next, None where nothing is new, and what to tell of it."""
    size, mtime = stamp(file.path)
    kind = format_of(contract)
    closed = not kind.grows or is_packed(file.path, contract)
    untouched = before is not None and (before.size, before.mtime) == (size, mtime)
    if before is not None and untouched and before.done:
        return Planned(None)
    found = None
    if closed:
        found = before.digest if before and untouched else digest(file.path)
        if before is not None and found != before.digest:
            raise SourceError("has changed since it was read (land what it holds now under a new name)")
    elif before is not None and not untouched:
        same = size >= before.offset and all(digest(file.path, s, e) == d for s, e, d in before.segments)
        if not same:
            raise SourceError("has changed since it was read, not only grown (land what it holds now under a new name)")
    if before is not None and before.done and closed:
        return Planned(None)
    split = FileSplit(
        path=file.path,
        name=file.name,
        start=before.offset if before else 0,
        line=before.line if before else 1,
        size=size,
        mtime=mtime,
        digest=found,
        segments=before.segments if before else (),
        open_line=before.open_line if before else False,
        constants=_from_name(file.name, contract),
        twice=before.twice if before else "",
        role=role(file.name, contract.lake) if contract.lake.tells_snapshots else None,
    )
    if split.role == "snapshot":
        as_of_name(file.name, contract.lake)
    planned = kind.plan(split, before, rows)
    if before is not None or planned.split is None:
        return planned
    nowhere = [name for name, text in split.constants if text is None]
    notes = [f"its name has nothing that from_name of field {n!r} finds; it is null in all its rows" for n in nowhere]
    return planned._replace(notes=(*planned.notes, *notes))


def _unread_of(end: FileEnd) -> str:
    left = f"with {end.size - end.offset:,} bytes unread" if end.digest is None else "before all of it was read"
    return f"is gone {left} (put it back; to give it up, name it in a file .beamgridignore where it was)"


def _from_name(name: str, contract: Contract) -> tuple[tuple[str, str | None], ...]:
    found = []
    for field in contract.fields:
        if field.from_name is not None:
            text = first_group(name, field.from_name)
            if text is None and field.name in contract.required:
                raise SourceError(
                    f"its name has nothing that from_name of field {field.name!r} finds ('{field.from_name}')"
                )
            found.append((field.name, text))
    return tuple(found)


def read_file(split: FileSplit, contract: Contract) -> Iterator[Block | FileEnd]:
    """Yield the split's blocks, and last where it ended.

    Blocks are Records, for Parquet (table, position of its first row). Raises SourceError where the file cannot be
    read (any more).
    """
    try:
        yield from format_of(contract).read(split)
    except (OSError, pa.ArrowException, SourceError) as cause:  # not chained: a source's OSError is not the lake's
        raise SourceError(f"source {split.path}: cannot be read ({_short(cause)}); fix or remove the file") from None


def _short(cause: BaseException) -> str:
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return " ".join(str(text).split())[:400]
