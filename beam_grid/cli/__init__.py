"""The command line. Results go to stdout, all else to stderr.

Exit codes: 0 done; 1 ran, but something failed, was skipped or did not balance; 2 usage or environment;
130 interrupted. Imports stand inside the commands: a query must not wait for Beam, nor `--help` for anything.

A module per group of commands, imported when one of them is asked for (group.py names them); what commands share is in
options.py, process.py and steps.py.
"""

from __future__ import annotations

import os
import sys
import threading

import click

from beam_grid.cli.group import cli
from beam_grid.console import say
from beam_grid.interrupt import heard, leave
from data_sources.errors import UserError


def main() -> None:
    """Entry point of the console script."""
    with heard() as interrupted:
        code = _code(interrupted)
    leave(code)


def _code(interrupted: threading.Event) -> int:
    """Run the command; what went wrong is said, what an interrupt broke is not."""
    debug = "--debug" in sys.argv or bool(os.environ.get("BEAM_GRID_DEBUG"))
    try:
        code = cli.main(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
        return _interrupted() if interrupted.is_set() and code != 130 else code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _interrupted()
    except click.ClickException as cause:
        cause.show()
        return cause.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as cause:
        if interrupted.is_set():
            return _interrupted()
        if debug:
            raise
        if isinstance(cause, UserError):
            say(f"error: {cause}")
            return cause.exit_code
        say(f"error: {type(cause).__name__}: {cause}; run again with --debug (beam-grid --debug ...) for the traceback")
        return 1


def _interrupted() -> int:
    say("interrupted; what was committed stays, the rest is read again by the next run")
    return 130
