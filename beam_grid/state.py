"""What the commits of a feed add up to: where each source stands, how far event time is, what has landed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beam_grid.commit import Commit, Fates
from beam_grid.landing import FeedLog
from beam_grid.segments import LandedIndex
from data_sources.splits import End, LateSplit, RejectedSplit
from transforms.manifest import PartitionCounts
from transforms.watermark import watermark_of

if TYPE_CHECKING:
    from data_sources.contract import Contract


@dataclass
class FeedState:
    """Folded from commits in order by `add`, from the newest checkpoint on (checkpoints.py).

    ends: where reading stands, by path of a file and by TOPIC/PARTITION; max_event_times, arrivals: M and newest arrival
    per partition, microseconds; totals: fates so far; unbalanced: commits whose fates, or files, do not add up; landed:
    which files hold what has landed.
    """

    last: int = 0
    ends: dict[str, End] = field(default_factory=dict)
    max_event_times: dict[str, int] = field(default_factory=dict)
    arrivals: dict[str, int] = field(default_factory=dict)
    watermark: int | None = None
    totals: Fates = field(default_factory=Fates)
    unbalanced: int = 0
    landed: LandedIndex = field(default_factory=LandedIndex)

    @classmethod
    def of(cls, log: FeedLog, *, landed: bool = True) -> FeedState:
        """What all commits of a feed come to; without `landed` no file of it is looked for."""
        from beam_grid import checkpoints

        state = checkpoints.newest(log)
        tail = []
        for commit in log.commits(after=state.last):
            state.fold(commit)
            tail.append(commit)
        if landed:
            state.landed = LandedIndex(log).upto(state.last, tail)
        return state

    def add(self, commit: Commit) -> None:
        self.fold(commit)
        self.landed.add(commit)

    def fold(self, commit: Commit) -> None:
        """All but the files."""
        self.last = commit.number
        self.watermark = commit.watermark
        self.totals += commit.fates
        self.unbalanced += not (commit.fates.balanced and commit.matches_files)
        for partition in commit.partitions:
            _advance(partition, self.max_event_times, self.arrivals)
            self.ends.update((end.key, end) for end in partition.ends)

    def watermark_after(self, partitions: Iterable[PartitionCounts], contract: Contract) -> int | None:
        """The feed's watermark once these partitions are committed: the least M - out_of_orderness of partitions that
        are not idle; it never goes back. None for a feed of files that are whole in themselves."""
        max_event_times, arrivals = dict(self.max_event_times), dict(self.arrivals)
        for partition in partitions:
            _advance(partition, max_event_times, arrivals)
        found = watermark_of(max_event_times, arrivals, contract)
        if found is None:
            return self.watermark
        return found if self.watermark is None else max(found, self.watermark)


def _advance(partition: PartitionCounts, max_event_times: dict[str, int], arrivals: dict[str, int]) -> None:
    if partition.max_event_time is not None:
        max_event_times[partition.key] = partition.max_event_time
    if partition.newest_arrival is not None:
        arrivals[partition.key] = partition.newest_arrival


@dataclass
class Kept:
    """Rows and records that are kept aside, by the path of their file: late files that no commit took in again, files of
    rejects that no commit judged again."""

    late: dict[str, LateSplit] = field(default_factory=dict)
    rejected: dict[str, RejectedSplit] = field(default_factory=dict)

    @classmethod
    def of(cls, log: FeedLog) -> Kept:
        """Of all commits of a feed."""
        kept = cls()
        for commit in log.commits():
            kept.add(commit)
        return kept

    def add(self, commit: Commit) -> None:
        for file in commit.listed("late"):
            self.late[file.path] = LateSplit(path=file.path, commit=commit.number, rows=file.rows)
        for split in commit.taken_again:
            del self.late[split.path]
        for file in commit.listed("rejected"):
            self.rejected[file.path] = RejectedSplit(path=file.path, commit=commit.number, rows=file.rows)
        for taken in commit.judged_again:
            del self.rejected[taken.path]
