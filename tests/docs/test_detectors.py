"""docs/detectors.md: what its contract says, and its SQL, are run on generated meters."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from beam_grid.analyses import parse
from beam_grid.feeds import built_in
from beam_grid.lakehouse import derived
from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.refine import refine
from data_sources.contract import DetectionSpec, parse_contract
from data_sources.contract.detections import COLUMNS
from data_sources.smart_meter_readings.generate import generate
from tests.properties.oracle import run

PAGE = (Path(__file__).parents[2] / "docs" / "detectors.md").read_text(encoding="utf-8")


def test_the_pages_contract_and_sql_make_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (words,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    (head,) = re.findall(r"```sql\n(.*?)```", PAGE, re.S)
    by_day = parse("days", head)
    monkeypatch.setattr(derived, "analyses", lambda: (by_day,))
    generate(tmp_path / "data", days=23, meters=20, interval=timedelta(hours=1), anomalies=6)
    raw = {**built_in()["smart_meter_readings"].to_dict(), **tomllib.loads(words)}
    del raw["expectations"]
    lake = Lake.open(tmp_path / "lake")
    run(lake.path, parse_contract(raw, "the page"), tmp_path / "data" / "smart_meter_kafka")
    refine(lake, engine="embedded")
    found = query(
        lake,
        "SELECT detector, count(*) AS n, count(*) FILTER (WHERE is_anomaly) AS bad FROM gold.meter_scores GROUP BY 1",
    )
    readings = query(lake, "SELECT count(*) AS n FROM silver.smart_meter_readings")["n"][0].as_py()
    assert dict(zip(found["detector"].to_pylist(), found["n"].to_pylist(), strict=True)) == {
        "median_mad": readings,
        "flatline": readings,
    }
    assert readings > 20 * 24 * 22 and sum(found["bad"].to_pylist()) > 0
    days = query(lake, "SELECT meter_id, CAST(day AS TEXT) AS day, value FROM gold.days ORDER BY meter_id, day")
    sums = query(
        lake,
        "SELECT meter_id, CAST(date_trunc('day', timestamp) AS TEXT) AS day, sum(reading_kwh) AS kwh "
        "FROM silver.smart_meter_readings GROUP BY 1, 2 ORDER BY 1, 2",
    )
    assert days["day"].to_pylist() == sums["day"].to_pylist() and days.num_rows > 20 * 22
    assert days["value"].to_pylist() == pytest.approx(sums["kwh"].to_pylist(), rel=1e-9)


def test_each_column_and_word_is_on_the_page() -> None:
    for word in (*COLUMNS, *DetectionSpec.model_fields):
        assert f"`{word}`" in PAGE, word
