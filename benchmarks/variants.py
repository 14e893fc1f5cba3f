"""The variants of `make bench`: each a command that reads the input and leaves an output, which is then checked.

| variant | what it makes |
|---|---|
| run | source to published tables: silver, both window tables, bronze, ledger; no analyses |
| run-analyses | the same under the built-in feed's name, so with its analyses and expectations |
| duckdb-delta | DuckDB and delta-rs: silver and both window tables as Delta |
| spark-batch, spark-stream | Spark 4.2: the same Delta tables |
| land | the landing zone alone: rows and tiles |
| duckdb | DuckDB: rows and both window tables as Parquet |
| beam-dicts | Beam as it is usually written, one dict an element: the 15-minute windows, of the first records only |
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from beam_grid.feeds import BUILT_IN
from benchmarks import data
from benchmarks.equal import (
    CONTRACT,
    check_files,
    check_landed,
    check_tables,
    delta_tables,
    lake_tables,
    make_oracle,
)

FEED = "bench_readings"
"""The feed of what runs without analyses: none reads a table of this name."""


@dataclass(frozen=True)
class Variant:
    """`command` gives a Python command line that writes to an empty place; `check` raises SystemExit if it is wrong."""

    name: str
    records: int
    command: Callable[[Path], list[str]]
    check: Callable[[Path], str]


def variants(folder: Path, readings: int, dicts: int, peers: bool) -> list[Variant]:
    """Those for one size of input, which is made below `folder`; with `peers` all, else `run` and duckdb-delta."""
    records = data.make(folder, readings)
    source = str((folder / "source").absolute())
    oracle = make_oracle(source, folder / "oracle")
    plain, full = write_contracts(folder)

    def grid(command: str, contract: Path) -> Callable[[Path], list[str]]:
        return lambda out: ["-m", "beam_grid", command, "--contract", str(contract), "--source", source, "--lake", str(out)]  # fmt: skip

    def peer(module: str, *arguments: str) -> Callable[[Path], list[str]]:
        return lambda out: ["-m", f"benchmarks.peers.{module}", *arguments, str(out.absolute())]

    found = [
        Variant("run", records, grid("run", plain), lambda out: check_tables(lake_tables(out, FEED), oracle)),
        Variant("duckdb-delta", records, peer("duckdb_delta", source), lambda out: check_tables(delta_tables(out), oracle)),
    ]  # fmt: skip
    if not peers:
        return found
    first = first_records(folder, source, dicts)
    first_oracle = make_oracle(str(first), folder / f"oracle-first-{dicts}")
    feed = CONTRACT.name
    return [
        *found,
        Variant("run-analyses", records, grid("run", full), lambda out: check_tables(lake_tables(out, feed), oracle)),
        Variant("spark-batch", records, peer("spark_delta", "batch", source), lambda out: check_tables(delta_tables(out), oracle)),
        Variant("spark-stream", records, peer("spark_delta", "stream", source), lambda out: check_tables(delta_tables(out), oracle, whole=False)),
        Variant("land", records, grid("land", plain), lambda out: check_landed(out, FEED, oracle)),
        Variant("duckdb", records, peer("duckdb_feed", feed, f"{source}/*.json"), lambda out: check_files(out, oracle, rows=True)),
        Variant("beam-dicts", dicts, peer("beam_dicts", str(first)), lambda out: check_files(out, first_oracle, rows=False)),
    ]  # fmt: skip


def write_contracts(folder: Path) -> tuple[Path, Path]:
    """The built-in contract with what the peers do, the one rule that rejects: as FEED without analyses and
    expectations, and under its own name with both."""
    folder.mkdir(parents=True, exist_ok=True)
    sections = re.split(r"(?m)^(?=\[\[)", (BUILT_IN / CONTRACT.name / "contract.toml").read_text())
    full = "".join(section for section in sections if 'on_fail = "warn"' not in section)
    paths = folder / "plain.toml", folder / "full.toml"
    for path, text in zip(paths, (unread(full), full), strict=True):
        path.write_text(text)
    return paths


def unread(contract: str) -> str:
    """The text of the built-in contract, as FEED and without expectations."""
    sections = re.split(r"(?m)^(?=\[\[)", contract)
    kept = "".join(section for section in sections if not section.startswith("[[expectations]]"))
    return kept.replace(f'"{CONTRACT.name}"', f'"{FEED}"', 1)


def first_records(folder: Path, source: str, count: int) -> Path:
    """A folder with the first lines of the source, in one file."""
    out = (folder / f"first-{count}").absolute()
    if not out.exists():
        lines = (line for path in sorted(Path(source).iterdir()) for line in path.open("rb"))
        out.mkdir()
        (out / "readings.json").write_bytes(b"".join(itertools.islice(lines, count)))
    return out
