"""The embedded default: Beam's in-process FnApiRunner, pinned.

Beam's `DirectRunner` picks one of three engines by what the graph contains and may download one; this never does.
It is bounded, single-process (more processes were slower: the kernels use all cores already) and refuses TestStream.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.worker import statesampler
from apache_beam.transforms import userstate
from apache_beam.transforms.core import CallableWrapperDoFn, DoFn

from transforms.batches import shared_in_process

CAPABILITIES = {
    "bounded": "yes",
    "unbounded": "no: an unbounded source never yields here; use slices (--follow)",
    "metrics": "yes, but counts travel as data on every runner",
}


class _Options(PipelineOptions):
    """Options whose views are made once: Beam parses all its arguments anew for each of some 200 looks a pipeline."""

    def view_as(self, cls: type[PipelineOptions]) -> PipelineOptions:
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]


class _PromptSampler(statesampler.StateSampler):
    """Beam's sampler of where a bundle's time goes. Each stage ends by waiting for its thread, which sleeps up to
    200 ms at a time: 0.4 s a slice in which nothing happens."""

    def __init__(self, prefix: str, counter_factory: Any) -> None:
        super().__init__(prefix, counter_factory, sampling_period_ms=2)


@contextmanager
def _prompt_samplers() -> Iterator[None]:
    usual = statesampler.StateSampler
    statesampler.StateSampler = _PromptSampler
    try:
        yield
    finally:
        statesampler.StateSampler = usual


@contextmanager
def _specs_known() -> Iterator[None]:
    """Beam looks through every method of a DoFn for state and timers, some 170 times a pipeline. What it finds is the
    class's, so it is looked for once a class."""
    usual = userstate.get_dofn_specs

    def specs(dofn: DoFn) -> Any:
        if isinstance(dofn, CallableWrapperDoFn):  # its arguments are those of the function it wraps
            return usual(dofn)
        kind = type(dofn)
        if kind not in _SPECS:
            _SPECS[kind] = usual(dofn)
        return _SPECS[kind]

    userstate.get_dofn_specs = specs
    try:
        yield
    finally:
        userstate.get_dofn_specs = usual


_SPECS: dict[type, Any] = {}


def _quieter_pool() -> None:
    """Arrow's jemalloc, where this build has it, gives freed blocks back sooner: 15 % less memory at its peak."""
    with suppress(NotImplementedError):
        pa.set_memory_pool(pa.jemalloc_memory_pool())


class Graph:
    """A pipeline that is built once and run any number of times: building one takes longer than running it on little.

    What differs from run to run must be looked up by its steps (transforms.blocks.Current).
    """

    def __init__(self, build: Callable[[beam.Pipeline], Any]) -> None:
        self._build = build
        self._built: Any = None

    def run(self) -> None:
        """Run it to its end; raises what a step raises."""
        with runner() as (engine, options):
            if self._built is None:
                pipeline = beam.Pipeline(runner=engine, options=options)
                self._build(pipeline)
                pipeline.run().wait_until_finish()
                self._built = engine.built
            else:
                engine.run_via_runner_api(copy.deepcopy(self._built), options).wait_until_finish()


class _Runner(FnApiRunner):
    """Keeps what it was given to run."""

    built: Any = None

    def run_via_runner_api(self, pipeline_proto: Any, options: PipelineOptions) -> Any:
        if self.built is None:
            self.built = copy.deepcopy(pipeline_proto)
        return super().run_via_runner_api(pipeline_proto, options)


@contextmanager
def runner() -> Iterator[tuple[_Runner, PipelineOptions]]:
    """A runner and options for one pipeline; batches pass by reference until it has ended."""
    _quieter_pool()
    gc.freeze()  # what loading left behind need not be looked at again and again while batches come and go
    try:
        with shared_in_process(), _prompt_samplers(), _specs_known():
            yield _Runner(), _Options([])
    finally:
        gc.unfreeze()
