"""The default detector over a checkout of the Numenta Anomaly Benchmark, for that benchmark's own scorer.

A file is a series of its own, and a row is scored by what stands above it in the file: where its clock goes back, the
rows after that have the time it had reached. What goes on is reported once: a row that one of the last 200 outdid has
the score 0.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from beam_grid.errors import GridError
from transforms.detect import readings_of
from transforms.detect.fused import fused, repeats

NAME = "beamgrid"
WINDOWS = Path("labels") / "combined_windows.json"
HALF = 10.0
"""The detector's score that becomes 0.5: the benchmark wants numbers from 0 to 1 and finds the threshold itself."""

Floats = npt.NDArray[np.float64]


def run(checkout: Path) -> int:
    """Write `results/beamgrid/CATEGORY/beamgrid_FILE.csv` (timestamp, value, anomaly_score, label); returns the files.

    Raises GridError where the folder is no such checkout, or a file of it cannot be read.
    """
    windows = _windows(checkout)
    for name in sorted(windows):
        data = checkout / "data" / name
        lines, times, values = _read(data)
        score = scores(times, values)
        labels = _labels(data, times, windows[name])
        out = checkout / "results" / NAME / Path(name).parent / f"{NAME}_{Path(name).name}"
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("timestamp", "value", "anomaly_score", "label"))
            writer.writerows(zip(*lines, map(repr, score.tolist()), labels.tolist(), strict=True))
    return len(windows)


def scores(times: npt.NDArray[np.int64], values: Floats) -> Floats:
    """From 0 to 1 for each row of one series. times: microseconds, in the file's order."""
    table = pa.table(
        {
            "series": pa.array(np.zeros(len(times), np.int8)),
            "time": pa.array(np.maximum.accumulate(times), pa.timestamp("us")),
            "value": values,
        }
    )
    readings = readings_of(table, series="series", time="time", values=["value"])
    found = fused(readings)
    score = np.where(repeats(readings, found.score), 0.0, np.nan_to_num(found.score))
    placed = np.zeros(len(times))
    placed[readings.places] = score / (score + HALF)
    return placed


def _windows(checkout: Path) -> dict[str, list[list[str]]]:
    try:
        found: Any = json.loads((checkout / WINDOWS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise GridError(
            f"evaluate --nab {checkout}: {WINDOWS} cannot be read ({cause}); give the folder of a checkout of "
            "github.com/numenta/NAB"
        ) from cause
    if not isinstance(found, dict) or not found:
        raise GridError(f"evaluate --nab {checkout}: {WINDOWS} names no files")
    inside = (checkout / "data").resolve()
    for name in found:
        if not (checkout / "data" / name).resolve().is_relative_to(inside):
            raise GridError(f"evaluate --nab {checkout}: {WINDOWS} names '{name}', which is not in its data folder")
    return found


def _read(path: Path) -> tuple[tuple[list[str], list[str]], npt.NDArray[np.int64], Floats]:
    """The two columns as text, as times and as numbers."""
    try:
        text = pa.csv.read_csv(
            path, convert_options=pa.csv.ConvertOptions(column_types={"timestamp": pa.string(), "value": pa.string()})
        )
        lines = text["timestamp"].to_pylist(), text["value"].to_pylist()
        times = np.array(lines[0], "datetime64[us]").astype(np.int64)
        return lines, times, np.array(lines[1], np.float64)
    except (OSError, ValueError, KeyError, pa.ArrowException) as cause:
        raise GridError(
            f"evaluate --nab: {path} cannot be read ({cause}); it needs the columns timestamp, value"
        ) from cause


def _labels(path: Path, times: npt.NDArray[np.int64], windows: list[list[str]]) -> npt.NDArray[np.int8]:
    """1 within a window, both ends in."""
    found = np.zeros(len(times), np.int8)
    for window in windows:
        try:
            first, last = np.array(window, "datetime64[us]").astype(np.int64)
        except ValueError as cause:
            raise GridError(f"evaluate --nab: {WINDOWS}, {path.name}: {window} is no pair of times") from cause
        found[(times >= first) & (times <= last)] = 1
    return found
