"""Checkpoints of a commit log: what its commits come to, written now and then, so that a start reads a few of them.

    commits      1 ................ 64 65 66 67        a start reads checkpoint 64 and commits 65 to 67
    checkpoint                      64

LAKE/landing/FEED/checkpoints/N.parquet, one row for each end of a source and for each partition. Commits stay, and are
what counts: a checkpoint that is damaged, or is of another log, is passed over, and made anew in time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from beam_grid import durable, parquet_files
from beam_grid.commit import Commit, Fates
from beam_grid.crash import point
from beam_grid.errors import GridError
from data_sources.splits import FileEnd, KafkaEnd
from data_sources.typed_json import decoder, encode

if TYPE_CHECKING:
    from pathlib import Path

    from beam_grid.landing import FeedLog
    from beam_grid.state import FeedState

log = logging.getLogger(__name__)

EVERY = 64
"""So many commits from one checkpoint to the next: they are read in some 50 ms."""

_KEPT = 2

SCHEMA = pa.schema(
    [("what", pa.string()), ("body", pa.string()), ("max_event_time", pa.int64()), ("newest_arrival", pa.int64())]
)
"""what: `state`, of which there is one row, `end` or `partition`; body: JSON, of a partition its key; instants are
microseconds since the epoch."""


class _State(Struct):
    last: int
    attempt: str
    watermark: int | None
    totals: Fates
    unbalanced: int


_state = decoder(_State)
_end = decoder(FileEnd | KafkaEnd)  # type: ignore[arg-type]
_text = decoder(str)


def write(feed: FeedLog, state: FeedState, commit: Commit) -> None:
    """Write what the commits come to after this one; older checkpoints but one go. Raises OSError."""
    said = _State(state.last, commit.attempt, state.watermark, state.totals, state.unbalanced)
    rows: list[tuple[str, str, int | None, int | None]] = [("state", encode(said).decode(), None, None)]
    rows += [("end", encode(end).decode(), None, None) for end in state.ends.values()]
    keys = state.max_event_times.keys() | state.arrivals.keys()
    rows += [
        ("partition", encode(key).decode(), state.max_event_times.get(key), state.arrivals.get(key))
        for key in sorted(keys)
    ]
    columns = [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)]
    out = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=SCHEMA), out, compression="zstd", write_page_checksum=True)
    where = _path(feed, state.last)
    where.parent.mkdir(parents=True, exist_ok=True)
    durable.replace(where, bytes(out.getvalue()))
    point("checkpoint:written")
    for number in numbers(feed)[:-_KEPT]:
        durable.remove(_path(feed, number))


def numbers(feed: FeedLog) -> list[int]:
    """Which commits there are checkpoints of, in order."""
    return sorted(int(p.stem) for p in (feed.path / "checkpoints").glob("[0-9]*.parquet") if p.stem.isdigit())


def newest(feed: FeedLog) -> FeedState:
    """The state at the newest checkpoint that can be read; before the first commit, where there is none."""
    from beam_grid.state import FeedState

    for number in reversed(numbers(feed)):
        try:
            return _read(feed, number)
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, GridError) as cause:
            log.warning("feed %s: checkpoint %s is passed over (%s)", feed.name, number, cause)
    return FeedState()


def _read(feed: FeedLog, number: int) -> FeedState:
    from beam_grid.state import FeedState

    state = FeedState(last=number)
    attempt = ""
    rows = parquet_files.read(_path(feed, number)).to_pylist()
    for row in rows:
        if row["what"] == "state":
            said = _state(row["body"])
            attempt, state.watermark, state.totals, state.unbalanced = (
                said.attempt, said.watermark, said.totals, said.unbalanced,
            )  # fmt: skip
            if said.last != number:
                raise ValueError(f"it is of commit {said.last}")
        elif row["what"] == "end":
            end = _end(row["body"])
            state.ends[end.key] = end
        else:
            key = _text(row["body"])
            for values, name in ((state.max_event_times, "max_event_time"), (state.arrivals, "newest_arrival")):
                if row[name] is not None:
                    values[key] = row[name]
    if feed.read(number).attempt != attempt:
        raise ValueError("it is of another log")
    return state


def _path(feed: FeedLog, number: int) -> Path:
    return feed.path / "checkpoints" / f"{number:010d}.parquet"
