"""A slice that fails over and over is narrowed down by halves, until the record that does it stands alone and is put aside.

    whole slices ──fails twice──► halves: n/2, n/4, .. 1 ──► one record of each partition in turn
         ▲                        what lands is a commit                │ fails twice alone
         └────── growing: 1,000, 2,000, .. ◄── reject of cause `poison`, by a commit of its own

Guarantees: each part that lands is a commit like any other, so records keep their order and their fates, and the ledger
balances; a record is put aside only after it failed alone, twice; not for a reason that is the disk's or the source's.
Not guaranteed: that it is one record, where a source cannot be cut finer (a row group of Parquet). After _MOST_IN_A_ROW
such records with nothing that landed in between it is not the records: the feed fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from beam_grid.errors import RunFailed
from beam_grid.interrupt import was_interrupted
from beam_grid.plan import Narrow, Poison
from beam_grid.service.causes import cause_of, root_of
from data_sources.splits import FileSplit, KafkaSplit

if TYPE_CHECKING:
    from beam_grid.commit import Commit
    from beam_grid.land import Lander

_TRIES = 2
"""So often a slice, and a record alone, may fail before more is made of it."""

_GROWING_FROM = 1_000
"""Records of the slice after one was put aside; from there slices double."""

_MOST_IN_A_ROW = 10

_LONGEST_REASON = 300


class Narrowing:
    """Steps a lander. aside: hears of each record that was put aside, as a line for people.

    waits: whether the first failure of a slice is raised, for the caller to wait before the next try.
    """

    def __init__(self, lander: Lander, aside: Callable[[str], None], waits: bool = False) -> None:
        self._lander, self._aside, self._waits = lander, aside, waits
        self._how: Literal["whole", "halves", "alone", "growing"] = "whole"
        self._rows = 0
        self._after = ""
        self._failed = self._landed_alone = self._in_a_row = 0
        self._partitions = 1
        self.quarantined = 0

    @property
    def is_at_work(self) -> bool:
        """Whether a failed slice is being narrowed down, or a try is to follow at once."""
        return self._how != "whole" or self._failed > 0

    def step(self) -> Commit | None:
        """As Lander.step; None too where a part failed and a smaller one is next."""
        narrow = self._narrow()
        try:
            commit = self._lander.step(narrow)
        except Exception as cause:
            if was_interrupted() or cause_of(cause) != "slice" or not self._lander.plan.partitions:
                raise
            return self._after_failure(cause)
        self._after_success(commit)
        return commit

    def _narrow(self) -> Narrow | None:
        if self._how == "whole":
            return None
        return Narrow(1, self._after) if self._how == "alone" else Narrow(self._rows)

    def _after_success(self, commit: Commit | None) -> None:
        if commit is None:
            self._go("whole")
            return
        if commit.fates.read:
            self._in_a_row = 0
        match self._how:
            case "halves":
                self._halve()
            case "alone":
                self._after = self._lander.plan.partitions[0].key
                self._failed, self._landed_alone = 0, self._landed_alone + 1
                if self._landed_alone > self._partitions + _TRIES:  # it was not one record after all
                    self._grow(_GROWING_FROM)
            case "growing":
                self._grow(self._rows * 2)
            case "whole":
                self._failed = 0

    def _after_failure(self, cause: Exception) -> Commit | None:
        plan = self._lander.plan
        self._partitions = max(self._partitions, len(plan.partitions))
        self._failed += 1
        match self._how:
            case "whole" if self._failed < _TRIES:
                if self._waits:
                    raise cause
            case "alone" if self._failed < _TRIES:
                if self._waits:
                    raise cause
            case "alone":
                return self._put_aside(cause)
            case "halves":
                self._halve()
            case "whole" | "growing":
                self._rows = plan.rows
                self._halve()
        return None

    def _halve(self) -> None:
        self._go("halves", self._rows // 2) if self._rows > 1 else self._go("alone")

    def _grow(self, rows: int) -> None:
        self._go("growing", rows) if rows < self._lander.options.slice_rows else self._go("whole")

    def _go(self, how: Literal["whole", "halves", "alone", "growing"], rows: int = 0) -> None:
        if how != self._how:
            self._landed_alone, self._partitions = 0, max(1, len(self._lander.plan.partitions))
        self._how, self._rows, self._failed = how, rows, 0

    def _put_aside(self, cause: Exception) -> Commit | None:
        """Make the commit in which the record that stands alone is a reject."""
        (partition,) = self._lander.plan.partitions
        split = partition.splits[0]
        assert isinstance(split, FileSplit | KafkaSplit)
        kind, text = root_of(cause)
        text = " ".join(text.split())[:_LONGEST_REASON]
        if self._in_a_row >= _MOST_IN_A_ROW:
            self._failed = 0
            raise RunFailed(
                f"feed {self._lander.contract.name}: {self._in_a_row} records in a row could not be landed, each alone "
                f"({kind}: {text}): the records are hardly to blame; nothing more is put aside until a record lands"
            ) from cause
        poison = Poison(partition.key, split.key, split.start, f"{kind}: {text}")
        commit = self._lander.step(Narrow(1, poison=poison))
        if commit is None:  # the source was another one meanwhile
            self._failed = 0
            return None
        self._in_a_row += 1
        self.quarantined += commit.fates.rejected
        self._aside(
            f"{_place(split)}: no slice with this record can be landed ({kind}: {text}); it was put aside, see beam-grid "
            f"inspect rejected --lake {self._lander.lake.path}"
        )
        self._grow(_GROWING_FROM)
        return commit


def _place(split: FileSplit | KafkaSplit) -> str:
    if isinstance(split, KafkaSplit):
        return f"{split.topic}/{split.partition}, offset {split.start}"
    return f"{split.lineage}:{split.line}"
