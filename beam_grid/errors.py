"""What can go wrong in a way the user can mend: one line that says what happened, what was seen, what to try."""

from __future__ import annotations

from data_sources.errors import UserError


class GridError(UserError):
    """Ends a command. `exit_code` 2 means usage or environment, 1 that something ran and failed."""


class LakeBusy(GridError):
    """Another process holds the lock that this one needs."""


class RunFailed(GridError):
    """Something ran and failed; what was committed before stays."""

    exit_code = 1
