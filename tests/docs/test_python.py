"""The Python of README.md and docs/python.md, run on a lake of sample data, block by block."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import beam_grid as bg
from data_sources.smart_meter_readings.generate import generate

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/python.md")


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Readings, and the lake that the pages speak of."""
    home = tmp_path_factory.mktemp("python")
    generate(home / "readings", scale=0.02)
    shutil.copy(ROOT / "examples" / "heat_pumps.toml", home)
    bg.open(home / "lake", create=True).run(home / "readings", "smart_meter_readings")
    return home


@pytest.mark.parametrize(("page", "number"), [(page, n) for page in PAGES for n in range(len(blocks(page)))])
def test_a_block_runs(page: str, number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(blocks(page)[number].replace('"/data/', f'"{folder}/'), names)
    if "lake" in names:
        assert names["lake"].set >= 1 and len(names["lake"].tables) > 5
    if "hours" in names:
        north = bg.open("lake").sql("SELECT sum(kwh) AS kwh FROM gold.energy_hourly WHERE region = 'NORTH'").polars()
        assert names["hours"].polars().height > 20
        assert names["hours"].polars()["kwh"].sum() == pytest.approx(north.item())
    if "done" in names:
        assert names["done"].ok and names["done"].landed[0].commits == 0, "nothing new"


def test_the_pipeline_of_the_page_prints_one_window(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (block,) = [block for block in blocks("docs/python.md") if "KeyByShard(contract)" in block]
    exec(block, {})
    assert "'readings': 1, 'kwh': 1.5, 'peak_kw': 4.0" in capsys.readouterr().out


def test_the_pages_have_python() -> None:
    assert [len(blocks(page)) > 0 for page in PAGES] == [True, True]
