"""A lake of two heat pumps, made once for the folder by the product itself; its files lie beside it, as a user's would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import beam_grid as bg

CONTRACT = """
name = "pumps"
format = "csv"
event_time = "read_at"
out_of_orderness = "5m"

[dedup]
key = ["pump", "read_at"]

[[windows]]
name = "pump_hourly"
size = "1h"
by = ["pump"]
measures = { readings = "count()", kwh = "sum(kwh)" }

[[rules]]
id = "P-KWH"
check = "kwh >= 0"

[[fields]]
name = "pump"
type = "string"

[[fields]]
name = "read_at"
type = "timestamp"

[[fields]]
name = "kwh"
type = "float64"
"""

FEATURES = """
[[features]]
name = "pump_features"
series = "pump"
columns = { kwh_mean = "avg(kwh) over 11 rows", kwh_change = "change(kwh, 1)" }
"""

MAY = """pump,read_at,kwh
P-1,2025-05-01T00:10:00Z,1.25
P-1,2025-05-01T00:40:00Z,1.75
P-2,2025-05-01T00:40:00Z,1.5
P-2,2025-05-01T00:40:00Z,1.5
P-2,2025-05-01T00:50:00Z,-1
"""


def pumps(folder: Path, more: str = "") -> bg.OpenLake:
    """The lake `folder/lake`, of `folder/data` and `folder/pumps.toml`."""
    (folder / "data").mkdir()
    (folder / "data" / "may.csv").write_text(MAY)
    (folder / "pumps.toml").write_text(CONTRACT + more)
    lake = bg.open(folder / "lake", create=True)
    assert lake.tables == [] and lake.set is None
    done = lake.run(folder / "data", contract=folder / "pumps.toml")
    assert done.ok, done.problems
    return lake


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the lake; nobody changes what is in it."""
    folder = tmp_path_factory.mktemp("pumps")
    pumps(folder)
    return folder


@pytest.fixture(scope="package")
def featured_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one with features; nobody changes what is in it."""
    folder = tmp_path_factory.mktemp("featured")
    pumps(folder, FEATURES)
    return folder


@pytest.fixture
def featured(featured_home: Path) -> bg.OpenLake:
    """Its lake."""
    return bg.open(featured_home / "lake")


@pytest.fixture
def lake(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[bg.OpenLake]:
    """The lake as `lake`, its folder as the working folder."""
    monkeypatch.chdir(home)
    yield bg.open("lake")
