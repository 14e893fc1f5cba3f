"""`beam-grid doctor`: what this machine has and lacks."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

PACKAGES = ("apache-beam", "pyspark", "delta-spark", "pyarrow", "duckdb", "polars", "deltalake", "confluent-kafka")
JAVA = 17
MEMORY_GIB = 4


@dataclass(frozen=True)
class Finding:
    """One line: what was looked for, whether it is there, what was seen, and whether Beam Grid needs it."""

    what: str
    ok: bool
    seen: str
    needed: bool = True


def examine() -> Iterator[Finding]:
    """Findings in order of importance."""
    yield Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()} (3.11 or later)")
    yield _java()
    for name in PACKAGES:
        try:
            yield Finding(name, True, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, False, "not installed: run make setup")
    yield _delta_jars()
    yield _class_archive()
    import psutil

    memory = psutil.virtual_memory().total / 2**30
    yield Finding("memory", memory >= MEMORY_GIB, f"{memory:.1f} GiB ({MEMORY_GIB} or more)")
    yield Finding("cores", True, str(os.cpu_count()))
    free = shutil.disk_usage(".").free / 2**30
    yield Finding("disk", free > 1, f"{free:.1f} GiB free here")
    maven = shutil.which("mvn")
    yield Finding(
        "maven", maven is not None, maven or "none: only the component tests (make test) need it", needed=False
    )


def _java() -> Finding:
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")
    if not java or not os.path.exists(java):
        return Finding(
            "java",
            False,
            f"none: without it changes (cdc), master data (scd2) and clustering are left out; Java {JAVA} or later, JAVA_HOME or PATH",
            needed=False,
        )
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    except (OSError, subprocess.TimeoutExpired) as cause:
        return Finding("java", False, f"{java} does not run: {cause}", needed=False)
    version = re.search(r'version "(\d+)', told)
    number = int(version[1]) if version else 0
    seen = f"{told.splitlines()[0] if told else 'no answer'} ({JAVA} or later)"
    return Finding("java", number >= JAVA, seen, needed=False)


def _delta_jars() -> Finding:
    from runners.delta import jar_folder

    there = any(jar_folder().glob("jars/*delta-spark*.jar"))
    return Finding(
        "delta jars",
        there,
        str(jar_folder()) if there else "none yet: the first refine that needs Spark downloads them",
        needed=False,
    )


def _class_archive() -> Finding:
    from runners.delta import class_archive

    there = class_archive().exists()
    said = str(class_archive()) if there else "none: python -m runners.class_archive makes Spark start faster"
    return Finding("spark classes", there, said, needed=False)
