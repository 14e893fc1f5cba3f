"""What a reader of generated files must count, from the generator's own labels and a running maximum of event time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data_sources.generators.truth import COUNTS

CAUSES = ("undecodable", "rule_broken", "from_the_future")

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_NO_TIME = np.iinfo(np.int64).min
_VERSIONS = 8


class Tally:
    """Counts the four fates, in this order: undecodable, rule broken, future, late, duplicate, landed.

    late_after_ms: how far behind the greatest event time before it a record is late, milliseconds; None where each
    file is complete in itself. Keeps one number per on-time record that has copies; all else is counted at once.
    """

    def __init__(self, late_after_ms: int | None = None) -> None:
        self.causes = dict.fromkeys(CAUSES, 0)
        self._late_after_ms = late_after_ms
        self._greatest: int = _NO_TIME
        self._read = self._rejected = self._late = self._alone = 0
        self._copies: list[Ints] = []

    def add(
        self,
        event_ms: Ints,
        *,
        undecodable: Mask,
        rule_broken: Mask,
        future: Mask,
        sent_again: Mask,
        record: Ints,
        version: Ints,
    ) -> None:
        """Count records that follow on all those added before.

        record: the same number for what is one record to dedup; version: 0 to 7, the same for equal payloads of a
        record; sent_again: whether the record has copies (true on each of them).
        """
        rejected = np.zeros(len(event_ms), bool)
        for cause, hit in zip(CAUSES, (undecodable, rule_broken, future), strict=True):
            self.causes[cause] += int((hit & ~rejected).sum())
            rejected |= hit
        late = self._are_late(event_ms, rejected)
        on_time = ~rejected & ~late
        self._read += len(event_ms)
        self._rejected += int(rejected.sum())
        self._late += int(late.sum())
        self._alone += int((on_time & ~sent_again).sum())
        copies = on_time & sent_again
        if copies.any():
            self._copies.append((record * _VERSIONS + version)[copies])

    def counts(self) -> dict[str, int]:
        """The six counts of truth.json over everything added."""
        payloads = np.unique(np.concatenate([np.empty(0, np.int64), *self._copies]))
        _, payloads_per_key = np.unique(payloads // _VERSIONS, return_counts=True)
        current = self._alone + len(payloads_per_key)
        duplicates = self._read - self._rejected - self._late - current
        conflicts = int((payloads_per_key > 1).sum())
        return dict(zip(COUNTS, (self._read, self._rejected, self._late, current, duplicates, conflicts), strict=True))

    def _are_late(self, event_ms: Ints, rejected: Mask) -> Mask:
        if self._late_after_ms is None:
            return np.zeros(len(event_ms), bool)
        reached = np.maximum.accumulate(np.where(rejected, _NO_TIME, event_ms), dtype=np.int64)
        np.maximum(reached, self._greatest, out=reached)
        before = np.concatenate([np.array([self._greatest], np.int64), reached[:-1]])
        self._greatest = int(reached.max(initial=self._greatest))
        return ~rejected & (before > _NO_TIME) & (event_ms + self._late_after_ms < before)
