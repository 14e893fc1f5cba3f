"""Rejects: what could not become a row, kept with cause, rule, position and raw bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

REJECT_SCHEMA = pa.schema(
    [
        ("cause", pa.string()),  # undecodable, rule_broken, from_the_future, poison
        ("rule", pa.string()),  # what exactly: json, type:kwh, null:event_id, time:ts, a rule's id, max_future
        ("reason", pa.string()),  # a sentence for people
        ("_position", pa.int64()),
        ("raw", pa.binary()),
        ("_half", pa.int32()),  # of a change of a key, which is two records: 1 the row before, 2 after; else null
    ]
)

EXTRA = "\0extra"
"""Column of a decoder's raw table that becomes `_extra`; no input field has such a name."""

POISON = "poison"
"""Cause of a record that was put aside undecoded, as no slice that decoded it could be landed."""

MAX_RECORD = 1 << 20
"""Bytes a record may have; a longer one is rejected, its raw bytes cut to this length."""


def halves(positions: np.ndarray, at: np.ndarray) -> pa.Array:
    """Which record of its message each at `at` is: 1 or 2 of two, which stand at one position; null where it is alone."""
    last = len(positions) - 1
    is_first = (at < last) & (positions[at] == positions[np.minimum(at + 1, last)])
    is_second = (at > 0) & (positions[at] == positions[at - 1])
    return pa.array(is_first + 2 * is_second, pa.int32(), mask=~(is_first | is_second))


class Rejecting:
    """Collects rejects of one block by record index."""

    def __init__(self, raw: Callable[[int], bytes], positions: np.ndarray) -> None:
        self._raw, self.positions = raw, positions
        self._found: dict[int, tuple[str, str, str]] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._found

    def __len__(self) -> int:
        return len(self._found)

    def add(self, index: int, cause: str, rule: str, reason: str) -> None:
        """The first cause found for a record is the one that counts."""
        self._found.setdefault(int(index), (cause, rule, reason))

    def add_all(self, indices: Iterable[int], cause: str, rule: str, reason: str) -> None:
        for index in indices:
            self.add(index, cause, rule, reason)

    @property
    def indices(self) -> np.ndarray:
        """The rejected records, int64, as `table` has them."""
        return np.asarray(sorted(self._found), np.int64)

    def mask(self, count: int) -> np.ndarray:
        """Which of `count` records are rejected."""
        mask = np.zeros(count, bool)
        mask[list(self._found)] = True
        return mask

    def moved(self, raw: Callable[[int], bytes], positions: np.ndarray, to: np.ndarray) -> Rejecting:
        """The same rejects of records that are counted otherwise: the record i has become `to[i]`."""
        moved = Rejecting(raw, positions)
        for index, found in self._found.items():
            moved.add(int(to[index]), *found)
        return moved

    def only(self, kept: np.ndarray) -> Rejecting:
        """Those of the records at `kept`, counted as they stand there."""
        found = Rejecting(lambda i: self._raw(int(kept[i])), self.positions[kept])
        for number, index in enumerate(kept.tolist()):
            if index in self._found:
                found.add(number, *self._found[index])
        return found

    def table(self) -> pa.Table:
        """REJECT_SCHEMA, in the order of the records."""
        index = sorted(self._found)
        columns = list(zip(*(self._found[i] for i in index), strict=True)) or [(), (), ()]
        at = np.asarray(index, np.int64)
        return pa.table(
            [
                *(pa.array(c, pa.string()) for c in columns),
                pa.array(self.positions[at], pa.int64()),
                pa.array([self._raw(i)[:MAX_RECORD] for i in index], pa.binary()),
                halves(self.positions, at),
            ],
            schema=REJECT_SCHEMA,
        )


class Decoded(NamedTuple):
    """What a decoder makes of records.

    rows: the contract's columns plus `_position`, `_extra` and `_index` (int64, the record's place among the
    records, counted as below); rejecting: the rejects so far, to which judging adds its own. parents: where one
    record handed in became several (`[unpivot]`, a change of a key), int64, of each record the place of the one it came from; `_index`
    and the rejects then count the records it became, and `_position` is the row's times 10,000 plus the column's
    number (from 1; 0 where the row as a whole is a reject). None: one to one. twice: of a contract with
    on_dst = "in_order", the local times that come twice; see `twice.py`.
    """

    rows: pa.Table
    rejecting: Rejecting
    parents: np.ndarray | None = None
    twice: pa.Table | None = None
