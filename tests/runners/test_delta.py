"""The Spark session's JVM."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runners import delta


@pytest.mark.spark
def test_the_jvm_has_its_classes_from_the_archive() -> None:
    if not class_archive_can_be_seen():
        pytest.skip("make setup made no archive, or this system does not say what a process has mapped")
    gateway = delta.session().sparkContext._gateway
    assert gateway is not None
    mapped = Path(f"/proc/{gateway.proc.pid}/maps").read_text()
    assert str(delta.class_archive()) in mapped, "the JVM found the archive unfit and unpacked its jars"


def class_archive_can_be_seen() -> bool:
    """Where CI=true, on Linux, it has to be."""
    in_ci = os.environ.get("CI") == "true" and Path("/proc/self/maps").exists()
    return in_ci or (delta.class_archive().exists() and Path("/proc/self/maps").exists())
