"""Pipelines that try what a runner claims: `python -m tests.runners.claims RUNNER CLAIM` prints "able" if it worked.

Each runs in a process of its own, because what a runner cannot do may be to end.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.metrics import Metrics
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp


@contextmanager
def pipeline_on(runner: str) -> Iterator[beam.Pipeline]:
    """A pipeline of the runner as `land` uses it; it has run when the context ends."""
    if runner == "direct":
        from runners import direct

        with direct.runner() as (engine, options), beam.Pipeline(runner=engine, options=options) as made:
            yield made
    elif runner == "flink":
        from runners import flink

        with flink.options() as options, beam.Pipeline(options=options) as made:
            yield made
    else:
        from runners import spark

        with spark.options("local[2]") as options, beam.Pipeline(options=options) as made:
            yield made


class Say(beam.DoFn):
    """Prints each element from wherever it is processed; workers are threads of this process on all runners."""

    def process(self, element: Any) -> Iterator[Any]:
        print(f"SAW {element}", flush=True)
        yield element


class Count(beam.DoFn):
    COUNT = ReadModifyWriteStateSpec("count", VarIntCoder())
    TIMER = TimerSpec("timer", TimeDomain.WATERMARK)

    def process(
        self, element: Any, count: Any = beam.DoFn.StateParam(COUNT), timer: Any = beam.DoFn.TimerParam(TIMER)
    ) -> Iterator[str]:
        count.write((count.read() or 0) + 1)
        timer.set(Timestamp(50))
        yield f"{element[0]} number {count.read()}"

    @on_timer(TIMER)
    def fire(self, count: Any = beam.DoFn.StateParam(COUNT)) -> Iterator[str]:
        yield f"fired after {count.read()}"


class Remind(beam.DoFn):
    COUNT = ReadModifyWriteStateSpec("count", VarIntCoder())
    TIMER = TimerSpec("timer", TimeDomain.WATERMARK)

    def process(
        self, element: Any, count: Any = beam.DoFn.StateParam(COUNT), timer: Any = beam.DoFn.TimerParam(TIMER)
    ) -> None:
        seen = count.read() or 0
        count.write(seen + 1)
        if not seen:  # set again by each element it would be put off for ever
            timer.set(Timestamp.now() + 1)

    @on_timer(TIMER)
    def fire(self, count: Any = beam.DoFn.StateParam(COUNT)) -> Iterator[str]:
        yield f"reminded of {count.read()}"


class Counted(beam.DoFn):
    def __init__(self) -> None:
        self.seen = Metrics.counter("claims", "seen")

    def process(self, element: Any) -> Iterator[Any]:
        self.seen.inc()
        yield element


def bounded(p: beam.Pipeline) -> None:
    p | beam.Create(["a"]) | beam.ParDo(Say())


def unbounded(p: beam.Pipeline) -> None:
    ticks = p | PeriodicImpulse(Timestamp.now(), MAX_TIMESTAMP, 0.5, apply_windowing=False)
    keyed = ticks | beam.Map(lambda _: ("tick", 1)) | beam.WindowInto(FixedWindows(1))
    keyed | beam.GroupByKey() | beam.Map(lambda kv: kv[0]) | beam.ParDo(Say())


def state(p: beam.Pipeline) -> None:
    keyed = p | beam.Create([("k", n) for n in range(3)]) | beam.Map(lambda kv: TimestampedValue(kv, 1))
    keyed | beam.ParDo(Count()) | beam.ParDo(Say())


def streaming_state(p: beam.Pipeline) -> None:
    ticks = p | PeriodicImpulse(Timestamp.now(), MAX_TIMESTAMP, 0.5, apply_windowing=False)
    ticks | beam.Map(lambda _: ("k", 1)) | beam.ParDo(Remind()) | beam.ParDo(Say())


def side_inputs(p: beam.Pipeline) -> None:
    side = p | "Side" >> beam.Create(["x", "y"]).with_output_types(str)
    p | beam.Create(["a"]) | beam.Map(lambda a, side: a + "".join(sorted(side)), beam.pvalue.AsList(side)) | beam.ParDo(Say())  # fmt: skip


PIPELINES = {
    "bounded": (bounded, "SAW a"),
    "unbounded": (unbounded, "SAW tick"),
    "state": (state, "SAW k number 3"),
    "timers": (state, "SAW fired after 3"),
    "streaming_state": (streaming_state, "SAW reminded of"),
    "side_inputs": (side_inputs, "SAW axy"),
}
"""By claim the pipeline and the line that it prints where the runner is able."""


def metrics_back(runner: str) -> None:
    """Prints what the counter says when the pipeline has ended."""
    with pipeline_on(runner) as p:
        p | beam.Create(["a", "b"]) | beam.ParDo(Counted())
    found = p.result.metrics().query()["counters"]
    print("SAW", sum(one.committed for one in found if one.key.metric.name == "seen"), "counted", flush=True)


if __name__ == "__main__":
    runner, claim = sys.argv[1:]
    if claim == "metrics_back":
        metrics_back(runner)
    else:
        with pipeline_on(runner) as p:
            PIPELINES[claim][0](p)
