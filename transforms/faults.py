"""A test instrument: every file-system step that a lake's safety rests on passes through `step`, which a test can fail.

    with step("link", path):      before: die, ENOSPC, EIO, EACCES     nothing of it was done
        os.link(draft, path)
                                  after:  done-die, done-EIO, torn-die  it was done, or half of it, and nobody was told

`BEAM_GRID_FAULTS` holds faults, one a line: OPERATION|PATTERN|NTH|KIND, as `link|*/commits/*.json|2|done-die`: the second
link whose path matches, as a shell matches it (`*` takes slashes too; it may stand for the operation). A fault strikes
once, with `2+` from the second on. With `BEAM_GRID_FAULT_LOG`
each step is appended to that file before it is done (`step|link|PATH|THREAD`), and each fault that struck (`hit|link|PATH|KIND`),
so that a test can take the steps of a run without faults, fail each in turn, and see that it was hit.

Without the variables a step costs a microsecond. Nothing but tests sets them. Not covered: what libraries write by
themselves (delta-rs, Spark, DuckDB), but for whole calls of them that are wrapped in a step.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

VARIABLE, LOG = "BEAM_GRID_FAULTS", "BEAM_GRID_FAULT_LOG"

ERRORS = ("ENOSPC", "EIO", "EACCES")
KINDS = ("die", *ERRORS, "done-die", "done-EIO")
TORN = "torn-die"
"""Of a file being written, half; of anything else, done-die."""


@dataclass
class Fault:
    """One of `KINDS`, or TORN, at the nth (from 1) step of this operation whose path matches; `lasts`, and at all after."""

    operation: str
    pattern: str
    nth: int
    kind: str
    lasts: bool = False
    seen: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.operation}|{self.pattern}|{self.nth}{'+' if self.lasts else ''}|{self.kind}"

    @classmethod
    def parse(cls, line: str) -> Fault:
        """Raises ValueError."""
        operation, pattern, nth, kind = line.split("|")
        if kind not in (*KINDS, TORN):
            raise ValueError(f"{VARIABLE}: {kind!r} is none of {', '.join((*KINDS, TORN))}")
        return cls(operation, pattern, int(nth.removesuffix("+")), kind, nth.endswith("+"))

    def strikes(self, operation: str, path: str) -> bool:
        if not (fnmatchcase(operation, self.operation) and fnmatchcase(path, self.pattern)):
            return False
        self.seen += 1
        return self.seen == self.nth or (self.lasts and self.seen > self.nth)


class _Faults:
    """Those of this process; steps of several threads are told apart one by one."""

    def __init__(self, faults: list[Fault], log: Path | None) -> None:
        self.faults, self._log, self._guard = faults, log, threading.Lock()

    def chosen(self, operation: str, path: Path) -> str | None:
        """The kind of the fault that this step is to meet."""
        with self._guard:
            self.tell("step", operation, str(path), threading.current_thread().name)
            struck = [fault.kind for fault in self.faults if fault.strikes(operation, str(path))]
        return struck[0] if struck else None

    def strike(self, kind: str, operation: str, path: Path) -> None:
        """Say so, and then die or raise."""
        if kind == TORN and operation == "write":
            os.truncate(path, path.stat().st_size // 2)
        self.tell("hit", operation, str(path), kind)
        end = kind.removeprefix("done-").removeprefix("torn-")
        if end == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, end)
        raise OSError(number, f"{os.strerror(number)} (injected)", str(path))

    def tell(self, *words: str) -> None:
        if self._log is None:
            return
        handle = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, ("|".join(words) + "\n").encode())
        finally:
            os.close(handle)


_active: _Faults | None = None


def load(environment: Mapping[str, str]) -> None:
    """Take the faults from these variables; called once with the process's own. Raises ValueError."""
    global _active
    faults = [Fault.parse(line) for line in environment.get(VARIABLE, "").splitlines() if line]
    log = environment.get(LOG)
    _active = _Faults(faults, Path(log) if log else None) if faults or log else None


@contextmanager
def step(operation: str, path: Path) -> Iterator[None]:
    """What is done inside is one step on `path`."""
    if _active is None:
        yield
        return
    active, kind = _active, _active.chosen(operation, path)
    if kind is not None and not kind.startswith(("done-", "torn-")):
        active.strike(kind, operation, path)
    yield
    if kind is not None:
        active.strike(kind, operation, path)


load(os.environ)
