"""Beam transforms over Arrow record batches, and the functions they wire; a feed is known by its contract only.

A batch is a `pyarrow.RecordBatch`; "rows" have the contract's columns (`contract.schema`), landed rows the lineage
besides (`contract.landed_schema`), tiles those of `tile_schema`.

    ReadAndJudge     partitions as JSON text (beam_grid/plan.py)         -> Read(on_time, aside, facts)
    JudgeStream      (partition number, batch of RECORDS: raw bytes,     -> Read(on_time, aside, facts)
                     `_position`, `_arrival`)
    DropDuplicates   (shard, batch) of rows on time, with the lineage    -> Unique(rows, aside, facts)
                     and `_order`, as Read.on_time has them
    Windows          batches of rows, or (key, batch)                    -> batches of window rows
    WindowedTiles    (shard, batch) of landed rows                       -> (cell, batch of tiles)
    LandSlice        partitions as JSON text                             -> one manifest file of a commit's files

    tile_rows        a table of landed rows                              -> tiles
    merge_tiles      tiles of one window, many per group and cell        -> tiles, one per group, cell and commit
    windows_sql      the name of a relation of tiles in DuckDB           -> SQL that gives window rows

Names are imported when they are asked for: who needs a function over Arrow does not wait for Beam.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transforms.batches import RecordBatchCoder
    from transforms.drop_duplicates import DropDuplicates, Unique
    from transforms.judge_stream import JudgeStream
    from transforms.land import LandSlice
    from transforms.read import Read, ReadAndJudge
    from transforms.tiles import merge_tiles, tile_rows, tile_schema
    from transforms.windowed import WindowedTiles
    from transforms.windows import window_schema, windows_sql
    from transforms.windows_stream import Windows

__all__ = [
    "DropDuplicates",
    "JudgeStream",
    "LandSlice",
    "Read",
    "ReadAndJudge",
    "RecordBatchCoder",
    "Unique",
    "WindowedTiles",
    "Windows",
    "merge_tiles",
    "tile_rows",
    "tile_schema",
    "window_schema",
    "windows_sql",
]

_HOMES = {
    "DropDuplicates": "drop_duplicates",
    "JudgeStream": "judge_stream",
    "LandSlice": "land",
    "Read": "read",
    "ReadAndJudge": "read",
    "RecordBatchCoder": "batches",
    "Unique": "drop_duplicates",
    "WindowedTiles": "windowed",
    "Windows": "windows_stream",
    "merge_tiles": "tiles",
    "tile_rows": "tiles",
    "tile_schema": "tiles",
    "window_schema": "windows",
    "windows_sql": "windows",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
