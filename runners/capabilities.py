"""What a runner can and cannot do, said once: read by `plan`, by `land` before it starts, and by a test that tries it.

One `Capabilities` stands in each runner's file; `of(NAME)` finds it without loading Beam.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

from data_sources.errors import UserError


class Able(NamedTuple):
    """Whether a runner can do a thing; and how, or why not, as a user is told it."""

    able: bool
    how: str


def yes(how: str) -> Able:
    return Able(True, how)


def no(why: str) -> Able:
    return Able(False, why)


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """Of one runner; the fields that are Able are claims that tests/runners/test_capabilities.py tries."""

    runner: str
    bounded: Able
    """Pipelines that end."""
    unbounded: Able
    """Windows of a source that does not end fire while it runs."""
    state: Able
    """A stateful DoFn keeps what it was given of a key, within a pipeline that ends."""
    timers: Able
    """Event-time timers of one fire, in a pipeline that ends."""
    streaming_state: Able
    """A stateful step's timers fire while a source that does not end runs, with what it kept."""
    metrics_back: Able
    """Beam's counters come back to who started the pipeline."""
    parallel_read: Able
    """Blocks of one partition, or of files that form one log, are decoded on several workers."""
    side_inputs: Able
    """A collection is handed whole to a step."""
    cluster: Able
    """Workers on other machines."""
    slice_rows: tuple[int, int]
    """The number of rows a slice is good with: at least so many, or its fixed costs outweigh it; at most, or memory does.
    None of a runner that lands no slices."""
    slice_seconds: float
    """Fixed cost of a slice, in seconds, on two cores."""

    def claims(self) -> Iterator[tuple[str, Able]]:
        """(name, claim) of all that it can or cannot do."""
        for one in fields(self):
            if isinstance(value := getattr(self, one.name), Able):
                yield one.name, value


DIRECT = Capabilities(
    runner="direct",
    bounded=yes("slice after slice, the graph built once"),
    unbounded=no("no window of an unbounded source fires in process; land slice by slice with --follow instead"),
    state=yes("one key's elements reach one stateful step"),
    timers=yes("they fire when the input has ended"),
    streaming_state=yes("timers fire, but nothing that groups gives anything: of no use to `land`, which keeps none"),
    metrics_back=no("workers that stay from slice to slice keep none; counts travel as data"),
    parallel_read=no("two threads decode ahead of the one that judges, in this process"),
    side_inputs=yes("by reference"),
    cluster=no("everything runs in this process; use --runner spark for a cluster"),
    slice_rows=(1, 50_000_000),
    slice_seconds=0.1,
)

SPARK = Capabilities(
    runner="spark",
    bounded=yes("each slice is a Spark batch job"),
    unbounded=no(
        "Beam's Spark runner reads no unbounded source from Python: its bundles have no checkpoint handler; land slice by "
        "slice with --follow instead"
    ),
    state=yes("one key's elements reach one stateful step"),
    timers=yes("they fire when the input has ended"),
    streaming_state=no("Beam's Spark runner keeps no state between the micro-batches of a stream"),
    metrics_back=no("counters do not come back to Python; counts travel as data"),
    parallel_read=yes(
        "files and topic partitions are cut into splits; M is put together of their greatest event times"
    ),
    side_inputs=yes("broadcast to the executors"),
    cluster=yes("spark://HOST:7077; executors start Python workers on their nodes"),
    slice_rows=(1_000_000, 500_000_000),
    slice_seconds=3.0,
)

FLINK = Capabilities(
    runner="flink",
    bounded=yes("but nothing lands by it: it is for `preview`"),
    unbounded=yes("windows fire as the watermark passes, and again, with all their rows, for what comes late"),
    state=yes("one key's elements reach one stateful step"),
    timers=yes("they fire when the input has ended"),
    streaming_state=yes("timers fire as the watermark passes"),
    metrics_back=no("the job server that has them is gone with its pipeline; counts travel as data"),
    parallel_read=no("a topic is read in one place: its watermark is that of all its partitions together"),
    side_inputs=yes("by way of the job server"),
    cluster=no("Flink runs within Beam's job server, on this machine"),
    slice_rows=(0, 0),
    slice_seconds=0.0,
)
"""Of previews. Prism is not here: docs/decisions/0008-previews-on-flink.md."""

ALL = {one.runner: one for one in (DIRECT, SPARK, FLINK)}


def of(runner: str) -> Capabilities:
    """What a runner can do, by its name on the command line; KeyError for one that there is not."""
    return ALL[runner]


class RunnerCannot(UserError):
    """A run was asked for that its runner cannot do."""


def check(runner: str, *, slice_rows: int, master: str | None = None) -> None:
    """Raises RunnerCannot, with the reason and what to do instead, before anything has been read.

    slice_rows: records a slice; master: a Spark master, None for this process.
    """
    able = of(runner)
    if master is not None and not master.startswith("local") and not able.cluster.able:
        raise RunnerCannot(f"--runner {runner} --spark-master {master}: {able.cluster.how}")
    most = able.slice_rows[1]
    if slice_rows > most:
        raise RunnerCannot(
            f"--slice-rows {slice_rows:,}: the {runner} runner holds at most {most:,} records a slice in memory; any "
            "slicing gives equal tables: take less, or --runner spark for more at once"
        )
