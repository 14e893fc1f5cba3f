"""`beam-grid contracts suggest`: contract lines that would adopt the unknown fields that landed in `_extra`.

A field's type is the narrowest that holds every value seen: bool, int64, float64, date, timestamp, string. What holds
objects or lists is named, yet cannot be a field.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from beam_grid.landing import Lake
from beam_grid.segments import LandedIndex
from data_sources.contract import Contract
from data_sources.expressions import sandbox

_WHOLE = {"BIGINT", "UBIGINT", "HUGEINT"}


@dataclass(frozen=True)
class Unknown:
    """An unknown field: kind is a contract type, or `nested`; file and commit: where it was met first."""

    name: str
    kind: str
    rows: int
    file: str
    commit: int


def unknown_fields(lake: Lake, feed: str) -> list[Unknown]:
    """The unknown fields of a feed's landed rows, in the order they were first met. Raises GridError for no such feed."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    log = lake.landed(feed)
    found: dict[str, _Seen] = {}
    for file in LandedIndex(log).upto(log.last).files("rows"):
        table = pq.read_table(log.path / file.path, columns=["_extra", "_source", "_position", "_commit"])
        _merge(found, table.filter(pc.is_valid(table["_extra"])))
    return [_unknown(name, seen) for name, seen in sorted(found.items(), key=lambda f: f[1].first)]


_SQL = """
SELECT e.key AS name, list(DISTINCT e.type) AS types, count(*) AS n,
       bool_and(regexp_full_match(e.atom ->> '$', '\\d{4}-\\d{2}-\\d{2}') AND try_cast(e.atom ->> '$' AS DATE) IS NOT NULL) AS dates,
       bool_and(regexp_full_match(e.atom ->> '$', '\\d{4}-\\d{2}-\\d{2}[T ]\\d{2}:\\d{2}.*')
                AND try_cast(e.atom ->> '$' AS TIMESTAMPTZ) IS NOT NULL) AS times,
       arg_min(_source, (_commit, _source, _position)) AS file, min((_commit, _source, _position)) AS first
FROM t, json_each(t._extra) e WHERE t._extra IS NOT NULL GROUP BY e.key
"""


@dataclass
class _Seen:
    """An unknown field so far. types: DuckDB's JSON types; dates, times: whether every value is one; first: the commit,
    and the source and position there, where it was met first, in `file`."""

    first: tuple[int, str, int]
    file: str
    types: set[str] = field(default_factory=set)
    rows: int = 0
    dates: bool = True
    times: bool = True


def _merge(found: dict[str, _Seen], table: Any) -> None:
    cursor = sandbox().cursor()
    try:
        cursor.register("t", table)
        for name, types, rows, dates, times, file, first in cursor.sql(_SQL).fetchall():
            seen = found.setdefault(name, _Seen(first, file))
            seen.types |= set(types)
            seen.rows += rows
            seen.dates &= bool(dates)
            seen.times &= bool(times)
            if first < seen.first:
                seen.first, seen.file = first, file
    finally:
        cursor.close()


def _unknown(name: str, seen: _Seen) -> Unknown:
    types = seen.types - {"NULL"}
    if types & {"OBJECT", "ARRAY"}:
        kind = "nested"
    elif types == {"BOOLEAN"}:
        kind = "bool"
    elif types <= {"BIGINT", "UBIGINT"} and types == types & _WHOLE:
        kind = "int64"
    elif types <= {*_WHOLE, "DOUBLE"}:
        kind = "float64"
    elif types == {"VARCHAR"} and seen.dates:
        kind = "date"
    elif types == {"VARCHAR"} and seen.times:
        kind = "timestamp"
    else:
        kind = "string" if types == {"VARCHAR"} else "mixed"
    return Unknown(name, kind, seen.rows, seen.file, seen.first[0])


def lines(contract: Contract, fields: list[Unknown]) -> str:
    """TOML to add to the contract; empty without unknown fields."""
    if not fields:
        return ""
    version = _next(contract.version)
    out = [f"version = {json.dumps(version)}  # instead of {json.dumps(contract.version)}", ""]
    taken = {f.name.lower() for f in contract.fields}
    for unknown in fields:
        shown = json.dumps(unknown.name, ensure_ascii=False)
        out.append(
            f"# {shown}: {unknown.rows:,} row{'s' if unknown.rows != 1 else ''}, first in {json.dumps(unknown.file, ensure_ascii=False)}, "
            f"commit {unknown.commit}"
        )
        if unknown.kind in ("nested", "mixed"):
            what = "objects or lists" if unknown.kind == "nested" else "values of several kinds"
            out += [f"# holds {what}, which no field type takes: it stays in _extra", ""]
            continue
        name = _column(unknown.name, taken)
        taken.add(name.lower())
        out += ["[[fields]]", f"name = {json.dumps(name)}"]
        out += [f"source = {shown}"] if name != unknown.name else []
        out += [f'type = "{unknown.kind}"', f"since = {json.dumps(version)}", ""]
    return "\n".join(out).rstrip() + "\n"


def _next(version: str) -> str:
    return str(int(version) + 1) if version.isdigit() else f"{version}.1"


def _column(name: str, taken: set[str]) -> str:
    plain = re.sub(r"[^\w$]+", "_", name).strip("_") or "field"
    if plain[0] == "$" or plain.lower() in taken:
        plain = f"{plain.strip('$') or 'field'}_2"
    n = 2
    while plain.lower() in taken:
        n += 1
        plain = f"{plain.rsplit('_', 1)[0]}_{n}"
    return plain
