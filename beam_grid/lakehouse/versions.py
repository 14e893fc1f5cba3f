"""The sets of table versions that belong together, one JSON each, created atomically, never changed.

    LAKE/versions/0000000001.json    a TableSet, see table_set.py

What is read (`query`, `report`, `ledger`) is read at the newest set: a refine under way, or one that was killed
between two tables, is not seen. Kept free of heavy imports, because `query` pays for them.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from beam_grid.durable import remove
from beam_grid.errors import GridError, RunFailed
from beam_grid.lakehouse.table_set import LeftOut, PublishedTable, TableSet, View, from_json, to_json
from beam_grid.landing import FORMAT, Lake, create_once, utc_now

if TYPE_CHECKING:
    from beam_grid.lakehouse.tables import State, Table

_PUBLISHING = threading.Lock()

KEPT_SETS = 100
"""Older sets than these go: a reader takes the newest, and what it has read of one it keeps."""


@dataclass
class Content:
    """What a set will say, to be changed: entries are put in and taken out, never changed themselves."""

    commits: dict[str, int] = field(default_factory=dict)
    tables: dict[str, PublishedTable] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict, compare=False)
    """What was done for the set that is to come; the only word that the set before has no part in."""

    def copy(self) -> Content:
        return Content(*(dict(word) for word in vars(self).values()))


def content_of(known: TableSet | None) -> Content:
    """A set's content, to be changed."""
    return Content(known.commits, known.tables, known.views, known.left_out).copy() if known else Content()


def published(table: Table, state: State, **more: Any) -> PublishedTable:
    """What a set says of a table that was written; `more` as PublishedTable has it. Raises RunFailed where it is gone."""
    if state.version is None or state.id is None:
        raise RunFailed(f"table {table.name}: {table.path} went while it was written; run refine, which makes it anew")
    return PublishedTable(path=table.relative, version=state.version, id=state.id, **more)


def newest(lake: Lake) -> TableSet | None:
    """The newest version set, None before the first; raises GridError for one that cannot be read."""
    try:  # of names alone: there may be ten thousand
        names = os.listdir(lake.path / "versions")
    except FileNotFoundError:
        return None
    name = max((name for name in names if name[:1].isdigit() and name.endswith(".json")), default=None)
    if name is None:
        return None
    return _read(lake, lake.path / "versions" / name)


def at_number(lake: Lake, number: int) -> TableSet | None:
    """The set with this number; None where it was never made or is no longer kept. Raises GridError as `newest`."""
    where = lake.path / "versions" / f"{number:010d}.json"
    try:
        return _read(lake, where) if where.exists() else None
    except GridError:
        if where.exists():
            raise
        return None  # it went between the two looks


def kept_numbers(lake: Lake) -> list[int]:
    """Numbers of the sets that are kept, oldest first."""
    try:
        names = os.listdir(lake.path / "versions")
    except FileNotFoundError:
        return []
    return sorted(int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit())


def at_time(lake: Lake, time: datetime) -> TableSet | None:
    """The newest kept set that was made at this time or before; None where there is none. Raises GridError as `newest`."""
    for number in reversed(kept_numbers(lake)):
        found = at_number(lake, number)
        if found is not None and found.created_at <= time:
            return found
    return None


def newest_number(lake: Lake, known: int = 0) -> int:
    """Number of the newest set, 0 before the first; cheap for who knows that the set `known` was there."""
    folder = lake.path / "versions"
    if not known or not (folder / f"{known:010d}.json").exists():
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return 0
        return max((int(n[:-5]) for n in names if n.endswith(".json") and n[:-5].isdigit()), default=0)
    while (folder / f"{known + 1:010d}.json").exists():
        known += 1
    return known


def _read(lake: Lake, where: Path) -> TableSet:
    try:
        return from_json(where.read_bytes())
    except GridError as cause:
        raise GridError(f"lake {lake.path}: version set {where.name} {cause}") from cause
    except (OSError, ValueError) as cause:
        raise GridError(
            f"lake {lake.path}: version set {where.name} cannot be read ({cause}); remove it and run refine"
        ) from cause


def publish(lake: Lake, chosen: Content, base: Content | None = None) -> TableSet:
    """Make a new set visible, all or nothing, and return it; the newest one where it says the same.

    base: the content that `chosen` was made from. What others have published since then stays, but for the entries
    that differ between the two: the publisher of commits and Spark's part each bring their own.
    """
    with _PUBLISHING:
        while True:
            before = newest(lake)
            content = chosen if base is None else _merged(content_of(before), base, chosen)
            if before is not None and content == content_of(before):
                return before
            number = before.number + 1 if before else 1
            found = TableSet(format=FORMAT, number=number, created_at=utc_now(), **vars(content.copy()))
            where = lake.path / "versions" / f"{number:010d}.json"
            try:
                where.parent.mkdir(parents=True, exist_ok=True)
                create_once(where, to_json(found))
                remove(where.with_name(f"{number - KEPT_SETS:010d}.json"))
            except FileExistsError:
                continue
            except OSError as cause:
                raise RunFailed(
                    f"lake {lake.path}: version set {number} cannot be written ({cause.strerror or cause}); the tables "
                    "stay as they are: make room and run it again"
                ) from cause
            return found


def _merged(now: Content, base: Content, chosen: Content) -> Content:
    """`now` with what `chosen` changed of `base`."""
    now.seconds = dict(chosen.seconds)
    for word in ("commits", "tables", "views", "left_out"):
        theirs, before, after = (getattr(content, word) for content in (now, base, chosen))
        for name in before.keys() | after.keys():
            if name not in after:
                theirs.pop(name, None)
            elif before.get(name) != after[name]:
                theirs[name] = (
                    _newer(theirs.get(name), before.get(name), after[name]) if word == "tables" else after[name]
                )
    return now


def _newer(theirs: PublishedTable | None, before: PublishedTable | None, ours: PublishedTable) -> PublishedTable:
    """What to say of a table: where others moved it on too, the later of the two versions."""
    if theirs is None or theirs == before or theirs.id != ours.id:
        return ours
    late, early = (ours, theirs) if ours.version >= theirs.version else (theirs, ours)
    feeds = {a: max(late.feeds.get(a, 0), early.feeds.get(a, 0)) for a in {**early.feeds, **late.feeds}}
    return replace(late, feeds=feeds)


def stands(lake: Lake, found: TableSet) -> bool:
    """Whether every table of the set exists and is at just the version the set names, judged by file names alone."""
    for table in found.tables.values():
        log = lake.path / table.path / "_delta_log"
        if not (log / f"{table.version:020d}.json").exists() or (log / f"{table.version + 1:020d}.json").exists():
            return False
    return True
