"""SparkRunner: the Beam stage on Spark, by way of Beam's portable job server.

         this process                    job server (JVM)                Spark
    pipeline graph ──── job API ────►  translates to RDDs ────────►  local[n] or a cluster
    DoFns (local[n]) ◄──────────────── bundles of encoded elements ◄──┘

Guarantees: within `options` every pipeline goes to the one job server, which has been seen to
answer before the first is submitted; it is gone when the context ends, however it ends, and also
when this process is killed. Its log is kept out of the user's sight and quoted when it fails to
start.

With a local master DoFns run as threads of this process (LOOPBACK). On a cluster each executor starts
a Python on its own node (PROCESS, runners/spark_harness.sh), which must have this product, and
see the lake and the source, under the same paths.

    executor (JVM) ─┬─ Spark's shuffle, what is kept between steps          one of these per node
                    └─ spark_harness.sh ─► Python: DoFns

Not guaranteed: that the machine is closed to its network meanwhile: Beam's job server and workers
listen on every interface, and ask nobody for a password.

What it can do stands in runners/capabilities.py.

Beam's Python SDK reaches Spark 3 only, while the Delta stage runs Spark 4: the two never share a
process.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from apache_beam.options.pipeline_options import PipelineOptions

from runners.delta import check_master
from runners.job_server import JAVA_17, JobServer, find_java, quiet_worker_threads

JARS_VARIABLE = "BEAM_GRID_SPARK_JOB_SERVER_JARS"


def job_server_jars(folder: Path | None = None) -> list[Path] | None:
    """The jars to start the job server from; None leaves it to Beam to download its own.

    `folder` defaults to the environment variable BEAM_GRID_SPARK_JOB_SERVER_JARS. It holds either
    Beam's shaded `beam-runners-spark-3-job-server` jar or what `spark_job_server/pom.xml` names.
    Raises ValueError when there is no such folder or no Beam Spark runner in it.
    """
    named_by = "the folder given"
    if folder is None:
        setting = os.environ.get(JARS_VARIABLE)
        if not setting:
            return None
        folder, named_by = Path(setting), JARS_VARIABLE
    jars = sorted(folder.glob("*.jar"))
    if not any(jar.name.startswith("beam-runners-spark-3") for jar in jars):
        seen = f"{len(jars)} other jars" if folder.is_dir() else "no such folder"
        raise ValueError(
            f"Spark job server: {named_by} is {folder}, where a beam-runners-spark-3*.jar should "
            f"be; seen: {seen}. Fetch them with `mvn -f runners/spark_job_server/pom.xml "
            "dependency:copy-dependencies -DoutputDirectory=FOLDER`"
        )
    return jars


@contextmanager
def options(
    spark_master: str = "local[2]",
    *,
    jars: Sequence[Path] | None = None,
    environment_type: str | None = None,
    spark_properties: Mapping[str, str] | None = None,
    heap: str = "2g",
    start_within: float = 90.0,
) -> Iterator[PipelineOptions]:
    """Pipeline options that run on Spark, valid for any number of pipelines within the context.

    `jars` defaults to `job_server_jars()`. `spark_properties` are Spark's own, above those of
    SPARK_CONF_DIR; `heap` is the job server's, which with a local master is also
    where Spark computes; `start_within` is in seconds. Raises SparkUnavailable for a master that is none
    and RuntimeError when the job server does not come up, or is lost while a pipeline runs.
    """
    check_master(spark_master)
    jars = job_server_jars() if jars is None else list(jars)
    is_cluster = not spark_master.startswith("local")
    where = _workers(environment_type or ("PROCESS" if is_cluster else "LOOPBACK"))
    properties = {
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        # What Beam keeps between steps Java cannot serialise: not handed to another executor, it would be made again there,
        # and could not go to disk.
        "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
        "spark.kryoserializer.buffer.max": "1g",
    }
    if is_cluster:
        properties["spark.driver.host"] = _address_towards(spark_master)
        where += [f"--files_to_stage={jar}" for jar in jars or () if not jar.name.startswith((*_SPARKS_OWN, *_GOOGLES))]
        java = " ".join((*JAVA_17, *_BRIEF))
        properties["spark.executor.extraJavaOptions"] = java
    else:
        properties["spark.driver.bindAddress"] = "127.0.0.1"
    properties |= _defaults() | dict(spark_properties or {})
    if jars is None:
        yield _options_of_beams_own(spark_master, where, properties)
        return
    with tempfile.TemporaryDirectory(prefix="beam-grid-spark-") as scratch:
        server = JobServer(
            "Spark job server",
            "org.apache.beam.runners.spark.SparkJobServerDriver",
            [f"--spark-master-url={spark_master}"],
            jars=jars,
            java=[
                f"-Xmx{heap}", *JAVA_17, *_BRIEF, "-Dlog4j2.level=INFO", f"-Dspark.local.dir={Path(scratch) / 'spark'}",
                *(f"-D{key}={value}" for key, value in properties.items()),
            ],
            scratch=Path(scratch),
        )  # fmt: skip
        with quiet_worker_threads():
            try:
                endpoint = server.start(start_within)
                yield PipelineOptions(
                    [
                        "--runner=PortableRunner",
                        f"--job_endpoint={endpoint}",
                        *where,
                        *_COMMON,
                    ]
                )
            except grpc.RpcError as error:
                raise RuntimeError(server.lost()) from error
            finally:
                server.stop()


# Without the experiment each pipeline first waits for a `pip freeze` nobody reads. What several steps take from one is
# kept between them: where it finds no memory, on disk, else it would be made again.
_COMMON = (
    "--experiments=disable_logging_submission_environment",
    "--storage_level=MEMORY_AND_DISK",
    "--environment_cache_millis=60000",
)

# What a Spark 3.5 cluster has on its nodes: not sent there again. A jar it has and gets nevertheless does no harm.
_SPARKS_OWN = (
    "spark-", "hadoop-", "scala-", "rocksdbjni", "leveldbjni", "zookeeper", "curator", "orc-", "parquet-", "hive-",
    "jersey-", "jackson-", "netty-", "log4j-", "slf4j-", "zstd-jni", "lz4-java", "snappy-java", "commons-", "json4s-",
    "kryo", "chill", "janino", "arrow-", "avro", "datasketches", "metrics-", "xbean", "py4j", "antlr", "arpack", "hk2",
    "jakarta.", "jaxb-", "activation", "aircompressor", "RoaringBitmap", "univocity", "threeten-extra", "javassist",
)  # fmt: skip

# Google's file system, which Beam's core asks for and Spark's older Guava breaks at its first use on a node; and its half.
_GOOGLES = (
    "beam-sdks-java-extensions-google-", "google-", "gcsio-", "gax", "gapic-", "grpc-", "proto-google-", "util-2",
    "opencensus-", "opentelemetry-", "flogger", "api-common-", "conscrypt-", "exporter-metrics-",
    "shared-resourcemapping-", "detector-resources-", "perfmark-",
)  # fmt: skip

# Rows do not pass through the JVM (transforms/shuffled.py): what it does is over before compiling it well has paid.
_BRIEF = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def _workers(environment_type: str) -> list[str]:
    """Beam's options for where DoFns run: in this process, or in one that each executor starts on its own node."""
    if environment_type != "PROCESS":
        return [f"--environment_type={environment_type}"]
    environment = {"BEAM_GRID_PYTHON": os.environ.get("PYSPARK_PYTHON") or sys.executable}
    for name in ("PYTHONPATH", "TZ", "SSL_CERT_FILE"):
        if name in os.environ:
            environment[name] = os.environ[name]
    config = {"command": str(Path(__file__).with_name("spark_harness.sh")), "env": environment}
    return ["--environment_type=PROCESS", f"--environment_config={json.dumps(config)}"]


def _defaults() -> dict[str, str]:
    """Spark's settings of the user's own: spark-defaults.conf in SPARK_CONF_DIR, which no launcher reads here."""
    file = Path(os.environ.get("SPARK_CONF_DIR", "")) / "spark-defaults.conf"
    if "SPARK_CONF_DIR" not in os.environ or not file.exists():
        return {}
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    pairs = [re.split(r"[\s=]+", line, maxsplit=1) for line in lines if line and not line.startswith("#")]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[0].startswith("spark.")}


def _address_towards(master: str) -> str:
    """This machine's address as seen by a master: SPARK_LOCAL_IP, else the one its packets would leave by."""
    if named := os.environ.get("SPARK_LOCAL_IP"):
        return named
    found = re.search(r"://([^:/,]+)(?::(\d+))?", master)
    if found is None:
        return socket.getfqdn()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((found[1], int(found[2] or 7077)))  # sends nothing
        except OSError:
            return socket.getfqdn()
        return str(probe.getsockname()[0])


def _options_of_beams_own(spark_master: str, where: Sequence[str], properties: Mapping[str, str]) -> PipelineOptions:
    """Beam fetches its shaded job server, starts it, and ends it with this process."""
    return PipelineOptions(
        [
            "--runner=SparkRunner",
            f"--spark_master_url={spark_master}",
            *where,
            f"--job_server_java_launcher={find_java('Spark job server')}",
            *(f"--job_server_jvm_properties={option}" for option in (*JAVA_17, *_BRIEF)),
            *(f"--job_server_jvm_properties=-D{key}={value}" for key, value in properties.items()),
            *_COMMON,
        ]
    )
