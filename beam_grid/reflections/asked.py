"""A SELECT as a reflection sees it: one table, aggregates over groups, and nothing whose meaning is not known for sure.

sqlglot reads the text. What is not on the short list of things that mean the same over a reflection raises Unanswered, so
that the statement runs as it was asked.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.dialects.postgres import Postgres
from sqlglot.generators.postgres import PostgresGenerator

from beam_grid.lakehouse.bounds import Parameter
from beam_grid.reflections import words
from data_sources.identifiers import folded

logging.getLogger("sqlglot").addHandler(logging.NullHandler())  # what it cannot write is no news for a terminal

Dialect = Literal["datafusion", "duckdb"]


class _Written(PostgresGenerator):
    TRANSFORMS: ClassVar = {kind: how for kind, how in PostgresGenerator.TRANSFORMS.items() if kind is not exp.Round}


class DataFusion(Postgres):
    """sqlglot has none; PostgreSQL is what it follows, in the order of nulls too. But it rounds doubles as they are."""

    class Generator(_Written):
        pass


_READ: dict[Dialect, type[sqlglot.Dialect]] = {"datafusion": DataFusion, "duckdb": DuckDB}

_LONGEST = 20_000

_CLAUSES = {"expressions", "from_", "where", "group", "having", "order", "limit", "offset", "kind"}

SCALARS: tuple[type[exp.Expr], ...] = (
    exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Between, exp.Is, exp.Null,
    exp.Boolean, exp.Literal, exp.Paren, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Neg, exp.Coalesce, exp.Case, exp.If,
    exp.Like, exp.Upper, exp.Lower, exp.Abs, exp.Round, exp.Cast, exp.DataType, exp.Placeholder,
)  # fmt: skip
"""What may stand around dimensions and aggregates: it means what it meant, whatever they are made of."""


class Unanswered(Exception):
    """Why a statement, or a reflection for it, is not considered further."""


@dataclass(frozen=True)
class Asked:
    """A SELECT over one table."""

    select: exp.Select
    table: str
    """As silver.FEED."""
    place: tuple[int, int]
    """Where the table's name stands in the text: its first character, and the one after its last."""
    called: str
    """What columns may be qualified by."""
    is_aliased: bool
    text: str
    dialect: Dialect
    parameters: tuple[Parameter, ...] = ()
    """Values of its $1, $2 and so on, those that name an instant."""

    @property
    def conditions(self) -> list[exp.Expr]:
        """The parts of WHERE that all must hold."""
        where = self.select.args.get("where")
        return [] if where is None else list(_conjuncts(where.this))

    def field(self, column: exp.Column, names: Iterable[str]) -> str:
        """The table's column that is meant; raises Unanswered where it is none of them."""
        qualifier = ".".join(part.name for part in column.parts[:-1])
        if qualifier and folded(qualifier) not in (folded(self.called), folded(self.table)):
            raise Unanswered(f"{column.sql()} is qualified by another name")
        found = [known for known in names if self.compared(known) == self.compared(column.name)]
        if len(found) != 1:
            raise Unanswered(f"{column.name} is no column of {self.table}")
        return found[0]

    def compared(self, name: str) -> str:
        """A name as the engine compares it: DataFusion, as `query` has it set up, letter by letter."""
        return folded(name) if self.dialect == "duckdb" else name

    def bound(self, node: exp.Expr) -> exp.Expr:
        """The literal that a parameter stands for, where it is bound to text; anything else as it is."""
        if isinstance(node, exp.Cast) and isinstance(node.this, exp.Placeholder):
            made = node.copy()
            made.set("this", self.bound(node.this))
            return made
        if not is_numbered(node) or not 0 < int(node.name) <= len(self.parameters):
            return node
        value = self.parameters[int(node.name) - 1]
        return exp.Literal.string(value) if isinstance(value, str) else node

    def sql(self, node: exp.Expr) -> str:
        """A changed tree as text."""
        return node.sql(_READ[self.dialect], comments=False)

    @property
    def doubtful(self) -> str | None:
        """The first of its words that may mean something else than the tree has, as they stand in the text."""
        return words.unknown(self.text, self.dialect, _READ[self.dialect])

    def parse(self, text: str) -> exp.Expr:
        """A text of ours as a tree."""
        return _parsed(text, _READ[self.dialect]).copy()


def is_numbered(node: exp.Expr) -> bool:
    """Whether it is $1, $2 or so: means the same wherever it stands."""
    return isinstance(node, exp.Placeholder) and node.name.isascii() and node.name.isdigit()


def asked(text: str, dialect: Dialect) -> Asked:
    """Raises Unanswered for what is not one SELECT over one table of the lake."""
    if len(text) > _LONGEST:
        raise Unanswered("the statement is too long to look at")
    try:
        trees = sqlglot.parse(text, read=_READ[dialect])
    except (sqlglot.errors.SqlglotError, RecursionError, ValueError) as cause:
        raise Unanswered("the statement is not understood") from cause
    select = trees[0] if len(trees) == 1 else None
    if not isinstance(select, exp.Select):
        raise Unanswered("the statement is not one SELECT")
    if others := sorted(name for name, value in select.args.items() if value and name not in _CLAUSES):
        raise Unanswered(
            f"it has more than FROM, WHERE, GROUP BY, HAVING, ORDER BY and LIMIT: {', '.join(others).rstrip('_')}"
        )
    source = select.args.get("from_")
    table = source.this if source is not None else None
    if not isinstance(table, exp.Table) or sum(1 for _ in select.find_all(exp.Table)) != 1 or select.find(exp.Subquery):
        raise Unanswered("it reads more than one table, or none")
    if not isinstance(table.this, exp.Identifier) or not table.db or table.catalog:
        raise Unanswered("it names no table of the lake")
    if (
        any(value for name, value in table.args.items() if name not in ("this", "db", "alias"))
        or table.alias_column_names
    ):
        raise Unanswered("its table has more than a name")
    if (select.args.get("limit") or select.args.get("offset")) and not select.args.get("order"):
        raise Unanswered("LIMIT without ORDER BY has many answers")
    begin, end = table.args["db"].meta.get("start"), table.this.meta.get("end")
    if begin is None or end is None:
        raise Unanswered("its table is not found in the text")
    name = f"{table.db}.{table.name}"
    return Asked(select, name, (begin, end + 1), table.alias or table.name, bool(table.alias), text, dialect)


@functools.lru_cache(256)
def _parsed(text: str, read: type[sqlglot.Dialect]) -> exp.Expr:
    return sqlglot.parse_one(text, read=read)


def _conjuncts(node: exp.Expr) -> Iterable[exp.Expr]:
    if isinstance(node, exp.And):
        yield from _conjuncts(node.this)
        yield from _conjuncts(node.expression)
    elif isinstance(node, exp.Paren):
        yield from _conjuncts(node.this)
    else:
        yield node
