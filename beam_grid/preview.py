"""A preview: a feed's windows as they fire, from a topic that goes on; for looking, never a commit.

    topic ─► StreamTopic ─► JudgeStream ─► DropDuplicates ─► Windows ─► a line a row and pane
                 └ watermark of the feed ──────────────────────┘ fires

The steps are those of a slice, unbounded, on a runner that streams. A window fires when the watermark passes its end, and
again, with all its rows, for each batch that comes late but is allowed.

Guarantees: of a topic read from its beginning, the last pane of a window says what `land` and `refine` make of the same
messages. Nothing is written into a lake, and no offset is committed.
Not guaranteed: a bound on memory: all that was counted is kept while the preview runs. Nothing is resumed: another
preview reads from the beginning again.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import apache_beam as beam
import msgspec
import pyarrow as pa
from apache_beam.runners.runner import PipelineState
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, Repeatedly
from apache_beam.utils.windowed_value import PaneInfoTiming

from beam_grid.errors import GridError, RunFailed
from data_sources.contract import Contract
from data_sources.sources.errors import SourceAway
from data_sources.sources.kafka import is_broker, is_kafka, parse_source
from data_sources.sources.kafka_stream import first_offsets
from runners import flink
from runners.job_server import cause_of
from transforms.blocks import Slice
from transforms.drop_duplicates import DropDuplicates
from transforms.judge_stream import JudgeStream
from transforms.step import Step
from transforms.stream_topic import StreamTopic, beginning
from transforms.windows_stream import Windows

if TYPE_CHECKING:
    pass

SHARDS = 2
_LOOK_S = 0.5
"""How often it is asked whether the job still runs."""
_ASK_S = 10.0
"""How often the broker is asked whether the topic is still there."""
_PATIENCE_S = 2.0


Timing = Literal["on_time", "late"]


class Row(msgspec.Struct, kw_only=True):
    """A row of a window as a pane brought it. It replaces the rows of the pane before."""

    feed: str
    window: str
    start: str
    end: str
    by: dict[str, Any]
    measures: dict[str, Any]
    pane: int
    """From 0; the last one counts."""
    timing: Timing
    """When the watermark passed the window's end, or after it."""
    final: bool = False
    """Never: what is final, commits say."""


@dataclass(frozen=True)
class Options:
    """source: kafka://host:port/topic; every_s: how long a batch is gathered; for_s: when to end, None for never."""

    source: str
    kafka_config: str | None = None
    every_s: float = 1.0
    for_s: float | None = None


def check(contract: Contract, source: str) -> None:
    """Raises GridError for a feed or source of which there is no honest preview."""
    if not is_kafka(source) or is_broker(source):
        raise GridError(f"--source {source}: a preview reads a topic that goes on; write kafka://host:port/topic")
    parse_source(source)
    if not contract.windows:
        raise GridError(f"feed {contract.name}: has no windows, and a preview shows nothing else; add [[windows]]")
    if contract.lake.load != "append":
        raise GridError(
            f"feed {contract.name}: load = {contract.lake.load!r} has no windows to preview; use `run --follow`"
        )
    if contract.dedup.keep == "latest":
        raise GridError(
            f'feed {contract.name}: keep = "latest" has no preview: a window that has counted a row cannot take it back '
            "when a newer version comes; use `run --follow --every 1s`"
        )


def preview(
    contract: Contract,
    options: Options,
    show: Callable[[Row], None],
    ending: threading.Event,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Runs until `ending` is set, or for as long as the options say; `show` gets each row, in other threads; `tell` what
    a person should know.

    Raises GridError for what cannot be previewed, SourceError where the topic is not to be had or vanishes, RunFailed
    where the pipeline fails. A broker that goes away is waited for.
    """
    check(contract, options.source)
    offsets = first_offsets(options.source, options.kafka_config)
    with flink.options() as engine, _shown_by(show) as token:
        pipeline = beam.Pipeline(options=engine)
        _build(pipeline, contract, options, beginning(offsets), token)
        until = None if options.for_s is None else time.monotonic() + options.for_s
        job = pipeline.run()
        tell(f"preview {contract.name}: reading {options.source}; a line per window as it fires, none of them final")
        topic = _Topic(options, tell)
        try:
            while not ending.wait(_LOOK_S) and (until is None or time.monotonic() < until):
                if PipelineState.is_terminal(job.state):
                    raise RunFailed(f"the preview ended: {_why(job)}")
                topic.look()
        finally:
            job.cancel()


class _Topic:
    """Whether the topic is still there: a client that reads it is told nothing when it is deleted, and waits."""

    def __init__(self, options: Options, tell: Callable[[str], None]) -> None:
        self._options, self._tell = options, tell
        self._next, self._is_away = time.monotonic() + _ASK_S, False

    def look(self) -> None:
        """Asks now and then. Raises SourceError where the topic is gone or refused; tells when the broker is away."""
        if time.monotonic() < self._next:
            return
        try:
            first_offsets(self._options.source, self._options.kafka_config, _PATIENCE_S)
        except SourceAway as cause:
            if not self._is_away:
                self._tell(f"preview waits: {cause}")
            self._is_away = True
        else:
            self._is_away = False
        self._next = time.monotonic() + _ASK_S


def _build(pipeline: beam.Pipeline, contract: Contract, options: Options, begin: str, token: int) -> None:
    slice = Slice(contract, "", "", 0, time.time_ns() // 1000, SHARDS, options.kafka_config)
    topic = parse_source(options.source)[1]
    records = (
        pipeline
        | "Topic" >> beam.Create([begin], reshuffle=False)
        | "StreamTopic"
        >> beam.ParDo(StreamTopic(slice, options.source, options.every_s)).with_output_types(tuple[int, pa.RecordBatch])
    )
    judged = records | "Judge" >> JudgeStream(slice, topic)
    unique = judged.on_time | "Unique" >> DropDuplicates(contract, trigger=Repeatedly(AfterCount(1)))
    for window in contract.windows:
        rows = unique.rows | f"Windows {window.name}" >> Windows(
            contract, window, accumulation_mode=AccumulationMode.ACCUMULATING
        )
        rows | f"Show {window.name}" >> beam.ParDo(_Show(contract.name, window.name, tuple(window.by), token))


class _Show(Step):
    """Hands rows to who asked: the workers of these runners are threads of this process."""

    def __init__(self, feed: str, window: str, by: tuple[str, ...], token: int) -> None:
        self.feed, self.window, self.by, self.token = feed, window, by, token

    def process(self, element, pane=beam.DoFn.PaneInfoParam):
        show = _SHOWN.get(self.token)
        if show is None:
            return
        timing = _TIMINGS.get(pane.timing, "on_time")
        for row in element.to_pylist():
            start, end = row.pop("window_start"), row.pop("window_end")
            by = {name: row.pop(name) for name in self.by}
            show(
                Row(
                    feed=self.feed, window=self.window, start=start.isoformat(), end=end.isoformat(), by=by,
                    measures=row, pane=pane.index, timing=timing,
                )
            )  # fmt: skip


_TIMINGS: dict[int, Timing] = {PaneInfoTiming.ON_TIME: "on_time", PaneInfoTiming.LATE: "late"}

_SHOWN: dict[int, Callable[[Row], None]] = {}
_NUMBERS = itertools.count(1)


@contextmanager
def _shown_by(show: Callable[[Row], None]) -> Iterator[int]:
    token = next(_NUMBERS)
    _SHOWN[token] = show
    try:
        yield token
    finally:
        del _SHOWN[token]


def _why(job: Any) -> str:
    """What went wrong in a step, out of the tracebacks of two languages; else what the runner says."""
    try:
        job.wait_until_finish()
    except Exception as cause:
        raised = re.findall(r"^(?!java|org\.)[A-Za-z_][\w.]*\.(\w+: .*)$", str(cause), re.MULTILINE)
        return (raised[0] if raised else cause_of(cause).split("\n")[0])[:500]
    return f"its state is {job.state}"
