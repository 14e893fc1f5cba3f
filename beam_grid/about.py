"""What a line of the log is about: fields that every JSON line carries while they hold.

    with about(feed="readings", commit=7):
        say("...")          ─► {"time": ..., "level": "INFO", "message": "...", "feed": "readings", "commit": 7}

They hold for the thread (and the asyncio task) that set them and for nobody else: a thread it starts begins without.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_FIELDS: ContextVar[dict[str, str | int]] = ContextVar("about")


@contextmanager
def about(**fields: str | int) -> Iterator[None]:
    """Have lines say these, beside what holds already."""
    before = _FIELDS.set({**_FIELDS.get({}), **fields})
    try:
        yield
    finally:
        _FIELDS.reset(before)


class WithFields(logging.Filter):
    """Puts onto each record what it is about, for a handler that writes fields."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _FIELDS.get({}).items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True
