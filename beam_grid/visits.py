"""Who lands: one process at a time, and a run that follows lets others in between two slices.

    follower   [slice][slice]                    [slice] ...      holds `follow` all the time, `land` but for visits
    visitor         asks └[edit, reinject, land]─┘

Guarantees: nobody lands beside another, whoever dies; a second follower cannot slip in during a visit, as it waits for
`follow`; a visitor that dies while it asks costs the follower a moment.
Not guaranteed: an order among visitors.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from beam_grid.errors import LakeBusy
from beam_grid.landing import Lake

_PATIENCE_S = 120.0
"""How long a visitor waits for the slice under way."""

_LOOK_S = 0.5
_OPEN_S = 0.3
"""The door stays open so long; a visitor tries it several times in that."""

_RACE_S = 0.3
"""A visitor that looks whether there is a follower holds its lock for a moment."""


@contextmanager
def visiting(lake: Lake, say: Callable[[str], None] = lambda line: None) -> Iterator[bool]:
    """Hold the landing lock; a run that follows the lake lets go of it between two slices. Yields whether there is one.

    Raises LakeBusy where somebody else lands and nobody follows, and after two minutes.
    """
    with ExitStack() as held:
        try:
            held.enter_context(lake.lock("land"))
            is_followed = False
        except LakeBusy:
            if not _is_followed(lake):
                raise
            _ask(lake, held, say)
            is_followed = True
        yield is_followed


def _is_followed(lake: Lake) -> bool:
    """A standby holds the lock too, now and then, but does not lead."""
    try:
        with lake.lock("follow"):
            return False
    except LakeBusy:
        return _leads(lake).exists()


def _leads(lake: Lake) -> Path:
    return lake.path / "locks" / "leads"


def _asked(lake: Lake) -> Path:
    return lake.path / "locks" / "land.asked"


def _ask(lake: Lake, held: ExitStack, say: Callable[[str], None]) -> None:
    asked, began, has_said = _asked(lake), time.monotonic(), False
    try:
        while True:
            asked.touch()
            try:
                held.enter_context(lake.lock("land", wait_s=_LOOK_S))
                return
            except LakeBusy:
                waited = time.monotonic() - began
                if waited > _PATIENCE_S:
                    raise LakeBusy(
                        f"lake {lake.path}: neither another command nor the slice under way of the run that follows it ended "
                        f"within {_PATIENCE_S:.0f} s; try again, or give that a smaller --slice-rows"
                    ) from None
                if waited > 1 and not has_said:
                    say(f"lake {lake.path}: waiting for the slice under way of the run that follows it")
                    has_said = True
    finally:
        asked.unlink(missing_ok=True)


class Lead:
    """Of who follows a lake: its locks, until closed."""

    def __init__(self, lake: Lake, wait_s: float = 0) -> None:
        """Raises LakeBusy where another follows or lands, after waiting for it so long."""
        self._lake, self._follow, self._land = lake, ExitStack(), ExitStack()
        self._asked = _asked(lake)
        self._follow.enter_context(lake.lock("follow", wait_s=max(wait_s, _RACE_S)))
        try:
            _leads(lake).unlink(missing_ok=True)  # one that was killed left it
            self._land.enter_context(lake.lock("land", wait_s=wait_s))
            _leads(lake).touch()
        except BaseException:
            self._land.close()
            self._follow.close()
            raise

    @property
    def is_asked(self) -> bool:
        """Whether somebody waits to land; what is under way must be brought to rest before `let_in`."""
        return self._asked.exists()

    def let_in(self, ending: threading.Event, beat: Callable[[], None]) -> bool:
        """Let go of landing until a visitor has been; False where the run is to end before it has left."""
        self._asked.unlink(missing_ok=True)
        self._land.close()
        time.sleep(_OPEN_S)
        while not ending.is_set():
            try:
                self._land.enter_context(self._lake.lock("land", wait_s=_LOOK_S))
                return True
            except LakeBusy:
                beat()
        return False

    def close(self) -> None:
        _leads(self._lake).unlink(missing_ok=True)
        self._land.close()
        self._follow.close()
