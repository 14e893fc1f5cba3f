"""What commands share of the process: its command line, its exit code, its metrics port."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from beam_grid.console import say

if TYPE_CHECKING:
    from beam_grid.service.told import Telling


def command_line() -> str:
    """What was asked for, as a shell takes it."""
    import shlex

    return shlex.join(["beam-grid", *sys.argv[1:]])


def exit_with(code: int) -> None:
    """End the command with this exit code; 0 goes on. Raises SystemExit."""
    if code:
        raise SystemExit(code)


@contextmanager
def answering(
    tellings: Callable[[], list[Telling]], port: int, host: str, missing: Callable[[], dict[str, str]] = dict
) -> Iterator[None]:
    """Metrics and health of what is told, where a port was asked for."""
    if not port:
        yield
        return
    from beam_grid.service.health import Address, served

    with served(Address(port, host), tellings, missing):
        say(f"metrics: http://{f'[{host}]' if ':' in host else host}:{port}/metrics")
        yield
