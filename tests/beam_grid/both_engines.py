"""The derived tables of a lake made once more by the other engine: equal columns, types, rows and answers."""

from __future__ import annotations

import math
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.refine import refine, versions


def assert_both_engines_agree(lake: Lake, scratch: Path) -> None:
    """lake: refined in process. Floats may differ by 1e-9 of themselves."""
    known = versions(lake)
    assert known is not None
    tables = known.tables
    names = sorted(name for name, said in tables.items() if said.is_derived)
    copy = Lake.open(shutil.copytree(lake.path, scratch / "copy"))
    for name in names:
        shutil.rmtree(copy.path / tables[name].path)
    assert sorted(refine(copy, engine="spark").analyses) == names
    for name in names:
        ours, theirs = (query(where, f"SELECT * FROM {name}") for where in (lake, copy))
        assert ours.schema == theirs.schema, name
        assert ours.num_rows == theirs.num_rows > 0, name
        for one, other in zip(_sorted(ours.to_pylist()), _sorted(theirs.to_pylist()), strict=True):
            assert all(_same(one[column], other[column]) for column in one), (name, one, other)


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    exact = [{c: str(v) for c, v in row.items() if not isinstance(v, float)} for row in rows]
    return [row for _, row in sorted(zip(map(repr, exact), rows, strict=True), key=lambda pair: pair[0])]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-15)
    return type(one) is type(other) and (not isinstance(one, Decimal) or str(one) == str(other)) and one == other
