"""SQL over the tables of a version set, by delta-rs and its DataFusion engine: no Spark, a fraction of a second.

Reading statements only: the engine itself would execute `COPY ... TO` and `CREATE EXTERNAL TABLE`. A statement is cut
into words, quoted names, strings and signs (comments drop out), and must be one query, or EXPLAIN of one, or SHOW
TABLES, or DESCRIBE of a table. Kept free of heavy imports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from beam_grid.errors import GridError
from beam_grid.lakehouse import query_log
from beam_grid.lakehouse.live import newest_version
from beam_grid.lakehouse.table_set import PublishedTable, TableSet, View
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from beam_grid.reflections.plan import answer_plan

if TYPE_CHECKING:
    import pyarrow as pa

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*)
      | (?P<comment>/\*)
      | (?P<string>'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
      | (?P<name>"(?:[^"]|"")*"|`[^`]*`)
      | (?P<word>[^\W\d][\w$]*)
      | (?P<number>\d[\w.]*)
      | (?P<sign>.)""",
    re.X | re.S,
)
_HINT = "query reads only: SELECT, WITH, VALUES, EXPLAIN of a query, SHOW TABLES or DESCRIBE"
_WRITES = frozenset(
    [
        "INSERT",
        "UPDATE",
        "DELETE",
        "MERGE",
        "COPY",
        "CREATE",
        "DROP",
        "ALTER",
        "TRUNCATE",
        "REPLACE",
        "SET",
        "RESET",
        "PREPARE",
        "EXECUTE",
        "VACUUM",
        "OPTIMIZE",
        "GRANT",
    ]
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str

    @property
    def word(self) -> str:
        """Upper case of a bare word, the sign itself, nothing for names and strings."""
        return self.text.upper() if self.kind in ("word", "sign") else ""


def query(lake: Lake, sql: str, at: TableSet | None = None, *, with_reflections: bool = True) -> pa.Table:
    """The statement's answer; timestamps are UTC microseconds.

    at: the version set that is asked; the newest unless given. with_reflections: read a reflection instead of the table
    where one gives the same answer (docs/reflections.md).

    Raises GridError for anything but one reading statement, for a table that is not there (the message lists those that
    are), for one that can no longer be read as the set has it, and for what the engine cannot plan or compute.
    """
    tokens = _statement(sql)
    found = at or newest(lake)
    if found is None:
        raise GridError(f"lake {lake.path}: has no tables yet; run `beam-grid refine --lake {lake.path}` first")
    found = with_query_log(lake, found)
    if tokens[0].word == "SHOW":
        return _show(found)
    used = _tables_used(tokens, found)
    if with_reflections:
        plan = answer_plan(lake, sql, "datafusion", found)
        if plan.answered_by is not None:
            try:
                return _run(lake, found, [plan.answered_by], plan.sql)
            except GridError:  # the table can answer, or say what is wrong
                pass
    return _run(lake, found, used, sql)


def with_query_log(lake: Lake, found: TableSet) -> TableSet:
    """The set and the query log, which is in none, at its newest version."""
    version = newest_version(lake.path / query_log.FOLDER) if query_log.exists(lake) else None
    if version is None:
        return found
    table = PublishedTable(path=query_log.FOLDER, version=version, id="")
    views = {name: View(sql=sql, reads=(query_log.TABLE,), description="") for name, sql in query_log.VIEWS.items()}
    return replace(found, tables={**found.tables, query_log.TABLE: table}, views={**found.views, **views})


def names_of(found: TableSet) -> list[str]:
    """Tables and views."""
    return sorted([*found.tables, *found.views])


def condition(text: str) -> str:
    """A user's text as one bracketed condition, for a statement that `query` gets; raises GridError for what is none.

    Its brackets close within it, so it cannot end the one it stands in; a comment ends with its line.
    """
    depth, tokens = 0, _tokens(text)
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if depth < 0 or token.word == ";":
            break
    else:
        if tokens and not depth:
            return f"(\n{text}\n)"
    raise GridError(
        f"condition {text!r}: is not one condition, as in \"meter_id = 'M-1' AND window_start >= '2025-06-15'\""
    )


def _show(found: TableSet) -> pa.Table:
    import pyarrow as pa

    names = names_of(found)
    versions = [found.tables[name].version if name in found.tables else None for name in names]
    return pa.table({"table": names, "version": pa.array(versions, pa.int64())})


def _run(lake: Lake, found: TableSet, used: list[str], sql: str) -> pa.Table:
    import pyarrow as pa
    from deltalake import DeltaTable, QueryBuilder

    engine = QueryBuilder()
    for schema in sorted({name.split(".")[0] for name in found.tables}):
        engine.execute(f"CREATE SCHEMA {schema}").read_all()
    tables = {name for name in used if name in found.tables}
    tables.update(name for view in used if view in found.views for name in found.views[view].reads)
    for name in sorted(tables):
        table = found.tables[name]
        try:
            opened = DeltaTable(str(lake.path / table.path), version=table.version)
            id = str(opened.metadata().id)
            engine.register(name, opened)
        except Exception as cause:
            raise GridError(
                f"table {name}: version {table.version} cannot be opened ({_short(cause)}); "
                f"`beam-grid refine --lake {lake.path}` makes deleted tables again"
            ) from cause
        found.check_is(name, id)
    for name in used:
        if name in found.views:
            _look_through(engine, name, found.views[name].sql)
    try:
        answer = pa.table(engine.execute(sql).read_all())
    except Exception as cause:
        raise GridError(f"query: {_explain(cause, found)}") from cause
    return pa.table([_plain(column) for column in answer.columns], names=answer.schema.names)


def _look_through(engine: Any, name: str, sql: str) -> None:
    try:
        engine.execute(f"CREATE VIEW {name} AS {sql}").read_all()
    except Exception as cause:
        raise GridError(f"view {name}: does not fit this lake's tables ({_short(cause)})") from cause


def _plain(column: Any) -> Any:
    """Timestamps as UTC microseconds, text as text: what every reader of Arrow knows."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.timestamp("us", "UTC"))
    if pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.string())
    if pa.types.is_binary_view(kind):
        return column.cast(pa.binary())
    return column


def _tokens(sql: str) -> list[_Token]:
    found, at = [], 0
    while at < len(sql):
        match = _TOKEN.match(sql, at)
        assert match is not None  # `sign` takes any character
        kind, at = str(match.lastgroup if match.lastgroup != "tag" else "string"), match.end()
        if kind == "comment":
            at = _comment_end(sql, at)
        elif kind == "sign" and match[0] in "'\"`":
            raise GridError(f"query: the quote {match[0]} at character {match.start() + 1} is never closed")
        elif kind != "space":
            found.append(_Token(kind, match[0]))
    return found


def _comment_end(sql: str, at: int) -> int:
    """Comments nest, as they do in the engine."""
    depth = 1
    for mark in re.finditer(r"/\*|\*/", sql[at:]):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return at + mark.end()
    raise GridError("query: a comment /* is never closed")


def _statement(sql: str) -> list[_Token]:
    """The tokens of one reading statement; raises GridError for anything else."""
    tokens = _tokens(sql)
    while tokens and tokens[-1].word == ";":
        tokens.pop()
    if not tokens:
        raise GridError(f"query: there is no statement; {_HINT}")
    if any(token.word == ";" for token in tokens):
        raise GridError(f"query: several statements; give one at a time ({_HINT})")
    verb = tokens[0].word
    if verb == "SHOW":
        if [t.word for t in tokens] != ["SHOW", "TABLES"]:
            raise GridError("query: SHOW knows TABLES only; DESCRIBE silver.x gives a table's columns")
    elif verb in ("DESCRIBE", "DESC"):
        if len(tokens) < 2 or any(t.kind not in ("word", "name") and t.text != "." for t in tokens[1:]):
            raise GridError("query: DESCRIBE wants a table's name, as in DESCRIBE silver.x")
    else:
        _check_query(tokens)
    return tokens


def _check_query(tokens: list[_Token]) -> None:
    verb = tokens[0].word
    if verb == "EXPLAIN":
        rest = tokens[1:]
        while rest and rest[0].word in ("ANALYZE", "VERBOSE"):
            rest = rest[1:]
        if rest and rest[0].word == "FORMAT":
            rest = rest[2:]
        if not rest:
            raise GridError(f"query: EXPLAIN of what? {_HINT}")
        _check_query(rest)
        return
    if verb not in ("SELECT", "WITH", "VALUES", "("):
        raise GridError(f"query: {tokens[0].text!r} is not allowed; {_HINT}")
    for before, token, after in zip([_Token("", ""), *tokens], tokens, [*tokens[1:], _Token("", "")], strict=False):
        # A statement can begin at the start, after an opening bracket, and after WITH's last closing one.
        if (
            token.word in _WRITES
            and before.word in ("", "(", ")")
            and before.kind != "string"
            and after.word not in ("(", ",", ")", ".", "", "AS", "FROM")
        ):
            raise GridError(f"query: {token.text!r} is not allowed; {_HINT}")
        if token.word == "INTO" and before.word not in (".", "AS"):
            raise GridError(f"query: 'INTO' is not allowed; {_HINT}")


def _tables_used(tokens: list[_Token], found: TableSet) -> list[str]:
    """Tables and views of the set that the statement may name; raises for a `schema.table` that is not in the set."""
    plain = [t.text[1:-1] if t.kind == "name" else t.text for t in tokens]
    used = {
        f"{a}.{b}"
        for a, dot, b in zip(plain, plain[1:], plain[2:], strict=False)
        if dot == "." and f"{a}.{b}" in names_of(found)
    }
    follows = [t.word in ("FROM", "JOIN", "DESCRIBE", "DESC", ",") for t in tokens]
    for at, (name, dot, last) in enumerate(zip(plain, plain[1:], plain[2:], strict=False)):
        if (
            at
            and dot == "."
            and follows[at - 1]
            and name in ("silver", "gold", "bronze")
            and f"{name}.{last}" not in names_of(found)
        ):
            aliases = {plain[i] for i in range(1, len(plain)) if plain[i] == name and tokens[i - 1].word == "AS"}
            if not aliases:
                raise GridError(f"query: there is no table {name}.{last}; {_known(f'{name}.{last}', found)}")
    return sorted(used)


def _explain(cause: Exception, found: TableSet) -> str:
    text = _short(cause)
    if "Object at location" in text and "not found" in text:
        return (
            f"a file that version set {found.number} needs is gone (maintain's VACUUM keeps what the versions of a week need, "
            f"and somebody may have deleted a table); ask the newest set: {text}"
        )
    missing = re.search(r"table '?([\w.\-\"]+?)'? not found", text)
    if missing is None:
        return text
    name = missing[1].removeprefix("datafusion.").removeprefix("public.")
    return f"there is no table {name}; {_known(name, found)}"


def _known(name: str, found: TableSet) -> str:
    import difflib

    tables = names_of(found)
    close = difflib.get_close_matches(name.lower(), tables, n=1, cutoff=0.6) or [
        t for t in tables if t.split(".")[1] == name
    ]
    return (f"did you mean {close[0]}? " if close else "") + f"tables: {', '.join(tables)}"


def _short(cause: Exception) -> str:
    return " ".join(str(cause).split())[:600]
