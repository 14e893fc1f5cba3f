"""Raw records between a reader and a decoder: one buffer, cut at positions, each record nameable.

data   {"a":1}\n{"a":2}\n{"a"          <- the unfinished last line is the reader's business
        ^start  ^end
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

PIECE = 1 << 18

NEWLINE, RETURN, SPACE = 10, 13, 32


@dataclass(frozen=True)
class Records:
    """Undecoded records.

    data: the bytes they stand in; starts, ends: int64 offsets of each record (half-open, line ends left out);
    positions: int64 line number (from 1), row number or Kafka offset; arrivals: int64 microseconds since the
    epoch when each arrived, or None where the run's clock stands for it.
    """

    data: bytes
    starts: np.ndarray
    ends: np.ndarray
    positions: np.ndarray
    arrivals: np.ndarray | None = None
    whole_lines: bool = True
    """False where a record may hold a line break of its own."""
    line_ends: int = 0
    """How many line ends the buffer has, where it is lines."""
    refused: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """Records that the reader refuses: per place the rule and the reason."""

    def __len__(self) -> int:
        return len(self.starts)

    def raw(self, index: int) -> bytes:
        """The record's own bytes."""
        return self.data[self.starts[index] : self.ends[index]]

    def take(self, indices: np.ndarray) -> Records:
        """The records at `indices`, in that order; the buffer is shared."""
        arrivals = None if self.arrivals is None else self.arrivals[indices]
        return Records(
            self.data, self.starts[indices], self.ends[indices], self.positions[indices], arrivals, self.whole_lines
        )

    def joined(self) -> bytes | pa.Buffer:
        """The records one a line; where they stand so already, without a copy."""
        if len(self) and self.ends[-1] - self.starts[0] == (self.ends - self.starts).sum() + len(self) - 1:
            return pa.py_buffer(self.data).slice(self.starts[0], self.ends[-1] - self.starts[0])
        return b"\n".join(self.data[s:e] for s, e in zip(self.starts.tolist(), self.ends.tolist(), strict=True))


def lines(data: bytes, first: int) -> Records:
    """Cut whole lines (each ends with \\n) into records; a line that is blank holds no record, yet counts as a line."""
    buffer = np.frombuffer(data, np.uint8)
    ends = line_ends(data)
    count = len(ends)
    if len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        ends = np.append(ends, len(data))
    starts = np.empty_like(ends)
    if len(ends):
        starts[0] = 0
        starts[1:] = ends[:-1] + 1
    positions = np.arange(first, first + len(ends), dtype=np.int64)
    if len(ends):
        returns = (ends > starts) & (buffer[np.maximum(ends - 1, 0)] == RETURN)
        ends = ends - returns
        maybe = np.flatnonzero((ends <= starts) | (buffer[starts] <= SPACE))
        blank = [i for i in maybe.tolist() if not data[starts[i] : ends[i]].strip()]
        if blank:
            keep = np.delete(np.arange(len(ends)), blank)
            starts, ends, positions = starts[keep], ends[keep], positions[keep]
    return Records(data, starts, ends, positions, line_ends=count)


def line_ends(data: bytes) -> np.ndarray:
    """Where the line ends stand, found piece by piece: the mask of a piece stays in the processor's cache."""
    buffer = np.frombuffer(data, np.uint8)
    found = [np.flatnonzero(buffer[at : at + PIECE] == NEWLINE) + at for at in range(0, len(buffer), PIECE)]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def count_line_ends(data: bytes) -> int:
    """How many line ends there are."""
    buffer = np.frombuffer(data, np.uint8)
    return sum(int(np.count_nonzero(buffer[at : at + PIECE] == NEWLINE)) for at in range(0, len(buffer), PIECE))


def messages(values: Sequence[bytes | None], positions: Sequence[int], arrivals: Sequence[int]) -> Records:
    """Kafka values as records; a value that is None is an empty record."""
    lengths = np.fromiter((len(v) if v else 0 for v in values), np.int64, len(values))
    ends = np.cumsum(lengths + 1) - 1
    data = b"\n".join(v or b"" for v in values)
    return Records(
        data,
        ends - lengths,
        ends,
        np.asarray(positions, np.int64),
        np.asarray(arrivals, np.int64),
        whole_lines=data.count(b"\n") == max(len(values) - 1, 0),
    )
