"""Segments: what the landing zone holds, summed up over ranges of commits, so that no reader goes over every commit.

    commits   1 2 3 4 5 6 7 8 | 9 ........ 16 | 17 18 19
    segments  [     1 – 8    ] [    9 – 16   ]  17 18 19        64 commits make one of eight of these, and so on

A segment is a Parquet file, LAKE/landing/FEED/segments/FIRST-LAST.parquet: one row for each landed file of its commits,
with the bounds by which readers prune. In it many small files of one kind stand as one (transforms/merge_files.py); rows
keep their identity, which is in their lineage columns. Commits are never changed; a segment says the same as they do.

Guarantees: a segment is there whole or not at all, after the files it names; only who holds the landing lock makes one;
without any, or with a damaged one, readers take its copy beside its files, or the commits. A file that a segment stands
for goes a day later, if the tables hold its commits (`collect`), so that a reader that knows it can finish.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from beam_grid import durable, parquet_files
from beam_grid.commit import Commit
from beam_grid.crash import point
from data_sources.typed_json import decoder, encode
from transforms.manifest import Bound, Kind, LandedFile

if TYPE_CHECKING:
    from beam_grid.landing import FeedLog
    from data_sources.contract import Contract

log = logging.getLogger(__name__)

RADIX = 8
"""So many commits, or segments, make the next larger segment."""

_LARGEST = RADIX**4
"""Commits of the largest segment."""

SMALL_ROWS = 1 << 16
"""A file of fewer rows is put together with others."""

_MERGED: set[Kind] = {"rows", "tiles", "conflicts"}
"""Of feeds that append; others are taken again, or read, by the name of their file."""

_FORMAT = 1

_COPY = "segment.parquet"
"""In the folder of a segment's merged files: the segment once more, because the files it stands for may be gone."""

_KEPT_S = 86_400
"""How long a file that no commit lists, or a segment stands for, stays: whoever reads it has ended by then."""

SCHEMA = pa.schema(
    [
        ("kind", pa.string()), ("path", pa.string()), ("rows", pa.int64()), ("bytes", pa.int64()), ("shard", pa.int32()),
        ("keys", pa.string()), ("window", pa.string()), ("first", pa.int64()), ("last", pa.int64()),
        ("contract", pa.string()), ("bounds", pa.string()),
    ]
)  # fmt: skip


class Held(Struct, frozen=True, gc=False):
    """A landed file with the commits whose rows it holds, both inside, and the hash of the contract they landed under."""

    file: LandedFile
    first: int
    last: int
    contract: str


class _Bounds(Struct):
    min: dict[str, Bound]
    max: dict[str, Bound]


_bounds = decoder(_Bounds)


@dataclass(frozen=True)
class Unit:
    """One commit's files, or one segment's."""

    first: int
    last: int
    held: list[Held]

    @classmethod
    def of(cls, commit: Commit) -> Unit:
        n = commit.number
        return cls(n, n, [Held(file, n, n, commit.contract) for file in commit.files if file.rows])


def path_of(feed: FeedLog, first: int, last: int) -> Path:
    return feed.path / "segments" / f"{first:010d}-{last:010d}.parquet"


def ranges_of(feed: FeedLog) -> set[tuple[int, int]]:
    """First and last commit of each segment there is."""
    names = (re.fullmatch(r"(\d{10})-(\d{10})\.parquet", p.name) for p in (feed.path / "segments").glob("*.parquet"))
    return {(int(found[1]), int(found[2])) for found in names if found}


def read(feed: FeedLog, first: int, last: int) -> Unit | None:
    """The segment of these commits; None where there is none, or it cannot be read: the commits say the same."""
    where = path_of(feed, first, last)
    try:
        return _read(where, first, last)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as cause:
        log.warning("feed %s: segment %s cannot be read (%s)", feed.name, where.name, cause)
    for copy in sorted((feed.path / "data").glob(f"*-{first}-{last}/{_COPY}")):
        try:
            return _read(copy, first, last)
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
            continue
    return None


def _read(where: Path, first: int, last: int) -> Unit:
    return Unit(first, last, [_held(row) for row in parquet_files.read(where).to_pylist()])


def _held(row: dict[str, object]) -> Held:
    bounds = _bounds(str(row.pop("bounds")).encode())
    first, last, contract = (row.pop(name) for name in ("first", "last", "contract"))
    file = LandedFile(**row, min=bounds.min, max=bounds.max)  # type: ignore[arg-type]
    return Held(file, int(str(first)), int(str(last)), str(contract))


@dataclass
class LandedIndex:
    """Which landed files a reader of a feed has to look at: those of as few segments as may be, and of the commits after.

    Kept by who follows a feed, `upto` brings it on; it then holds a bounded number of files of small commits.
    """

    feed: FeedLog | None = None
    units: list[Unit] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.units[-1].last if self.units else 0

    def add(self, commit: Commit) -> None:
        """The next commit."""
        self.units.append(Unit.of(commit))

    def upto(self, last: int, known: Iterable[Commit] = ()) -> LandedIndex:
        """Bring it on to this commit; known: commits that were read already."""
        assert self.feed is not None
        have = {commit.number: commit for commit in known}
        there = ranges_of(self.feed)
        while self.last < last:
            unit = self._widest(self.last + 1, last, there)
            if unit is None:
                number = self.last + 1
                unit = Unit.of(have.get(number) or self.feed.read(number))
            self.units.append(unit)
        self.collapse(there)
        return self

    def _widest(self, first: int, last: int, there: set[tuple[int, int]]) -> Unit | None:
        assert self.feed is not None
        for end in sorted((end for begin, end in there if begin == first and end <= last), reverse=True):
            if (unit := read(self.feed, first, end)) is not None:
                return unit
        return None

    def collapse(self, there: set[tuple[int, int]] | None = None) -> None:
        """Let segments that were made meanwhile stand for what they sum up."""
        if self.feed is None:
            return
        starts = {unit.first: place for place, unit in enumerate(self.units)}
        ends = {unit.last: place for place, unit in enumerate(self.units)}
        for first, last in sorted(ranges_of(self.feed) if there is None else there, key=lambda r: r[0] - r[1]):
            begin, end = starts.get(first), ends.get(last)
            if begin is None or end is None or begin >= end:
                continue
            if (unit := read(self.feed, first, last)) is not None:
                self.units[begin : end + 1] = [unit]
                starts = {unit.first: place for place, unit in enumerate(self.units)}
                ends = {unit.last: place for place, unit in enumerate(self.units)}

    def held(self, *kinds: Kind, after: int = 0) -> Iterator[Held]:
        """The files of these kinds that hold rows, in the order of their commits; those of units after a commit."""
        for unit in self.units:
            if unit.first > after:
                yield from (held for held in unit.held if held.file.kind in kinds)

    def files(self, *kinds: Kind) -> list[LandedFile]:
        return [held.file for held in self.held(*kinds)]


@dataclass
class Segmenter:
    """Makes the segments of one feed that are due; the caller holds the landing lock."""

    feed: FeedLog

    def due(self, last: int) -> list[tuple[int, int]]:
        """Ranges up to this commit that have no segment, nor a larger one in its place; the smaller ones first."""
        there = ranges_of(self.feed)
        found: list[tuple[int, int]] = []
        size = RADIX
        while size <= _LARGEST and size <= last:
            blocks = ((n + 1, n + size) for n in range(0, last - last % size, size))
            found += [block for block in blocks if not any(a <= block[0] and block[1] <= b for a, b in there)]
            size *= RADIX
        return found

    def forget_damaged(self) -> None:
        """Remove segments that cannot be read, so that they are made anew."""
        for first, last in ranges_of(self.feed):
            try:
                _read(path_of(self.feed, first, last), first, last)
            except FileNotFoundError:
                continue
            except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
                if (unit := read(self.feed, first, last)) is None:
                    durable.remove(path_of(self.feed, first, last))
                else:
                    durable.replace(path_of(self.feed, first, last), _written(unit.held))

    def make(self, first: int, last: int) -> None:
        """Make the segment of these commits, out of smaller ones where there are. Raises OSError, GridError."""
        index = LandedIndex(self.feed, [])
        if first > 1:
            index.units.append(Unit(1, first - 1, []))
        before = list(index.upto(last).held(*get_args(Kind), after=first - 1))
        attempt = f"{self.feed.new_attempt()}-{first}-{last}"
        folder = self.feed.path / "data" / attempt
        try:
            held = self._merged(before, folder)
            content = _written(held)
            if folder.exists():
                durable.create_once(folder / _COPY, content)
                durable.sync_folder(folder.parent)
            self._keep_for_a_day(before, held)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        point("segment:written")
        where = path_of(self.feed, first, last)
        where.parent.mkdir(parents=True, exist_ok=True)
        durable.replace(where, content)  # what fails here may have been done: its files stay, and are collected if not
        point("segment:made")
        # the larger one says it all; who has read a smaller one knows its files
        for begin, end in ranges_of(self.feed):
            if first <= begin and end <= last and (begin, end) != (first, last):
                durable.remove(path_of(self.feed, begin, end))

    def _keep_for_a_day(self, before: list[Held], now: list[Held]) -> None:
        """From now on: who knows the files that others stand for may read them still, however old they are."""
        gone = {one.file.path for one in before} - {one.file.path for one in now}
        for folder in {(self.feed.path / path).parent for path in gone}:
            durable.touch(folder)

    def _merged(self, held: list[Held], folder: Path) -> list[Held]:
        from transforms.merge_files import merge_files  # its libraries are heavy, and readers do without

        groups: dict[tuple[object, ...], list[Held]] = {}
        found: list[Held] = []
        for one in held:
            file = one.file
            is_small = (
                file.rows < SMALL_ROWS and file.kind in _MERGED and self._contract(one.contract).lake.load == "append"
            )
            if is_small:
                groups.setdefault((file.kind, file.shard, file.window, one.contract), []).append(one)
            else:
                found.append(one)
        for group in groups.values():
            if len(group) > 1:
                contract = self._contract(group[0].contract)
                merged = merge_files(self.feed.path.absolute(), [one.file for one in group], contract, folder)
                group = [Held(merged, group[0].first, group[-1].last, group[0].contract)]
            found += group
        return sorted(found, key=lambda one: (one.first, one.last))

    def _contract(self, digest: str) -> Contract:
        if digest not in self._contracts:
            self._contracts[digest] = self.feed.contract(digest)
        return self._contracts[digest]

    @cached_property
    def _contracts(self) -> dict[str, Contract]:
        return {}


def collect(feed: FeedLog, published: int | None, older_than_s: float = _KEPT_S) -> int:
    """Remove files that no reader has use for: of old attempts that no commit lists, and those that a segment has stood for
    so long whose commits the tables hold; returns how many. The caller holds the landing lock.

    published: the last commit of the feed that every table holds, None where there are no tables; 0 where a refine that was
    cut off may have begun some: a table that holds a few commits goes on from the files of the next.
    """
    index = LandedIndex(feed, []).upto(feed.last)
    used: set[str] = set()
    for unit in index.units:
        is_partly_held = published is not None and unit.last > published and unit.first < unit.last
        commits = range(unit.first, unit.last + 1) if is_partly_held else ()
        for file in (*(one.file for one in unit.held), *(file for n in commits for file in feed.read(n).files)):
            used.add(file.path)
            if file.keys is not None:
                used.add(file.path.rsplit("/", 1)[0] + "/" + file.keys)
    gone = 0
    for attempt in (feed.path / "data").glob("*"):
        if time.time() - attempt.stat().st_mtime <= older_than_s:
            continue
        paths = list(attempt.iterdir())
        kept = [path for path in paths if str(path.relative_to(feed.path)) in used]
        for path in paths:
            is_copy = path.name == _COPY and kept
            if path not in kept and not is_copy:
                durable.remove(path)
                gone += 1
        if not kept:
            shutil.rmtree(attempt, ignore_errors=True)
    return gone


def _written(held: list[Held]) -> bytes:
    rows = []
    for one in held:
        file = one.file
        row = {name: getattr(file, name) for name in ("kind", "path", "rows", "bytes", "shard", "keys", "window")}
        bounds = encode(_Bounds(file.min, file.max)).decode()
        rows.append({**row, "first": one.first, "last": one.last, "contract": one.contract, "bounds": bounds})
    out = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({"beam_grid.format": json.dumps(_FORMAT)}))
    pq.write_table(table, out, compression="zstd", write_page_checksum=True)
    return bytes(out.getvalue())
