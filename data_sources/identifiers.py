"""Names of columns as SQL writes them: a user's field may be called `order`, or have a quote in it."""

from __future__ import annotations


def double_quoted(name: str) -> str:
    """For DuckDB, DataFusion, SQLite and the SQL standard."""
    return '"' + name.replace('"', '""') + '"'


def backticked(name: str) -> str:
    """For Spark."""
    return "`" + name.replace("`", "``") + "`"


_SMALL = {ord(large): large.lower() for large in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def folded(name: str) -> str:
    """As DuckDB compares names: only the letters A to Z are the small ones too. `str.lower` makes a k of the Kelvin sign."""
    return name.translate(_SMALL)
