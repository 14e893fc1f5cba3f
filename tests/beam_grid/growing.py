"""A lake of one feed that grows by files, and its table beside what was made of the raw lines at once."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.refine import Engine, refine
from data_sources.contract import Contract
from tests.properties.oracle import NEVER, run

Row = dict[str, Any]


class Feed:
    """A lake of one feed, and the files it was made from."""

    def __init__(self, path: Path, feed: Contract) -> None:
        self.lake, self.feed, self.source = Lake.open(path / "lake"), feed, path / "source"
        self.source.mkdir(parents=True)

    def add(self, rows: Iterable[Row], slice_rows: int = 100_000, engine: Engine = "embedded") -> None:
        """One more file, landed and refined."""
        path = self.source / f"{len(list(self.source.iterdir())):03d}.json"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        run(self.lake.path, self.feed, self.source, now=NEVER, slice_rows=slice_rows)
        refine(self.lake, engine=engine)

    def rows(self, table: str, where: str, order: str) -> list[Row]:
        return query(self.lake, f"SELECT * FROM {table} WHERE {where} ORDER BY {order}").to_pylist()


def in_parts(draw: random.Random, rows: list[Row], pieces: int) -> list[list[Row]]:
    """The rows as files: runs of time, in any order; or each row anywhere."""
    parts: list[list[Row]] = [[] for _ in range(pieces)]
    whole = draw.random() < 0.5
    for n, row in enumerate(rows):
        parts[n * pieces // len(rows) if whole else draw.randrange(pieces)].append(row)
    draw.shuffle(parts)
    return parts


def assert_equal_rows(found: list[Row], wanted: list[Row]) -> None:
    """Row by row, all that is wanted of each; floats within 1e-9."""
    for one, other in zip(found, wanted, strict=True):
        for name, value in other.items():
            is_float = isinstance(value, float) and isinstance(one[name], float)
            same = math.isclose(one[name], value, rel_tol=1e-9, abs_tol=1e-12) if is_float else one[name] == value
            assert same, (name, one, other)
