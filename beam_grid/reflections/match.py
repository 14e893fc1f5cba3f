"""Whether one reflection can answer a SELECT, and the SELECT over it that does.

    SELECT region, date_trunc('day', at) AS day, avg(kwh) AS kwh FROM silver.m WHERE at >= '2026-01-01' GROUP BY 1, 2
            │                  │                    │                            │
            dimension    coarser than hour(at)   sum / count            whole hours: the same of hour(at)

Guaranteed: names, types and rows are those of the SELECT; sums of floats are added in another order (1e-9), and estimates
are estimates (docs/semantics.md). What is not certain raises Unanswered, with the reason.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlglot import exp

from beam_grid.lakehouse.bounds import moment
from beam_grid.lakehouse.table_set import KeptReflection
from beam_grid.reflections import declared
from beam_grid.reflections.asked import SCALARS, Asked, Unanswered, is_numbered
from beam_grid.reflections.declared import Dimension, Measured
from data_sources.identifiers import double_quoted

_COARSER = {
    "minute": ("minute", "hour", "day", "week", "month", "quarter", "year"),
    "hour": ("hour", "day", "week", "month", "quarter", "year"),
    "day": ("day", "week", "month", "quarter", "year"),
    "month": ("month", "quarter", "year"),
}
_WHOLE = ("long", "integer", "short", "byte")
_CASTS = tuple(exp.DataType.Type[name] for name in ("BIGINT", "INT", "SMALLINT", "DOUBLE", "DECIMAL", "BOOLEAN", "DATE", "TIMESTAMP", "TIMESTAMPTZ", "VARCHAR", "TEXT"))  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


def rewritten(asked: Asked, name: str, kept: KeptReflection) -> str:
    """The SELECT over reflection.NAME; raises Unanswered with the reason why there is none."""
    if kept.declared.raw is not None:
        return _of_rows(asked, name, kept)
    return _Matcher(asked, name, kept).sql()


def is_sorted_for(asked: Asked, kept: KeptReflection) -> bool:
    """Whether the statement names values of the column that a raw reflection is sorted by first."""
    raw = kept.declared.raw
    if raw is None or not raw.sort:
        return False
    named = [(c.this, c.expressions or [c.expression]) for c in asked.conditions if isinstance(c, exp.EQ | exp.In)]
    columns = [
        c
        for c, values in named
        if isinstance(c, exp.Column) and all(isinstance(v, exp.Literal) or is_numbered(v) for v in values)
    ]
    try:
        return any(asked.field(column, kept.types) == raw.sort[0] for column in columns)
    except Unanswered:
        return False


def _of_rows(asked: Asked, name: str, kept: KeptReflection) -> str:
    """The statement as it is, from the newest rows instead of all."""
    raw = kept.declared.raw
    assert raw is not None and kept.since is not None
    if not any(_begins(asked, condition, raw.time, kept) for condition in asked.conditions):
        since = beginning(kept.since).isoformat()
        raise Unanswered(f"it holds rows from {since} on; the statement does not say {raw.time} >= that or later")
    unnamed = [e for e in asked.select.expressions if not isinstance(e, exp.Alias | exp.Column | exp.Star)]
    if unnamed:
        raise Unanswered(f"{unnamed[0].sql()} has no name of its own; give it one with AS")
    if any(len(column.parts) > 2 for column in asked.select.find_all(exp.Column)):
        raise Unanswered("a column is qualified by schema and table; give the table a name with AS")
    begin, end = asked.place
    called = "" if asked.is_aliased else f" AS {double_quoted(asked.called)}"
    return f"{asked.text[:begin]}{declared.SCHEMA}.{double_quoted(name)}{called}{asked.text[end:]}"


def _begins(asked: Asked, condition: exp.Expr, time: str, kept: KeptReflection) -> bool:
    """Whether the condition says that `time` is not before the reflection begins."""
    assert kept.since is not None
    if isinstance(condition, exp.Between):
        column, bound = condition.this, condition.args["low"]
    elif isinstance(condition, exp.GTE | exp.GT):
        column, bound = condition.this, condition.expression
    elif isinstance(condition, exp.LTE | exp.LT):
        column, bound = condition.expression, condition.this
    else:
        return False
    at = instant(asked.bound(bound))
    if not isinstance(column, exp.Column) or at is None:
        return False
    return asked.field(column, kept.types) == time and _micros(at) >= kept.since


@dataclass
class _Matcher:
    asked: Asked
    name: str
    kept: KeptReflection

    def __post_init__(self) -> None:
        self._dimensions = declared.dimensions(self.kept.declared)
        self._measures = declared.measures(self.kept.declared)
        self._aliases: dict[str, exp.Expr] = {}
        self._ambiguous: set[str] = set()

    def sql(self) -> str:
        select = self.asked.select
        group = select.args.get("group")
        if group is not None and any(value for name, value in group.args.items() if name != "expressions" and value):
            raise Unanswered("GROUP BY is more than a list")
        grouped = group is not None or any(select.find_all(exp.AggFunc))
        if not grouped:
            raise Unanswered("it asks for rows; this one holds groups")
        if not all(map(is_numbered, select.find_all(exp.Placeholder))):
            raise Unanswered("a value is bound by its place (?), which may be another over a reflection; number it: $1")
        self._learn_aliases(select.expressions)
        made = exp.Select(expressions=[self._projection(one) for one in select.expressions])
        made.set("from_", exp.From(this=self._table()))
        conditions = [self._condition(one) for one in self.asked.conditions]
        if conditions:
            made.set("where", exp.Where(this=exp.and_(*conditions, copy=False)))
        for clause in ("group", "having", "order"):
            self._check_names(select.args.get(clause))
        if group is not None:
            keys = [self._key(one) for one in group.expressions]
            if keys:
                made.set("group", exp.Group(expressions=keys))
        if (having := select.args.get("having")) is not None:
            made.set("having", exp.Having(this=self._scalar(having.this)))
        if (order := select.args.get("order")) is not None:
            made.set("order", exp.Order(expressions=[self._ordered(one) for one in order.expressions]))
        for clause in ("limit", "offset"):
            if (kept := select.args.get(clause)) is not None:
                made.set(clause, kept.copy())
        if (doubtful := self.asked.doubtful) is not None:
            raise Unanswered(f"{doubtful} is not looked into")
        return self.asked.sql(made)

    def _table(self) -> exp.Table:
        return exp.Table(this=_identifier(self.name), db=_identifier(declared.SCHEMA))

    @property
    def _named(self) -> set[str]:
        """Names of the answer's columns that were given with AS."""
        return {*self._aliases, *self._ambiguous}

    def _learn_aliases(self, projections: list[exp.Expr]) -> None:
        for one in projections:
            if isinstance(one, exp.Alias):
                name = one.alias.lower()
                if name in self._named:
                    raise Unanswered(f"two columns are called {name}; give one of them another name")
                is_itself = isinstance(one.this, exp.Column) and one.this.name.lower() == name
                if not is_itself and name in (column.lower() for column in self.kept.types):
                    self._ambiguous.add(name)  # avg(kwh) AS kwh
                else:
                    self._aliases[name] = one.this

    def _check_names(self, clause: exp.Expr | None) -> None:
        """Engines differ in what a name means there that is a column and an alias; a term of ORDER BY is the alias."""
        for column in clause.find_all(exp.Column) if clause is not None else ():
            is_term = isinstance(column.parent, exp.Ordered)
            if column.name.lower() in self._ambiguous and not (is_term and not column.table):
                raise Unanswered(f"{column.name} is a column of the table and an alias; give the alias another name")

    def _projection(self, one: exp.Expr) -> exp.Expr:
        if isinstance(one, exp.Alias):
            return exp.Alias(this=self._scalar(one.this), alias=one.args["alias"].copy())
        if isinstance(one, exp.Column):
            name = self.asked.field(one, self.kept.types)
            return exp.Alias(this=self._scalar(one), alias=_identifier(name))
        return exp.Alias(this=self._scalar(one), alias=_identifier(self._said(one)))

    def _said(self, one: exp.Expr) -> str:
        """What the engine calls a column without a name; known of simple aggregates alone."""
        function, is_star = type(one).__name__.lower(), isinstance(one.this, exp.Star)
        if isinstance(one, exp.Count) and is_star:
            return "count(*)" if self.asked.dialect == "datafusion" else "count_star()"
        is_simple = isinstance(one, exp.Sum | exp.Min | exp.Max | exp.Avg | exp.Count) and isinstance(
            one.this, exp.Column
        )
        if is_simple:
            field, column = self.asked.field(one.this, self.kept.types), one.this
            if self.asked.dialect == "datafusion":
                qualifier = self.asked.called if self.asked.is_aliased else self.asked.table
                if _PLAIN.fullmatch(qualifier.replace(".", "_")):
                    return f"{function}({qualifier}.{field})"
            elif all(_PLAIN.fullmatch(part.name.lower()) for part in column.parts):
                words = (double_quoted(p.name) if p.name.lower() in _keywords() else p.name for p in column.parts)
                return f"{function}({'.'.join(words)})"
        raise Unanswered(f"{one.sql()} has no name of its own; give it one with AS")

    def _key(self, one: exp.Expr) -> exp.Expr:
        if isinstance(one, exp.Literal) and not one.is_string:
            number = int(one.this)
            if not 1 <= number <= len(self.asked.select.expressions):
                raise Unanswered(f"GROUP BY {number} is no column")
            chosen = self.asked.select.expressions[number - 1]
            one = chosen.this if isinstance(chosen, exp.Alias) else chosen
        elif isinstance(one, exp.Column) and not one.table and one.name.lower() in self._aliases:
            one = self._aliases[one.name.lower()]
        if one.find(exp.AggFunc):
            raise Unanswered("GROUP BY an aggregate")
        if isinstance(one, exp.Literal) and not one.is_string:  # written over the reflection it would be a place
            raise Unanswered("GROUP BY a number that is no place")
        return self._scalar(one)

    def _ordered(self, one: exp.Expr) -> exp.Expr:
        if not isinstance(one, exp.Ordered):
            raise Unanswered(f"ORDER BY {one.sql()}")
        made = one.copy()
        if isinstance(one.this, exp.Literal):
            return made
        if isinstance(one.this, exp.Column) and not one.this.table and one.this.name.lower() in self._named:
            made.set("this", exp.Column(this=one.this.this.copy()))
        else:
            made.set("this", self._scalar(one.this))
        return made

    def _condition(self, one: exp.Expr) -> exp.Expr:
        if one.find(exp.AggFunc):
            raise Unanswered("an aggregate in WHERE")
        if self.asked.dialect == "datafusion":  # knows no alias there
            for column in one.find_all(exp.Column):
                self.asked.field(column, self.kept.types)
        bucketed = self._bucketed(one)
        return self._scalar(one) if bucketed is None else bucketed

    def _bucketed(self, one: exp.Expr) -> exp.Expr | None:
        """`at >= X` and `at < X` where X begins a bucket: the same of the bucket."""
        if not isinstance(one, exp.GTE | exp.LT | exp.LTE | exp.GT):
            return None
        column, bound, is_flipped = one.this, one.expression, False
        if isinstance(bound, exp.Column):
            column, bound, is_flipped = bound, column, True
        at = instant(self.asked.bound(bound))
        if not isinstance(column, exp.Column) or at is None:
            return None
        if not isinstance(one, (exp.LTE | exp.GT) if is_flipped else (exp.GTE | exp.LT)):
            return None
        field = self.asked.field(column, self.kept.types)
        if Dimension(field, None) in self._dimensions:
            return None
        for dimension in self._dimensions:
            if dimension.field == field and dimension.unit is not None and is_whole(at, dimension.unit):
                made = one.copy()
                made.set("expression" if is_flipped else "this", _column(dimension.column))
                return made
        return None

    def _scalar(self, node: exp.Expr) -> exp.Expr:
        """The same over the reflection's columns."""
        if isinstance(node, exp.AggFunc | exp.Anonymous):
            return exp.paren(self.asked.parse(self._aggregate(node)), copy=False)
        if isinstance(node, exp.Column):
            if not node.table and node.name.lower() in self._aliases:
                return self._scalar_of_alias(node)
            field = self.asked.field(node, self.kept.types)
            if Dimension(field, None) not in self._dimensions:
                raise Unanswered(
                    f"{field} is none of its dimensions ({', '.join(self.kept.declared.dimensions) or 'none'})"
                )
            return _column(field)
        if isinstance(node, exp.TimestampTrunc | exp.DateTrunc):
            return self._cut(node)
        if not isinstance(node, SCALARS):
            raise Unanswered(f"{node.sql()[:60]} is not looked into")
        if isinstance(node, exp.Cast):
            self._check_cast(node)
        made = node.copy()
        for name, value in node.args.items():
            if isinstance(value, exp.Expr):
                made.set(name, self._scalar(value))
            elif isinstance(value, list):
                made.set(name, [self._scalar(one) if isinstance(one, exp.Expr) else one for one in value])
        return made

    def _check_cast(self, node: exp.Cast) -> None:
        """sqlglot writes some types as PostgreSQL has them, and knows no TRY_CAST there: DataFusion means others."""
        is_other = self.asked.dialect == "datafusion" and (
            isinstance(node, exp.TryCast)
            or (node.to.this is exp.DataType.Type.DOUBLE and "float" in self.asked.text.lower())  # of four bytes
        )
        if node.to.this not in _CASTS or is_other:
            raise Unanswered(f"{node.sql()[:60]} is not looked into")

    def _scalar_of_alias(self, node: exp.Column) -> exp.Expr:
        chosen = self._aliases[node.name.lower()]
        if isinstance(chosen, exp.Column) and chosen.name.lower() == node.name.lower():
            field = self.asked.field(node, self.kept.types)
            if Dimension(field, None) in self._dimensions:
                return _column(field)
            raise Unanswered(
                f"{field} is none of its dimensions ({', '.join(self.kept.declared.dimensions) or 'none'})"
            )
        return exp.paren(self._scalar(chosen), copy=False)

    def _cut(self, node: exp.Expr) -> exp.Expr:
        unit = str(node.args["unit"].name).lower()
        is_plain = isinstance(node.args["unit"], exp.Var) and isinstance(node.this, exp.Column)
        if not is_plain or node.args.get("zone") is not None:
            raise Unanswered(f"{node.sql()[:60]} is not looked into")
        field = self.asked.field(node.this, self.kept.types)
        for dimension in self._dimensions:
            if dimension.field == field and (dimension.unit is None or unit in _COARSER[dimension.unit]):
                made = node.copy()
                made.set("this", _column(dimension.column))
                return made
        raise Unanswered(
            f"{field} by {unit} is not told by its dimensions ({', '.join(self.kept.declared.dimensions)})"
        )

    def _aggregate(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Count):
            return self._count(node)
        if node.expressions and not isinstance(node, exp.Anonymous):  # max(x, 3): the three greatest
            raise Unanswered(f"{node.sql()[:60]} is not looked into")
        if isinstance(node, exp.Sum | exp.Min | exp.Max | exp.Avg | exp.ApproxQuantile | exp.ApproxDistinct):
            rank = node.args.get("quantile")
            return self._of_field(type(node).__name__.lower(), node.this, rank)
        is_quantile = isinstance(node, exp.Anonymous) and node.name.lower() == "approx_percentile_cont"
        if is_quantile and len(node.expressions) == 2:
            return self._of_field("approxquantile", node.expressions[0], node.expressions[1])
        raise Unanswered(f"{node.sql()[:60]} is not looked into")

    def _count(self, node: exp.Count) -> str:
        if isinstance(node.this, exp.Distinct):
            raise Unanswered(
                "count(DISTINCT x) is exact; a sketch answers approx_distinct(x) or approx_count_distinct(x)"
            )
        if node.expressions:
            raise Unanswered(f"{node.sql()[:60]} is not looked into")
        if isinstance(node.this, exp.Star) and any(node.this.args.values()):  # but for some columns
            raise Unanswered(f"{node.sql()[:60]} is not looked into")
        if isinstance(node.this, exp.Star | exp.Literal):
            return "CAST(coalesce(sum(_rows), 0) AS BIGINT)"
        field = self._field_of(node.this, "count")
        return f"CAST(coalesce(sum({self._column_of(field, 'count')}), 0) AS BIGINT)"

    def _of_field(self, function: str, argument: exp.Expr, rank: exp.Expr | None) -> str:
        field = self._field_of(argument, function)
        kind = self.kept.types[field]
        if function in ("min", "max"):
            if Dimension(field, None) in self._dimensions:
                return f"{function}({double_quoted(field)})"
            return f"{function}({double_quoted(self._measured(function, field).column)})"
        if function == "sum":
            return self._sum(field, kind)
        if function == "avg":
            if kind.startswith("decimal") and self.asked.dialect == "datafusion":
                raise Unanswered(f"the average of decimals ({field}) is rounded by the engine in a way of its own")
            n, total = self._column_of(field, "count"), self._column_of(field, "sum")
            return f"CASE WHEN sum({n}) > 0 THEN CAST(sum({total}) AS DOUBLE) / CAST(sum({n}) AS DOUBLE) END"
        if self.asked.dialect != "duckdb":
            raise Unanswered("sketches are merged by the server (`beam-grid serve`), not by this engine")
        if function == "approxdistinct":
            sketch = self._measured("distinct", field).column
            return f"hll_count(hll_merged(list({double_quoted(sketch)}) FILTER (WHERE {double_quoted(sketch)} IS NOT NULL)))"
        if not isinstance(rank, exp.Literal) or rank.is_string:
            raise Unanswered("the rank of a quantile is no number")
        wanted = next((m for m in self._measures if (m.function, m.field) == ("quantile", field)), None)
        if wanted is None:
            raise Unanswered(f"it has no quantile of {field}")
        sketch = double_quoted(wanted.column)  # any rank can be read from it
        value = (
            f"kll_quantile(kll_merged(list({sketch}) FILTER (WHERE {sketch} IS NOT NULL)), CAST({rank.this} AS DOUBLE))"
        )
        return value if kind == "double" else f"CAST({value} AS {_sql_type(kind)})"

    def _sum(self, field: str, kind: str) -> str:
        total = f"sum({self._column_of(field, 'sum')})"
        if kind in _WHOLE:
            return f"CAST({total} AS {'BIGINT' if self.asked.dialect == 'datafusion' else 'HUGEINT'})"
        if kind.startswith("decimal"):
            precision, scale = (int(part) for part in kind.removeprefix("decimal(").rstrip(")").split(","))
            wide = min(38, precision + 10) if self.asked.dialect == "datafusion" else 38
            return f"CAST({total} AS DECIMAL({wide}, {scale}))"
        return total

    def _column_of(self, field: str, function: str) -> str:
        """The column with how many values there are, or their sum: avg has both."""
        if Measured(function, field) in self._measures:
            return double_quoted(Measured(function, field).column)
        if Measured("avg", field) in self._measures:
            return double_quoted(f"{Measured('avg', field).column}__{'n' if function == 'count' else 'sum'}")
        raise Unanswered(f"it has no {function}({field})")

    def _measured(self, function: str, field: str) -> Measured:
        wanted = Measured(function, field)
        if wanted not in self._measures:
            raise Unanswered(f"it has no {function}({field})")
        return wanted

    def _field_of(self, argument: exp.Expr, function: str) -> str:
        if not isinstance(argument, exp.Column):
            raise Unanswered(f"{function}() of more than a column")
        return self.asked.field(argument, self.kept.types)


@functools.cache
def _keywords() -> frozenset[str]:
    """What DuckDB quotes in a column's name."""
    import duckdb

    with duckdb.connect() as engine:
        return frozenset(word for (word,) in engine.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall())


def _column(name: str) -> exp.Column:
    return exp.Column(this=_identifier(name))


def _identifier(name: str) -> exp.Identifier:
    return exp.Identifier(this=name, quoted=True)


def _sql_type(kind: str) -> str:
    return {"long": "BIGINT", "integer": "INTEGER", "short": "SMALLINT", "byte": "TINYINT"}.get(kind, kind.upper())


def instant(node: exp.Expr) -> datetime | None:
    """The moment that a literal names, the same in all engines; None for anything else."""
    kind = None
    if isinstance(node, exp.Cast) and not node.to.expressions:
        kind, node = node.to.this, node.this
    if not isinstance(node, exp.Literal) or not node.is_string:
        return None
    found = moment(node.this)
    if found is None:
        return None
    if kind is exp.DataType.Type.DATE:  # cuts the time of day off
        if len(node.this) > len("2026-01-01"):
            return None
    elif kind in (exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPNTZ):  # DuckDB passes an offset over
        if found[1]:
            return None
    elif kind not in (None, exp.DataType.Type.TIMESTAMPTZ):
        return None
    return found[0]


def beginning(since: int) -> datetime:
    """Where a raw reflection begins, since 1970 in microseconds; the year 1 for one of a table without times."""
    try:
        return _EPOCH + timedelta(microseconds=since)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def is_whole(at: datetime, unit: str) -> bool:
    """Whether a bucket of the unit begins then."""
    rest = (at.microsecond, at.second, *((at.minute,) if unit != "minute" else ()))
    if unit in ("day", "month"):
        rest += (at.hour,)
    if unit == "month":
        rest += (at.day - 1,)
    return not any(rest)


def _micros(at: datetime) -> int:
    since = at - _EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds
