"""The breaker's states and pauses, and what kind of failure an error is."""

from __future__ import annotations

import errno
import time

import pytest

from beam_grid.errors import GridError, RunFailed
from beam_grid.service.breaker import FAILURES, Breaker
from beam_grid.service.causes import cause_of, is_no_room, one_line, root_of
from data_sources.sources.errors import SourceAway, SourceDenied, SourceError


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(RuntimeError, match="no"), breaker.trying():
            raise RuntimeError("no")


def test_states_follow_what_happens_and_one_success_forgets_all() -> None:
    breaker = Breaker(first_s=0.01, longest_s=0.02)
    with breaker.trying():
        assert breaker.state == "closed"
    fail(breaker, FAILURES - 1)
    assert (breaker.state, breaker.failures) == ("closed", FAILURES - 1)
    fail(breaker)
    assert breaker.state == "open"
    with pytest.raises(RuntimeError), breaker.trying():
        assert breaker.state == "half-open", "one try is let through"
        raise RuntimeError
    assert (breaker.state, breaker.failures) == ("open", FAILURES + 1)
    with breaker.trying():
        pass
    assert (breaker.state, breaker.failures, breaker.retry_at, breaker.wait_s) == ("closed", 0, None, 0)


def test_pauses_double_up_to_the_longest_and_are_drawn_anew() -> None:
    pauses: list[list[float]] = []
    for _ in range(20):
        breaker, found = Breaker(first_s=1, longest_s=60), []
        for _ in range(9):
            fail(breaker)
            found.append(breaker.wait_s)
        pauses.append(found)
    for n, drawn in enumerate(zip(*pauses, strict=True)):
        whole = min(60.0, 2.0**n)
        assert whole / 2 - 0.1 <= min(drawn) and max(drawn) <= whole
        assert len({round(pause, 4) for pause in drawn}) > 10, "many followers do not come back at once"


def test_a_clock_that_is_set_back_puts_no_try_off(monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = Breaker(first_s=0.1, longest_s=0.1)
    fail(breaker, FAILURES)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert 0 < breaker.wait_s <= 0.1
    with breaker.trying():
        pass
    assert breaker.state == "closed"


def _raised(error: Exception, cause: Exception | None = None) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (_raised(GridError("x"), SourceAway("away")), "away"),
        (_raised(GridError("x"), SourceDenied("who")), "denied"),
        (_raised(RunFailed("x"), SourceError("file is gone")), "source"),
        (_raised(RunFailed("x"), OSError(errno.ENOSPC, "No space left on device")), "lake"),
        (_raised(RunFailed("x"), RuntimeError("PermissionError: [Errno 13] Permission denied: '/l' [while running 'W']")), "lake"),
        (GridError("--shards"), "usage"),
        (_raised(RunFailed("x"), KeyError("k [while running 'Read']")), "slice"),
        (MemoryError(), "slice"),
    ],
)  # fmt: skip
def test_causes(error: Exception, kind: str) -> None:
    assert cause_of(error) == kind


def test_no_room_is_known_whichever_library_met_it() -> None:
    assert is_no_room(OSError(errno.EROFS, "Read-only file system"))
    assert is_no_room(
        Exception("Generic LocalFileSystem error: Unable to write: No space left on device (os error 28)")
    )
    assert not is_no_room(OSError(errno.ENOENT, "No such file or directory"))


def test_what_is_said_of_an_error_is_its_root_without_beams_words() -> None:
    assert root_of(_raised(RunFailed("x"), KeyError("k [while running 'Land/Read']"))) == ("KeyError", "k")
    beams = RuntimeError("MemoryError [while running 'Land/Read']")
    assert root_of(_raised(RunFailed("x"), beams)) == ("MemoryError", "")
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
