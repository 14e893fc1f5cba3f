"""What all tests share: their order, and a worker's Spark session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

EXAMPLES = int(os.environ.get("BEAM_GRID_TEST_EXAMPLES", "4"))
"""How many examples a property gets that takes seconds for one; the first is the least there is, so fewer than two show nothing."""


def examples(many: int) -> int:
    """How many a property gets that takes milliseconds for one: a quarter of `many`, more than all with BEAM_GRID_TEST_EXAMPLES=24."""
    return max(2, many * EXAMPLES // 16)


def may_be_without(command: str | None) -> bool:
    """Whether a test may be skipped because a program that Beam Grid does not need is not here: not where CI=true, where it
    then fails."""
    return command is None and os.environ.get("CI") != "true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that may take longest come first, so that workers which take a file at a time end together."""
    weight: dict[Path, tuple[float, bool]] = {}
    for item in items:
        timeout = item.get_closest_marker("timeout")
        starts = any(item.get_closest_marker(name) is not None for name in ("spark", "component"))
        weight[item.path] = max(weight.get(item.path, (0, False)), (timeout.args[0] if timeout else 0, starts))
    items.sort(key=lambda item: weight[item.path], reverse=True)


INTERPRETED = [
    ("spark.sql.codegen.wholeStage", "false"),
    ("spark.sql.codegen.factoryMode", "NO_CODEGEN"),
    ("spark.sql.dataFrameQueryContext.enabled", "false"),
]
"""Settings of the session that tests share: each statement sees a few hundred rows and runs once, and what Spark generates
and compiles for it costs more than it saves. Processes of the command line keep Spark's own, and so does all of it with
BEAM_GRID_TEST_CODEGEN=1. (As a file of SPARK_CONF_DIR they would change the class path, and the class archive not fit.)"""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A JVM that compiles quickly, whoever asks first: the thorough compiler took half of the CPU, for statements of which
    each runs a few times."""
    if item.get_closest_marker("spark") is not None:
        from runners import delta

        settings = delta._settings
        with pytest.MonkeyPatch.context() as patch:
            if not os.environ.get("BEAM_GRID_TEST_CODEGEN"):
                patch.setattr(delta, "_settings", lambda *given: [*settings(*given), *INTERPRETED])
            delta.session(brief=True)
