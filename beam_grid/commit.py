"""A commit of the landing zone's log, typed; docs/commit-log.md, made from these types, tells it word by word.

One JSON file per commit, LAKE/landing/FEED/commits/0000000001.json and so on, created atomically and never changed. It
says what a slice was to read, what became of each record, and which files hold it; it holds no rows itself. Instants
are whole microseconds since the epoch, in UTC, unless said otherwise.

M is the greatest event time of a partition so far, rejects not counted.

Commits of format 1 (before 26 Nov 2026) stay readable: they did not name the kinds of splits and ends, nor the bounds
of the delays they counted, and wrote out what is left out now.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from beam_grid.errors import GridError
from data_sources.splits import LateSplit, PartitionPlan, RejectedSplit
from data_sources.typed_json import decoder, encode, from_plain
from transforms.manifest import Kind, LandedFile, PartitionCounts

FORMAT = 2
"""The newest lake format this version reads and writes."""

_BOUNDS_OF_FORMAT_1 = (0, 1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 2700, 3600, 7200, 14400, 43200, 86400, 604800)


class Fates(Struct, frozen=True, kw_only=True):
    """What became of records: read = landed + duplicates + late + rejected, in every commit and in total."""

    read: int = 0
    """Records; in a commit that takes late rows in, or judges rejects, again, only how many more they have become (a row
    that [unpivot] makes several): they were read before."""
    landed: int = 0
    """Rows that are new."""
    duplicates: int = 0
    """Rows whose key had landed, or landed in the same slice."""
    late: int = 0
    """Rows; less than 0 in a commit that takes late rows in again: as many are late no more."""
    rejected: int = 0
    """Records that cannot be decoded, break a rule, or come from the future; less than 0 in a commit that judges rejects
    again: as many are rejects no more."""
    superseded: int = 0
    """Beside the equation: landed rows, of this commit or earlier ones, that a greater one of their key replaces."""
    conflicts: int = 0
    """Beside the equation: keys seen with more than one payload, counted in the commit that first saw it."""

    @property
    def unaccounted(self) -> int:
        """Records read of which no fate is known; 0 in every commit."""
        return self.read - (self.landed + self.duplicates + self.late + self.rejected)

    @property
    def balanced(self) -> bool:
        """Whether read = landed + duplicates + late + rejected."""
        return self.unaccounted == 0

    def __add__(self, other: Fates) -> Fates:
        return Fates(**{fate: getattr(self, fate) + getattr(other, fate) for fate in FATES})

    def by_name(self) -> dict[str, int]:
        return {fate: getattr(self, fate) for fate in FATES}


FATES = Fates.__struct_fields__


class PartitionStatistics(PartitionCounts, frozen=True, kw_only=True):
    """What was read of a partition in a slice, and what became of it."""

    landed: int
    """Rows of it that are new."""
    duplicates: int
    """Rows of it whose key had landed, or landed in the same slice."""


class Commit(Struct, frozen=True, kw_only=True):
    """One slice of a feed, all or nothing."""

    format: int
    """2. A reader refuses a format above those it knows."""
    feed: str
    """The contract's name."""
    number: int = field(name="commit")
    """From 1 on, without a gap."""
    attempt: str
    """The folder below LAKE/landing/FEED/data that holds its files."""
    created_at: datetime
    """In UTC."""
    now: int
    """The run's clock: when records without a time of arrival are taken to have arrived."""
    contract: str
    """Hash of the contract it landed under, which is kept in LAKE/landing/FEED/contracts."""
    source: str
    """As the command named it."""
    runner: str
    """Which of Beam's runners ran the slice."""
    command: str = ""
    """The command line."""
    shards: int
    """Into how many shards keys are spread, the same in all commits of a feed."""
    plan: tuple[PartitionPlan, ...]
    """What the slice was to read; of a commit that takes late rows in, or judges rejects, again, which files of them."""
    partitions: tuple[PartitionStatistics, ...]
    """What was read, one for each partition of the plan."""
    fates: Fates
    """Of the slice as a whole."""
    rejected_by: dict[str, int]
    """Records by CAUSE/RULE; less than 0 for those that are no more, as rejects judged again."""
    warned_by: dict[str, int]
    """Rows on time by warning rule."""
    extra: int = 0
    """Rows on time with a field that the contract does not know."""
    delay_bounds_s: tuple[int, ...]
    """Upper bounds, inside, of the bins of `delays`, in seconds; one more bin is open."""
    delays: tuple[int, ...]
    """Rows, on time and late, by how far behind M they were: one count a bin."""
    watermark: int | None
    """Of the feed, after this commit; null for a feed of whole files."""
    files: tuple[LandedFile, ...]
    """What it wrote. Files of the landing zone that no commit lists are garbage."""
    problems: tuple[str, ...]
    """What was found and not read, and why."""

    def listed(self, *kinds: Kind) -> list[LandedFile]:
        """Its files of these kinds, those that hold rows, in the order of the kinds."""
        return [file for kind in kinds for file in self.files if file.kind == kind and file.rows]

    @property
    def taken_again(self) -> list[LateSplit]:
        """Late files of earlier commits that this one took in again."""
        return [split for partition in self.plan for split in partition.splits if isinstance(split, LateSplit)]

    @property
    def judged_again(self) -> list[RejectedSplit]:
        """Files of rejects of earlier commits that this one has judged again: its own file holds those that are left."""
        return [split for partition in self.plan for split in partition.splits if isinstance(split, RejectedSplit)]

    @property
    def filed(self) -> dict[str, int]:
        """By fate the rows that its files hold, less those of the files it took again: what its fates must say."""
        kinds: dict[str, Kind] = {
            "landed": "rows", "late": "late", "rejected": "rejected", "superseded": "superseded",
        }  # fmt: skip
        found = {fate: sum(file.rows for file in self.listed(kind)) for fate, kind in kinds.items()}
        found["late"] -= sum(split.rows for split in self.taken_again)
        found["rejected"] -= sum(split.rows for split in self.judged_again)
        return found

    @property
    def matches_files(self) -> bool:
        """Whether its files hold as many rows as its fates say."""
        return all(getattr(self.fates, fate) == rows for fate, rows in self.filed.items())


def total(fates: Iterable[Fates]) -> Fates:
    """All of them together."""
    return sum(fates, Fates())


class _Head(Struct):
    format: int
    feed: str = ""
    number: int = field(name="commit", default=0)


_head, _commit = decoder(_Head), decoder(Commit)


def to_json(commit: Commit) -> bytes:
    """The commit file's content."""
    return encode(commit, indent=1)


def from_json(text: bytes) -> Commit:
    """The commit that a file holds; raises ValueError where it holds none, GridError where a newer version wrote it."""
    written = _head(text)
    if written.format > FORMAT:
        raise GridError(
            f"commit {written.number} of {written.feed} was written by a newer version (format {written.format}, this "
            f"version knows {FORMAT}); update beam-grid"
        )
    if written.format > 1:
        return _commit(text)
    try:
        named = _named(json.loads(text))
    except (TypeError, AttributeError) as cause:  # something that should be an object, or a list, is not
        raise ValueError(f"no commit of format 1: {cause}") from cause
    return from_plain(named, Commit)


def _named(commit: dict[str, Any]) -> dict[str, Any]:
    """A commit of format 1 in today's words."""
    for partition in commit.get("plan", []):
        for split in partition.get("parts", []):
            split["kind"] = "late" if "late" in split else "kafka" if "topic" in split else "file"
    for partition in commit.get("partitions", []):
        for end in partition.get("ends", []):
            end["kind"] = "kafka" if "topic" in end else "file"
    return {"delay_bounds_s": _BOUNDS_OF_FORMAT_1, **commit}
