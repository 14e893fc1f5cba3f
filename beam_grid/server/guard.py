"""What a statement reads, told by the parser that will run it: DuckDB's, whose syntax tree is walked as JSON.

    text ─► json_serialize_sql ─► SELECT only ─► names in FROM, less those a WITH around them defines ─► tables
                                             └─► functions in FROM, functions that reach outside ─► refused

The engine's own locks (no file outside the lake's tables, configuration fixed) hold beside this. A name that is no
table of the lake is never looked up, so neither DuckDB's catalog nor a file is behind one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from beam_grid.errors import GridError
from beam_grid.server.conditions import Reference, references
from data_sources.identifiers import folded

if TYPE_CHECKING:
    import duckdb

MOST_CHARACTERS = 100_000

_KEPT = 256
"""Judgements of statements that are asked again and again, which a text alone decides."""

_LONG = 20_000
"""Characters of a statement that is not kept."""

_IN_FROM = frozenset({"unnest", "range", "generate_series"})
"""Functions that may stand in a FROM; all others read files, catalogs or settings."""

_REACH_OUTSIDE = frozenset(
    {
        "current_setting", "write_log", "getenv", "getvariable", "current_query", "nextval", "currval",
        "json_serialize_plan", "json_serialize_sql", "json_deserialize_sql",  # bind a statement that nobody has judged
    }
)  # fmt: skip

_NAMES_A_CLOCK = frozenset({"age"})
"""Functions that ask the clock though DuckDB does not list them so: age() of one time."""

_HINT = "the server reads only: one SELECT (or WITH, VALUES, FROM, DESCRIBE, SUMMARIZE)"


class Refused(GridError):
    """A statement or condition that will not be run."""


class NoTable(Refused):
    """It names a table that is not there."""


@dataclass
class Reading:
    """What a statement reads. It is kept for the next time: not to be changed."""

    tables: list[str] = field(default_factory=list)
    """As SCHEMA.NAME, each once, in the order met."""
    repeats: bool = True
    """Asked again over the same tables it has the same answer: no clock, chance, or sample in it."""
    recurs: bool = False
    """It has a WITH RECURSIVE in it."""
    references: list[Reference] = field(default_factory=list)
    """Where it names tables, and what it can see of them there."""
    is_ours: bool = False
    """A statement that the server made itself: it may merge sketches, which read bytes they trust."""


class Guard:
    """Judges statements on a connection of DuckDB, which is only asked to parse them."""

    def __init__(self, engine: duckdb.DuckDBPyConnection) -> None:
        self._engine = engine
        inside = engine.execute(
            "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE function_type IN ('macro', 'table_macro') "
            "AND (macro_definition ILIKE '%duckdb\\_%' ESCAPE '\\' OR macro_definition ILIKE '%from %')"
        )
        self._forbidden = _REACH_OUTSIDE | {str(name) for (name,) in inside.fetchall()}
        changing = engine.execute(
            "WITH f AS (SELECT lower(function_name) AS name, stability, lower(macro_definition) AS body "
            "FROM duckdb_functions()), c AS (SELECT DISTINCT name FROM f WHERE stability <> 'CONSISTENT') "
            "FROM c UNION SELECT f.name FROM f, c WHERE contains(f.body, c.name)"
        )
        self._changing = _NAMES_A_CLOCK | {str(name) for (name,) in changing.fetchall()}
        self._judged: dict[tuple[str, bool], Reading] = {}  # no lru_cache: of a method it keeps the connection alive

    def reading(self, sql: str, *, is_ours: bool = False) -> Reading:
        """What the statement reads. Raises Refused for anything but one reading statement over tables."""
        if (found := self._judged.get((sql, is_ours))) is not None:
            return found
        found = self._judge(sql, is_ours)
        if len(sql) <= _LONG:
            while len(self._judged) >= _KEPT:
                del self._judged[next(iter(self._judged))]
            self._judged[sql, is_ours] = found
        return found

    def _judge(self, sql: str, is_ours: bool) -> Reading:
        node = self._tree(sql)
        found = Reading(references=references(node), is_ours=is_ours)
        self._walk(node, frozenset(), found)
        return found

    def condition(self, text: str) -> str:
        """A user's text as one bracketed condition, to be put behind a WHERE; raises Refused for what is none."""
        wrapped = f"(\n{text}\n)"
        try:
            node = self._tree(f"SELECT {wrapped}")
        except Refused as cause:
            raise Refused(f"condition {text[:200]!r}: {cause}") from cause
        plain = (
            node.get("type") == "SELECT_NODE"
            and len(node["select_list"]) == 1
            and node["from_table"]["type"] == "EMPTY"
            and not node["modifiers"]
            and not any(node.get(part) for part in ("where_clause", "having", "qualify", "sample", "group_expressions"))
            and not node["cte_map"]["map"]
        )
        if not plain:
            raise Refused(f"condition {text[:200]!r}: is not one condition, as in meter_id = 'M-1' AND kwh > 2")
        return wrapped

    def _tree(self, sql: str) -> dict[str, Any]:
        if len(sql) > MOST_CHARACTERS:
            raise Refused(f"the statement has {len(sql):,} characters; at most {MOST_CHARACTERS:,} are read")
        if "\0" in sql:
            raise Refused("the statement has a NUL character")
        ((text,),) = self._engine.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
        told = _json(text)
        if told.get("error"):
            if told.get("error_type") == "not implemented":
                raise Refused(f"this statement is not allowed; {_HINT}")
            raise Refused(" ".join(str(told.get("error_message")).split())[:300])
        statements = told["statements"]
        if len(statements) != 1:
            raise Refused(f"{'several statements' if statements else 'there is no statement'}; {_HINT}, one at a time")
        return statements[0]["node"]

    def _walk(self, node: Any, known: frozenset[str], found: Reading) -> None:
        """known: names that a WITH around the node defines, folded."""
        if isinstance(node, list):
            for one in node:
                self._walk(one, known, found)
            return
        if not isinstance(node, dict):
            return
        kind = node.get("type")
        rest = dict(node)
        if kind == "RECURSIVE_CTE_NODE":
            known |= {folded(str(node["cte_name"]))}
            found.recurs = True
        if isinstance(node.get("cte_map"), dict):
            for entry in rest.pop("cte_map")["map"]:  # each sees those before it, and itself only where it is recursive
                self._walk(entry["value"], known, found)
                known |= {folded(str(entry["key"]))}
        if kind == "BASE_TABLE":
            self._table(node, known, found)
        elif kind == "TABLE_FUNCTION":
            self._function_in_from(node["function"])
        elif kind == "SHOW_REF" and node.get("query") is None and node.get("show_type") != "DESCRIBE":
            raise Refused(
                "SHOW is not answered; GET /api/v1/tables lists the tables, DESCRIBE silver.x the columns of one"
            )
        elif kind == "SHOW_REF" and node.get("query") is None:
            self._table(node, frozenset(), found)
        elif node.get("class") == "FUNCTION":
            self._function(node, found)
        elif node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
            found.repeats &= not self._tells_time(folded(str(node["column_names"][0])))  # current_date is written so
        found.repeats &= node.get("sample") is None
        for key, value in rest.items():
            if key != "qualified_name":
                self._walk(value, known, found)

    def _table(self, node: dict[str, Any], known: frozenset[str], found: Reading) -> None:
        catalog, schema, name = (str(node.get(key) or "") for key in ("catalog_name", "schema_name", "table_name"))
        if not catalog and not schema and folded(name) in known:
            return
        if catalog or not schema:
            raise NoTable(
                f"there is no table {'.'.join(filter(None, (catalog, schema, name)))}; tables are named SCHEMA.NAME"
            )
        if f"{schema}.{name}" not in found.tables:
            found.tables.append(f"{schema}.{name}")

    def _function_in_from(self, function: dict[str, Any]) -> None:
        name = folded(str(function.get("function_name", "")))
        if name not in _IN_FROM or function.get("schema") or function.get("catalog"):
            raise Refused(f"the function {name} in a FROM is not allowed: tables of the lake are read, nothing else")

    def _tells_time(self, name: str) -> bool:
        """Whether what is called so may be another the next time."""
        return name in self._changing or name.startswith(("current_", "local"))

    def _function(self, node: dict[str, Any], found: Reading) -> None:
        name = folded(str(node.get("function_name", "")))
        found.repeats &= not self._tells_time(name)
        if name.startswith(("kll_", "hll_")) and not found.is_ours:
            raise Refused(f"the function {name} is not allowed: it reads sketches of the lake's own making")
        if name in self._forbidden or name.startswith(("duckdb_", "pg_", "pragma_")):
            raise Refused(f"the function {name} is not allowed: it tells of the server, not of the lake")


def _json(text: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except RecursionError as cause:
        raise Refused("the statement is nested too deeply") from cause
