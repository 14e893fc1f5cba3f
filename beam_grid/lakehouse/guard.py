"""Foreign hands on a table: found before refine builds on what they left, and two writers at once.

    set 7 names version 12     13: MERGE, our transaction id      a refine cut off before its set     goes on
                               13: OPTIMIZE, no row changed       somebody tidied up                  goes on
                               13: DELETE, UPDATE, DROP COLUMNS   not what the commits come to        refused

A table is a function of the commits, so nothing is mended here: removed, it is made anew by refine.
Not guaranteed: that a change is found whose log entries Delta has cleaned away since (after 30 days, by default).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from beam_grid.errors import GridError
from beam_grid.lakehouse.live import commit

if TYPE_CHECKING:
    from beam_grid.lakehouse.table_set import PublishedTable
    from beam_grid.lakehouse.tables import State, Table

_OF_TABLES = ("CREATE TABLE", "ADD COLUMNS", "SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "CLUSTER BY")
"""Changes of a table's metadata that take nothing away."""

_ATTEMPTS = 3
_CONFLICT = re.compile(r"DELTA_CONCURRENT_|Concurrent\w+Exception")

T = TypeVar("T")


def check(table: Table, state: State, said: PublishedTable | None) -> bool:
    """Whether refine itself wrote the table after the newest set, which says `said` of it.

    Raises GridError where the folder holds no Delta table of ours, or somebody else changed its rows or columns.
    """
    if state.version is None:
        if table.path.exists() and not (table.path / "_delta_log").is_dir() and _has_content(table):
            raise GridError(f"table {table.name}: {table.path} holds no Delta table; {_way_out(table)}")
        return False
    if said is not None and said.inputs is not None:  # whoever changed it, refine makes it anew
        return said.id == state.id and changed_since(table, said.version, state.version)
    if not table.name.startswith("bronze.") and "beam_grid.feed" not in state.properties:
        raise GridError(
            f"table {table.name}: {table.path} holds a Delta table that refine did not make; {_way_out(table)}"
        )
    first = said.version + 1 if said is not None and said.id == state.id else 0
    is_ours = False
    for version in range(first, state.version + 1):
        if not _log(table, version).exists():
            continue  # summed up by a checkpoint and cleaned away
        actions = list(commit(table.path, version))
        if any(a["txn"]["appId"].startswith(f"{table.lake.id}/") for a in actions if "txn" in a):
            is_ours = True
        elif foreign := _foreign(actions):
            raise GridError(
                f"table {table.name}: somebody else changed it, version {version} is {foreign}; {_way_out(table)}, "
                "and leave the tables to refine: read them with `beam-grid query`, or copy them"
            )
    return is_ours


def changed_since(table: Table, version: int, now: int, but_by: str | None = None) -> bool:
    """Whether a commit after `version`, up to `now`, changed rows or took columns away. but_by: by another than this
    transaction's."""
    logs = [number for number in range(version + 1, now + 1) if _log(table, number).exists()]
    commits = [list(commit(table.path, number)) for number in logs]
    return any(
        _foreign(actions)
        for actions in commits
        if but_by is None or not any(action.get("txn", {}).get("appId") == but_by for action in actions)
    )


def again_on_conflict(work: Callable[..., T], *arguments: Any) -> T:
    """Do the work, and anew when another writer's commit came first: Delta then has taken nothing of it."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return work(*arguments)
        except Exception as cause:
            if not _CONFLICT.search(f"{type(cause).__name__} {cause}"):
                raise
    return work(*arguments)


def _foreign(actions: list[dict[str, Any]]) -> str | None:
    """What the commit was, if it changed rows or took columns away."""
    told: dict[str, Any] = next((a["commitInfo"] for a in actions if "commitInfo" in a), {})
    operation = told.get("operation", "an unnamed operation")
    files = [a.get("add") or a.get("remove") or {} for a in actions]
    changed_rows = any(file.get("dataChange") for file in files)
    changed_columns = any("metaData" in a for a in actions) and operation not in _OF_TABLES
    if not (changed_rows or changed_columns):
        return None
    return f"{operation} by {told.get('engineInfo', 'an unnamed engine')}"


def _log(table: Table, version: int) -> Path:
    return table.path / "_delta_log" / f"{version:020d}.json"


def _has_content(table: Table) -> bool:
    return not table.path.is_dir() or any(table.path.iterdir())


def _way_out(table: Table) -> str:
    return f"move {table.path} away and run refine, which makes the table anew from the commits"
