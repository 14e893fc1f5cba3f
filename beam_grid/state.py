"""What the commits of a feed add up to: where each source stands, how far event time is, what has landed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from beam_grid.landing import FATES, FeedLog, taken_again
from data_sources.contract import Contract
from data_sources.durations import micros


@dataclass
class FeedState:
    """Folded from commits in order by `add`; never written down, so that it cannot disagree with them.

    files: per absolute path what is known of it (see data_sources.files); offsets: next offset per topic and
    partition; greatest, arrivals: M and newest arrival per partition, microseconds; rows, conflicts: manifest
    entries; late: late files that no commit took in again, by path, as parts of a plan; attempts: folders that
    commits list; totals: fates so far.
    """

    last: int = 0
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    offsets: dict[str, dict[str, int]] = field(default_factory=dict)
    greatest: dict[str, int] = field(default_factory=dict)
    arrivals: dict[str, int] = field(default_factory=dict)
    watermark: int | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    late: dict[str, dict[str, Any]] = field(default_factory=dict)
    attempts: set[str] = field(default_factory=set)
    totals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FATES, 0))

    @classmethod
    def of(cls, log: FeedLog) -> FeedState:
        """Fold all commits of a feed."""
        state = cls()
        for commit in log.commits():
            state.add(commit)
        return state

    def add(self, commit: dict[str, Any]) -> None:
        self.last = commit["commit"]
        self.attempts.add(commit["attempt"])
        self.watermark = commit["watermark"]
        for fate in FATES:
            self.totals[fate] += commit["fates"][fate]
        for partition in commit["partitions"]:
            if partition["greatest"] is not None:
                self.greatest[partition["key"]] = partition["greatest"]
            if partition["newest_arrival"] is not None:
                self.arrivals[partition["key"]] = partition["newest_arrival"]
            for end in partition["ends"]:
                if "topic" in end:
                    self.offsets.setdefault(end["topic"], {})[str(end["partition"])] = end["offset"]
                else:
                    self.files[end["path"]] = end
        for entry in commit["files"]:
            if entry["kind"] == "rows":
                self.rows.append(entry)
            elif entry["kind"] == "conflicts":
                self.conflicts.append(entry)
            elif entry["kind"] == "late" and entry["rows"]:
                self.late[entry["path"]] = {"late": entry["path"], "commit": self.last, "rows": entry["rows"]}
        for part in taken_again(commit):
            del self.late[part["late"]]

    def watermark_after(self, partitions: list[dict[str, Any]], contract: Contract) -> int | None:
        """The feed's watermark once these partitions are committed: the least M - out_of_orderness of partitions that
        are not idle; it never goes back. None for a feed of files that are whole in themselves."""
        greatest, arrivals = dict(self.greatest), dict(self.arrivals)
        for partition in partitions:
            if partition["greatest"] is not None:
                greatest[partition["key"]] = partition["greatest"]
            if partition["newest_arrival"] is not None:
                arrivals[partition["key"]] = partition["newest_arrival"]
        newest = max(arrivals.values(), default=0)
        idle = micros(contract.idle_timeout) if contract.idle_timeout is not None else None
        alive = [m for key, m in greatest.items() if idle is None or newest - arrivals.get(key, newest) <= idle]
        if not alive:
            return self.watermark
        found = min(alive) - micros(contract.out_of_orderness)
        return found if self.watermark is None else max(found, self.watermark)
