"""From rows of a table back to the files and offsets they were read from.

    gold.meter_15min, a meter and a window ─► silver rows of that group and time ─► _source, _partition, _position
    silver, bronze                         ─► the rows' own lineage ─────────────┘   folded to ranges, a line a source

Guarantees: a window's lineage is that of the rows its measures are made of, those now current. Of a row of changes or
master data it is the record the row shows, not those before it. Nothing is written, and a condition is one condition:
it goes through the guard of `query`.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from beam_grid.analyses import by_name
from beam_grid.errors import GridError
from beam_grid.lakehouse.query import condition, query
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from data_sources.splits import FileSplit
from transforms.local_days import first_day, next_first_day

if TYPE_CHECKING:
    from data_sources.contract import Contract, WindowSpec

SCHEMA = pa.schema(
    [
        ("feed", pa.string()),
        ("commit", pa.int64()),
        ("source", pa.string()),
        ("partition", pa.int32()),
        ("positions", pa.string()),
        ("rows", pa.int64()),
        ("path", pa.string()),
    ]
)
"""positions: lines, rows or offsets as `1-3, 7`; path: where the file was, null for a topic."""

_PLACE = ("_commit", "_source", "_partition", "_position")
_TIME = "'Timestamp(Microsecond, Some(\"UTC\"))'"


def trace(lake: Lake, table: str, where: str = "true") -> pa.Table:
    """One row a commit and source of the table's rows that meet the condition: SCHEMA.

    Raises GridError for a table that is not there or shows no single records, and for what is no reading condition.
    """
    found = newest(lake)
    if found is None:
        raise GridError(f"lake {lake.path}: has no tables yet; run `beam-grid refine --lake {lake.path}` first")
    contracts = {name: lake.feed(name).contract() for name in lake.feeds}
    windows = {f"gold.{w.name}": (contract, w) for contract in contracts.values() for w in contract.windows}
    known = [name for name in sorted(found.tables) if not name.startswith("gold.") or name in windows]
    if table in by_name():
        made_of = ", ".join(by_name()[table].reads)
        raise GridError(
            f"table {table!r}: is computed from {made_of}; ask for the rows of one of these that it is about"
        )
    if table not in known:
        raise GridError(f"table {table!r}: has no lineage here; these have: {', '.join(known)}")
    place = ", ".join(f"s.{name}" for name in _PLACE)
    if table in windows:
        contract, window = windows[table]
        rows = query(lake, f"SELECT '{contract.name}' AS feed, {place} FROM {_rows_of(lake, contract, window, where)}")
    else:
        feed = "s.feed" if table.startswith("bronze.") else f"'{_owner(lake, table)}'"
        rows = query(lake, f"SELECT DISTINCT {feed} AS feed, {place} FROM {_named(table)} s WHERE {condition(where)}")
    return _folded(lake, rows)


def _rows_of(lake: Lake, contract: Contract, window: WindowSpec, where: str) -> str:
    """SQL for the silver rows `s` of the windows that meet the condition; what they span is said as literals, to prune."""
    by = [_quoted(name) for name in window.by]
    if window.calendar is not None and contract.field(contract.event_time).type == "date":
        return _rows_of_days(lake, contract, window, where)
    chosen = f"SELECT {''.join(f'{b}, ' for b in by)}window_start, window_end FROM {_named(f'gold.{window.name}')} WHERE {condition(where)}"  # fmt: skip
    span = query(lake, f"SELECT min(window_start) AS low, max(window_end) AS high FROM ({chosen})").to_pylist()[0]
    time = f"arrow_cast(s.{_quoted(contract.event_time)}, {_TIME})"
    within = "false"
    if span["low"] is not None:
        low, high = (_instant(span[edge]) for edge in ("low", "high"))
        within = f"{time} >= {low} AND {time} < {high}"
    same = "".join(f" AND (s.{b} IS NOT DISTINCT FROM g.{b})" for b in by)
    return (
        f"{_named(f'silver.{contract.name}')} s LEFT SEMI JOIN ({chosen}) g "
        f"ON {time} >= g.window_start AND {time} < g.window_end{same} WHERE {within}"
    )


def _rows_of_days(lake: Lake, contract: Contract, window: WindowSpec, where: str) -> str:
    """The same where event times are dates and windows local days: which dates a window holds depends on its zone."""
    assert window.calendar is not None and window.time_zone is not None
    by = [_quoted(name) for name in window.by]
    chosen = f"SELECT {''.join(f'{b}, ' for b in by)}window_start FROM {_named(f'gold.{window.name}')} WHERE {condition(where)}"  # fmt: skip
    starts = query(lake, f"SELECT DISTINCT window_start FROM ({chosen})")["window_start"].to_pylist()
    time = f"s.{_quoted(contract.event_time)}"
    if not starts:
        return f"{_named(f'silver.{contract.name}')} s WHERE false"
    held = []
    for start in starts:
        first = start.astimezone(ZoneInfo(window.time_zone)).date()
        days = np.array([(first - date(1970, 1, 1)).days])
        end = str(next_first_day(first_day(days, window.calendar), window.calendar).astype("M8[D]")[0])
        held.append(f"({_instant(start)}, arrow_cast('{first}', 'Date32'), arrow_cast('{end}', 'Date32'))")
    same = "".join(f" AND (s.{b} IS NOT DISTINCT FROM g.{b})" for b in by)
    return (
        f"{_named(f'silver.{contract.name}')} s LEFT SEMI JOIN (SELECT c.*, d.__low, d.__high FROM ({chosen}) c "
        f"JOIN (VALUES {', '.join(held)}) AS d(__at, __low, __high) ON c.window_start = d.__at) g "
        f"ON {time} >= g.__low AND {time} < g.__high{same}"
    )


def _instant(moment: datetime) -> str:
    return f"arrow_cast('{moment.isoformat()}', {_TIME})"


def _owner(lake: Lake, table: str) -> str:
    from beam_grid.lakehouse.tables import Table

    return Table(lake, table).state().properties["beam_grid.feed"]


def _folded(lake: Lake, rows: pa.Table) -> pa.Table:
    """Positions folded to ranges, by feed, commit, source and partition in this order."""
    order = [(name, "ascending") for name in ("feed", *_PLACE)]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for *group, position in zip(*(c.to_pylist() for c in rows.sort_by(order).columns), strict=True):
        groups.setdefault(tuple(group), []).append(position)
    paths: dict[tuple[str, int], dict[str, str]] = {}
    lines = []
    for (feed, commit, source, partition), positions in groups.items():
        if (feed, commit) not in paths:
            paths[feed, commit] = _paths(lake, feed, commit)
        path = paths[feed, commit].get(source)
        lines.append((feed, commit, source, partition, ranges(positions), len(positions), path))
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, line, strict=True)) for line in lines], schema=SCHEMA)


def _paths(lake: Lake, feed: str, number: int) -> dict[str, str]:
    """Where the files a commit read were, by the name its rows have for them."""
    commit = lake.feed(feed).read(number)
    earlier = {s.commit for s in commit.taken_again} | {s.commit for s in commit.judged_again}
    found = {name: path for before in earlier for name, path in _paths(lake, feed, before).items()}
    splits = [split for partition in commit.plan for split in partition.splits]
    return found | {split.lineage: split.path for split in splits if isinstance(split, FileSplit)}


def ranges(positions: list[int]) -> str:
    """Ascending numbers as `1-3, 7`."""
    said: list[str] = []
    start = last = None
    for position in [*positions, None]:
        if start is None or last is None:
            start = position
        elif position is None or position > last + 1:
            said.append(f"{start}" if start == last else f"{start}-{last}")
            start = position
        last = position
    return ", ".join(said)


def _named(table: str) -> str:
    schema, _, name = table.partition(".")
    return f"{schema}.{_quoted(name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
