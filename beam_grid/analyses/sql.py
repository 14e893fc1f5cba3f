"""The SQL of analyses and expectations, which is Spark's, read by a parser: what it reads, and the same for DuckDB.

    Spark's text ─► tree ─► tables in their places, parameters as literals ─► text for Spark
                                                                          └─► text for DuckDB

sqlglot turns most of Spark's SQL into DuckDB's. What it does not, or not faithfully, is put right in `_TRANSFORMS`, and
each is tested on both engines. What differs in kind only is said in the SQL itself, by a CAST: DuckDB's sum of integers
is a HUGEINT, its sum of decimals has 38 digits. What has no one meaning is not for analyses: an average of decimals
that does not say their type (`avg(CAST(x AS DECIMAL(10, 3)))`), strings from times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import sqlglot
from sqlglot import exp

Dialect = Literal["spark", "duckdb"]

_LAYERS = ("silver", "gold", "bronze")


def tree(sql: str) -> exp.Expr:
    """The parsed text of one SELECT, or of one expression; raises ValueError with the place where it breaks."""
    try:
        return sqlglot.parse_one(sql, read="spark")
    except sqlglot.ParseError as cause:
        raise ValueError(" ".join(str(cause).split())) from cause


def reads(select: exp.Expr) -> tuple[str, ...]:
    """The lake's tables that it reads, in the order of the text, each once."""
    found = {f"{table.db}.{table.name}" for table in select.find_all(exp.Table) if table.db in _LAYERS}
    said = select.sql("spark", comments=False)
    return tuple(sorted(found, key=lambda name: (said.find(name), name)))


def parameters(select: exp.Expr) -> set[str]:
    """Names of the `:name` in it; not what stands in strings, comments or behind another sign."""
    return {str(one.this) for one in select.find_all(exp.Placeholder)}


def has_windows(sql: str) -> bool:
    """Whether a function OVER a window is in it."""
    return tree(sql).find(exp.Window) is not None


def parts(expressions: str) -> list[str]:
    """Each of the expressions that stand in a list."""
    return [one.sql("spark") for one in tree(f"SELECT {expressions}").expressions]


def put(
    select: exp.Expr,
    dialect: Dialect,
    place: Callable[[str], str] = str,
    values: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The text for an engine: its tables as `place` names them there, each `:name` as the Spark SQL in `values`."""
    chosen = select.copy()
    for one in list(chosen.find_all(exp.Placeholder)):
        one.replace(exp.paren(tree(values[str(one.this)]), copy=False))
    for table in [one for one in chosen.find_all(exp.Table) if one.db in _LAYERS]:
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name)))
        table.set("this", exp.Var(this=place(f"{table.db}.{table.name}")))
        table.set("db", None)
    if dialect == "duckdb":
        chosen = _for_duckdb(chosen)
    return chosen.sql(dialect, comments=False)


def _for_duckdb(select: exp.Expr) -> exp.Expr:
    """The tree with `_TRANSFORMS` done, what is within first."""
    for node in reversed(list(select.walk(bfs=True))):
        for kind, transform in _TRANSFORMS:
            if type(node) is kind:
                instead = transform(node)
                select = instead if node is select else select
                if instead is not node:
                    node.replace(instead)
    return select


def _cast(node: exp.TryCast) -> exp.Expr:
    """sqlglot takes Spark's CAST for one that gives NULL; Spark 4 raises, as DuckDB's does."""
    return exp.Cast(this=node.this, to=node.to)


def _named(node: exp.Anonymous) -> exp.Expr:
    """Functions that sqlglot does not know: Spark's week begins with Monday, DuckDB's weekday with Sunday."""
    name = node.name.lower()
    if name == "unix_micros":
        return exp.Anonymous(this="epoch_us", expressions=node.expressions)
    if name == "timestamp_micros":
        return exp.Anonymous(this="make_timestamptz", expressions=node.expressions)
    if name == "weekday":
        return _int(exp.paren(exp.Anonymous(this="isodow", expressions=node.expressions) - 1))
    return node


def _int(node: exp.Expr) -> exp.Expr:
    """Parts of a time are INT in Spark, BIGINT in DuckDB."""
    return exp.Cast(this=node.copy(), to=exp.DataType.build("int"))


def _from_clock(node: exp.FromTimeZone) -> exp.Expr:
    """to_utc_timestamp: the moment at which the clock of a zone shows what the given moment shows in UTC."""
    shown = exp.Cast(this=node.this, to=exp.DataType.build("timestamp", dialect="duckdb"))
    return exp.paren(exp.AtTimeZone(this=shown, zone=node.args["zone"]))


def _to_clock(node: exp.AtTimeZone) -> exp.Expr:
    """from_utc_timestamp: the moment that shows in UTC what the clock of a zone shows at the given one."""
    moment = exp.Cast(this=node.this.this, to=exp.DataType.build("timestamptz"))
    shown = exp.paren(exp.AtTimeZone(this=moment, zone=node.args["zone"]))
    return exp.Cast(this=shown, to=exp.DataType.build("timestamptz"))


def _mean(node: exp.Avg) -> exp.Expr:
    """Spark's average of DECIMAL(p, s) is a DECIMAL(p + 4, s + 4), rounded half up; DuckDB's is a DOUBLE, whose rounding
    to a few digits falls here and there. So the digits are divided as whole numbers:

        sign(n) * ((2 * |n| * 10^4 + c) // (2 * c)) * 10^-(s + 4)       n: sum of x * 10^s, c: count
    """
    x = node.this
    if not isinstance(x, exp.Cast) or not x.to.is_type(exp.DataType.Type.DECIMAL):
        return node
    precision, scale = (int(part.name) for part in x.to.expressions)
    digits = scale + 4
    n, c = f"SUM(CAST(__x * {10**scale} AS HUGEINT))", "COUNT(__x)"
    unit = f"CAST(0.{'0' * (digits - 1)}1 AS DECIMAL({digits + 1}, {digits}))"
    formula = sqlglot.parse_one(
        f"CAST(CAST(SIGN({n}) * ((2 * ABS({n}) * 10000 + {c}) // (2 * {c})) AS DECIMAL(38, 0)) * {unit} "
        f"AS DECIMAL({min(38, precision + 4)}, {digits}))",
        read="duckdb",
    )
    return formula.transform(lambda one: x.copy() if isinstance(one, exp.Column) and one.name == "__x" else one)


_TRANSFORMS: tuple[tuple[type[exp.Expr], Callable], ...] = (
    (exp.TryCast, _cast),
    (exp.Anonymous, _named),
    (exp.FromTimeZone, _from_clock),
    (exp.AtTimeZone, _to_clock),
    (exp.Hour, _int),
    (exp.Avg, _mean),
)
