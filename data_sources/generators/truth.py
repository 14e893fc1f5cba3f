"""What generated data holds, in files beside it.

`truth.json`: per feed the counts a run should come to, those that no slicing changes. `planted.json`: per feed the
anomalies planted in it, where a generator was asked for some: event_id, meter_id, timestamp, kind and reading_kwh.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TRUTH, PLANTED = "truth.json", "planted.json"
COUNTS = ("read", "rejected", "late", "landed - superseded", "duplicates + superseded", "conflicts")


def withdraw(out: Path, feed: str) -> None:
    """Take the feed's entries out before its files are written: an interrupted run must not leave old ones.

    Raises ValueError for a truth.json or planted.json that is no JSON object.
    """
    for name in (TRUTH, PLANTED):
        entries = read(out, name)
        if entries.pop(feed, None) is None:
            continue
        if entries or name == TRUTH:
            _write(out, entries, name)
        else:
            (out / name).unlink()


def record(out: Path, feed: str, counts: dict[str, Any]) -> None:
    """Put the feed's counts beside those of other feeds."""
    if missing := [c for c in COUNTS if c not in counts]:
        raise ValueError(f"truth of {feed}: {missing[0]!r} is missing")
    _write(out, {**read(out), feed: counts}, TRUTH)


def record_planted(out: Path, feed: str, anomalies: list[dict[str, Any]]) -> None:
    """Put the feed's planted anomalies beside those of other feeds."""
    _write(out, {**read(out, PLANTED), feed: anomalies}, PLANTED)


def read(out: Path, name: str = TRUTH) -> dict[str, Any]:
    """All feeds' entries; empty where there is no file. Raises ValueError for one that is no JSON object."""
    path = out / name
    if not path.exists():
        return {}
    try:
        truth = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): remove it, or choose another folder") from error
    if not isinstance(truth, dict):
        raise ValueError(f"{path} holds a {type(truth).__name__}, not an object: remove it, or choose another folder")
    return truth


def _write(out: Path, entries: dict[str, Any], name: str) -> None:
    (out / name).write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
