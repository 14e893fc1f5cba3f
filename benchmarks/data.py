"""The benchmark's input: readings of 1,000 meters every 15 minutes, each twentieth sent twice, as JSON lines."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np

from data_sources.smart_meter_readings.generate import generate

READINGS_A_DAY = 96_000
COPIES = 0.05
APART = 2_000
"""A copy follows its original by at most this many lines: minutes, so that it is never late."""


def make(folder: Path, readings: int, seed: int = 7) -> int:
    """Write about `readings` readings and their copies below `folder`, a file a day; returns the records written."""
    done = folder / f"done-{readings}"
    if done.exists():
        return int(done.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    generate(folder / "clean", seed=seed, days=math.ceil(readings / READINGS_A_DAY))
    rng, written = np.random.default_rng(seed), 0
    (folder / "source").mkdir(parents=True)
    for path in sorted((folder / "clean").rglob("smart_meter_readings_*.json")):
        lines = path.read_bytes().splitlines(keepends=True)
        copied = rng.choice(len(lines), int(len(lines) * COPIES), replace=False)
        at = np.concatenate([np.arange(len(lines)), copied + rng.integers(1, APART, len(copied)) + 0.5])
        order = np.argsort(at, kind="stable")
        chosen = np.concatenate([np.arange(len(lines)), copied])[order]
        with (folder / "source" / path.name).open("wb") as out:
            out.writelines(lines[i] for i in chosen.tolist())
        written += len(chosen)
    shutil.rmtree(folder / "clean")
    done.write_text(str(written))
    return written
