"""What goes into DuckDB's SQL: names, texts and files, quoted, whatever they hold; and one way to open an engine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from beam_grid.lakehouse.live import LiveFile
from beam_grid.lakehouse.vectors import deleted

if TYPE_CHECKING:
    import duckdb

MEMORY = "512MB"
"""What one statement keeps in memory before it spills: beside Beam's stage, a run stays under a gigabyte."""


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """An engine in UTC that spills to `scratch`, which is made."""
    import duckdb

    scratch.mkdir(parents=True, exist_ok=True)
    engine = duckdb.connect(config={"temp_directory": str(scratch)})
    engine.execute(f"SET TimeZone = 'UTC'; SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false")
    return engine


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def parquet(files: Iterable[str], options: str = "") -> str:
    """A relation of Parquet files, columns by name; a file that lacks one has nulls there."""
    names = ", ".join(literal(_no_glob(file)) for file in files)
    return f"read_parquet([{names}], union_by_name = true, hive_partitioning = false{options})"


def live_rows(table: Path, files: Iterable[LiveFile]) -> str:
    """A relation of the rows of live files of a table, those that deletion vectors take out left out."""
    plain = [str(table / file.path) for file in files if file.vector is None]
    parts = [f"SELECT * FROM {parquet(plain)}"] if plain else []
    for file in files:
        if file.vector is not None:
            gone = ", ".join(map(str, deleted(table, file.vector).tolist()))
            rows = parquet([str(table / file.path)], ", file_row_number = true")
            parts.append(f"SELECT * EXCLUDE (file_row_number) FROM {rows} WHERE file_row_number NOT IN ({gone})")
    return f"({' UNION ALL BY NAME '.join(parts)})"


def _no_glob(path: str) -> str:
    """The path as a pattern that means just it."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in path)
