"""`truth.json` beside generated data: per feed the counts a run should come to, those that no slicing changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COUNTS = ("read", "rejected", "late", "landed - superseded", "duplicates + superseded", "conflicts")


def withdraw(out: Path, feed: str) -> None:
    """Take the feed's entry out before its files are written: an interrupted run must not leave old counts.

    Raises ValueError for a truth.json that is no JSON object.
    """
    truth = read(out)
    if truth.pop(feed, None) is not None:
        _write(out, truth)


def record(out: Path, feed: str, counts: dict[str, Any]) -> None:
    """Put the feed's counts beside those of other feeds."""
    if missing := [c for c in COUNTS if c not in counts]:
        raise ValueError(f"truth of {feed}: {missing[0]!r} is missing")
    _write(out, {**read(out), feed: counts})


def read(out: Path) -> dict[str, Any]:
    """All feeds' counts; empty where there is no file. Raises ValueError for one that is no JSON object."""
    path = out / "truth.json"
    if not path.exists():
        return {}
    try:
        truth = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): remove it, or choose another folder") from error
    if not isinstance(truth, dict):
        raise ValueError(f"{path} holds a {type(truth).__name__}, not an object: remove it, or choose another folder")
    return truth


def _write(out: Path, truth: dict[str, Any]) -> None:
    (out / "truth.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
