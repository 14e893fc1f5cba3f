"""What sqlglot's tree of a statement no longer tells, read from its words: by which of several names a function was called,
a sign before a value, a unit of time that is no text.

    ifnull(sum(price), 0)     a Coalesce, as coalesce(...) is: of another type in DataFusion
    date_trunc(day, at)       a column with units, as 'day' is a unit
    +sum(kwh)                 sum(kwh): another name of the answer's column
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import sqlglot
from sqlglot.tokens import Token, TokenType

if TYPE_CHECKING:
    from beam_grid.reflections.asked import Dialect

_FUNCTIONS = {
    "count", "sum", "min", "max", "avg", "coalesce", "round", "abs", "upper", "lower", "cast", "date_trunc",
    "approx_distinct", "approx_count_distinct", "approx_quantile", "approx_percentile_cont",
}  # fmt: skip
_MORE: dict[str, set[str]] = {"duckdb": {"try_cast", "if", "ifnull", "datetrunc"}, "datafusion": set()}
_BEFORE_BRACKETS = {
    "select", "distinct", "all", "as", "in", "and", "or", "not", "is", "like", "between", "case", "when", "then", "else",
    "where", "by", "having", "limit", "offset",
}  # fmt: skip
"""Words that no function is called by."""

_WORD = re.compile(r"\w+")
_VALUES = {TokenType.NUMBER, TokenType.STRING}


def unknown(text: str, dialect: Dialect, read: type[sqlglot.Dialect]) -> str | None:
    """The first thing that may mean something else than the tree has, as it stands in the text; None where there is none."""
    tokens = sqlglot.tokenize(text, read=read)
    known = _FUNCTIONS | _MORE[dialect] | _BEFORE_BRACKETS
    for n, token in enumerate(tokens):
        before, after = tokens[n - 1] if n else None, tokens[n + 1] if n + 1 < len(tokens) else None
        if token.token_type is TokenType.PLUS and (before is None or _wants_value(before)):
            return text[token.start :][:60]
        if token.token_type is TokenType.L_PAREN and before is not None:
            called = before.text.lower()
            is_quoted = before.token_type is TokenType.IDENTIFIER
            is_word = before.token_type not in _VALUES and _WORD.fullmatch(called) and called not in known
            is_unit = after is not None and after.token_type is TokenType.STRING
            if is_quoted or is_word or (called in ("date_trunc", "datetrunc") and not is_unit):
                return text[before.start :][:60]
    return None


def _wants_value(before: Token) -> bool:
    """Whether a plus behind this is a sign."""
    if before.token_type in (*_VALUES, TokenType.IDENTIFIER, TokenType.R_PAREN, TokenType.R_BRACKET):
        return False
    return not _WORD.fullmatch(before.text) or before.text.lower() in _BEFORE_BRACKETS
