"""docs/recipes.md: each contract there lands its sample, and what comes out is what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_sources.contract import parse_contract
from tests.docs.examples import Example, check, examples

ROOT = Path(__file__).parents[2]
RECIPES = examples(ROOT / "docs" / "recipes.md")
LAYOUTS = ["Fluvius", "Enedis", "Datadis", "ENTSO-E", "Low Carbon London", "UCI", "Octopus", "SolarEdge",
           "Home Assistant", "Green Button CSV"]  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.words["name"])
def test_recipe(recipe: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(recipe, tmp_path, capsys)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_has_a_recipe(layout: str) -> None:
    assert any(recipe.heading.startswith(layout) for recipe in RECIPES)


def test_each_recipe_is_a_whole_contract_of_which_nothing_deserves_a_warning() -> None:
    assert all(parse_contract(recipe.words, recipe.heading).warnings == [] for recipe in RECIPES)
    names = [recipe.words["name"] for recipe in RECIPES]
    assert len(set(names)) == len(names), "all of them can share a lake"


def test_a_wrong_row_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = RECIPES[0]
    broken = Example(
        recipe.heading, recipe.files, recipe.contract, recipe.says, recipe.rejects, recipe.columns, recipe.rows[1:]
    )
    with pytest.raises(AssertionError):
        check(broken, tmp_path, capsys)
