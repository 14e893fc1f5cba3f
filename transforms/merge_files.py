"""Small landed files of one kind put together into one, in order of event time.

    commit 1  rows-0 ▪     commit 2  rows-0 ▪   ...   commit 8  rows-0 ▪     ──►   rows-0 ▬▬▬▬▬▬▬▬

Guarantees: the same rows, each with its own lineage (`_commit`, `_source`, `_partition`, `_position`), which is its
identity; bounds and key hashes as those of a file that a slice wrote. Not guaranteed: the order of rows of one time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from data_sources.contract import Contract
from transforms.files import LOOKED_UP_GROUP, write_file
from transforms.manifest import LandedFile
from transforms.seen import conform, write_keys
from transforms.shard import key_hashes


def merge_files(root: Path, files: Sequence[LandedFile], contract: Contract, folder: Path) -> LandedFile:
    """One file in `folder` that holds the rows of all `files`, which are of one kind, shard or window.

    root: the folder that paths are relative to. Raises OSError where they cannot be read or it cannot be written.
    """
    first = files[0]
    tables = [pq.read_table(root / file.path, partitioning=None) for file in files]
    if first.kind == "rows":
        tables = [conform(table, contract) for table in tables]
    rows = pa.concat_tables(tables, promote_options="permissive")
    sort_by = ["_cell"] if first.kind == "tiles" else [contract.event_time]
    bounds = list(dict.fromkeys(name for file in files for name in file.min))
    merged = write_file(
        folder, first.kind, rows, sort_by, bounds, shard=first.shard, window=first.window, row_group=LOOKED_UP_GROUP
    )
    if first.kind != "rows":
        return merged
    hashes = [_hashes(root, file, table, contract) for file, table in zip(files, tables, strict=True)]
    return replace(merged, keys=write_keys(folder / merged.name, np.sort(np.concatenate(hashes))))


def _hashes(root: Path, file: LandedFile, rows: pa.Table, contract: Contract) -> np.ndarray:
    """Hashes of the file's keys; made from its rows where an older version wrote none beside it."""
    if file.keys is None:
        return key_hashes(rows, contract.dedup.key)
    found = np.fromfile((root / file.path).with_name(file.keys), "<u8")
    if len(found) != file.rows:
        raise ValueError(f"{file.keys} holds {len(found)} keys of {file.rows}: the lake's files were changed")
    return found
