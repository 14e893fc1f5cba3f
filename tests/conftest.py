"""What all tests share: a worker's Spark session."""

from __future__ import annotations

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refine would start it for a small job, with a JVM that compiles quickly; a worker's lasts, and is to compile well."""
    if item.get_closest_marker("spark") is not None:
        from runners import delta

        delta.session()
