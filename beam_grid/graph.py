"""The Beam graph of a slice, run on the runner that was chosen; what goes wrong within it said as the lake's user knows it.

In process the graph is built with a run's first slice and run again for each (runners.direct.Graph): what differs from
slice to slice its steps look up. On Spark each slice is a pipeline of its own, and the engine serves all.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from beam_grid.errors import RunFailed
from beam_grid.landing import FeedLog
from beam_grid.look_ahead import LookAhead
from beam_grid.plan import Plan
from data_sources.contract import Contract
from data_sources.typed_json import encode
from runners import capabilities
from runners.delta import check_java, check_master
from transforms.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from beam_grid.land import Options
    from runners.direct import Graph
    from transforms.blocks import Current, Slice

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""What a lake that cannot be written answers; a source that cannot be read answers otherwise."""


@contextmanager
def graph_runner(options: Options, ahead: LookAhead | None) -> Iterator[Callable[..., Manifest]]:
    """A function that runs one slice's graph; the graph, or the engine, is made with the first slice and serves all.

    Raises UserError, before anything is read, for what the runner cannot do.
    """
    capabilities.check(
        options.runner,
        slice_rows=options.slice_rows,
        master=options.spark_master if options.runner == "spark" else None,
    )
    if options.runner == "spark":
        check_master(options.spark_master)
        check_java()
    opened = ExitStack()
    made = _Made()

    def run(
        plan: Plan, feed: FeedLog, contract: Contract, attempt: str, commit: int, now: int, shards: int, index: str
    ) -> Manifest:
        from transforms.blocks import Slice

        root = feed.path.absolute()
        slice = Slice(contract, str(root), attempt, commit, now, shards, options.kafka_config)
        if options.runner == "direct" and ahead is not None:
            ahead.watch(slice, plan)  # before Beam is loaded, which takes a while
        with _graph_errors():
            if options.runner == "direct":
                elements = [encode(partition).decode() for partition in plan.partitions]
                _run_here(made, slice, elements, index, ahead)
            else:
                _run_on_spark(made, opened, options, slice, plan, index)
        from transforms.land import MANIFEST

        return read_manifest((root / "data" / attempt / MANIFEST).read_bytes())

    with opened:
        try:
            yield run
        finally:
            if made.graph is not None:
                made.graph[0].close()


@dataclass
class _Made:
    """What the first slice makes and all slices use: in process the graph, elsewhere the engine's options."""

    graph: tuple[Graph, Current] | None = None
    options: PipelineOptions | None = None


def _run_here(made: _Made, slice: Slice, elements: list[str], index: str, ahead: LookAhead | None) -> None:
    from runners import direct
    from transforms.blocks import Current
    from transforms.land import LandSlice, Partitions

    if made.graph is None:
        current = Current(ahead.blocks if ahead is not None else None)
        landing = LandSlice(cast("Slice", current), index)
        current.slice = slice
        graph = direct.Graph(lambda pipeline: pipeline | "Partitions" >> Partitions(current) | "Land" >> landing)
        made.graph = graph, current
    graph, current = made.graph
    current.slice, current.partitions = slice, elements
    graph.run()


def _run_on_spark(made: _Made, opened: ExitStack, options: Options, slice: Slice, plan: Plan, index: str) -> None:
    import apache_beam as beam

    from runners import spark
    from transforms.land import LandSlice
    from transforms.pieces import can_cut, cut

    if made.options is None:
        made.options = opened.enter_context(spark.options(options.spark_master))
    in_pieces = can_cut(plan.partitions)
    parts = cut(plan.partitions, slice.contract) if in_pieces else plan.partitions
    elements = [encode(part).decode() for part in parts]
    with _shuffled(slice), beam.Pipeline(options=made.options) as pipeline:
        spread = pipeline | "Partitions" >> beam.Create(elements, reshuffle=len(elements) > 1)
        spread | "Land" >> LandSlice(slice, index, in_pieces)


@contextmanager
def _shuffled(slice: Slice) -> Iterator[None]:
    """Removes, at the end of a slice's run, the rows that went to their shards by way of files."""
    from transforms.blocks import folder_of
    from transforms.shuffled import FOLDER

    try:
        yield
    finally:
        shutil.rmtree(folder_of(slice) / FOLDER, ignore_errors=True)


@contextmanager
def _graph_errors() -> Iterator[None]:
    """Raises RunFailed, or OSError where the lake cannot be written, for what went wrong within a graph."""
    from data_sources.sources import SourceError

    try:
        yield
    except Exception as cause:
        chain: list[BaseException] = [cause]
        while (earlier := chain[-1].__cause__) is not None:
            chain.append(earlier)
        source = next((c for c in chain if isinstance(c, SourceError)), None)
        if source is not None:
            raise RunFailed(str(source).split(" [while running")[0]) from cause
        root = chain[-1]
        wrapped = re.search(r"OSError: \[Errno (\d+)\]", str(cause))  # Beam makes another exception of a DoFn's
        number = root.errno if isinstance(root, OSError) else int(wrapped[1]) if wrapped else None
        if number in _NO_ROOM:
            raise OSError(number, os.strerror(number)) from cause
        raise RunFailed(
            f"the slice failed and nothing of it was committed: {type(root).__name__}: {_in_a_line(str(root))}"
        ) from cause


def _in_a_line(text: str) -> str:
    """The first line; of a worker's error with a traceback in it, its last line too, which says what it was."""
    first = text.split("\n")[0].removesuffix("Traceback (most recent call last):").strip()[:300]
    inner = re.findall(r"^([A-Za-z_][\w.]*(?:Error|Exception|Failed|Interrupt|Exit)\b.*)$", text, re.MULTILINE)
    return first if not inner or inner[-1] in first else f"{first} {inner[-1][:300]}".strip()
