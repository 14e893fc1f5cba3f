"""Answers for people and machines: a table, JSON (times in ISO 8601 UTC) or CSV, always on stdout."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TextIO

import pyarrow as pa

FORMATS = ("table", "json", "csv")


def show(answer: pa.Table, form: str, out: TextIO | None = None, limit: int | None = None) -> None:
    """Print a table of any column types. limit: rows a `table` shows at most; the others are never cut."""
    out = out or sys.stdout
    names = distinct(answer.column_names)
    if form == "table":
        _table(answer, names, out, limit)
        return
    rows = zip(*(map(plain, as_python(column)) for column in answer.columns), strict=True)
    if form == "json":
        out.write("[")
        for n, row in enumerate(rows):
            out.write((",\n " if n else "\n ") + json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False))
        out.write("\n]\n" if answer.num_rows else "]\n")
        return
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_text(v) for v in row] for row in rows)


def plain(value: Any) -> Any:
    """A value as JSON has it: times ISO 8601 UTC, whole decimals as numbers, other decimals and infinities as text."""
    if isinstance(value, datetime):
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def as_python(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The values as Python has them; times and days that it has none for as text: "infinity", "-infinity" and, as ECMAScript
    writes ISO 8601, -000043-03-15 for a day of 44 BC."""
    try:
        return column.to_pylist()
    except (OverflowError, ValueError):
        return [_one(scalar) for scalar in column]


def _one(scalar: Any) -> Any:
    """A value of Arrow's, and what it holds."""
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if pa.types.is_timestamp(kind) or pa.types.is_date32(kind) or pa.types.is_time64(kind):
        return _instant(scalar.value, kind)
    if pa.types.is_map(kind):
        return [(_one(entry["key"]), _one(entry["value"])) for entry in scalar.values]
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        return [_one(one) for one in scalar.values]
    if pa.types.is_struct(kind):
        return {part.name: _one(scalar[n]) for n, part in enumerate(kind)}
    return _one(scalar.value) if pa.types.is_union(kind) else scalar.as_py()


def _instant(number: int, kind: pa.DataType) -> Any:
    """Days or units of time since 1970, or units since midnight."""
    try:
        return pa.scalar(number, kind).as_py()
    except (OverflowError, ValueError):
        import numpy as np

        if pa.types.is_time64(kind):
            return str(np.datetime64(number, kind.unit)).partition("T")[2]
        is_day = pa.types.is_date32(kind)
        if abs(number) >= (1 << (31 if is_day else 63)) - 1:  # as DuckDB and Postgres have it
            return "infinity" if number > 0 else "-infinity"
        text = re.sub(r"\.0+$", "", str(np.datetime64(number, "D" if is_day else kind.unit)))
        year, month, rest = text.rsplit("-", 2)
        year = year if 0 < int(year) < 10_000 else f"{int(year):+07d}"
        return f"{year}-{month}-{rest}{'' if is_day else 'Z'}"


def _table(answer: pa.Table, names: list[str], out: TextIO, limit: int | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = answer if limit is None else answer.slice(0, limit)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, column in zip(names, answer.columns, strict=True):
        kind = column.type
        right = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        grid.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in zip(*(map(plain, as_python(column)) for column in shown.columns), strict=True):
        grid.add_row(*(Text(_shown(v)) for v in row))
    terminal = out.isatty()
    console = Console(file=out, width=None if terminal else 400, no_color=not terminal, highlight=False)
    console.print(grid, soft_wrap=not terminal)
    if shown.num_rows < answer.num_rows:
        print(f"{shown.num_rows:,} of {answer.num_rows:,} rows; --format json or csv prints all", file=sys.stderr)


def _shown(value: Any) -> str:
    if value is None:
        return "·"
    text = _text(value)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def distinct(names: list[str]) -> list[str]:
    """Equal names told apart: `count`, `count_2`."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result
