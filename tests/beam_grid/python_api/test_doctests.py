"""The examples in the docstrings, run on the lake they speak of."""

from __future__ import annotations

import doctest
import importlib

import pytest

import beam_grid as bg

MODULES = ["beam_grid", "beam_grid.python_api.rows", "beam_grid.python_api.opened"]
FEATURED = "beam_grid.python_api.features"


def _examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in (*MODULES, FEATURED) for test in finder.find(importlib.import_module(name), name)]
    return [test for test in found if test.examples]


def test_the_public_methods_have_examples() -> None:
    names = {test.name.rpartition(".")[2] for test in _examples()}
    assert {
        "beam_grid",
        "open",
        "sql",
        "as_of",
        "ledger",
        "run",
        "inspect",
        "polars",
        "plot",
        "LakeTable",
        "Features",
        "latest",
    } <= names


@pytest.mark.parametrize("example", _examples(), ids=lambda test: test.name)
def test_an_example_says_what_happens(example: doctest.DocTest, lake: bg.OpenLake, featured: bg.OpenLake) -> None:
    example.globs = {**example.globs, "bg": bg, "lake": featured if example.name.startswith(FEATURED) else lake}
    told: list[str] = []
    outcome = doctest.DocTestRunner().run(example, out=told.append, clear_globs=False)
    assert not outcome.failed, "".join(told)
