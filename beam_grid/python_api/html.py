"""Tables as HTML for notebooks. Whatever a meter is called is text here, never markup."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from beam_grid.show import as_python, distinct, plain

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST_CELL = 200
"""Characters of a cell; what is longer ends in an ellipsis."""


def table_html(rows: pa.Table, caption: str) -> str:
    """A `<table>` with a column's type under its name; nulls are a grey dot."""
    types = [str(column.type) for column in rows.columns]
    head = "".join(
        f'<th scope="col">{escape(_short(name))}<br><small>{escape(_short(kind))}</small></th>'
        for name, kind in zip(distinct(rows.column_names), types, strict=True)
    )
    columns = [[_cell(plain(value)) for value in as_python(column)] for column in rows.columns]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in zip(*columns, strict=True))
    return (
        f'<table class="beam-grid"><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def list_html(title: str, lines: Iterable[str]) -> str:
    """A title and lines under it."""
    return (
        f"<div><strong>{escape(title)}</strong><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul></div>"
    )


def _cell(value: Any) -> str:
    if value is None:
        return '<td style="color:#888">·</td>'
    if isinstance(value, bool):
        return f"<td>{str(value).lower()}</td>"
    if isinstance(value, int | float):
        return f'<td style="text-align:right">{value}</td>'
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    return f'<td style="text-align:left">{escape(_short(text))}</td>'


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
