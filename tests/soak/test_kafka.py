"""A follower killed at random times, on a topic to which everything happens, ends with the oracle's tables (kafka_soak.py)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.component.broker import KafkaBroker
from tests.component.conftest import kafka_broker
from tests.soak.kafka_soak import Soak

__all__ = ["kafka_broker"]

pytestmark = [pytest.mark.component]
FIRST = int(os.environ.get("BEAM_GRID_SOAK_SEED", "1"))


def soaked(broker: KafkaBroker, folder: Path, seed: int, kills: int) -> Soak:
    soak = Soak(broker, folder, seed)
    soak.run(kills)
    print(f"seed {seed}:", *soak.story, sep="\n  ")
    assert sum("killed" in line for line in soak.story) == kills
    return soak


@pytest.mark.timeout(500)
def test_five_kills(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    soak = soaked(kafka_broker, tmp_path, FIRST, 5)
    for happened in ("partitions", "broker restarted", "offsets reset", "retention took"):
        assert any(happened in line for line in soak.story), happened
    assert all(soak.sender.sent[how] for how in ("plain", "committed", "aborted")), soak.sender.sent


@pytest.mark.nightly
@pytest.mark.timeout(2 * 3600)
def test_forty_kills(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    soaked(kafka_broker, tmp_path, FIRST + 1, 40)
