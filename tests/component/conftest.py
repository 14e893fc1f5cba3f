"""What the component tests run against: a real Kafka broker and Beam's Spark job server.

A fixture here fails where it cannot be had; it never skips. What is missing is said by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.component import jars
from tests.component.broker import KafkaBroker


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A Kafka 4.1 broker of this test session, empty at first.

    Topics are shared: give each test its own. A test that calls `stop()` calls `start()` too.
    """
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def spark_job_server_jars() -> Path:
    """The folder to name in BEAM_GRID_SPARK_JOB_SERVER_JARS."""
    pom = Path(__file__).resolve().parents[2] / "runners" / "spark_job_server" / "pom.xml"
    return jars.resolve(pom)[0].parent
