"""What tables are expected to hold, asked of them after each refine that changed them: gold.quality.

One row an expectation, of silver tables (`[[expectations]]` in the contract) and of analyses (`-- expect:` in the
SQL file): how many rows were looked at, how many failed, one that did. All expectations of a run are one Spark
statement, and what comes back to the driver is its few rows.

    warn    the rows stay, the table says so
    drop    (analyses only) the rows are left out of the table
    fail    the set of versions is not published: readers stay at the last one that was right

Nulls: two rows whose key is null are equal for unique; a reference that is null refers to nothing and passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid.lakehouse.tables import literal, quoted

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


@dataclass(frozen=True)
class Asked:
    """An expectation, the table it is about, where its rows are, and those of the table it refers to, in Spark SQL."""

    table: str
    expectation: Expectation
    rows: str
    parent: str | None = None


def results_sql(asked: Iterable[Asked]) -> str:
    """One SELECT with a row of SCHEMA for each."""
    return "\nUNION ALL ".join(_result(one) for one in asked)


def failing_sql(expectation: Expectation) -> str:
    """A condition on the row, true where the row fails; for the kinds that look at one row only."""
    if expectation.kind == "check":
        return f"NOT coalesce(({expectation.condition}), true)"
    assert expectation.kind == "not_null"
    return "(" + " OR ".join(f"{quoted(c)} IS NULL" for c in expectation.columns) + ")"


def parents_sql(expectation: Expectation, parent: str) -> str:
    """The keys a reference may have, each once, as `__to0`, `__to1` ..."""
    to = ", ".join(f"{quoted(t)} AS __to{n}" for n, t in enumerate(expectation.to))
    return f"SELECT DISTINCT {to} FROM {parent}"


def same_sql(expectation: Expectation) -> str:
    """Whether the row `c` refers to the key `p` of `parents_sql`."""
    return " AND ".join(f"c.{quoted(c)} = p.__to{n}" for n, c in enumerate(expectation.columns))


def _result(asked: Asked) -> str:
    expectation = asked.expectation
    done = {"warn": "warned", "drop": "dropped", "fail": "failed"}[expectation.on_fail]
    said = (asked.table, expectation.id, expectation.text.strip(), expectation.on_fail)
    return (
        f"SELECT {', '.join(map(literal, said))}, "
        f"CASE WHEN coalesce(failed, 0) = 0 THEN 'passed' ELSE {literal(done)} END, "
        f"coalesce(looked, 0L), coalesce(failed, 0L), example FROM ({_counted(asked)})"
    )


def _counted(asked: Asked) -> str:
    """looked, failed, example of one expectation; rows are counted a key first, so that a join meets keys, not rows."""
    expectation = asked.expectation
    if expectation.kind in ("check", "not_null"):
        failing = failing_sql(expectation)
        return (
            f"SELECT count(*) AS looked, count_if({failing}) AS failed, "
            f"min(CASE WHEN {failing} THEN to_json(struct(*)) END) AS example FROM {asked.rows}"
        )
    keys = ", ".join(map(quoted, expectation.columns))
    per_key = f"SELECT {keys}, count(*) AS __n FROM {asked.rows} GROUP BY {keys}"
    if expectation.kind == "unique":
        return (
            "SELECT sum(__n) AS looked, sum(__n - 1) AS failed, "
            f"min(CASE WHEN __n > 1 THEN to_json(struct({keys})) END) AS example FROM ({per_key})"
        )
    assert asked.parent is not None
    given = " AND ".join(f"c.{quoted(c)} IS NOT NULL" for c in expectation.columns)
    orphan = f"p.__to0 IS NULL AND {given}"
    shown = ", ".join(f"c.{quoted(c)}" for c in expectation.columns)
    return (
        f"SELECT sum(__n) AS looked, sum(CASE WHEN {orphan} THEN __n ELSE 0 END) AS failed, "
        f"min(CASE WHEN {orphan} THEN to_json(struct({shown})) END) AS example "
        f"FROM ({per_key}) c LEFT JOIN ({parents_sql(expectation, asked.parent)}) p ON {same_sql(expectation)}"
    )
