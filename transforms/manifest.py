"""The manifest that workers give back: which files were written, what was read, what dedup found.

Counts travel as data, not as Beam metrics, which not every runner brings back. Every step yields manifests of its own,
as JSON text; together they are the slice's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct, field

from data_sources.splits import End
from data_sources.typed_json import decoder, encode

DELAY_BOUNDS_S = (0, 1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 2700, 3600, 7200, 14400, 43200, 86400, 604800)
"""Upper bounds of the delay histogram's bins, seconds; one more bin is open."""

Kind = Literal["rows", "tiles", "rejected", "late", "conflicts", "superseded", "snapshot", "changes"]

Bound = bool | int | float | str | None
"""A least or greatest value: times in microseconds or days since the epoch, decimals as numbers; text is cut at 64
characters, upwards for a greatest one; null where no value is known."""

Range = tuple[Bound, Bound]
"""Least and greatest value, both inside."""

Ranges = dict[str, Range]
"""By column."""


def meet(one: Range, other: Range) -> bool:
    """Whether the ranges may overlap, which they may where an end of either is not known."""
    if None in one or None in other:
        return True
    return one[0] <= other[1] and other[0] <= one[1]  # type: ignore[operator]


class LandedFile(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A Parquet file that landed, sorted, with statistics by which readers skip it."""

    kind: Kind
    """rows: landed rows; tiles: partial aggregates of a window; rejected, late, conflicts, superseded: the rows of that
    fate; snapshot, changes: keys and hashes of what a snapshot or a change file of a master held, copies too."""
    path: str
    """Relative to LAKE/landing/FEED."""
    rows: int
    """How many it holds."""
    bytes: int
    """Its size."""
    shard: int | None = None
    """Of landed rows."""
    keys: str | None = None
    """Of landed rows: the name of the file beside it with the sorted hashes of their keys, uint64, little-endian."""
    window: str | None = None
    """Of tiles: the window they are of."""
    min: dict[str, Bound] = {}
    """Least value of the columns by which readers prune."""
    max: dict[str, Bound] = {}
    """Greatest value of the same columns."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    def may_hold(self, ranges: Ranges) -> bool:
        """Whether a row may lie in all the ranges; a column whose least or greatest is not known excludes nothing."""
        return all(meet((self.min.get(name), self.max.get(name)), wanted) for name, wanted in ranges.items())


class PartitionCounts(Struct, frozen=True, kw_only=True):
    """What was read of a partition in a slice."""

    key: str
    """TOPIC/NUMBER, a file's path, `files` for those that form one log, `late` for late rows taken in again,
    `rejected` for rejects judged again."""
    read: int
    """Records; where late rows or rejects are taken again, only how many more they have become: they were read before."""
    late: int
    """Rows; less than 0 where late rows are taken in again: as many are late no more."""
    rejected: int
    """Records that cannot be decoded, break a rule, or come from the future; where rejects are judged again, less than 0 by
    how many are rejects no more."""
    extra: int = 0
    """Rows on time with a field that the contract does not know."""
    rejected_by: dict[str, int] = {}
    """Records by CAUSE/RULE."""
    warned_by: dict[str, int] = {}
    """Rows on time by warning rule."""
    delays: tuple[int, ...] = ()
    """Rows by how far behind M they were, one count a bin; see `delay_bounds_s` of the commit."""
    max_event_time: int | None = field(name="greatest", default=None)
    """M after the slice, microseconds since the epoch; null for files that are whole in themselves."""
    newest_arrival: int | None = None
    """After the slice, microseconds since the epoch; null for files."""
    ends: tuple[End, ...] = ()
    """Where reading stopped, one for each split."""


class PartitionRead(PartitionCounts, frozen=True, kw_only=True):
    """What a worker read of a partition, before dedup has had its say."""

    on_time: dict[int, int] = {}
    """Rows on time by the number of their split."""


class ShardUnique(Struct, frozen=True, kw_only=True):
    """What dedup found in a shard: rows on time are landed or duplicates."""

    shard: int
    landed: int
    duplicates: int
    duplicates_of: dict[int, int] = {}
    """Duplicates by the number of the split they came in."""
    superseded: int = 0
    conflicts: int = 0


class Manifest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a step, or all of a slice, did."""

    files: tuple[LandedFile, ...] = ()
    partitions: tuple[PartitionRead, ...] = ()
    shards: tuple[ShardUnique, ...] = ()

    def text(self) -> str:
        return encode(self).decode()


class Committed(Struct, frozen=True, kw_only=True):
    """What dedup must know of what is committed: the files of landed rows and of conflicts."""

    rows: tuple[LandedFile, ...] = ()
    conflicts: tuple[LandedFile, ...] = ()


read_manifest = decoder(Manifest)
read_committed = decoder(Committed)


def merged(manifests: Iterable[Manifest]) -> Manifest:
    """One manifest of all, in their order."""
    files: list[LandedFile] = []
    partitions: list[PartitionRead] = []
    shards: list[ShardUnique] = []
    for one in manifests:
        files += one.files
        partitions += one.partitions
        shards += one.shards
    return Manifest(files=tuple(files), partitions=tuple(partitions), shards=tuple(shards))
