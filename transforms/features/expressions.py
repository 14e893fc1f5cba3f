"""Features that are expressions of DuckDB's over a row's fields and the features above them; null where one fails to compute."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from data_sources.contract.features import Feature, plain
from data_sources.expressions import sandbox
from data_sources.identifiers import double_quoted

_KINDS = {
    pa.float64(): "DOUBLE", pa.int64(): "BIGINT", pa.string(): "VARCHAR", pa.bool_(): "BOOLEAN", pa.date32(): "DATE",
    pa.timestamp("us", "UTC"): "TIMESTAMPTZ",
}  # fmt: skip
"""The types that `plain` gives."""


class Expressions:
    """Of a table's features, in order, over rows of one schema: what they read and the features made already."""

    def __init__(self, features: Sequence[Feature], rows: pa.Schema) -> None:
        self._features = [feature for feature in features if feature.function is None]
        self._sql, nothing = "SELECT * FROM rows", rows.empty_table()
        self._kinds: list[pa.DataType] = []
        names = []
        for number, feature in enumerate(self._features):
            said = asked(nothing, f"SELECT ({feature.argument}\n) AS x FROM ({self._sql})").schema.field(0).type
            kind = plain(said)  # 0.6 is a decimal there, and to Arrow 0.6000000000000001: DuckDB itself casts it
            inner = double_quoted(f"__feature_{number}" if feature.name in rows.names else feature.name)
            self._sql = f"SELECT *, TRY(CAST(({feature.argument}\n) AS {_KINDS[kind]})) AS {inner} FROM ({self._sql})"
            self._kinds.append(kind)
            names.append(inner)
        self._sql = f"SELECT {', '.join(names)} FROM ({self._sql})"

    def of(self, rows: pa.Table) -> dict[str, pa.ChunkedArray]:
        """By name."""
        if not self._features:
            return {}
        found = asked(rows, self._sql)
        return {f.name: found.column(n).cast(self._kinds[n]) for n, f in enumerate(self._features)}


def asked(rows: pa.Table, sql: str) -> pa.Table:
    """The answer of a SELECT over `rows`, in their order."""
    cursor = sandbox().cursor()
    cursor.register("rows", rows)
    try:
        return cursor.sql(sql).to_arrow_table()
    finally:
        cursor.unregister("rows")
