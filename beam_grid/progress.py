"""What was done for each published version set, and how long it took: of landing, tables, analyses and alerts.

    LAKE/versions/N.json ──┐   its seconds, its commits beside those of N-1
    commits of its feeds ──┼─► SetProgress ─► `beam-grid inspect sets`, the newest in `status`
    alerts.db ─────────────┘   when its alerts were looked at, raised and taken by the sinks

Reads what is kept of sets, the newest 100. A set that brings no commit holds what was made beside landing, as detections,
of those before it. Kept free of heavy imports: `status` asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from beam_grid.errors import GridError
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.lakehouse.versions import at_number, kept_numbers
from beam_grid.landing import Lake

if TYPE_CHECKING:
    from beam_grid.alerts.store import Look

LAND = "land "
"""What landing is called among a set's seconds, before the feed's name."""

_MOST_BACK = 20
"""So many sets may follow the newest one that brought a commit, for what `status` says of it."""


class SetProgress(Struct, kw_only=True):
    """One version set. Seconds are None where nothing of the kind was done, or nobody noted it."""

    set: int
    created_at: datetime
    """In UTC."""
    commits: dict[str, tuple[int, int]] = {}
    """By feed the first and the last commit that it brings."""
    land_s: float | None = None
    """Reading, judging, dedup and writing, up to the commits."""
    publish_s: float | None = None
    """Tables of feeds, windows and bronze."""
    analyses_s: float | None = None
    """What is computed from tables: detections and other analyses, reflections, expectations."""
    seconds: dict[str, float] = {}
    """The same, each by itself: `land FEED`, or the table."""
    alerts_s: float | None = None
    """Asking the rules of alerts.toml."""
    raised: int | None = None
    """Alerts."""
    delivered_s: float | None = None
    """From the set to the moment when sinks had taken all messages of alerts raised in it; None while one waits."""


def newest_first(lake: Lake) -> Iterator[SetProgress]:
    """Each set that is kept; one that goes meanwhile is left out. Raises GridError for one that cannot be read."""
    numbers = kept_numbers(lake)
    looks = _looks(lake, numbers[0]) if numbers else {}
    found = at_number(lake, numbers[-1]) if numbers else None
    for number in reversed(numbers):
        before = at_number(lake, number - 1)
        if found is not None:
            yield _progress(found, before, looks.get(number))
        found = before


def newest(lake: Lake) -> SetProgress | None:
    """The newest set that brought a commit, with what was made of it since; None where there is none of late."""
    later: list[SetProgress] = []
    for one in newest_first(lake):
        later.append(one)
        if one.commits:
            return _together(one, later)
        if len(later) > _MOST_BACK:
            break
    return None


def _together(one: SetProgress, all_of_it: list[SetProgress]) -> SetProgress:
    def total(word: str) -> float | None:
        known = [value for each in all_of_it if (value := getattr(each, word)) is not None]
        return round(sum(known), 3) if known else None

    seconds: dict[str, float] = {}
    for each in reversed(all_of_it):
        seconds |= each.seconds
    return SetProgress(
        set=one.set, created_at=one.created_at, commits=one.commits, seconds=seconds, land_s=one.land_s,
        publish_s=total("publish_s"), analyses_s=total("analyses_s"), alerts_s=total("alerts_s"),
        raised=None if (raised := total("raised")) is None else int(raised), delivered_s=one.delivered_s,
    )  # fmt: skip


def _progress(found: TableSet, before: TableSet | None, look: Look | None) -> SetProgress:
    known = before.commits if before else {}
    commits = {f: (min(known.get(f, 0) + 1, n), n) for f, n in found.commits.items() if n != known.get(f, 0)}
    progress = SetProgress(set=found.number, created_at=found.created_at, commits=commits, seconds=found.seconds)
    for name, took in found.seconds.items():
        table = found.tables.get(name)
        is_made = table is not None and table.inputs is not None
        part = "land_s" if name.startswith(LAND) else "analyses_s" if is_made else "publish_s"
        setattr(progress, part, round((getattr(progress, part) or 0.0) + took, 3))
    if look is not None:
        progress.alerts_s, progress.raised = round(look.seconds, 3), look.raised
        if look.taken_at is not None:
            progress.delivered_s = round(look.taken_at / 1e6 - found.created_at.timestamp(), 3)
    return progress


def _looks(lake: Lake, since: int) -> dict[int, Look]:
    if not (lake.path / "alerts").is_dir():
        return {}
    from beam_grid.alerts.store import Store, path_of  # not what most lakes have

    if not path_of(lake).exists():
        return {}
    try:
        store = Store(lake, is_read_only=True)
    except GridError:  # `status` says what is wrong with it
        return {}
    try:
        return store.looks(since)
    except GridError:
        return {}
    finally:
        store.close()
