"""What lies at a source and is not read, looked for now and then while the source is followed; each line is said once.

Not guaranteed: that all is named one by one, where it is much (see feeds.unread).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

_RESTS = 20.0
"""After a look so many times as long as it took pass before the next: a walk through a large folder holds up landing."""


class Unread:
    """find: a line for each thing that is not read now; known: those that were said at the start."""

    def __init__(
        self, find: Callable[[], Iterable[str]], known: Iterable[str], every_s: float, say: Callable[[str], None]
    ) -> None:
        self._find, self._known, self._every_s, self._say = find, set(known), every_s, say
        self._due = time.monotonic() + every_s

    def look(self) -> None:
        """Where it is time: say what is new. What is gone is forgotten, and said again when it is back."""
        began = time.monotonic()
        if began < self._due:
            return
        found = list(self._find())
        for line in found:
            if line not in self._known:
                self._say(f"  not read: {line}")
        self._known = set(found)
        ended = time.monotonic()
        self._due = ended + max(self._every_s, _RESTS * (ended - began))
