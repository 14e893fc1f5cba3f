"""The embedded default: Beam's in-process FnApiRunner, pinned.

Beam's `DirectRunner` picks one of three engines by what the graph contains and may download one; this never does.
It is bounded, single-process (more processes were slower: the kernels use all cores already) and refuses TestStream;
what it can do stands in runners/capabilities.py.
"""

from __future__ import annotations

import atexit
import copy
import functools
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, execution
from apache_beam.runners.portability.fn_api_runner.fn_runner import RunnerResult
from apache_beam.runners.portability.fn_api_runner.worker_handlers import WorkerHandlerManager
from apache_beam.runners.runner import PipelineState
from apache_beam.runners.worker import statesampler
from apache_beam.transforms import userstate
from apache_beam.transforms.core import CallableWrapperDoFn, DoFn

from transforms.batches import shared_in_process


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


def _specs_of_classes(look: Callable[[DoFn], Any]) -> Callable[[DoFn], Any]:
    """Beam looks through every method of a DoFn for state and timers, some 170 times a pipeline. What it finds is the
    class's, so it is looked for once a class."""

    def specs(dofn: DoFn) -> Any:
        if isinstance(dofn, CallableWrapperDoFn):  # its arguments are those of the function it wraps
            return look(dofn)
        kind = type(dofn)
        if kind not in _SPECS:
            _SPECS[kind] = look(dofn)
        return _SPECS[kind]

    return specs


_SPECS: dict[type, Any] = {}


@functools.cache
def _suit_process() -> None:
    """What Beam and Arrow do here from the first run on, for good: undone at a run's end it would fail runs in other
    threads. All of it holds for other runners' graphs too.

    Arrow's jemalloc, where this build has it, gives freed blocks back sooner: 15 % less memory at its peak. What loading
    left behind need not be looked at for garbage again and again while batches come and go; frozen once, not once a
    slice, because that resets the counts by which Python decides to look at all.
    """
    with suppress(NotImplementedError):
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    statesampler.StateSampler = _PromptSampler
    userstate.get_dofn_specs = _specs_of_classes(userstate.get_dofn_specs)
    gc.freeze()
    atexit.register(gc.unfreeze)  # DuckDB says what is not freed at the end


@functools.cache
def _keep_what_is_built() -> None:
    """Once more, after the first run: Beam loads a third of what it needs with it."""
    gc.freeze()


class Graph:
    """A pipeline that is built once and run any number of times: building one, and the workers' steps, takes longer than
    running it on little.

    What differs from run to run must be looked up by its steps (transforms.blocks.Current), which serve all runs. Used
    by one thread; `close` ends its workers.
    """

    def __init__(self, build: Callable[[beam.Pipeline], Any]) -> None:
        self._build = build
        self._built: Any = None
        self._engine: _Runner | None = None
        self._number: int | None = None

    def run(self) -> None:
        """Run it to its end; raises what a step raises."""
        with _runner(self._number) as (self._number, engine, options):
            try:
                if self._engine is not None:
                    self._engine.run_again()
                    return
                self._engine = engine
                if self._built is not None:
                    engine.run_via_runner_api(copy.deepcopy(self._built), options)
                    return
                pipeline = beam.Pipeline(runner=engine, options=options)
                self._build(pipeline)
                pipeline.run().wait_until_finish()
                self._built = engine.built
                _keep_what_is_built()
            except BaseException:  # steps in mid-bundle serve no other run
                self.close()
                raise

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._engine = None


class _Runner(FnApiRunner):
    """Keeps the workers and their steps from run to run, where Beam's own ends them with each and makes them anew."""

    built: Any = None
    _kept: execution.FnApiRunnerExecutionContext | None = None

    def run_via_runner_api(self, pipeline_proto: Any, options: PipelineOptions) -> RunnerResult:
        self.built = copy.deepcopy(pipeline_proto)
        return super().run_via_runner_api(pipeline_proto, options)

    def run_stages(self, stage_context: Any, stages: Any) -> RunnerResult:
        """As Beam's, without its metrics; the workers stay until `close`. What a run began with is kept for the next."""
        components = stage_context.components
        workers = WorkerHandlerManager(components.environments, self._provision_info)
        context = execution.FnApiRunnerExecutionContext(
            stages, workers, components, stage_context.safe_coders, stage_context.data_channel_coders, self._num_workers
        )
        self._kept, self._watermarks = context, copy.deepcopy(context.watermark_manager)
        context.setup()
        self._first = list(_drained(context.queues.ready_inputs))
        self.run_again()
        return RunnerResult(PipelineState.DONE, {})

    def run_again(self) -> None:
        """Run what was run before once more; raises what a step raises."""
        context = self._kept
        assert context is not None
        context.watermark_manager = copy.deepcopy(self._watermarks)
        context.pcoll_buffers.clear()
        context.timer_buffers.clear()
        for stage, given in self._first:
            context.queues.ready_inputs.enque((stage, copy.deepcopy(given)))
        while len(context.queues.ready_inputs):
            name, given = context.queues.ready_inputs.deque()
            self._execute_bundle(context, context.bundle_manager_for(context.stages[name]), given)
            if not len(context.queues.ready_inputs):
                self._schedule_ready_bundles(context)
        context.pcoll_buffers.clear()

    def close(self) -> None:
        if self._kept is not None:
            self._kept.worker_handler_manager.close_all()
        self._kept = None


def _drained(queue: Any) -> Iterator[Any]:
    while len(queue):
        yield queue.deque()


@contextmanager
def runner() -> Iterator[tuple[_Runner, PipelineOptions]]:
    """A runner and options for one pipeline, which this thread is to build; batches pass by reference until it has ended."""
    with _runner(None) as (_, engine, options):
        try:
            yield engine, options
        finally:
            engine.close()


@contextmanager
def _runner(run: int | None) -> Iterator[tuple[int, _Runner, PipelineOptions]]:
    _suit_process()
    with shared_in_process(run) as run:
        yield run, _Runner(), _Options([])
