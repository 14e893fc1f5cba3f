"""PrismRunner, for previews: Beam's own streaming runner, a small program that Beam downloads, on this machine.

PRISM_VARIABLE names one that is here; DoFns run as threads of this process. What it can do stands in
runners/capabilities.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from apache_beam.options.pipeline_options import PipelineOptions

from runners.job_server import quiet_worker_threads

PRISM_VARIABLE = "BEAM_GRID_PRISM"


@contextmanager
def options() -> Iterator[PipelineOptions]:
    """Pipeline options that run on Prism. Raises, when a pipeline is run, what Beam raises where it cannot be fetched."""
    here = os.environ.get(PRISM_VARIABLE)
    with quiet_worker_threads():
        yield PipelineOptions(
            [
                "--runner=PrismRunner",
                "--streaming",
                "--environment_type=LOOPBACK",
                "--experiments=disable_logging_submission_environment",
                *([f"--prism_location={here}"] if here else []),
            ]
        )
