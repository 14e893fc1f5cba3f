"""What a runner claims, tried on it: what it can do is done, and what it cannot is not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runners import capabilities
from runners.spark import JARS_VARIABLE
from tests.component import jars
from tests.runners.claims import PIPELINES

POM = Path(__file__).resolve().parents[2] / "runners" / "spark_job_server" / "pom.xml"

LINES = {**{claim: line for claim, (_, line) in PIPELINES.items()}, "metrics_back": "SAW 2 counted"}

NOT_PIPELINES = {"cluster", "parallel_read"}
"""Tried elsewhere: tests/component/test_spark_runner.py lands on a cluster and in pieces; below, for what cannot."""

GIVE_UP_S = {"direct": 15, "spark": 90}
"""How long a claim is tried; what streams and never ends is cut off then."""


def tried(runner: str, claim: str, folder: Path | None) -> bool:
    """Whether what the claim's pipeline prints, where the runner is able, was printed."""
    environment = {**os.environ, **({JARS_VARIABLE: str(folder)} if folder else {})}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.runners.claims", runner, claim],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    giving_up = threading.Timer(GIVE_UP_S[runner], process.kill)
    giving_up.start()
    try:
        assert process.stdout is not None
        return any(line.startswith(LINES[claim]) for line in process.stdout)
    finally:
        giving_up.cancel()
        process.kill()
        process.wait()


def claims(runner: str) -> list[str]:
    return [name for name, _ in capabilities.of(runner).claims() if name not in NOT_PIPELINES]


@pytest.mark.component
@pytest.mark.parametrize("claim", claims("direct"))
def test_direct(claim: str) -> None:
    assert tried("direct", claim, None) == getattr(capabilities.DIRECT, claim).able


@pytest.mark.component
@pytest.mark.nightly
@pytest.mark.parametrize("claim", claims("spark"))
def test_spark(claim: str) -> None:
    assert tried("spark", claim, jars.resolve(POM)[0].parent) == getattr(capabilities.SPARK, claim).able


def test_every_claim_has_its_try_and_its_reason() -> None:
    for able in capabilities.ALL.values():
        assert {name for name, _ in able.claims()} == set(LINES) | NOT_PIPELINES
        assert all(claim.how for _, claim in able.claims())


def test_a_cluster_is_refused_where_there_is_none() -> None:
    with pytest.raises(capabilities.RunnerCannot, match="use --runner spark"):
        capabilities.check("direct", slice_rows=1, master="spark://host:7077")
    capabilities.check("spark", slice_rows=1, master="spark://host:7077")
    with pytest.raises(capabilities.RunnerCannot, match="any slicing gives equal tables"):
        capabilities.check("direct", slice_rows=10**9)
