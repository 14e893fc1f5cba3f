"""Conditions of a contract: DuckDB expressions over one row's fields, and nothing else.

Guarantees: a condition that passes `check_condition` reads only the named columns, calls only functions
whose answer depends on their arguments alone, has no subquery, and yields a BOOLEAN. It cannot read files,
settings, the clock or chance, so that a rerun judges alike.
"""

from __future__ import annotations

import atexit
import difflib
import functools
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from data_sources.errors import UserError

if TYPE_CHECKING:
    import duckdb

_CLOCKS = {"current_localtime", "current_localtimestamp"}
"""What DuckDB lists as consistent and yet tells the time; so does age() of one argument."""

_REFUSED_NODES = {"SUBQUERY", "WINDOW", "STAR", "LAMBDA_REF", "PARAMETER", "POSITIONAL_REFERENCE"}


class ExpressionError(UserError, ValueError):
    """A condition that cannot be used; says what in it is refused or unknown."""


@functools.cache
def sandbox() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that cannot reach files, network or extensions. One per process; use `.cursor()`."""
    import duckdb  # here: a contract that a lake has checked is read without it

    connection = duckdb.connect(config={"threads": 2, "python_enable_replacements": False})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")
    atexit.register(_close, connection)
    return connection


def _close(connection: duckdb.DuckDBPyConnection) -> None:
    """With functions of Python's in it, left open at the end it complains of leaks on stderr."""
    with suppress(Exception):  # a thread that Ctrl-C found at work is in it still: it goes with the process
        connection.close()


def check_condition(text: str, fields: dict[str, pa.DataType]) -> None:
    """Raise ExpressionError unless `text` is a plain condition over `fields`."""
    name, kind = _tried(text, fields, "condition")
    if kind != pa.bool_():
        raise ExpressionError(f"{text!r} yields {name}, not true or false")


def check_expression(text: str, fields: dict[str, pa.DataType]) -> pa.DataType:
    """The type that DuckDB gives it; raises ExpressionError unless `text` is a plain expression over `fields`."""
    return _tried(text, fields, "formula")[1]


def _tried(text: str, fields: dict[str, pa.DataType], what: str) -> tuple[str, pa.DataType]:
    """Its type as DuckDB calls it and as Arrow does."""
    import duckdb

    if not text.strip():
        raise ExpressionError(f"the {what} is empty; write one such as kwh >= 0")
    if re.search(r";|--|/\*", re.sub(r"'(?:[^']|'')*'", "", text)):
        raise ExpressionError(f"{text!r} must be one {what} without ; or comments")
    cursor = sandbox().cursor()
    for whole in (f"SELECT {text}\n", f"SELECT ({text}\n)"):  # as it is: or a) OR (b would be one
        tree = json.loads(cursor.execute("SELECT json_serialize_sql(?)", [whole]).fetchall()[0][0])
        if tree.get("error"):
            hint = _quoting(text, list(fields))
            raise ExpressionError(f"{text!r} is not a {what}: {tree.get('error_message')}{hint}")
    statement = tree["statements"][0]["node"]
    if len(tree["statements"]) != 1 or statement.get("type") != "SELECT_NODE" or len(statement["select_list"]) != 1:
        raise ExpressionError(f"{text!r} must be one {what}")
    if (statement.get("from_table") or {}).get("type") not in (None, "EMPTY"):
        raise ExpressionError(f"{text!r} must not read tables")
    _walk(statement["select_list"][0], text, {name.lower() for name in fields})
    cursor.register("row", pa.table({name: pa.nulls(1, kind) for name, kind in fields.items()}))
    try:  # a row of nulls: shows what fails whatever the row
        found = cursor.sql(f"SELECT ({text}\n) FROM row")
        return str(found.types[0]), found.to_arrow_table().schema.field(0).type
    except duckdb.Error as cause:
        raise ExpressionError(f"{text!r}: {str(cause).splitlines()[0]}") from cause
    finally:
        cursor.unregister("row")


def check_format(form: str) -> None:
    """Raise ExpressionError unless `form` is a strptime format."""
    import duckdb

    try:
        sandbox().cursor().execute(f"SELECT try_strptime('', '{form.replace(chr(39), chr(39) * 2)}')").fetchall()
    except duckdb.Error as cause:
        reason = str(cause).splitlines()[0].rsplit(": ", 1)[-1]
        raise ExpressionError(f"{form!r} is not a strptime format ({reason}); write one like %d.%m.%Y %H:%M") from cause


def _quoting(text: str, fields: list[str]) -> str:
    """A hint where a field is named like a word of SQL."""
    words = sandbox().cursor().execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()
    named = [f for f in fields if (f.lower(),) in words and re.search(rf'(?<!["\w]){re.escape(f)}(?!["\w])', text)]
    return f'; write a field named like a word of SQL in double quotes: "{named[0]}"' if named else ""


def _walk(node: Any, text: str, fields: set[str]) -> None:
    if isinstance(node, list):
        for part in node:
            _walk(part, text, fields)
    if not isinstance(node, dict):
        return
    kind = node.get("class") or ""
    if kind in _REFUSED_NODES or node.get("type") == "SUBQUERY":
        raise ExpressionError(f"{text!r}: subqueries, windows and * have no place in a condition over one row")
    if kind == "FUNCTION" and not _is_pure(node["function_name"], len(node["arguments"])):
        raise ExpressionError(
            f"{text!r}: {node['function_name']}() is not allowed; use functions whose answer depends on the row alone"
        )
    if kind == "COLUMN_REF" and (len(node["column_names"]) > 1 or node["column_names"][0].lower() not in fields):
        name = ".".join(node["column_names"])
        close = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
        raise ExpressionError(
            f"{text!r}: there is no field {name!r}" + (f" (did you mean {close[0]!r}?)" if close else "")
        )
    for part in node.values():
        _walk(part, text, fields)


@functools.cache
def _is_pure(function: str, arguments: int) -> bool:
    if function in _CLOCKS or (function == "age" and arguments == 1):
        return False
    if function == "nullif":  # of DuckDB's macros the one whose text is of its arguments alone
        return True
    rows = (
        sandbox()
        .cursor()
        .execute("SELECT function_type, stability FROM duckdb_functions() WHERE function_name = ?", [function])
        .fetchall()
    )
    scalars = [stability for kind, stability in rows if kind == "scalar"]
    return bool(scalars) and len(scalars) == len(rows) and all(s == "CONSISTENT" for s in scalars)
