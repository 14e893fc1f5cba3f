"""docs/features.md: what its contract says is run on generated sensors, beside the published SQL of the same features."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from beam_grid.feeds import built_in
from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.refine import refine
from data_sources.contract import FeatureSpec, parse_contract
from data_sources.contract.features import FUNCTIONS
from data_sources.grid_sensors.generate import generate
from tests.properties.oracle import run

PAGE = (Path(__file__).parents[2] / "docs" / "features.md").read_text(encoding="utf-8")

PUBLISHED = """
SELECT sensor_id, timestamp,
       avg(temperature_c) OVER (PARTITION BY sensor_id ORDER BY timestamp ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS temp_ma,
       stddev(vibration_mm_s) OVER (PARTITION BY sensor_id ORDER BY timestamp ROWS BETWEEN 20 PRECEDING AND CURRENT ROW)
           AS vibration_stddev,
       temperature_c - lag(temperature_c, 5) OVER (PARTITION BY sensor_id ORDER BY timestamp) AS temp_rate_of_change
FROM silver.grid_sensors ORDER BY sensor_id, timestamp"""


def test_the_pages_contract_makes_the_published_features(tmp_path: Path) -> None:
    (words,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    generate(tmp_path / "data", days=3, sensors=30)
    raw = {**built_in()["grid_sensors"].to_dict(), **tomllib.loads(words)}
    for word in ("expectations", "now", "windows"):
        del raw[word]
    lake = Lake.open(tmp_path / "lake")
    run(lake.path, parse_contract(raw, "the page"), tmp_path / "data")
    refine(lake, engine="embedded")
    made = query(lake, "SELECT * FROM gold.sensor_features ORDER BY sensor_id, timestamp")
    published = query(lake, PUBLISHED)
    assert made.num_rows == published.num_rows > 30 * 96 * 2
    for name in published.column_names[2:]:
        pairs = list(zip(made[name].to_pylist(), published[name].to_pylist(), strict=True))
        assert all(one == pytest.approx(other, rel=1e-9, abs=1e-9) for one, other in pairs if None not in (one, other))
        assert sum(None in pair for pair in pairs) < 200, "the first of each sensor, and what lies before a pause"
    assert {*made["failure_risk"].to_pylist()} >= {0.1, 0.6}
    newest = query(lake, "SELECT sensor_id, max(timestamp) AS t FROM silver.grid_sensors GROUP BY 1 ORDER BY 1")
    latest = query(lake, "SELECT sensor_id, timestamp AS t FROM gold.sensor_features_latest ORDER BY 1")
    assert latest.to_pylist() == newest.to_pylist()


def test_each_word_and_function_is_on_the_page() -> None:
    for word in FeatureSpec.model_fields:
        assert f"`{word}`" in PAGE, word
    for function in FUNCTIONS:
        assert f"{function}(" in PAGE or f"`{function}`" in PAGE, function
