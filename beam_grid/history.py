"""What each commit did, in a few columns, by day: what the ledger, `inspect` and the report look back at.

    commits/0000000001.json ... 0000008640.json      read one by one these take seconds
    history/2026-11-26.parquet                       one row for each commit made on that day, in UTC

Written with each checkpoint and made from the commits, which stay: `read` takes from them what no file holds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from beam_grid import durable, parquet_files
from beam_grid.commit import FATES, Commit, Fates
from beam_grid.crash import point
from data_sources.splits import FileEnd, KafkaEnd
from data_sources.typed_json import decoder, encode

if TYPE_CHECKING:
    from beam_grid.landing import FeedLog

log = logging.getLogger(__name__)


class Line(Struct, frozen=True, kw_only=True):
    """One commit, without its plan and its files; words as in a Commit."""

    number: int
    created_at: datetime
    now: int
    """The run's clock, microseconds since the epoch."""
    feed: str
    attempt: str
    contract: str
    source: str
    runner: str
    command: str
    fates: Fates
    rejected_by: dict[str, int]
    warned_by: dict[str, int]
    extra: int
    delay_bounds_s: tuple[int, ...]
    delays: tuple[int, ...]
    watermark: int | None
    problems: tuple[str, ...]
    matches_files: bool
    files: int
    """How many."""
    bytes: int
    """Of all files."""
    least: int | None = None
    """Least event time that landed, as the manifest has it; null where it is not known, or nothing landed."""
    greatest: int | None = None
    taken: int = 0
    """Late rows that were taken in again."""
    judged_again: tuple[str, ...] = ()
    """Files of rejects that were judged again."""
    reads_files: bool = False
    reads_topics: bool = False

    @classmethod
    def of(cls, commit: Commit, event_time: str) -> Line:
        rows = commit.listed("rows")
        least = [bound for file in rows if isinstance(bound := file.min.get(event_time), int)]
        greatest = [bound for file in rows if isinstance(bound := file.max.get(event_time), int)]
        ends = [end for partition in commit.partitions for end in partition.ends]
        shared = {name: getattr(commit, name) for name in _SHARED}
        return cls(
            **shared,
            files=len(commit.files),
            bytes=sum(file.bytes for file in commit.files),
            least=min(least, default=None),
            greatest=max(greatest, default=None),
            taken=sum(split.rows for split in commit.taken_again),
            judged_again=tuple(split.path for split in commit.judged_again),
            reads_files=any(isinstance(end, FileEnd) for end in ends),
            reads_topics=any(isinstance(end, KafkaEnd) for end in ends),
        )


_SHARED = (
    "number", "created_at", "now", "feed", "attempt", "contract", "source", "runner", "command", "fates", "rejected_by",
    "warned_by", "extra", "delay_bounds_s", "delays", "watermark", "problems", "matches_files",
)  # fmt: skip

_line = decoder(Line)

SCHEMA = pa.schema(
    [("commit", pa.int64()), ("created_at", pa.timestamp("us", "UTC")), *((fate, pa.int64()) for fate in FATES),
     ("body", pa.string())]
)  # fmt: skip
"""body: the Line as JSON."""


def write(feed: FeedLog, commits: Iterable[Commit], event_time: str) -> None:
    """Enter commits, in order, which follow those that were entered before; again changes nothing. Raises OSError."""
    import pyarrow.compute as pc  # only who writes waits for it

    days: dict[date, list[Line]] = {}
    for commit in commits:
        line = Line.of(commit, event_time)
        days.setdefault(line.created_at.date(), []).append(line)
    for day, lines in days.items():
        where = feed.path / "history" / f"{day.isoformat()}.parquet"
        new = _table(lines)
        try:
            old = parquet_files.read(where) if where.exists() else new.slice(0, 0)
            new = pa.concat_tables([old.filter(pc.less(old["commit"], lines[0].number)), new])
        except (OSError, pa.ArrowException, ValueError) as cause:
            log.warning("feed %s: history of %s is made anew (%s)", feed.name, day, cause)
        out = pa.BufferOutputStream()
        pq.write_table(new, out, compression="zstd", write_page_checksum=True)
        where.parent.mkdir(parents=True, exist_ok=True)
        durable.replace(where, bytes(out.getvalue()))
        point("history:written")


def read(feed: FeedLog) -> list[Line]:
    """A line for each commit, in their order. Raises GridError where a commit that no file holds cannot be read."""
    found: dict[int, Line] = {}
    for where in sorted((feed.path / "history").glob("*.parquet")):
        try:
            bodies = parquet_files.read(where)["body"].to_pylist()
            found.update((line.number, line) for line in map(_line, bodies))
        except (OSError, pa.ArrowException, ValueError, KeyError) as cause:
            log.warning("feed %s: history %s is passed over (%s)", feed.name, where.name, cause)
    last = feed.last
    if len(found) < last:
        name = feed.outline().event_time
        found.update((n, Line.of(feed.read(n), name)) for n in range(1, last + 1) if n not in found)
    return [found[number] for number in range(1, last + 1)]


def _table(lines: list[Line]) -> pa.Table:
    rows = [
        {"commit": line.number, "created_at": line.created_at, **line.fates.by_name(), "body": encode(line).decode()}
        for line in lines
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)
