"""FlinkRunner, for previews: an unbounded pipeline on a Flink inside Beam's job server, on this machine.

         this process                        job server (JVM, Flink within)
    pipeline graph ──── job API ────►  sources, state, timers, windows
    DoFns          ◄──────────────────  bundles of encoded elements

Guarantees: the job server is gone when the context ends, and also when this process is killed.
Not guaranteed: that the machine is closed to its network meanwhile: Beam's job server and workers listen on every
interface, and ask nobody for a password. Nothing is checkpointed: a job that fails is not resumed.

What it can do stands in runners/capabilities.py.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions

from data_sources.errors import UserError
from runners.job_server import JAVA_17, JobServer, find_java, quiet_worker_threads

JARS_VARIABLE = "BEAM_GRID_FLINK_JOB_SERVER_JARS"

_COMMON = (
    "--streaming",
    "--environment_type=LOOPBACK",
    "--parallelism=1",
    "--max_bundle_time_mills=200",
    "--experiments=disable_logging_submission_environment",
)

_BRIEF = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class FlinkUnavailable(UserError):
    """Flink cannot be started here."""


def job_server_jars() -> list[Path] | None:
    """The jars of the folder that BEAM_GRID_FLINK_JOB_SERVER_JARS names; None, without it, leaves it to Beam to download
    its own. Raises FlinkUnavailable where the folder holds no Beam Flink runner."""
    setting = os.environ.get(JARS_VARIABLE)
    if not setting:
        return None
    jars = sorted(Path(setting).glob("*.jar"))
    if not any(jar.name.startswith("beam-runners-flink-") for jar in jars):
        raise FlinkUnavailable(
            f"Flink job server: {JARS_VARIABLE} is {setting}, which holds no beam-runners-flink-*.jar ({len(jars)} other "
            "jars); fetch them with `mvn -f runners/flink_job_server/pom.xml dependency:copy-dependencies "
            "-DoutputDirectory=FOLDER`"
        )
    return jars


@contextmanager
def options(
    *, jars: Sequence[Path] | None = None, heap: str = "1g", start_within: float = 90.0
) -> Iterator[PipelineOptions]:
    """Pipeline options that run on Flink within this context. start_within: seconds.

    Raises FlinkUnavailable for jars that are none, RuntimeError where the job server does not come up.
    """
    jars = job_server_jars() if jars is None else list(jars)
    java = [f"-Xmx{heap}", *JAVA_17, *_BRIEF]
    if jars is None:
        launcher = find_java("Flink job server")
        yield PipelineOptions(
            [
                "--runner=FlinkRunner",
                "--flink_master=[local]",
                f"--job_server_java_launcher={launcher}",
                *(f"--job_server_jvm_properties={option}" for option in java),
                *_COMMON,
            ]
        )
        return
    with tempfile.TemporaryDirectory(prefix="beam-grid-flink-") as scratch:
        server = JobServer(
            "Flink job server",
            "org.apache.beam.runners.flink.FlinkJobServerDriver",
            ["--flink-master=[local]"],
            jars=jars,
            java=[*java, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"],
            scratch=Path(scratch),
        )
        with quiet_worker_threads():
            try:
                endpoint = server.start(start_within)
                yield PipelineOptions(["--runner=PortableRunner", f"--job_endpoint={endpoint}", *_COMMON])
            finally:
                server.stop()
