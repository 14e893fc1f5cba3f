"""Memory of a run that goes on for months: what is freed goes back to the system.

By itself glibc learns from each large block that is freed to keep ever larger ones (up to 32 MiB, in each of 8 arenas per
core), so after a few refines a follower holds a third more than it uses. Source of the words: mallopt(3).
"""

from __future__ import annotations

import ctypes
import functools

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h."""

_LARGE = 2 << 20
"""Bytes of a block that is the system's again when it is freed."""

_KEPT = 4 << 20
"""Free bytes at an arena's end that stay; with less detectors pay for page after page."""


@functools.cache
def give_back() -> None:
    """For this process, for good, whatever MALLOC_ variables say. Nothing where the C library is another one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _KEPT)
