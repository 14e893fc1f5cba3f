"""Beam transforms over Arrow record batches, and the functions they wire; a feed is known by its contract only.

A batch is a `pyarrow.RecordBatch`; "rows" have the contract's columns (`contract.schema`), landed rows the lineage
besides (`contract.landed_schema`), tiles those of `tile_schema`.

    ReadAndJudge     partitions as JSON text, as partitions_of finds     -> Read(on_time, aside, manifests)
    JudgeStream      (partition number, batch of RECORDS: raw bytes,     -> Read(on_time, aside, manifests)
                     `_position`, `_arrival`)
    KeyByShard       batches of rows of one's own, or (key, batch)       -> (shard, batch) of rows
    DropDuplicates   (shard, batch) of rows, as Read.on_time or          -> Unique(rows, aside, manifests)
                     KeyByShard has them
    Windows          batches of rows, or (key, batch)                    -> batches of window rows
    WindowedTiles    (shard, batch) of rows                              -> (cell, batch of tiles)
    LandSlice        partitions as JSON text                             -> one manifest file of a commit's files

    partitions_of    a source's address and a contract                   -> Found(partitions, problems)
    slice_of         a contract                                          -> what ReadAndJudge must know of a run
    tile_rows        a table of landed rows                              -> tiles
    merge_tiles      tiles of one window, many per group and cell        -> tiles, one per group, cell and commit
    windows_sql      the name of a relation of tiles in DuckDB           -> SQL that gives window rows
    detect           a package: scores of readings, by many detectors (transforms/detect/)

Rows have the contract's columns. Lineage (`_source`, `_position`, `_commit`, ...) and `_order` are made where they are
missing; a column of the contract that lacks is a ValueError that names it, within the first batch.

Names are imported when they are asked for: who needs a function over Arrow does not wait for Beam.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transforms.batches import RecordBatchCoder
    from transforms.drop_duplicates import DropDuplicates, Unique
    from transforms.judge_stream import JudgeStream
    from transforms.key_by_shard import KeyByShard
    from transforms.land import LandSlice
    from transforms.partitions import Found, partitions_of, slice_of
    from transforms.read import Read, ReadAndJudge
    from transforms.tiles import merge_tiles, tile_rows, tile_schema
    from transforms.windowed import WindowedTiles
    from transforms.windows import window_schema, windows_sql
    from transforms.windows_stream import Windows

__all__ = [
    "DropDuplicates",
    "Found",
    "JudgeStream",
    "KeyByShard",
    "LandSlice",
    "Read",
    "ReadAndJudge",
    "RecordBatchCoder",
    "Unique",
    "WindowedTiles",
    "Windows",
    "merge_tiles",
    "partitions_of",
    "slice_of",
    "tile_rows",
    "tile_schema",
    "window_schema",
    "windows_sql",
]

_HOMES = {
    "DropDuplicates": "drop_duplicates",
    "Found": "partitions",
    "JudgeStream": "judge_stream",
    "KeyByShard": "key_by_shard",
    "LandSlice": "land",
    "Read": "read",
    "ReadAndJudge": "read",
    "RecordBatchCoder": "batches",
    "Unique": "drop_duplicates",
    "WindowedTiles": "windowed",
    "Windows": "windows_stream",
    "merge_tiles": "tiles",
    "partitions_of": "partitions",
    "slice_of": "partitions",
    "tile_rows": "tiles",
    "tile_schema": "tiles",
    "window_schema": "windows",
    "windows_sql": "windows",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
