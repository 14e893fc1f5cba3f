"""What a feed's landing zone knows of arrival: each record that landed or came late, in order, and how far behind it was.

    commit 7, partition topic/0     M before it 12:00
      position 41   at 12:03        0 behind
      position 42   at 11:20       43 min behind 12:03

A commit's plan says what its partitions were and what M each began with; a row says its commit, source and position.
Rows that were late and landed after all (`reinject late`) count once, where they came. Rejects, judged again or not, do
not count: M was not moved by them.

Not kept, so not counted: copies. One with an event time of its own (a dedup key without the event time) can have moved M
within its slice; `Arrivals.differing` says how many late rows were measured otherwise than when they came.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from beam_grid.errors import GridError
from beam_grid.lakehouse.duck import parquet
from beam_grid.state import FeedState
from data_sources.durations import micros
from data_sources.identifiers import double_quoted
from data_sources.splits import FileSplit, KafkaSplit
from transforms.judge import NO_TIME, may_be_late
from transforms.watermark import watermark_of

if TYPE_CHECKING:
    import duckdb

    from beam_grid.landing import FeedLog
    from data_sources.contract import Contract
    from transforms.manifest import Kind, LandedFile

_BATCH = 65_536

_SLICES = pa.schema(
    [
        ("slice", pa.int64()), ("commit", pa.int64()), ("source", pa.string()), ("partition", pa.int32()),
        ("split", pa.int64()), ("before", pa.int64()),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Marks:
    """Where event time stood after each commit, microseconds, NO_TIME before the first: the least M of partitions that are
    not idle, never going back, and the greatest M."""

    least: np.ndarray
    greatest: np.ndarray


@dataclass(frozen=True)
class Arrivals:
    """Of one feed. The table `measured` of the engine: slice (from 0, by commit and partition), split, position, event_us
    (its event time) and behind, both microseconds, recorded (what was written down of late rows then, else null)."""

    engine: duckdb.DuckDBPyConnection
    feed: FeedLog
    contract: Contract
    state: FeedState
    marks: Marks
    commits: np.ndarray
    """Of each slice, from 0."""
    before: np.ndarray
    """M before each slice, NO_TIME where there was none."""
    records: int
    late: int
    """Of these, how many came late."""
    whole_files: int
    """Splits that were left out: nothing in a file that is whole in itself is late."""

    @property
    def differing(self) -> int:
        """Late rows that lie further or less behind than was written down when they came."""
        return _one(self.engine, "SELECT count(*) FROM measured WHERE recorded <> behind")

    def lost(self, reach: int) -> int:
        """Records more than `reach` microseconds behind."""
        return _one(self.engine, f"SELECT count(*) FROM measured WHERE behind > {int(reach)}")

    def reach(self, lost: int) -> int:
        """The least reach, microseconds, that loses no more than so many records."""
        sql = f"SELECT behind FROM measured ORDER BY behind DESC LIMIT 1 OFFSET {int(lost)}"
        found = self.engine.execute(sql).fetchall()
        return int(found[0][0]) if found else 0

    def quantiles(self, shares: tuple[float, ...]) -> list[int]:
        """How far behind at most this share of the records were, microseconds."""
        found = self.engine.execute(
            f"SELECT quantile_disc(behind, {list(map(float, shares))}) FROM measured"
        ).fetchall()
        return [int(value) for value in found[0][0]]

    def batches(self) -> Iterator[tuple[int, np.ndarray]]:
        """(slice, event times in microseconds) in the order of arrival; a slice may come in several."""
        rows = self.engine.sql("SELECT slice, event_us FROM measured ORDER BY slice, split, position")
        for batch in rows.to_arrow_reader(_BATCH):
            slices, times = batch.column(0).to_numpy(), batch.column(1).to_numpy()
            for run in np.split(np.arange(len(slices)), np.flatnonzero(np.diff(slices)) + 1):
                yield int(slices[run[0]]), times[run]

    def files(self, *kinds: Kind) -> list[LandedFile]:
        return self.state.landed.files(*kinds)

    def path(self, file: LandedFile) -> Path:
        return self.feed.path.absolute() / file.path


def arrivals_of(feed: FeedLog, engine: duckdb.DuckDBPyConnection) -> Arrivals:
    """Read what landed and what came late. Raises GridError for a feed of which nothing can be late, or nothing is kept,
    and for a landing zone that lacks files."""
    state = FeedState.of(feed)
    contract = feed.contract()
    if contract.lake.load != "append":
        raise GridError(
            f"feed {feed.name}: load = {contract.lake.load!r}: nothing of it is ever late; ask for a feed with load = "
            "'append' (`beam-grid contracts list`)"
        )
    rows: list[tuple[int, int, str, int, int, int | None]] = []
    commits: list[int] = []
    before: list[int] = []
    marks: list[tuple[int, int]] = []
    whole_files = 0
    seen = FeedState()
    for commit in feed.commits(upto=state.last):
        for partition in commit.plan:
            splits = [split for split in partition.splits if isinstance(split, FileSplit | KafkaSplit)]
            ordered = [split for split in splits if may_be_late(contract, split.is_log)]
            whole_files += len(splits) - len(ordered)
            if not ordered:
                continue
            least = NO_TIME if partition.max_event_time is None else partition.max_event_time
            for split in ordered:
                number = -1 if split.partition is None else split.partition
                place = (len(commits), commit.number, split.lineage, number, split.number)
                rows.append((*place, None if least == NO_TIME else least))
            commits.append(commit.number - 1)
            before.append(least)
        seen.fold(commit)
        marks.append(_mark(seen, contract))
    if not rows:
        raise GridError(
            f"feed {feed.name}: each of its files is complete in itself, so nothing in it is late and no lateness is lost; "
            'where the files form one log in the order of their names, say file_order = "name" in its contract and land '
            "them into a new lake"
        )
    columns: list[list[object]] = [list(column) for column in zip(*rows, strict=True)]
    engine.register("slices", pa.table(columns, schema=_SLICES))
    _measure(engine, feed, state)
    records, late = engine.execute("SELECT count(*), count(recorded) FROM measured").fetchall()[0]
    if not records:
        raise GridError(
            f"feed {feed.name}: nothing of it has landed or come late yet, only {state.totals.rejected} rejects; see "
            f"`beam-grid inspect rejected --feed {feed.name} --lake {feed.lake.path}`"
        )
    reached = np.maximum.accumulate(np.array(marks, np.int64), axis=0)
    return Arrivals(
        engine, feed, contract, state, Marks(reached[:, 0], reached[:, 1]), np.array(commits, np.int64),
        np.array(before, np.int64), records, late, whole_files,
    )  # fmt: skip


def _mark(seen: FeedState, contract: Contract) -> tuple[int, int]:
    watermark = watermark_of(seen.max_event_times, seen.arrivals, contract)
    least = NO_TIME if watermark is None else watermark + micros(contract.out_of_orderness)
    return least, max(seen.max_event_times.values(), default=NO_TIME)


def _measure(engine: duckdb.DuckDBPyConnection, feed: FeedLog, state: FeedState) -> None:
    """Make the table `measured`."""
    import duckdb

    parts = []
    for kind, recorded in (("rows", "NULL::BIGINT"), ("late", "_behind")):
        by_contract: dict[str, list[str]] = {}
        for held in state.landed.held(kind):  # type: ignore[arg-type]
            by_contract.setdefault(held.contract, []).append(str(feed.path.absolute() / held.file.path))
        for digest, files in by_contract.items():
            at = f"epoch_us(CAST({double_quoted(feed.outline(digest).event_time)} AS TIMESTAMPTZ))"
            place = "_commit, CAST(_source AS VARCHAR) AS _source, coalesce(_partition, -1) AS _partition, _position"
            parts.append(f"SELECT {place}, {at} AS event_us, {recorded} AS recorded FROM {parquet(files)}")
    if not parts:
        engine.execute("CREATE TEMP TABLE measured (slice BIGINT, split BIGINT, position BIGINT, event_us BIGINT, recorded BIGINT, behind BIGINT)")  # fmt: skip
        return
    try:
        engine.execute(f"""
            CREATE TEMP TABLE measured AS
            WITH came AS (
                SELECT slice, split, _position AS position, event_us, recorded, before
                FROM ({" UNION ALL ".join(parts)}) JOIN slices
                ON _commit = slices.commit AND _source = slices.source AND _partition = slices.partition
            ), led AS (
                SELECT *, greatest(before, max(event_us) OVER (
                    PARTITION BY slice ORDER BY split, position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                )) AS newest FROM came
            )
            SELECT slice, split, position, event_us, recorded, greatest(coalesce(newest - event_us, 0), 0) AS behind FROM led
        """)
    except duckdb.IOException as cause:
        raise GridError(
            f"lake {feed.lake.path}: a file of {feed.name}'s landing zone cannot be read ({cause}); put it back from a copy "
            "of the lake"
        ) from cause


def _one(engine: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(engine.execute(sql).fetchall()[0][0])
