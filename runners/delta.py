"""The Spark session of the second stage: Spark 4 with Delta Lake, on this machine or on a cluster.

Guarantees: `session()` gives one session a process and the same one again, so that a run that follows pays for the
start once; everything Spark says goes to a log file that is quoted when the start fails; times are UTC; the JVM ends
with this process, however that ends. Delta's jars are fetched once, by Spark's own resolver, from Maven Central or
what the user's Java settings put in its place, and reused from the cache after that, without a network.

On a cluster (spark://...) the driver is this process, under the address by which it reaches the master. Workers must
see the lake's folder under the same path. Only master data (load = "scd2") needs a Python on them, with this product
in it: the one PYSPARK_PYTHON names, else one at the path of ours. Executors' memory and the like are Spark's own
settings, in the spark-defaults.conf of SPARK_CONF_DIR.

Not guaranteed: that a session given to one master serves another; the second `session()` with another master fails.
Nor that a cluster without a free core says so: Spark waits for one.

What Spark finds on its class path already is not taken from Delta's dependencies a second time:

    delta-spark ─► 33 jars, 87 MB ─► less what pyspark brings ─► the driver's class path, and spark.jars on a cluster
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_sources.errors import UserError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DELTA = ("io.delta", "delta-spark_4.2_2.13", "4.4.0")
"""Group, artifact and version of the jar that goes with pyspark 4.2 and delta-spark 4.4."""

JAVA = 17
"""The oldest Java that Spark 4 runs on."""

_MASTER = re.compile(r"local(\[(\d+|\*)(,\s*\d+)?\])?|(spark|k8s)://.+|yarn")
_MEGABYTE = 1 << 20
_BIG_BYTES = 256 * _MEGABYTE
_UTC = "-Duser.timezone=UTC"


class _Running(NamedTuple):
    session: SparkSession
    master: str


_running: list[_Running] = []
"""That of this process, if there is one."""


class SparkUnavailable(UserError, RuntimeError):
    """Spark cannot be started here; the message says what is missing and what to do."""


def session(master: str | None = None, *, brief: bool = False, java: Sequence[str] = ()) -> SparkSession:
    """The session of this process, started if need be; `master` defaults to every core of this machine.

    `brief` says that little is to be done: the JVM then compiles quickly rather than well, which on two cores halves
    the time of a first small run and would slow a long one. `java` are more options for the JVM.

    Raises SparkUnavailable when Java is missing or too old, the jars cannot be had, or the JVM does not come up.
    """
    check_master(master)
    for known in _running:
        if master not in (None, known.master):
            raise SparkUnavailable(f"Spark runs on {known.master} in this process and cannot move to {master}")
        return known.session
    master = master or "local[*]"
    check_java()
    jars = delta_jars()
    scratch = Path(tempfile.mkdtemp(prefix="beam-grid-delta-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    started = _start(master, jars, scratch, brief, java)
    _running.append(_Running(started, master))
    return started


def stop() -> None:
    """End the session of this process, if there is one."""
    while _running:
        _running.pop().session.stop()


def cancel() -> None:
    """End the jobs that Spark is at in this process; they fail where they were asked for."""
    for known in _running:
        with suppress(Exception):  # it may be ending by itself
            known.session.sparkContext.cancelAllJobs()


def suit_to(spark: SparkSession, input_bytes: int) -> None:
    """Shuffle width for this much input: the cores for small data, one partition a 64 MB for big.

    Adaptive execution cuts each statement into a job a shuffle, three times as many: for big data only.
    """
    cores = spark.sparkContext.defaultParallelism
    spark.conf.set("spark.sql.adaptive.enabled", "true" if input_bytes > _BIG_BYTES else "false")
    spark.conf.set("spark.sql.shuffle.partitions", str(max(cores, input_bytes // (64 * _MEGABYTE))))


def check_master(master: str | None) -> None:
    """Raises SparkUnavailable for a master that is none."""
    if master is not None and not _MASTER.fullmatch(master):
        raise SparkUnavailable(f"Spark master {master!r}: not one that Spark knows; try local[*] or spark://HOST:7077")


def check_java() -> str:
    """The java to be used; raises SparkUnavailable where there is none that will do."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        where = f"in JAVA_HOME ({home})" if home else "on the PATH, and JAVA_HOME is not set"
        raise SparkUnavailable(f"no java {where}; install a JDK or JRE {JAVA} or later, or point JAVA_HOME at one")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    seen = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    if said.returncode or seen is None:
        raise SparkUnavailable(f"{java} -version: does not say its version; install a JDK or JRE {JAVA} or later")
    if int(seen[1]) < JAVA:
        raise SparkUnavailable(
            f"{java} is Java {seen[1]}; Spark 4 needs {JAVA} or later: install one, or set JAVA_HOME"
        )
    return java


def jar_folder() -> Path:
    """Where Delta's jars are kept: below BEAM_GRID_CACHE, else XDG_CACHE_HOME/beam-grid, else ~/.cache/beam-grid."""
    cache = os.environ.get("BEAM_GRID_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "beam-grid"
    return Path(cache).expanduser() / "-".join(DELTA[1:])


def class_archive() -> Path:
    """Where runners.class_archive puts, and a session looks for, what the JVM would else read out of the jars."""
    return Path(sys.prefix) / "share" / "beam-grid" / "spark-classes.jsa"


def delta_jars() -> list[Path]:
    """Delta's jars beyond those pyspark brings, fetched on the first call and kept in `jar_folder`."""
    folder = jar_folder()
    listed = folder / "jars.json"
    if jars := _listed(listed):
        return jars
    import filelock

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise SparkUnavailable(
            f"Delta's jars: {folder} cannot be made ({cause.strerror}); set BEAM_GRID_CACHE"
        ) from cause
    with filelock.FileLock(folder / "lock"):
        if jars := _listed(listed):
            return jars
        _fetch(folder)
        provided = {_artifact(jar) for jar in _spark_home().glob("jars/*.jar")}
        names = sorted(jar.name for jar in folder.glob("jars/*.jar") if _artifact(jar) not in provided)
        listed.write_text(json.dumps(names), encoding="utf-8")
    return _listed(listed)


def _listed(listing: Path) -> list[Path]:
    """The jars a finished download lists; none when one of them has gone."""
    if not listing.exists():
        return []
    jars = [listing.parent / "jars" / name for name in json.loads(listing.read_text(encoding="utf-8"))]
    return jars if all(jar.exists() for jar in jars) else []


def _fetch(folder: Path) -> None:
    """Resolve with the Ivy inside pyspark and with Maven Central alone.

    Ivy's defaults look into the user's local Maven repository first, where a pom without its jar is a failed
    download. The resolver's name is enough, so a user's mirror for it stays in force.
    """
    central = folder / "ivysettings.xml"
    central.write_text(
        '<ivysettings><settings defaultResolver="central"/><resolvers>'
        '<ibiblio name="central" m2compatible="true"/></resolvers></ivysettings>',
        encoding="utf-8",
    )
    tool = [*_spark_home().glob("jars/ivy-*.jar"), *_spark_home().glob("jars/commons-cli-*.jar")]
    done = subprocess.run(
        [
            check_java(), "-cp", os.pathsep.join(map(str, tool)), "org.apache.ivy.Main", "-warn",
            "-settings", str(central), "-cache", str(folder / "ivy"), "-dependency", *DELTA,
            "-confs", "default", "-types", "jar", "bundle",
            "-retrieve", str(folder / "jars" / "[artifact]-[revision].[ext]"),
        ],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode or not (folder / "jars" / f"{DELTA[1]}-{DELTA[2]}.jar").exists():
        said = [line for line in (done.stdout + done.stderr).splitlines() if re.search(r"[A-Za-z]{3}", line)]
        raise SparkUnavailable(
            f"Delta's jars: {':'.join(DELTA)} could not be fetched:\n" + "\n".join(said[-12:]) + "\n"
            "Is there a network, and does Java know the proxy? It is needed once; after that the cache serves"
        )


def _artifact(jar: Path) -> str:
    return re.sub(r"-\d[\w.-]*$", "", jar.stem)


def _spark_home() -> Path:
    import pyspark

    return Path(pyspark.__file__).parent


def _start(master: str, jars: list[Path], scratch: Path, brief: bool, java: Sequence[str]) -> SparkSession:
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    log = scratch / "spark.log"
    logging = scratch / "log4j2.properties"
    logging.write_text(_LOGGING.format(log=log), encoding="utf-8")
    conf = (
        SparkConf(loadDefaults=False)
        .setMaster(master)
        .setAppName("beam-grid refine")
        .setAll(_settings(master, jars, scratch, logging, brief, java))
    )
    # A SPARK_HOME of the user's, Beam's Spark 3 for one, must not start in place of the Spark that came with pyspark.
    named = {name: os.environ.get(name) for name in ("SPARK_HOME", "PYSPARK_SUBMIT_ARGS", "PYSPARK_PYTHON")}
    os.environ["SPARK_HOME"] = str(_spark_home())
    if master.startswith("local") or not named["PYSPARK_PYTHON"]:
        os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.pop("PYSPARK_SUBMIT_ARGS", None)
    try:
        with log.open("ab") as sink:
            gateway = launch_gateway(conf, popen_kwargs={"stdin": subprocess.PIPE, "stdout": sink, "stderr": sink})
            SparkContext(conf=conf, gateway=gateway)
        return SparkSession.builder.getOrCreate()
    except Exception as cause:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
        raise SparkUnavailable(
            f"Spark did not start on {master} ({type(cause).__name__}: {cause}). Its log ends:\n{tail}"
        ) from cause
    finally:
        for name, value in named.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _settings(
    master: str, jars: list[Path], scratch: Path, logging: Path, brief: bool, more: Sequence[str]
) -> list[tuple[str, str]]:
    local = master.startswith("local")
    cores = os.cpu_count() or 1
    named = re.fullmatch(r"local\[(\d+)(,.*)?\]", master)
    width = str(int(named[1]) if named else 1 if master == "local" else cores)
    java = [f"-Dlog4j2.configurationFile={logging.as_uri()}", _UTC, f"-Dderby.system.home={scratch}"]
    # the quick compiler alone gets 48 MB for its code, which the statements of some thirty tables outgrow
    quick = ["-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=256m", "-XX:+UseParallelGC"] if brief else []
    java += [*quick, *more]
    if not more and class_archive().exists():
        java.append(f'"-XX:SharedArchiveFile={class_archive()}"')
    checkout = str(Path(__file__).resolve().parents[1])
    chosen = {
        "spark.driver.extraClassPath": os.pathsep.join(map(str, jars)),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.variable.substitute": "false",  # a key may be called ${env:HOME}
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.executorEnv.PYTHONPATH": os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")])),
        "spark.driver.extraJavaOptions": " ".join(java),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.structuredLogging.enabled": "false",
        # Small data by default (`suit_to` widens): with Spark's 200 and Delta's 50 partitions a table of ten rows
        # takes as long as one of ten million.
        "spark.sql.shuffle.partitions": width,
        "spark.databricks.delta.snapshotPartitions": width,
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
        "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
        "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
        "spark.sql.parquet.compression.codec": "zstd",
        # Spark's own INT96 counts nanoseconds in 64 bits for most readers: the year 9999 would read as 1816
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.databricks.delta.vacuum.logging.enabled": "false",
    }
    if local:
        chosen |= {
            "spark.default.parallelism": width,
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": os.environ.get("BEAM_GRID_SPARK_MEMORY", "2g"),
            "spark.local.dir": os.environ.get("SPARK_LOCAL_DIRS", str(scratch)),
        }
    else:
        chosen["spark.jars"] = ",".join(map(str, jars))
        chosen["spark.executor.extraJavaOptions"] = " ".join([_UTC, *quick])
        if memory := os.environ.get("BEAM_GRID_SPARK_MEMORY"):
            chosen["spark.driver.memory"] = memory
        if master.startswith("spark://") and "SPARK_LOCAL_IP" not in os.environ:
            chosen["spark.driver.host"] = _own_address(master)
    return list(chosen.items())


def _own_address(master: str) -> str:
    """The address by which this machine reaches the first master of spark://HOST:PORT[,HOST:PORT] that answers.

    What executors call the driver by. A machine's host name often leads nowhere, or to loopback. Asking here also
    says at once what Spark says after a minute.
    """
    refused = []
    for place in master.removeprefix("spark://").split(","):
        host, _, port = place.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as tried:
                return str(tried.getsockname()[0])
        except (OSError, ValueError) as cause:
            refused.append(f"{place} ({cause})")
    raise SparkUnavailable(
        f"Spark master {master}: does not answer at {', '.join(refused)}; is it running, and the port right "
        "(7077 unless it was told otherwise)?"
    )


_LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {log}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{HH:mm:ss.SSS}} %p %c{{1}}: %m%n%ex
"""


def reason(cause: BaseException) -> str:
    """The first line of what lies at the bottom of an error; Py4J's own says only that a call failed."""
    java = getattr(cause, "java_exception", None)
    while java is not None and java.getCause() is not None:
        java = java.getCause()
    said = str(java.toString()) if java is not None else str(cause)
    return (said.strip().splitlines() or [""])[0][:500]
