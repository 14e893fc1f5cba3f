"""Ctrl-C ends a run at once, whatever it is at, and all it says is "interrupted". SIGTERM lets a run that follows end
what it is at.

    SIGINT ──┬─► a pipe ─► a thread ─► the statements that DuckDB is at end
             └─► the main thread, when it is back from the library it called: KeyboardInterrupt
    SIGTERM ──► the same pipe and thread ─► an event, which the loop looks at between commits (`ends_in_order`)

Guarantees: a statement that runs in an `interruptible` engine ends within one of its vectors of rows; `leave` ends the
process with its code and without a word, whichever threads are still at work, within some seconds; a second signal
ends the process at once, and one SIGINT within _PATIENCE_S, whatever the main thread is at.
Not guaranteed: that a KeyboardInterrupt comes of every SIGINT: DuckDB makes a RuntimeError of it, and a library may
swallow that. `heard` tells of each.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import duckdb

_at_work: dict[int, tuple[int, duckdb.DuckDBPyConnection]] = {}
"""Engines of this process, each with the thread that opened it."""


@contextmanager
def interruptible(engine: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """The engine, closed at the end; meanwhile `end_statements` ends what it is at, with a duckdb.InterruptException."""
    with engine:
        _at_work[id(engine)] = threading.get_ident(), engine
        try:
            yield engine
        finally:
            del _at_work[id(engine)]


def end_statements(thread: int | None = None) -> None:
    """End what the engines of a thread, by default of all, are at now; their next statement runs."""
    for owner, engine in list(_at_work.values()):
        if thread in (None, owner):
            with suppress(Exception):  # closed a moment ago
                engine.interrupt()


_PATIENCE_S = 15.0
"""How long an interrupt waits for what runs to end in order: a library's thread may never."""

_EXIT_WITHIN_S = 5.0
"""How long what is registered to be done at exit may take."""

_interrupted = threading.Event()
_ending: threading.Event | None = None


def was_interrupted() -> bool:
    """Whether a SIGINT came, which a library may have made another exception of."""
    return _interrupted.is_set()


@contextmanager
def heard() -> Iterator[threading.Event]:
    """While open, each SIGINT ends the statements that are running and sets the event. For the main thread."""
    _interrupted.clear()
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    before = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)

    def listen() -> None:
        came = {signal.SIGINT: 0, signal.SIGTERM: 0}
        while signals := os.read(ear, 64):
            for number in signals:
                if number in came:
                    came[signal.Signals(number)] += 1
                    _hear(signal.Signals(number), is_again=came[signal.Signals(number)] > 1)

    thread = threading.Thread(target=listen, name="signals", daemon=True)
    thread.start()
    try:
        yield _interrupted
    finally:
        signal.set_wakeup_fd(before)
        os.close(mouth)
        thread.join(1.0)
        if not thread.is_alive():
            os.close(ear)


def _hear(number: signal.Signals, is_again: bool) -> None:
    """What the thread does about a signal."""
    if is_again:
        os._exit(128 + number)
    if number == signal.SIGTERM:
        if _ending is not None:
            _ending.set()
        return
    _interrupted.set()
    _later(_PATIENCE_S, 128 + number)
    end_statements()


def _later(seconds: float, code: int) -> None:
    """End the process then, unless it has ended by itself."""
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()


@contextmanager
def ends_in_order() -> Iterator[threading.Event]:
    """While open, the first SIGTERM sets the event and does no more; for the main thread, within `heard`."""
    global _ending
    ending = threading.Event()
    before = signal.signal(
        signal.SIGTERM, lambda *_: None
    )  # for Python to hear of it; the thread does what is to be done
    _ending = ending
    try:
        yield ending
    finally:
        _ending = None
        signal.signal(signal.SIGTERM, before)


def leave(code: int) -> NoReturn:
    """End the process, with what is to be done at its exit done.

    An interpreter that ends under threads waits for some, and under others libraries tell of objects they leaked.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if threading.active_count() == 1:
        sys.exit(code)
    _later(_EXIT_WITHIN_S, code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or nobody reads it any more
            stream.flush()
    with suppress(Exception):
        atexit._run_exitfuncs()
    os._exit(code)
