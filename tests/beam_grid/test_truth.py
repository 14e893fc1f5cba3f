"""What generators promise is what runs count: every source, messy, over fifty seeds, in slices of many sizes."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from beam_grid.feeds import built_in
from beam_grid.generate import sources
from data_sources.generators import truth
from tests.landed_truth import landed_truth

SEEDS = 50
EACH = 4
"""Of four seeds each source has one."""
SLICES = (499, 2_003, 100_000)
FEW = EACH * 2
"""So many give each source two seeds, in slices of two sizes; the nightly lane has all."""

SCALES = {"smart_meter_readings": 0.02, "renewable_production": 0.2, "iot_events": 0.1, "transactions": 0.1, "energy_readings": 0.3, "half_hourly_readings": 0.1, "grid_sensors": 0.1, "transformer_energy": 0.05}  # fmt: skip


@pytest.mark.parametrize(
    "seed", [*range(FEW), *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(FEW, SEEDS))]
)
def test_the_ledger_is_the_truth(seed: int, tmp_path: Path) -> None:
    chosen = [name for n, name in enumerate(sources()) if (n + seed) % EACH == 0]
    assert chosen
    for name in chosen:
        module = importlib.import_module(f"data_sources.{name}.generate")
        module.generate(tmp_path / "data", seed=seed, scale=SCALES.get(name, 0.5), messy=True)
        assert name in truth.read(tmp_path / "data")
    for feed, promised in truth.read(tmp_path / "data").items():
        found = landed_truth(tmp_path / "data", feed, tmp_path / "lake", slice_rows=SLICES[seed % len(SLICES)])
        assert {k: v for k, v in found.items() if k in promised} == promised, feed
        assert set(truth.COUNTS) <= set(promised) and promised["read"] > 0


def test_every_source_has_a_contract_and_every_built_in_contract_a_source() -> None:
    beside = {"agreements", "products", "meterpoints"}  # in the database that half_hourly_readings writes
    assert set(sources()) | beside == set(built_in())
