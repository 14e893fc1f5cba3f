"""Ctrl-C ends a run at once, whatever it is at, and all it says is "interrupted".

    SIGINT ─┬─► a pipe ─► a thread ─► the statements that DuckDB is at end
            └─► the main thread, when it is back from the library it called: KeyboardInterrupt

Guarantees: a statement that runs in an `interruptible` engine ends within one of its vectors of rows; `leave` ends the
process with its code and without a word, whichever threads are still at work.
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


@contextmanager
def heard() -> Iterator[threading.Event]:
    """While open, each SIGINT ends the statements that are running and sets the event. For the main thread."""
    came = threading.Event()
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    before = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)

    def listen() -> None:
        while signals := os.read(ear, 64):
            if signal.SIGINT in signals:
                came.set()
                end_statements()

    thread = threading.Thread(target=listen, name="signals", daemon=True)
    thread.start()
    try:
        yield came
    finally:
        signal.set_wakeup_fd(before)
        os.close(mouth)
        thread.join()
        os.close(ear)


def leave(code: int) -> NoReturn:
    """End the process, with what is to be done at its exit done.

    An interpreter that ends under threads waits for some, and under others libraries tell of objects they leaked.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if threading.active_count() == 1:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or nobody reads it any more
            stream.flush()
    with suppress(Exception):
        atexit._run_exitfuncs()
    os._exit(code)
