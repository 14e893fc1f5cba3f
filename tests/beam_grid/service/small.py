"""A feed of a few rows, its contract and its files, and the command line over them."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.waiting import PATIENCE_S

CONTRACT = """
name = "meters"
format = "csv"
event_time = "at"
dedup = { key = ["meter", "at"] }
out_of_orderness = "1m"
file_order = "name"

[[fields]]
name = "meter"
type = "int64"

[[fields]]
name = "at"
type = "timestamp"

[[windows]]
name = "meters_hourly"
size = "1h"
measures = { n = "count()" }
"""


def contract(folder: Path, name: str = "meters") -> Path:
    where = folder / f"{name}.toml"
    where.write_text(CONTRACT.replace('"meters"', f'"{name}"').replace("meters_hourly", f"{name}_hourly"))
    return where


def write(folder: Path, name: str, rows: int = 10, bad: int = 0) -> None:
    """A file that appears whole, of rows a second apart that end now, and lines that are no row."""
    folder.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    lines = [f"{n},{(now - timedelta(seconds=rows - n)).isoformat()}" for n in range(rows)] + ["x,y"] * bad
    draft = folder.parent / f".{name}"
    draft.write_text("meter,at\n" + "\n".join(lines) + "\n")
    draft.rename(folder / name)


def grid(*arguments: str) -> list[str]:
    """The command as Popen takes it."""
    return [sys.executable, "-m", "beam_grid", *arguments]


def ran(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        grid(*arguments),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "BEAM_GRID_DEBUG": "", **env},
    )


def run_folder(folder: Path, name: str, text: str) -> None:
    """Land and publish what is new under folder/source, by a contract of this text, into folder/lake."""
    contract = folder / f"{name}.toml"
    contract.write_text(text)
    done = ran("run", "--contract", str(contract), "--source", str(folder / "source"), "--lake", str(folder / "lake"))
    assert done.returncode == 0, done.stderr
