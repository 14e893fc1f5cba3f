"""Small specs for the tests: TOML text to a checked spec in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from data_sources.generators.streams.load import load_spec
from data_sources.generators.streams.spec import StreamSpec
from data_sources.generators.streams.stream import Stream

HEAD = """
name = "made"
rows_per_day = 86400
batch_rows = 1000
partitions = 4
event_time = "at"
"""
TIME = """
[[columns]]
name = "at"
type = "timestamp"
begin = "2024-03-30"
interval = "1s"
"""


def spec_of(folder: Path, columns: str, head: str = HEAD, time: str = TIME) -> StreamSpec:
    """The spec of HEAD, TIME and `columns` (TOML)."""
    path = folder / "made.toml"
    path.write_text(head + time + columns)
    return load_spec(path)


def rows_of(spec: StreamSpec, n: int, seed: int = 1) -> pl.DataFrame:
    """The first `n` rows."""
    return pl.concat(list(Stream(spec, seed, total=n).batches()))
