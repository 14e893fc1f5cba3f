"""What JSON records hold beyond the contract, a block at a time: columns the block reader inferred, to `_extra`.

Guaranteed: the value is that of `strict.decode_extra` (names sorted, nulls left out, a number as a double holds it).
Objects, lists and numbers a double may not hold exactly are left to it; so are names seen to change their type.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.expressions import sandbox

_EXACT = 2.0**53


def is_text(kind: pa.DataType) -> bool:
    """Whether the block reader took text for something else, whose own characters would be lost."""
    return pa.types.is_temporal(kind)


def to_extra(unknown: pa.Table) -> tuple[pa.Array, np.ndarray]:
    """One JSON object a row (null where the row holds nothing unknown), and a mask of rows that are left to the slow way."""
    slow = np.zeros(unknown.num_rows, bool)
    parts = []
    for name in sorted(unknown.column_names):
        column = unknown[name]
        if column.null_count == len(column):
            continue
        if not _is_simple(column.type):
            slow |= column.is_valid().to_numpy()
            continue
        if pa.types.is_floating(column.type):
            plain = pc.less(pc.abs(column), _EXACT).fill_null(True).to_numpy()  # NaN and infinity are not less
            slow |= ~plain
        if pa.types.is_string(column.type):  # DuckDB writes \\u000F where Python writes \\u000f
            slow |= pc.match_substring_regex(column, r"[\x00-\x1f]").fill_null(False).to_numpy()
        parts.append((name, column))
    if not parts:
        return pa.nulls(unknown.num_rows, pa.string()), slow
    table = pa.table([column for _, column in parts], names=[f"c{n}" for n in range(len(parts))])
    texts = []
    for n, (name, column) in enumerate(parts):
        label = (json.dumps(name, ensure_ascii=False) + ": ").replace("'", "''")
        texts.append(f"'{label}' || {_text(f'c{n}', column.type)}")
    cursor = sandbox().cursor()
    try:
        cursor.register("t", table)
        found = cursor.sql(f"SELECT nullif(concat_ws(', ', {', '.join(texts)}), '') AS j FROM t").to_arrow_table()["j"]
    finally:
        cursor.close()
    whole = pc.binary_join_element_wise(
        "{", found.combine_chunks().cast(pa.string()), "}", "", null_handling="emit_null"
    )
    return pa.array(whole) if not isinstance(whole, pa.Array) else whole, slow


def _text(column: str, kind: pa.DataType) -> str:
    if pa.types.is_string(kind):
        return f"CAST(to_json({column}) AS VARCHAR)"
    if pa.types.is_floating(kind):
        whole = f"abs({column}) < {_EXACT} AND {column} = trunc({column})"
        return f"CASE WHEN {whole} THEN CAST(CAST({column} AS BIGINT) AS VARCHAR) ELSE CAST({column} AS VARCHAR) END"
    return f"CAST({column} AS VARCHAR)"


def _is_simple(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_int64(kind) or pa.types.is_float64(kind) or pa.types.is_boolean(kind)
