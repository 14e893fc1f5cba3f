"""Open questions of a contract: values that begin with `?`, as `contracts init` writes what a sample cannot tell.

time_zone = "?"                        which zone?
format = "? %d/%m/%Y or %m/%d/%Y"      one of these, which?
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_ASKS = {
    "time_zone": 'which clock do its times follow? They have no offset; write a name such as "Europe/Berlin", or "UTC"',
    "format": "how are its times written? The sample does not tell",
    "type": "what is it? The sample does not tell; write string, int64, float64, bool, date or timestamp",
    "on_dst": 'which of two equal local times is meant? Write "in_order", "elapsed", "earlier", "later" or "reject"',
    "event_time": "which field says when a record's event was? It must be a timestamp or date",
    "dedup.key": "which fields together name a record, so that a copy of it is known?",
    "lake.key": "which fields name a row of the source's table (its primary key)?",
    "lake.sequence_by": "which fields say the place of a change in the log?",
    "csv.decimal": 'does a comma separate decimals or thousands? Write decimal = ",", or decimal = "." and thousands',
    "csv.encoding": "in which encoding is the text?",
    "json.records": "at which path are the records?",
    "sqlite.table": "which table holds the records?",
}


def questions(raw: dict[str, Any]) -> list[str]:
    """What is still asked of the contract, a line each: `field 'at', time_zone: is a question: ...`."""
    return [f"{place}: is a question still: {_ask(word, text)}" for place, word, text in _open(raw)]


def _ask(word: str, text: str) -> str:
    choice = text.removeprefix("?").strip()
    return _ASKS[word] + (f" ({choice})" if choice else "")


def _open(raw: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    fields = [f for f in raw["fields"] if isinstance(f, dict)] if isinstance(raw.get("fields"), list) else []
    names = {f.get("name") for f in fields}
    for number, field in enumerate(fields, 1):
        for word in ("type", "format", "time_zone", "on_dst"):
            if _is_open(field.get(word)):
                label = repr(field["name"]) if "name" in field else f"number {number}"
                yield f"field {label}, {word}", word, field[word]
    if _is_open(raw.get("event_time")) and raw["event_time"] not in names:
        yield "event_time", "event_time", raw["event_time"]
    for table, word in (("dedup", "key"), ("lake", "key"), ("lake", "sequence_by")):
        part = raw.get(table)
        given = part.get(word) if isinstance(part, dict) else None
        yield from (
            (f"{table}.{word}", f"{table}.{word}", entry)
            for entry in (given if isinstance(given, list) else [])
            if _is_open(entry) and entry not in names
        )
    for table, word in (("csv", "decimal"), ("csv", "encoding"), ("json", "records"), ("sqlite", "table")):
        part = raw.get(table)
        if isinstance(part, dict) and _is_open(part.get(word)):
            yield f"{table}.{word}", f"{table}.{word}", part[word]


def _is_open(value: Any) -> bool:
    return isinstance(value, str) and re.match(r"\?(\s|$)", value) is not None
