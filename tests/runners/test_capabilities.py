"""What a runner claims, tried on it: what it can do is done, and what it cannot is not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runners import capabilities, flink, spark
from tests.component import jars
from tests.runners.claims import PIPELINES

POMS = Path(__file__).resolve().parents[2] / "runners"

JOB_SERVERS = {"spark": (spark.JARS_VARIABLE, "spark_job_server"), "flink": (flink.JARS_VARIABLE, "flink_job_server")}

LINES = {**{claim: line for claim, (_, line) in PIPELINES.items()}, "metrics_back": "SAW 2 counted"}

NOT_PIPELINES = {"cluster", "parallel_read"}
"""Tried elsewhere: tests/component/test_spark_runner.py lands on a cluster and in pieces; below, for what cannot."""

GIVE_UP_S = {"direct": 15, "spark": 90, "flink": 60}
"""How long a claim is tried; what streams and never ends is cut off then."""


def tried(runner: str, claim: str) -> bool:
    """Whether what the claim's pipeline prints, where the runner is able, was printed."""
    environment = dict(os.environ)
    if runner in JOB_SERVERS:
        variable, folder = JOB_SERVERS[runner]
        environment[variable] = str(jars.resolve(POMS / folder / "pom.xml")[0].parent)
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
    assert tried("direct", claim) == getattr(capabilities.DIRECT, claim).able


@pytest.mark.component
@pytest.mark.nightly
@pytest.mark.parametrize("claim", claims("spark"))
def test_spark(claim: str) -> None:
    assert tried("spark", claim) == getattr(capabilities.SPARK, claim).able


@pytest.mark.component
@pytest.mark.nightly
@pytest.mark.parametrize("claim", claims("flink"))
def test_flink(claim: str) -> None:
    assert tried("flink", claim) == getattr(capabilities.FLINK, claim).able


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
