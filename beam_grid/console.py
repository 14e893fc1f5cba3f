"""What a person sees while something runs: a progress bar on a terminal, a plain line every few seconds elsewhere,
and logs on stderr as text or JSON."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EVERY_S = 5.0
"""Seconds between plain progress lines."""


_json = False


def is_json() -> bool:
    """Whether logs are for machines."""
    return _json


def say(text: str) -> None:
    """A line for people, on stderr; a log record where logs are JSON."""
    if _json:
        logging.getLogger("beam_grid").info(text.strip())
    else:
        print(text, file=sys.stderr, flush=True)


def note(text: str, **fields: str | int | float) -> None:
    """A line for machines, with fields of its own: nothing where logs are text."""
    if _json:
        logging.getLogger("beam_grid").info(text, extra=fields)


def set_up_logs(form: str, debug: bool) -> None:
    """Logs of Beam Grid to stderr; libraries' chatter only with `debug`."""
    global _json
    _json = form == "json"
    handler = logging.StreamHandler(sys.stderr)
    if _json:
        from pythonjsonlogger.json import JsonFormatter

        from beam_grid.about import WithFields

        handler.addFilter(WithFields())
        handler.setFormatter(
            JsonFormatter(
                "{asctime}{levelname}{name}{message}",
                style="{",
                rename_fields={"asctime": "time", "levelname": "level"},
            )
        )
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.CRITICAL)
    logging.getLogger("beam_grid").setLevel(logging.DEBUG if debug else logging.INFO)
    for noisy in ("py4j", "matplotlib", "kafka", "asyncio", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING if debug else logging.CRITICAL)


class Progress:
    """Counts records of a run whose end is not known beforehand."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._started = self._said = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """Draw the bar where stderr is a terminal."""
        if _json or not sys.stderr.isatty():
            yield self
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            self._bar, self._task = bar, bar.add_task(self._what, total=None)
            yield self
        self._bar = None

    def at(self, done: int, total: int | None = None, note: str = "") -> None:
        """So many records are done; `total` where it is known."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, description=f"{self._what} {note}".strip())
            return
        now = time.monotonic()
        if now - self._said >= EVERY_S:
            self._said = now
            rate = done / max(now - self._started, 1e-9)
            of = f" of {total:,}" if total else ""
            line = f"{self._what}: {done:,}{of} records, {rate:,.0f}/s {note}".rstrip()
            say(line)
