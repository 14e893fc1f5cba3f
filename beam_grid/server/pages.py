"""Pages that fit together: a cursor names the version set it began with, so what is published meanwhile changes nothing.

    of a table   cursor = set, offset, what was asked         asked anew at that set, in the same order
    of an answer cursor = a token, offset                     kept as it was computed: a SELECT may have no order

Kept answers are bounded: the oldest goes, and its cursor is answered 410.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

import pyarrow as pa

from beam_grid.server.problems import Problem

_KEPT_BYTES, _KEPT_S = 64 << 20, 600.0


@dataclass(frozen=True)
class TableCursor:
    """Where the next page of a table begins."""

    set_number: int
    offset: int
    asked: str
    """Digest of table, condition and order."""

    def text(self) -> str:
        return (
            base64.urlsafe_b64encode(json.dumps([self.set_number, self.offset, self.asked]).encode())
            .decode()
            .rstrip("=")
        )


def table_cursor(text: str, asked: str) -> TableCursor:
    """Raises Problem for one that is none, or was given for another question."""
    try:
        number, offset, was = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError) as cause:
        raise Problem(400, "cursor: is not one that this server gave") from cause
    if type(number) is not int or type(offset) is not int or not 0 <= offset < 1 << 62 or not 0 < number < 1 << 62:
        raise Problem(400, "cursor: is not one that this server gave")
    if was != asked:
        raise Problem(400, "cursor: was given for another table, where or order; leave it out to begin anew")
    return TableCursor(number, offset, asked)


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass
class _Kept:
    table: pa.Table
    owner: str
    until: float
    set_number: int | None


class Kept:
    """Answers that were longer than a page, for their asker alone."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, _Kept] = OrderedDict()

    def keep(self, table: pa.Table, owner: str, set_number: int | None) -> str | None:
        """The token it is had by; None where it is too large to keep."""
        if table.nbytes > _KEPT_BYTES // 2:
            return None
        now = time.monotonic()
        self._answers[token := secrets.token_urlsafe(18)] = _Kept(table, owner, now + _KEPT_S, set_number)
        while self._answers and (
            sum(one.table.nbytes for one in self._answers.values()) > _KEPT_BYTES
            or next(iter(self._answers.values())).until < now
        ):
            self._answers.popitem(last=False)
        return token

    def get(self, token: str, owner: str) -> tuple[pa.Table, int | None]:
        """Raises Problem where it is no longer kept, or was somebody else's."""
        found = self._answers.get(token)
        if found is None or found.owner != owner or found.until < time.monotonic():
            raise Problem(410, "the answer this cursor belongs to is no longer kept; ask the statement again")
        return found.table, found.set_number
