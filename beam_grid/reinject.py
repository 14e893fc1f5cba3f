"""`reinject late`: late rows, kept whole as values, go through the graph once more and land, as commits of their own.

    commit 3   read 100 = landed 90 + duplicates 2 + late 8 + rejected 0
    commit 7   read   0 = landed  7 + duplicates 1 + late -8 + rejected 0      took in the late rows of commit 3
    in total   read 100 = landed 97 + duplicates 3 + late 0 + rejected 0

Guarantees: nothing is counted twice; a late row is taken in once, whatever was cut off, because the commit that takes
it names the file it was kept in; it keeps the place it came from (`_source`, `_partition`, `_position`) and bronze.late
keeps the record that it was late. Copies are dropped as ever. Watermarks do not move.
Not guaranteed: with keep = "first", that of a key's payloads the one stays that would have if nothing had been late:
a late row now arrives after those that were on time.
"""

from __future__ import annotations

import time

from msgspec.structs import replace

from beam_grid import openlineage
from beam_grid.graph import graph_runner
from beam_grid.land import (
    SLICE_ROWS,
    Landed,
    Options,
    clock,
    count,
    land_slice,
    landed_dataset,
    settle_shards,
)
from beam_grid.landing import FeedLog, Lake, written_to
from beam_grid.plan import Plan
from beam_grid.state import FeedState, Kept
from data_sources.splits import LateSplit, PartitionPlan

KEY = "late"
"""Key of the one partition that late files form."""


def reinject(lake: Lake, name: str, *, command: str = "", slice_rows: int = SLICE_ROWS) -> Landed:
    """Land the late rows of a feed that no commit has taken in again; the caller holds the landing lock.

    Raises GridError for a feed that never landed, RunFailed when a slice fails; earlier ones stay.
    """
    feed = lake.landed(name)
    with written_to(lake):
        return _reinject(feed, command, slice_rows)


def _reinject(feed: FeedLog, command: str, slice_rows: int) -> Landed:
    started, lake, name = time.monotonic(), feed.lake, feed.name
    contract, state, kept, done = feed.contract(), FeedState.of(feed), Kept.of(feed), Landed(name)
    options = Options("late rows", command=command)
    shards, now = settle_shards(feed, None), clock()
    job = openlineage.run(lake, f"reinject.{name}", "apache-beam")
    with graph_runner(options, None) as run, job as told:
        while kept.late:
            told.start([openlineage.landing(lake, name, "input")], [openlineage.landing(lake, name, "output")])
            commit = land_slice(feed, contract, state, _next(kept, slice_rows), options, shards, now, run)
            state.add(commit)
            kept.add(commit)
            count(done, commit)
            told.inputs = [openlineage.landing(lake, name, "input", rows=-done.fates.late)]
            told.outputs = [landed_dataset(lake, contract, done)]
    done.seconds = time.monotonic() - started
    return done


def _next(kept: Kept, slice_rows: int) -> Plan:
    """Late files, the oldest first, until they hold `slice_rows`; a file is taken whole, and holds a slice at most."""
    splits: list[LateSplit] = []
    rows = 0
    for split in kept.late.values():
        if splits and rows + split.rows > slice_rows:
            break
        splits.append(replace(split, number=len(splits)))
        rows += split.rows
    return Plan([PartitionPlan(key=KEY, splits=tuple(splits))], rows)
