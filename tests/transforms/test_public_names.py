"""The package's public face: each name is there, is described, and costs no import of Beam before it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import transforms


@pytest.mark.parametrize("name", transforms.__all__)
def test_a_public_name_is_there_and_described(name: str) -> None:
    assert getattr(transforms, name).__doc__
    assert getattr(transforms, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(transforms, "Windoes")


@pytest.mark.pipeline
def test_functions_over_arrow_do_not_import_beam() -> None:
    """The report, publish and `--help` need some; Beam alone takes over a second to import."""
    code = "import sys; from transforms import windows_sql, tile_rows; import transforms.judge; sys.exit('apache_beam' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_docstring_names_every_transform() -> None:
    transforms_of_beam = {
        "DropDuplicates",
        "JudgeStream",
        "KeyByShard",
        "LandSlice",
        "ReadAndJudge",
        "WindowedTiles",
        "Windows",
    }
    assert transforms_of_beam <= {word.split("(")[0] for word in (transforms.__doc__ or "").split()}
