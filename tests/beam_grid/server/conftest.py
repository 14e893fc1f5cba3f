"""One lake and one server for all that do not change them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from beam_grid.landing import Lake
from tests.beam_grid.server import serving


@pytest.fixture(scope="package")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return serving.make(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="package")
def client(lake: Lake) -> Iterator[httpx.Client]:
    with serving.served(lake) as client:
        yield client
