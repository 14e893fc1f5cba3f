"""Examples out of the landing zone: one reject a rule, a few conflicts.

Read from the files that commits list, so they are there before refine has run. Bounded: a commit says which rules it
has, so that only files with something to show are opened, and of those only the rows shown are held.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from beam_grid.report.words import as_time, excerpt, place, printable
from beam_grid.segments import LandedIndex

if TYPE_CHECKING:
    from beam_grid.history import Line
    from beam_grid.landing import FeedLog
    from data_sources.contract import Contract
    from transforms.manifest import Kind


@dataclass(frozen=True)
class Reject:
    """One rejected record: why, where it stood, its bytes made printable."""

    reason: str
    place: str
    raw: str


@dataclass(frozen=True)
class Conflict:
    """A copy that differed from the record that stayed: (field, what stayed, what came)."""

    key: str
    place: str
    differences: list[tuple[str, str, str]]


def rejects(feed: FeedLog, commits: list[Line], wanted: list[str]) -> dict[str, Reject]:
    """For each `cause/rule` the first record that is rejected now, in the order of commits."""
    found: dict[str, Reject] = {}
    gone = {path for commit in commits for path in commit.judged_again}
    for commit in commits:
        holds = {*commit.rejected_by} if not commit.judged_again else {*wanted}
        missing = {rule for rule in wanted if rule not in found and rule in holds}
        for file in _files(feed, commit.number, "rejected", gone) if missing else ():
            for group in range(file.metadata.num_row_groups):
                head = file.read_row_group(group, columns=["cause", "rule"]).to_pydict()
                firsts: dict[int, str] = {}
                for at, pair in enumerate(zip(head["cause"], head["rule"], strict=True)):
                    if "/".join(pair) in missing:
                        firsts[at] = "/".join(pair)
                        missing.discard(firsts[at])
                for at, row in _rows(file, group, sorted(firsts)):
                    where = place(row["_source"], row["_partition"], row["_position"])
                    found[firsts[at]] = Reject(printable(row["reason"]), where, excerpt(row["raw"]))
                if not missing:
                    break
    return found


def conflicts(feed: FeedLog, contract: Contract, most: int) -> list[Conflict]:
    """First conflicts of the newest files that hold any."""
    found: list[Conflict] = []
    for landed in reversed(LandedIndex(feed).upto(feed.last).files("conflicts")):
        with pq.ParquetFile(feed.path / landed.path) as file:
            for _, row in _rows(file, 0, list(range(min(most - len(found), file.metadata.row_group(0).num_rows)))):
                found.append(_conflict(row, contract))
        if len(found) >= most:
            return found
    return found


def _files(feed: FeedLog, number: int, kind: Kind, gone: Container[str] = ()) -> Iterator[pq.ParquetFile]:
    for landed in (file for file in feed.read(number).listed(kind) if file.path not in gone):
        with pq.ParquetFile(feed.path / landed.path) as file:
            yield file


def _rows(file: pq.ParquetFile, group: int, wanted: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows at these places of a row group, a few at a time: a raw record may have a megabyte."""
    start, left = 0, list(wanted)
    for batch in file.iter_batches(batch_size=64, row_groups=[group]) if wanted else ():
        while left and left[0] < start + batch.num_rows:
            yield left[0], batch.slice(left[0] - start, 1).to_pylist()[0]
            left.pop(0)
        if not left:
            return
        start += batch.num_rows


def _conflict(row: dict[str, Any], contract: Contract) -> Conflict:
    try:
        kept = dict(json.loads(row["_kept"], parse_float=Decimal))
    except (ValueError, TypeError):
        kept = {}
    names = [f.name for f in contract.fields if f.name in kept and not _same(kept[f.name], row.get(f.name))]
    key = ", ".join(f"{name} = {_shown(row.get(name))}" for name in contract.dedup.key)
    where = place(row["_source"], row["_partition"], row["_position"])
    return Conflict(key, where, [(n, _shown(kept[n]), _shown(row.get(n))) for n in names[:6]])


def _same(kept: Any, came: Any) -> bool:
    if isinstance(came, date):
        return as_time(kept) == as_time(came)
    if isinstance(came, float | int | Decimal) and not isinstance(came, bool) and isinstance(kept, int | Decimal):
        return float(kept) == float(came)
    return bool(kept == came)


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return printable(value, 60)
