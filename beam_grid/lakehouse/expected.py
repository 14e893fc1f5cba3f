"""What tables are expected to hold, asked of them after each refine that changed them: gold.quality.

One row per expectation, of silver tables (`[[expectations]]` in the contract) and of analyses (`-- expect:` in the
SQL file): how many rows were looked at, how many failed, one that did. All expectations of a run are one statement,
Spark's SQL or the same translated for DuckDB, and what comes back is its few rows.

    warn    the rows stay, the table says so
    drop    (analyses only) the rows are left out of the table
    fail    the set of versions is not published: readers stay at the last one that was right

The example is the least failing key, or row, by its columns in their order, nulls last; its values travel as text and
become JSON here, so that it does not depend on the engine.

Nulls: two rows whose key is null are equal for unique; a reference that is null refers to nothing and passes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_grid.lakehouse.tables import quoted

if TYPE_CHECKING:
    from data_sources.expectations import Expectation

NAME = "gold.quality"
SCHEMA = pa.schema(
    [
        ("table_name", pa.string()), ("expectation", pa.string()), ("rule", pa.string()), ("on_fail", pa.string()),
        ("status", pa.string()), ("rows_checked", pa.int64()), ("failed_rows", pa.int64()), ("example", pa.string()),
    ]
)  # fmt: skip
"""`status` is passed, warned, dropped or failed; `example` the least failing key or row, as JSON."""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Asked:
    """An expectation, the table it is about, and where an engine finds its rows and those of the table it refers to;
    `schema` is that of the rows."""

    table: str
    expectation: Expectation
    rows: str
    schema: pa.Schema
    parent: str | None = None

    @property
    def shown(self) -> list[str]:
        """The columns of its example."""
        is_key = self.expectation.kind in ("unique", "references")
        return list(self.expectation.columns) if is_key else self.schema.names


def answers(asked: Sequence[Asked], ask: Callable[[str, dict[str, str]], pa.Table]) -> list[dict[str, Any]]:
    """One row of SCHEMA for each. `ask` takes Spark's SQL and, for names of tables in it, what an engine has there."""
    names = {f"silver.__{kind}{n}": said for n, one in enumerate(asked) for kind, said in _places(one)}
    found = ask("\nUNION ALL ".join(_result(n, one) for n, one in enumerate(asked)), names).to_pylist()
    rows = []
    for line in sorted(found, key=lambda line: line["number"]):
        one = asked[line["number"]]
        failed = line["failed"]
        done = {"warn": "warned", "drop": "dropped", "fail": "failed"}[one.expectation.on_fail]
        said = (one.table, one.expectation.id, one.expectation.text.strip(), one.expectation.on_fail)
        counts = ("passed" if not failed else done, line["looked"], failed)
        shown = None if line["example"] is None else example(one.schema, one.shown, json.loads(line["example"]))
        rows.append(dict(zip(SCHEMA.names, (*said, *counts, shown), strict=True)))
    return rows


def failing_sql(expectation: Expectation) -> str:
    """A condition on the row, true where the row fails; for the kinds that look at one row only."""
    if expectation.kind == "check":
        return f"NOT coalesce(({expectation.condition}), true)"
    assert expectation.kind == "not_null"
    return "(" + " OR ".join(f"{quoted(c)} IS NULL" for c in expectation.columns) + ")"


def kept_sql(expectation: Expectation, rows: str, parent: str | None) -> str:
    """The rows that do not fail, for the kinds that may drop."""
    if expectation.kind != "references":
        return f"SELECT * FROM {rows} WHERE NOT {failing_sql(expectation)}"
    null = " OR ".join(f"c.{quoted(c)} IS NULL" for c in expectation.columns)
    same = " AND ".join(
        f"c.{quoted(c)} = p.{quoted(t)}" for c, t in zip(expectation.columns, expectation.to, strict=True)
    )
    return f"SELECT c.* FROM {rows} c WHERE {null} OR EXISTS (SELECT 1 FROM {parent} p WHERE {same})"


def example(schema: pa.Schema, columns: Sequence[str], values: Sequence[str | None]) -> str:
    """Values that came as text, in JSON, those that are null left out; times in UTC, ISO 8601."""
    told = [
        f"{json.dumps(column, ensure_ascii=False)}:{_json(schema.field(column).type, value)}"
        for column, value in zip(columns, values, strict=True)
        if value is not None
    ]
    return "{" + ",".join(told) + "}"


def _json(kind: pa.DataType, value: str) -> str:
    if pa.types.is_timestamp(kind):
        at = (_EPOCH + timedelta(microseconds=int(value))).replace(tzinfo=None)
        return json.dumps(at.isoformat(timespec="microseconds" if at.microsecond % 1000 else "milliseconds") + "Z")
    if pa.types.is_floating(kind):
        return json.dumps(float(value))
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_boolean(kind):
        return value
    if pa.types.is_nested(kind):
        return json.dumps(json.loads(value), ensure_ascii=False, separators=(",", ":"))
    return json.dumps(value, ensure_ascii=False)


def _places(asked: Asked) -> list[tuple[str, str]]:
    return [("rows", asked.rows), *([("parent", asked.parent)] if asked.parent is not None else [])]


def _result(number: int, asked: Asked) -> str:
    """number, looked, failed, and the example's values as a JSON array of text."""
    values = ", ".join(_text(asked.schema.field(c).type, f"least.`v{n}`") for n, c in enumerate(asked.shown))
    return (
        f"SELECT {number} AS number, CAST(coalesce(looked, 0) AS BIGINT) AS looked, "
        f"CAST(coalesce(failed, 0) AS BIGINT) AS failed, "
        f"CASE WHEN least IS NOT NULL THEN to_json(array({values})) END AS example FROM ({_counted(number, asked)})"
    )


def _text(kind: pa.DataType, value: str) -> str:
    if pa.types.is_timestamp(kind):
        return f"CAST(unix_micros({value}) AS STRING)"
    return f"to_json({value})" if pa.types.is_nested(kind) else f"CAST({value} AS STRING)"


def _counted(number: int, asked: Asked) -> str:
    """looked, failed and least of one expectation; rows are counted per key first, so that a join meets keys, not
    rows."""
    expectation, rows = asked.expectation, f"silver.__rows{number}"
    if expectation.kind in ("check", "not_null"):
        failing = failing_sql(expectation)
        return (
            f"SELECT count(*) AS looked, count_if({failing}) AS failed, "
            f"min(CASE WHEN {failing} THEN {_row(asked.shown)} END) AS least FROM {rows}"
        )
    keys = ", ".join(map(quoted, expectation.columns))
    per_key = f"SELECT {keys}, count(*) AS __n FROM {rows} GROUP BY {keys}"
    if expectation.kind == "unique":
        return (
            "SELECT sum(__n) AS looked, sum(__n - 1) AS failed, "
            f"min(CASE WHEN __n > 1 THEN {_row(asked.shown)} END) AS least FROM ({per_key})"
        )
    to = ", ".join(f"{quoted(t)} AS __to{n}" for n, t in enumerate(expectation.to))
    same = " AND ".join(f"c.{quoted(c)} = p.__to{n}" for n, c in enumerate(expectation.columns))
    given = " AND ".join(f"c.{quoted(c)} IS NOT NULL" for c in expectation.columns)
    orphan = f"p.__to0 IS NULL AND {given}"
    return (
        f"SELECT sum(__n) AS looked, sum(CASE WHEN {orphan} THEN __n ELSE 0 END) AS failed, "
        f"min(CASE WHEN {orphan} THEN {_row(asked.shown, 'c.')} END) AS least "
        f"FROM ({per_key}) c LEFT JOIN (SELECT DISTINCT {to} FROM silver.__parent{number}) p ON {same}"
    )


def _row(columns: Sequence[str], of: str = "") -> str:
    """The columns as one value, to be compared: engines differ in where a null sorts, so each says first if it is one."""
    parts = (f"'n{n}', {of}{quoted(c)} IS NULL, 'v{n}', {of}{quoted(c)}" for n, c in enumerate(columns))
    return f"named_struct({', '.join(parts)})"
