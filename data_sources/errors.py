"""The one family of errors that a user can mend; the command line prints them in one place (beam_grid/cli/)."""


class UserError(Exception):
    """Says what happened, what was seen and what to try. `exit_code` 2 means usage or environment."""

    exit_code = 2
