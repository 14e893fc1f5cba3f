"""What was read of a file that may grow, as few segments: neighbours of about one size are joined, as a counter carries.

    read in slices of one size    1    2    2 1    4    4 1    4 2    4 2 1    8 ...

A file has some thirty segments, and one more for each 128 MiB or so. A byte is read again once for each doubling of its
segment, and proves its old digest before it counts to a new one: a change between two slices stays as visible as it was.
"""

from __future__ import annotations

from collections.abc import Iterable

import xxhash

from data_sources.sources.opening import BLOCK
from data_sources.splits import Segment

MOST_JOINED = 256 << 20
"""Bytes of a joined segment at most: the large slices of a backlog are not read again."""


def joined(path: str, segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """The same bytes in fewer segments; those whose bytes are not what they were stay as they are."""
    groups: list[list[Segment]] = []
    for segment in segments:
        group = [segment]
        while groups and _carries(groups[-1], group):
            group = groups.pop() + group
        groups.append(group)
    return tuple(one for group in groups for one in _one(path, group))


def _carries(before: list[Segment], group: list[Segment]) -> bool:
    """Whether two neighbours become one: the later has as many binary digits of bytes as the one before, or more."""
    start, middle, end = before[0].start, group[0].start, group[-1].end
    is_next = before[-1].end == middle and end - start <= MOST_JOINED
    return is_next and (end - middle).bit_length() >= (middle - start).bit_length()


def _one(path: str, group: list[Segment]) -> list[Segment]:
    if len(group) == 1:
        return group
    whole = xxhash.xxh3_64()
    with open(path, "rb") as stream:
        stream.seek(group[0].start)
        for segment in group:
            own, left = xxhash.xxh3_64(), segment.end - segment.start
            while left > 0 and (block := stream.read(min(BLOCK, left))):
                own.update(block)
                whole.update(block)
                left -= len(block)
            if own.hexdigest() != segment.digest:
                return group
    return [Segment(group[0].start, group[-1].end, whole.hexdigest())]
