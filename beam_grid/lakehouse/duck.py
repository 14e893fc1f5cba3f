"""What goes into DuckDB's SQL: names, texts and files, quoted, whatever they hold; and one way to open an engine."""

from __future__ import annotations

import atexit
import queue
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from beam_grid.interrupt import interruptible

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

MEMORY = "512MB"
"""What one statement keeps in memory before it spills: beside Beam's stage, a run stays under a gigabyte."""


READS_ITSELF = {"async_threads": 0}
"""How DuckDB is opened: who needs a piece of a file reads it. By itself it has eight threads more for that, as for stores far
away; handing them pieces of a file that is in memory takes a fifth of a short question, a third of a scan."""

FILE = "__file"
"""What a column with a file's path is called: `filename` may be a user's field."""


@contextmanager
def connect(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine in UTC that spills to `scratch`, which is made; Ctrl-C ends what it is at."""
    import duckdb

    scratch.mkdir(parents=True, exist_ok=True)
    with interruptible(duckdb.connect(config={"temp_directory": str(scratch), **READS_ITSELF})) as engine:
        engine.execute(f"SET TimeZone = 'UTC'; SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false")
        yield engine


_IDLE: queue.Queue[duckdb.DuckDBPyConnection] = queue.Queue(2)
"""Engines that wait for the next statements: opening one takes longer than a small publish's statements."""


@atexit.register
def _close_idle() -> None:
    """DuckDB complains of engines that are open when Python has ended."""
    while not _IDLE.empty():
        with suppress(Exception):  # one whose statement Ctrl-C is just ending is busy: it goes with the process
            _IDLE.get_nowait().close()


@contextmanager
def connect_again(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """As `connect`, on an engine that earlier statements used, if one is idle. What is made in it must be TEMP: that goes
    with the connection."""
    import duckdb

    scratch.mkdir(parents=True, exist_ok=True)
    settings = f"SET temp_directory = {literal(str(scratch))}; SET memory_limit = '{MEMORY}'"
    try:
        root = _IDLE.get_nowait()
        root.execute(settings)
    except (queue.Empty, duckdb.Error):  # the other one spilled: where to, cannot be changed then
        root = duckdb.connect(config={"enable_external_file_cache": "false", **READS_ITSELF})
        root.execute(settings)
    try:
        with interruptible(root.cursor()) as engine:
            engine.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
            yield engine
    except BaseException:
        root.close()
        raise
    try:
        _IDLE.put_nowait(root)
    except queue.Full:
        root.close()


def batches(
    engine: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = (), rows: int = 16_384
) -> pa.RecordBatchReader:
    """The rows of one statement, made as they are read, so many at a time. parameters: bound to $1, $2 and so on.

    As `engine.sql(...).to_arrow_reader(rows)`, which first binds the statement without running it, to learn its columns:
    over views of many files that is a third of what a short question costs. `engine.execute` streams no Arrow.
    """
    return engine._submit(sql, list(parameters) or None, "stream", rows).arrow_reader()


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def parquet(files: Iterable[str], options: str = "") -> str:
    """A relation of Parquet files, columns by name; a file that lacks one has nulls there."""
    names = ", ".join(literal(pattern(file)) for file in files)
    return f"read_parquet([{names}], union_by_name = true, hive_partitioning = false{options})"


_SIGNS = str.maketrans({sign: f"[{sign}]" for sign in "*?["})


def pattern(path: str) -> str:
    """The path as a pattern of DuckDB's that means just it."""
    return path.translate(_SIGNS)
