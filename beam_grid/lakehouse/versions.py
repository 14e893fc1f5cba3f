"""The sets of table versions that belong together, one JSON each, created atomically, never changed.

    LAKE/versions/0000000001.json
        set, created_at
        commits  {feed: last commit in the tables}
        tables   {"silver.x": {path relative to the lake, version, id, feeds: {feed: last commit looked at}}}
                 a derived one also has its definition, inputs and parameters (derived.py)
        views    {"gold.x": {sql, reads, description}}
        left_out {"gold.x": {reason, ...}}: analyses whose SQL does not fit the lake's tables

What is read (`query`, `report`, `ledger`) is read at the newest set: a refine under way, or one that was killed
between two tables, is not seen. Kept free of heavy imports, because `query` pays for them.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from typing import Any

from beam_grid.errors import GridError, RunFailed
from beam_grid.landing import FORMAT, Lake, create_once, read_json, utc_now

_PUBLISHING = threading.Lock()


@dataclass
class Content:
    """What a set of versions will say: `commits`, `tables` and `views`, as versions.py has them."""

    commits: dict[str, int] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, dict[str, Any]] = field(default_factory=dict)


def content_of(known: dict[str, Any] | None) -> Content:
    """A set's content, to be changed."""
    known = known or {}
    return Content(
        dict(known.get("commits", {})),
        {name: dict(said) for name, said in known.get("tables", {}).items()},
        dict(known.get("views", {})),
        dict(known.get("left_out", {})),
    )


def newest(lake: Lake) -> dict[str, Any] | None:
    """The newest version set, None before the first; raises GridError for one that cannot be read."""
    where = max((lake.path / "versions").glob("[0-9]*.json"), default=None)
    if where is None:
        return None
    try:
        found = dict(read_json(where))
    except (OSError, ValueError) as cause:
        raise GridError(
            f"lake {lake.path}: version set {where.name} cannot be read ({cause}); remove it and run refine"
        ) from cause
    if found.get("format", 0) > FORMAT:
        raise GridError(f"lake {lake.path}: version set {where.name} was written by a newer version; update beam-grid")
    return found


def publish(lake: Lake, chosen: Content, base: Content | None = None) -> dict[str, Any]:
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
            number = before["set"] + 1 if before else 1
            found = {"format": FORMAT, "set": number, "created_at": utc_now().isoformat(), **asdict(content)}
            where = lake.path / "versions" / f"{number:010d}.json"
            try:
                where.parent.mkdir(parents=True, exist_ok=True)
                create_once(where, found)
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


def _newer(theirs: dict[str, Any] | None, before: dict[str, Any] | None, ours: dict[str, Any]) -> dict[str, Any]:
    """What to say of a table: where others moved it on too, the later of the two versions."""
    if theirs is None or theirs == before or theirs["id"] != ours["id"]:
        return ours
    late, early = (ours, theirs) if ours["version"] >= theirs["version"] else (theirs, ours)
    feeds = {a: max(late["feeds"].get(a, 0), early["feeds"].get(a, 0)) for a in {**early["feeds"], **late["feeds"]}}
    return {**late, "feeds": feeds}


def stands(lake: Lake, found: dict[str, Any]) -> bool:
    """Whether every table of the set exists and is at just the version the set names, judged by file names alone."""
    for table in found["tables"].values():
        log = lake.path / table["path"] / "_delta_log"
        if not (log / f"{table['version']:020d}.json").exists() or (log / f"{table['version'] + 1:020d}.json").exists():
            return False
    return True
