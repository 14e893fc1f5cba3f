"""The embedded default: Beam's in-process FnApiRunner, pinned.

Beam's `DirectRunner` picks one of three engines by what the graph contains and may download one; this never does.
It is bounded, single-process (more processes were slower: the kernels use all cores already) and refuses TestStream.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.worker import statesampler

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


def _quieter_pool() -> None:
    """Arrow's jemalloc, where this build has it, gives freed blocks back sooner: 15 % less memory at its peak."""
    with suppress(NotImplementedError):
        pa.set_memory_pool(pa.jemalloc_memory_pool())


@contextmanager
def runner() -> Iterator[tuple[FnApiRunner, PipelineOptions]]:
    """A runner and options for one pipeline; batches pass by reference until it has ended."""
    _quieter_pool()
    gc.freeze()  # what loading left behind need not be looked at again and again while batches come and go
    try:
        with shared_in_process(), _prompt_samplers():
            yield FnApiRunner(), _Options([])
    finally:
        gc.unfreeze()
