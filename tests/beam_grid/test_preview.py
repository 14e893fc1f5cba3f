"""What `preview` refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from beam_grid.cli import cli
from tests.beam_grid.test_land import toml_of
from tests.transforms.making import LATEST, plain_contract


@pytest.mark.parametrize(
    ("changes", "source", "words"),
    [
        ({}, "kafka://127.0.0.1:1", "write kafka://host:port/topic"),
        ({}, "readings.json", "write kafka://host:port/topic"),
        ({"windows": []}, "kafka://127.0.0.1:1/t", "has no windows"),
        ({"dedup": LATEST}, "kafka://127.0.0.1:1/t", "cannot take it back"),
    ],
    ids=["broker", "file", "no windows", "latest"],
)
def test_refused(changes: dict[str, Any], source: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "contract.toml"
    file.write_text(toml_of(plain_contract(**changes)))
    done = CliRunner().invoke(cli, ["preview", "readings", "--contract", str(file), "--source", source])
    assert done.exit_code and words in str(done.exception)
