"""What the server asks of a worker, and what it is told: typed, as JSON, with the rows beside it as an Arrow stream."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from beam_grid.lakehouse.bounds import Parameter
from data_sources.typed_json import decoder, encode

Kind = Literal["sql", "table", "tables", "ledger", "lineage", "warm", "make"]

Status = Literal["ok", "refused", "not_there", "forbidden", "gone", "too_much", "failed", "timeout", "cancelled"]
"""How a job ended. refused: the caller's to mend; gone: of a version set that is no longer there."""


Again = Literal["anew", "same", "same_till_logged"]
"""What its answer is when it is asked again at this set: the same, or so until the query log grows."""


class Job(Struct, kw_only=True):
    """One question."""

    kind: Kind
    number: int = 0
    """The pool's, to cancel it by."""
    sql: str = ""
    """sql: the statement."""
    parameters: tuple[Parameter, ...] = ()
    """sql: values of its $1, $2 and so on."""
    explain: bool = False
    table: str = ""
    """table, lineage: its name."""
    where: str = ""
    """table, lineage: a condition in SQL."""
    order: tuple[str, ...] = ()
    """table: columns, with a leading - for descending."""
    limit: int = 0
    """table: rows."""
    offset: int = 0
    feed: str = ""
    """lineage: of the whole feed."""
    views: tuple[str, ...] = ()
    """make: of these tables the views are made."""
    set_number: int | None = None
    """None: the newest."""
    allowed: tuple[str, ...] | None = None
    """Patterns of names of tables that the caller may see; None: all."""
    max_rows: int = 1_000_000
    max_bytes: int = 64 << 20


class Told(Struct, kw_only=True):
    """How it went. Of an answer the Arrow stream follows."""

    status: Status = "ok"
    message: str = ""
    set_number: int | None = None
    tables: tuple[str, ...] = ()
    """What it read, by name."""
    rows: int = 0
    answered_by: str | None = None
    again: Again = "anew"
    retires: bool = False
    """The worker ends after this, because its memory has grown; a new one takes its place."""


to_job, to_told = decoder(Job), decoder(Told)

__all__ = ["Again", "Job", "Kind", "Status", "Told", "encode", "to_job", "to_told"]
