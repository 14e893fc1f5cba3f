"""Contracts and helpers the decoders' tests share."""

from __future__ import annotations

from typing import Any

from data_sources.contract import Contract, parse_contract
from data_sources.decode.rejects import Decoded

FIELDS = [
    {"name": "id", "type": "string"},
    {"name": "at", "type": "timestamp"},
    {"name": "kwh", "type": "float64"},
    {"name": "n", "type": "int64"},
    {"name": "price", "type": "decimal(10,2)"},
    {"name": "ok", "type": "bool"},
    {"name": "day", "type": "date"},
    {"name": "note", "type": "string"},
]


def contract(form: str = "json", fields: list[dict[str, Any]] | None = None, **more: Any) -> Contract:
    given = {"name": "t", "format": form, "event_time": "at", "dedup": {"key": ["id"]}, "fields": fields or FIELDS}
    return parse_contract({**given, **more}, "t.toml")


def fates(decoded: Decoded) -> tuple[dict[int, str], dict[int, tuple[str, str]]]:
    """Rows (in words, so that -0.0 is not 0.0) and rejects (cause and rule) by position."""
    rows = {r["_position"]: str({k: v for k, v in r.items() if k != "_index"}) for r in decoded.rows.to_pylist()}
    rejects = {r["_position"]: (r["cause"], r["rule"]) for r in decoded.rejecting.table().to_pylist()}
    assert len(rows) == decoded.rows.num_rows and not rows.keys() & rejects.keys()
    return rows, rejects


def fate(decoded: Decoded, position: int) -> str:
    """`reject RULE` or the row without its position."""
    rows, rejects = fates(decoded)
    if position in rejects:
        return "reject " + rejects[position][1]
    return rows[position].replace(f"'_position': {position}, ", "")
