"""Which tables a caller may see: one rule, for statements, lists, news and alerts. Kept free of the web, for workers."""

from __future__ import annotations

from fnmatch import fnmatchcase


def may_see(name: str, allowed: tuple[str, ...] | None) -> bool:
    """Whether a table's name meets one of the patterns of a key; None reaches all."""
    return allowed is None or any(fnmatchcase(name, pattern) for pattern in allowed)
