"""What a table is expected to hold, in one line of text: the words of a contract's `[[expectations]]` and of an analysis.

unique(meter_id, timestamp)                     no two rows share these
not_null(region)                                none of these is null
references(customer_id) in customers(customer_id)   a row's key, where it has one, is in that feed's silver table
check(load_mw <= capacity_mw)                   a condition on the row; null passes, as in a SQL CHECK
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

KINDS = ("unique", "not_null", "references", "check")
Action = Literal["warn", "drop", "fail"]
_TEXT = re.compile(r"\s*(\w+)\s*\((.*?)\)\s*(?:in\s+([a-z][a-z0-9_]*)\s*\(([^()]*)\)\s*)?", re.S)


@dataclass(frozen=True)
class Expectation:
    """One expectation. `feed` and `to` are those of references, `condition` that of check."""

    id: str
    text: str
    kind: str
    columns: tuple[str, ...]
    on_fail: Action
    feed: str | None = None
    to: tuple[str, ...] = ()
    condition: str | None = None


def parse_expectation(id: str, text: str, on_fail: str) -> Expectation:
    """Read one line; raises ValueError that says what may be written."""
    match = re.fullmatch(r"\s*check\s*\((.*)\)\s*", text, re.S) or _TEXT.fullmatch(text)
    kind = "check" if match and match.re is not _TEXT else match[1] if match else ""
    if match is None or kind not in KINDS:
        raise ValueError(
            f"{text!r} is not an expectation; write unique(a, b), not_null(a), check(a > 0) or references(a) in feed(b)"
        )
    if kind == "check":
        return Expectation(id, text, kind, (), on_fail, condition=match[1].strip())  # type: ignore[arg-type]
    columns, to = _names(match[2]), _names(match[4] or "")
    if not columns:
        raise ValueError(f"{text!r}: names no column")
    if (kind == "references") != (match[3] is not None):
        raise ValueError(f"{text!r}: a reference is written references(a) in feed(b); only it has an `in`")
    if kind == "references" and len(columns) != len(to):
        raise ValueError(f"{text!r}: {len(columns)} columns refer to {len(to)}")
    if kind == "unique" and on_fail == "drop":
        raise ValueError(f"{text!r}: which of two equal keys to drop is not said; use warn or fail")
    return Expectation(id, text, kind, columns, on_fail, match[3], to)  # type: ignore[arg-type]


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
