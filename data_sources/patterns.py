"""Regular expressions of a contract: `pattern`, `from_name`, `from_preamble` and `[unpivot] columns`.

One dialect everywhere: RE2, as DuckDB runs it, kept to what Python's `re` reads as well (so no look-around, no
back-references, named groups as `(?P<name>...)`). `.` ends at a line end, `\\d` and `\\w` are ASCII, a pattern is
searched, not anchored. Columns and single texts go through the same engine, so that they cannot disagree.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from data_sources.expressions import sandbox


class PatternError(ValueError):
    """A regular expression that cannot be used; says what is wrong with it and what to write."""


@functools.lru_cache(maxsize=256)
def check_pattern(pattern: str, needs_group: bool = True) -> None:
    """Raise PatternError unless both engines read `pattern` and, where one is due, it has a group."""
    import duckdb  # here: most contracts have no pattern

    try:
        groups = re.compile(pattern).groups
        sandbox().cursor().execute("SELECT regexp_matches('', ?)", [pattern]).fetchall()
    except (re.error, duckdb.Error, OverflowError, RecursionError) as cause:
        reason = str(cause).splitlines()[0].rsplit("Error: ", 1)[-1]
        raise PatternError(
            f"{pattern!r} is not a regular expression ({reason}); patterns are RE2's: groups ( ), classes [ ], "
            "* + ? {m,n}, no look-around and no back-references"
        ) from cause
    if not pattern:
        raise PatternError("the pattern is empty; write one such as '([0-9]+)'")
    if needs_group and not groups:
        raise PatternError(f"{pattern!r} has no group; put ( ) around the part that is to be read, as in ([0-9]+)")


def first_groups(texts: pa.Array, pattern: str) -> tuple[pa.Array, np.ndarray]:
    """The first group in each text, null where there is no match, and the indices of texts without one."""
    cursor = sandbox().cursor()
    try:
        cursor.register("texts", pa.table({"t": texts}))
        quoted = "'" + pattern.replace("'", "''") + "'"
        call = f"CASE WHEN regexp_matches(t, {quoted}) THEN regexp_extract(t, {quoted}, 1) END"
        column: pa.ChunkedArray = cursor.sql(f"SELECT {call} AS g FROM texts").to_arrow_table().column("g")
    finally:
        cursor.close()
    groups = pa.concat_arrays(column.chunks).cast(pa.string()) if column.num_chunks else pa.array([], pa.string())
    unmatched = groups.is_null().to_numpy(zero_copy_only=False) & texts.is_valid().to_numpy(zero_copy_only=False)
    return groups, np.flatnonzero(unmatched)


def first_group(text: str, pattern: str, *, by_line: bool = False) -> str | None:
    """The first group in one text (with `by_line`: in the first line that matches), None where there is no match."""
    texts = pa.array(text.splitlines() if by_line else [text], pa.string())
    return next((group for group in first_groups(texts, pattern)[0].to_pylist() if group is not None), None)


@functools.lru_cache(maxsize=256)
def matching(names: tuple[str, ...], pattern: str) -> tuple[bool, ...]:
    """Which of the names the pattern is found in."""
    rows = sandbox().cursor().execute("SELECT regexp_matches(unnest($1::VARCHAR[]), $2)", [list(names), pattern])
    return tuple(bool(row[0]) for row in rows.fetchall())


def any_matching(names: Sequence[str], pattern: str) -> list[int]:
    """Places (from 0) of the names in which the pattern is found."""
    return [n for n, found in enumerate(matching(tuple(names), pattern)) if found]
