"""Small Parquet files of the landing zone: checkpoints, segments and history, read whole."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read(path: Path) -> pa.Table:
    """All of a file, its pages' checksums verified. Raises OSError, pa.ArrowException.

    Not by `pq.read_table`: it loads pyarrow's datasets first, which takes longer than the reading.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read()
