"""Names of columns as SQL writes them: a user's field may be called `order`, or have a quote in it."""

from __future__ import annotations


def double_quoted(name: str) -> str:
    """For DuckDB, DataFusion, SQLite and the SQL standard."""
    return '"' + name.replace('"', '""') + '"'


def backticked(name: str) -> str:
    """For Spark."""
    return "`" + name.replace("`", "``") + "`"
