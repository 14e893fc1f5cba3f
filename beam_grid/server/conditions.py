"""Which rows of its tables a statement can see, told by DuckDB's syntax tree: what files are chosen by before it runs.

    SELECT ... FROM silver.m WHERE meter = 'M-1' AND at >= $1 AND lower(zone) = 'a'
                                   Asked(meter, ...)  Asked(at, ...)      not plain: says nothing

Only of a SELECT over one table, alone in its FROM, and only of plain comparisons of a column with a literal or a
parameter that must all hold: leaving out rows that do not meet them changes no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from beam_grid.lakehouse.bounds import WHOLE, Parameter, Value, Within, moment
from data_sources.identifiers import folded


class Literal(NamedTuple):
    """A value as it is written."""

    kind: str
    """string, integer, parameter, or the type that a string is cast to."""
    text: str


class Asked(NamedTuple):
    """A column's value lies in one of the ranges."""

    column: str
    """As the statement spells it."""
    ranges: tuple[tuple[Literal | None, Literal | None], ...]


class Reference(NamedTuple):
    """A place where a statement names a table."""

    table: str
    """As SCHEMA.NAME, as the statement spells it."""
    conditions: tuple[Asked, ...] = ()
    """Rows that do not meet all of them are not seen there."""


_CASTS = {"TIMESTAMPTZ": "timestamptz", "TIMESTAMP WITH TIME ZONE": "timestamptz", "TIMESTAMP": "timestamp", "DATE": "date"}  # fmt: skip
_FLIPPED = {
    "COMPARE_EQUAL": "COMPARE_EQUAL",
    "COMPARE_LESSTHAN": "COMPARE_GREATERTHAN",
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN",
    "COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
}


def references(node: Any) -> list[Reference]:
    """Every place where the tree names a table with its schema."""
    if isinstance(node, list):
        return [found for one in node for found in references(one)]
    if not isinstance(node, dict):
        return []
    if node.get("type") in ("BASE_TABLE", "SHOW_REF") and node.get("table_name") and node.get("schema_name"):
        return [Reference(f"{node['schema_name']}.{node['table_name']}"), *references(node.get("query"))]
    if node.get("type") == "SELECT_NODE" and _is_alone(node):
        (table,) = references(node["from_table"])
        rest = references([value for key, value in node.items() if key != "from_table"])
        return [table._replace(conditions=tuple(_conditions(node))), *rest]
    return references(list(node.values()))


def within(asked: Asked, kinds: dict[str, str], parameters: Sequence[Parameter]) -> tuple[Within, str] | None:
    """The condition over a table with these columns (by name, Delta's type), and its column's type; None where
    the engine might compare in another way than values of that type are ordered."""
    names = [name for name in kinds if folded(name) == folded(asked.column)]
    if len(names) != 1:
        return None
    kind, ranges = kinds[names[0]], []
    for ends in asked.ranges:
        values = [None if end is None else _value(end, kind, parameters) for end in ends]
        if any(value is None and end is not None for value, end in zip(values, ends, strict=True)):
            return None
        ranges.append((values[0], values[1]))
    return Within(names[0], tuple(ranges)), kind


def _is_alone(node: dict[str, Any]) -> bool:
    table = node.get("from_table") or {}
    is_plain = table.get("type") == "BASE_TABLE" and table.get("schema_name") and table.get("table_name")
    is_sampled = node.get("sample") is not None or table.get("sample") is not None
    return bool(is_plain) and not is_sampled and not table.get("column_name_alias") and table.get("at_clause") is None


def _conditions(node: dict[str, Any]) -> list[Asked]:
    table = node["from_table"]
    called = folded(str(table.get("alias") or table["table_name"]))
    named = {folded(str(one.get("alias") or "")) for one in node["select_list"]}
    found = [_asked(one, called) for one in _conjuncts(node.get("where_clause"))]
    return [one for one in found if one is not None and folded(one.column) not in named]


def _conjuncts(node: Any) -> list[dict[str, Any]]:
    if not isinstance(node, dict):
        return []
    if node.get("type") == "CONJUNCTION_AND":
        return [one for child in node["children"] for one in _conjuncts(child)]
    return [node]


def _asked(node: dict[str, Any], called: str) -> Asked | None:
    kind = node.get("type")
    if kind in _FLIPPED:
        column, value = _column(node["left"], called), _literal(node["right"])
        if column is None:
            kind, column, value = _FLIPPED[kind], _column(node["right"], called), _literal(node["left"])
        if column is None or value is None:
            return None
        return Asked(column, ((value if "LESS" not in kind else None, value if "GREATER" not in kind else None),))
    if kind == "COMPARE_BETWEEN":
        column, low, high = _column(node["input"], called), _literal(node["lower"]), _literal(node["upper"])
        return None if column is None or low is None or high is None else Asked(column, ((low, high),))
    if kind == "COMPARE_IN":
        column = _column(node["children"][0], called)
        values = [value for one in node["children"][1:] if (value := _literal(one)) is not None]
        if column is not None and values and len(values) == len(node["children"]) - 1:
            return Asked(column, tuple((value, value) for value in values))
    return None


def _column(node: dict[str, Any], called: str) -> str | None:
    if node.get("class") != "COLUMN_REF":
        return None
    *qualifier, name = map(str, node["column_names"])
    return name if not qualifier or [folded(part) for part in qualifier] == [called] else None


def _literal(node: dict[str, Any]) -> Literal | None:
    if node.get("class") == "PARAMETER":
        return Literal("parameter", str(node["identifier"]))
    if node.get("class") == "CONSTANT":
        said = node.get("literal") or {}
        return Literal(said["kind"].lower(), said["text"]) if said.get("kind") in ("STRING", "INTEGER") else None
    if node.get("class") == "CAST":
        inner, to = _literal(node["child"]), node.get("type_expr") or {}
        cast = _CASTS.get(str(to.get("type_name")).upper())
        if cast and not to.get("children") and not to.get("schema") and inner is not None and inner.kind == "string":
            return Literal(cast, inner.text)
    return None


def _value(said: Literal, kind: str, parameters: Sequence[Parameter]) -> Value | None:
    """None where it is of another type than the column."""
    if said.kind == "parameter":
        place = int(said.text) - 1 if said.text.isascii() and said.text.isdigit() else -1
        given = parameters[place] if 0 <= place < len(parameters) else None
        if kind in WHOLE:
            return given if isinstance(given, int) and not isinstance(given, bool) else None
        if not isinstance(given, str) or kind not in ("string", "timestamp"):
            return None
        said = Literal("string", given)
    if kind == "string":
        return said.text if said.kind == "string" else None
    if kind in WHOLE:
        return int(said.text) if said.kind == "integer" and said.text.lstrip("-").isdecimal() else None
    found = moment(said.text)
    is_day = len(said.text) == len("2026-01-01")
    if found is None or (said.kind == "timestamp" and found[1]) or (said.kind == "date" and not is_day):
        return None  # of a TIMESTAMP DuckDB passes the offset over, of a DATE the time of day
    if kind == "timestamp":
        return found[0] if said.kind in ("string", "timestamptz", "timestamp", "date") else None
    return date.fromisoformat(said.text) if kind == "date" and is_day and said.kind in ("string", "date") else None
