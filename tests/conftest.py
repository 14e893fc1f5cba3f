"""What all tests share: their order, and a worker's Spark session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

EXAMPLES = int(os.environ.get("BEAM_GRID_TEST_EXAMPLES", "6"))
"""How many examples a property gets that takes seconds for one."""


def examples(many: int) -> int:
    """How many a property gets that takes milliseconds for one: a quarter of `many`, and all with BEAM_GRID_TEST_EXAMPLES=24."""
    return max(1, many * EXAMPLES // 24)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that may take longest come first, so that workers which take a file at a time end together."""
    weight: dict[Path, tuple[float, bool]] = {}
    for item in items:
        timeout = item.get_closest_marker("timeout")
        starts = any(item.get_closest_marker(name) is not None for name in ("spark", "component"))
        weight[item.path] = max(weight.get(item.path, (0, False)), (timeout.args[0] if timeout else 0, starts))
    items.sort(key=lambda item: weight[item.path], reverse=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A JVM that compiles quickly, whoever asks first: the thorough compiler took half of the CPU, for statements of which
    each runs a few times. What Spark would compile for them took another quarter (spark_defaults)."""
    if item.get_closest_marker("spark") is not None:
        from runners import delta

        with pytest.MonkeyPatch.context() as patch:
            if not os.environ.get("BEAM_GRID_TEST_CODEGEN") and "SPARK_CONF_DIR" not in os.environ:
                patch.setenv("SPARK_CONF_DIR", str(Path(__file__).parent / "spark_defaults"))
            delta.session(brief=True)
